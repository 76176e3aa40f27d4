//! Memory that goes into a value, and memory of a value that Python reads in place.

use std::alloc::{self, Layout};
use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

use bytes::Bytes;
use pyo3::exceptions::PyMemoryError;
use pyo3::ffi;
use pyo3::prelude::*;
use whipray_worker::SharedView;

use super::layout::BUFFER_ALIGNMENT;
use crate::process_bound::ProcessBound;

/// A view of an object's contiguous memory; the object cannot move or free it meanwhile.
pub struct ContiguousView {
    view: Box<ffi::Py_buffer>,
}

impl ContiguousView {
    /// The memory of `object`, in whichever order its items lie.
    ///
    /// # Errors
    /// `BufferError` where the object has no contiguous memory.
    pub fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let mut view = Box::new(MaybeUninit::<ffi::Py_buffer>::uninit());
        let flags = ffi::PyBUF_ANY_CONTIGUOUS | ffi::PyBUF_FORMAT;
        // SAFETY: `view` has room for a Py_buffer, which a successful call fills in.
        let status = unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), view.as_mut_ptr(), flags) };
        if status != 0 {
            return Err(PyErr::fetch(object.py()));
        }
        // SAFETY: the call was successful.
        Ok(Self {
            view: unsafe { view.assume_init() },
        })
    }

    pub fn len(&self) -> usize {
        self.view.len.max(0) as usize
    }

    pub fn as_slice(&self) -> &[u8] {
        if self.view.buf.is_null() {
            return &[];
        }
        // SAFETY: the exporter keeps `len` bytes at `buf` alive until the view is released. Another
        // thread of the user may write to them meanwhile; the copy then has some of each, no more.
        unsafe { std::slice::from_raw_parts(self.view.buf.cast(), self.len()) }
    }
}

impl Drop for ContiguousView {
    fn drop(&mut self) {
        // SAFETY: views are made and dropped with the interpreter attached, and released once.
        unsafe { ffi::PyBuffer_Release(&raw mut *self.view) }
    }
}

/// A private copy of a small value, aligned as the one in shared memory would be.
pub struct AlignedBytes {
    pointer: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the memory is owned, and never written to after its construction.
unsafe impl Send for AlignedBytes {}
unsafe impl Sync for AlignedBytes {}

impl AlignedBytes {
    /// A copy of `bytes`.
    ///
    /// # Errors
    /// `MemoryError`.
    pub fn copy_of(bytes: &[u8]) -> PyResult<Self> {
        let no_memory = || PyMemoryError::new_err("no memory for the copy of a value");
        let layout = Layout::from_size_align(bytes.len().max(1), BUFFER_ALIGNMENT)
            .map_err(|_| no_memory())?;
        // SAFETY: the layout's size is not zero, and the copy stays within it.
        unsafe {
            let pointer = NonNull::new(alloc::alloc(layout)).ok_or_else(no_memory)?;
            pointer.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len());
            Ok(Self { pointer, layout })
        }
    }
}

impl Drop for AlignedBytes {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout.
        unsafe { alloc::dealloc(self.pointer.as_ptr(), self.layout) }
    }
}

/// What keeps the bytes of a value where they are.
#[derive(Clone)]
pub enum Memory {
    Inline(Bytes),
    Aligned(Arc<AlignedBytes>),
    Shared(Arc<SharedView>),
}

impl Memory {
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Inline(bytes) => bytes,
            // SAFETY: the layout's size bytes at the pointer are initialised and live as long as it.
            Self::Aligned(aligned) => unsafe {
                std::slice::from_raw_parts(aligned.pointer.as_ptr(), aligned.layout.size())
            },
            Self::Shared(view) => view.as_slice(),
        }
    }
}

/// Read-only bytes of a value, for `pickle.loads` and for the arrays that it makes.
#[pyclass(frozen, module = "whipray._core")]
pub struct ValueBuffer {
    memory: ProcessBound<Memory>,
    range: Range<usize>,
}

impl ValueBuffer {
    /// The bytes of `memory` in `range`, which must lie in it.
    pub fn new(memory: Memory, range: Range<usize>) -> Self {
        Self {
            memory: ProcessBound::new(memory),
            range,
        }
    }
}

#[pymethods]
impl ValueBuffer {
    /// Lends the bytes.
    ///
    /// # Safety
    /// Called by the interpreter, with a view to fill in.
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let buffer = slf.get();
        let bytes = buffer
            .memory
            .as_slice()
            .get(buffer.range.clone())
            .unwrap_or_default();
        // SAFETY: the bytes live as long as this object, to which the view holds a reference. The
        // view is read-only: a request to write fails in this call.
        let status = unsafe {
            ffi::PyBuffer_FillInfo(
                view,
                slf.as_ptr(),
                bytes.as_ptr().cast_mut().cast(),
                bytes.len() as ffi::Py_ssize_t,
                1,
                flags,
            )
        };
        if status == 0 {
            Ok(())
        } else {
            Err(PyErr::fetch(slf.py()))
        }
    }
}
