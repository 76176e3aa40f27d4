//! From a Python object to the bytes of a value.

use bytes::Bytes;
use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};
use whipray_worker::ObjectHandle;

use super::buffers::ContiguousView;
use super::layout::{BufferLayout, Kind};
use super::pickle;
use super::plain::{self, Plainness};
use super::references::Collector;
use crate::hooks;
use crate::object_ref::ObjectRef;

/// Copies of at least this many bytes let other threads run meanwhile.
const COPY_DETACHED_BYTES: usize = 256 * 1024;

/// A value that is ready to be copied to where it goes, and the references inside it.
pub struct Encoded<'py> {
    body: Body<'py>,
    pub contained: Vec<ObjectHandle>,
}

enum Body<'py> {
    Constant(&'static [u8]),
    Number([u8; 9]),
    /// The kind and then the bytes of `data`.
    Data {
        kind: Kind,
        data: Bound<'py, PyBytes>,
    },
    Text(Bound<'py, PyString>),
    Buffers {
        layout: BufferLayout,
        pickle: Bound<'py, PyBytes>,
        buffers: Vec<ContiguousView>,
    },
}

/// Encodes `value`. It stays borrowed until the result is dropped: nothing large was copied yet.
///
/// # Errors
/// What pickling it raises.
pub fn encode<'py>(value: &Bound<'py, PyAny>) -> PyResult<Encoded<'py>> {
    if let Some(body) = encode_scalar(value) {
        return Ok(Encoded {
            body,
            contained: Vec::new(),
        });
    }
    if let Some(encoded) = encode_references(value)? {
        return Ok(encoded);
    }
    let collector = Collector::start();
    let body = match plain::look(value) {
        Plainness::Plain => Body::Data {
            kind: Kind::Pickle,
            data: pickle::dumps(value)?,
        },
        Plainness::WithArrays => {
            let (data, buffers) = pickle::dumps_with_buffers(value)?;
            with_buffers(data, &buffers)?
        }
        Plainness::Other => {
            let (data, buffers) = hooks::pickle(value)?;
            with_buffers(data, &buffers)?
        }
    };
    Ok(Encoded {
        body,
        contained: collector.finish(),
    })
}

fn encode_scalar<'py>(value: &Bound<'py, PyAny>) -> Option<Body<'py>> {
    let object = value.as_ptr();
    // SAFETY: the object is alive, and each function is called for the type that it is made for.
    unsafe {
        if object == ffi::Py_None() {
            Some(Body::Constant(&[Kind::None as u8]))
        } else if ffi::PyLong_CheckExact(object) != 0 {
            let mut overflow = 0;
            let number = ffi::PyLong_AsLongLongAndOverflow(object, &mut overflow);
            (overflow == 0).then(|| Body::Number(number_bytes(Kind::Integer, number.to_le_bytes())))
        } else if ffi::PyFloat_CheckExact(object) != 0 {
            let number = ffi::PyFloat_AS_DOUBLE(object);
            Some(Body::Number(number_bytes(
                Kind::Float,
                number.to_le_bytes(),
            )))
        } else if object == ffi::Py_True() {
            Some(Body::Constant(&[Kind::True as u8]))
        } else if object == ffi::Py_False() {
            Some(Body::Constant(&[Kind::False as u8]))
        } else if let Ok(text) = value.cast_exact::<PyString>() {
            // Text with lone surrogates is no UTF-8; pickle knows how to write it.
            text.to_str().is_ok().then(|| Body::Text(text.clone()))
        } else if let Ok(bytes) = value.cast_exact::<PyBytes>() {
            Some(Body::Data {
                kind: Kind::Bytes,
                data: bytes.clone(),
            })
        } else {
            None
        }
    }
}

fn number_bytes(kind: Kind, digits: [u8; 8]) -> [u8; 9] {
    let mut bytes = [kind as u8; 9];
    bytes[1..].copy_from_slice(&digits);
    bytes
}

/// A list or tuple of nothing but references needs no pickle: the references are the value.
fn encode_references<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Encoded<'py>>> {
    let mut contained = Vec::new();
    let body: &'static [u8] = if let Ok(list) = value.cast_exact::<PyList>() {
        for item in list.iter() {
            let Ok(reference) = item.cast_exact::<ObjectRef>() else {
                return Ok(None);
            };
            contained.push(reference.get().handle(value.py())?);
        }
        &[Kind::ReferenceList as u8]
    } else if let Ok(tuple) = value.cast_exact::<PyTuple>() {
        for item in tuple.iter_borrowed() {
            let Ok(reference) = item.cast_exact::<ObjectRef>() else {
                return Ok(None);
            };
            contained.push(reference.get().handle(value.py())?);
        }
        &[Kind::ReferenceTuple as u8]
    } else {
        return Ok(None);
    };
    Ok(Some(Encoded {
        body: Body::Constant(body),
        contained,
    }))
}

fn with_buffers<'py>(
    pickle: Bound<'py, PyBytes>,
    buffers: &Bound<'py, PyList>,
) -> PyResult<Body<'py>> {
    if buffers.is_empty() {
        return Ok(Body::Data {
            kind: Kind::Pickle,
            data: pickle,
        });
    }
    let buffers = buffers
        .iter()
        .map(|item| ContiguousView::of(&item))
        .collect::<PyResult<Vec<_>>>()?;
    let lengths: Vec<usize> = buffers.iter().map(ContiguousView::len).collect();
    let layout = BufferLayout::plan(pickle.as_bytes().len(), &lengths)
        .ok_or_else(|| PyOverflowError::new_err("the value is larger than memory can be"))?;
    Ok(Body::Buffers {
        layout,
        pickle,
        buffers,
    })
}

impl Encoded<'_> {
    /// The size of the value in bytes.
    pub fn size_bytes(&self) -> usize {
        match &self.body {
            Body::Constant(bytes) => bytes.len(),
            Body::Number(bytes) => bytes.len(),
            Body::Data { data, .. } => 1 + data.as_bytes().len(),
            Body::Text(text) => 1 + text_bytes(text).len(),
            Body::Buffers { layout, .. } => layout.total_bytes,
        }
    }

    /// The value on its own.
    pub fn to_bytes(&self) -> Bytes {
        match &self.body {
            Body::Constant(bytes) => Bytes::from_static(bytes),
            Body::Number(bytes) => Bytes::copy_from_slice(bytes),
            Body::Data { kind, data } => prefixed(*kind, data.as_bytes()),
            Body::Text(text) => prefixed(Kind::Text, text_bytes(text)),
            Body::Buffers { layout, .. } => {
                let mut bytes = vec![0; layout.total_bytes];
                self.fill(&mut bytes);
                Bytes::from(bytes)
            }
        }
    }

    /// Copies the value to `target`, which has exactly its size.
    ///
    /// # Errors
    /// `TypeError` where the sizes differ.
    pub fn write(mut self, py: Python<'_>, target: &mut [u8]) -> PyResult<()> {
        if target.len() != self.size_bytes() {
            return Err(PyTypeError::new_err(
                "the room for a value has another size than the value",
            ));
        }
        if target.len() < COPY_DETACHED_BYTES {
            self.fill(target);
            return Ok(());
        }
        if let Body::Buffers {
            layout, buffers, ..
        } = &mut self.body
        {
            let sources = buffers.iter().map(|view| view.as_slice().as_ptr().addr());
            layout.place(target.as_ptr().addr(), sources);
        }
        self.write_head(target);
        let parts = Parts(self.parts());
        py.detach(move || parts.copy(target));
        Ok(())
    }

    fn fill(&self, target: &mut [u8]) {
        self.write_head(target);
        Parts(self.parts()).copy(target);
    }

    /// Writes what stands before the first part.
    fn write_head(&self, target: &mut [u8]) {
        match &self.body {
            Body::Constant(_) | Body::Number(_) => {}
            Body::Data { kind, .. } => target[0] = *kind as u8,
            Body::Text(_) => target[0] = Kind::Text as u8,
            Body::Buffers { layout, .. } => layout.write_header(target),
        }
    }

    /// The pieces of the value with their offsets.
    fn parts(&self) -> Vec<(usize, &[u8])> {
        match &self.body {
            Body::Constant(bytes) => vec![(0, *bytes)],
            Body::Number(bytes) => vec![(0, bytes.as_slice())],
            Body::Data { data, .. } => vec![(1, data.as_bytes())],
            Body::Text(text) => vec![(1, text_bytes(text))],
            Body::Buffers {
                layout,
                pickle,
                buffers,
            } => {
                let mut parts = vec![(layout.pickle.start, pickle.as_bytes())];
                let offsets = layout.buffers.iter().map(|range| range.start);
                parts.extend(offsets.zip(buffers.iter().map(ContiguousView::as_slice)));
                parts
            }
        }
    }
}

/// Pieces of a value, to be copied without the interpreter.
struct Parts<'a>(Vec<(usize, &'a [u8])>);

impl Parts<'_> {
    fn copy(self, target: &mut [u8]) {
        for (offset, bytes) in self.0 {
            target[offset..offset + bytes.len()].copy_from_slice(bytes);
        }
    }
}

fn prefixed(kind: Kind, data: &[u8]) -> Bytes {
    let mut bytes = Vec::with_capacity(1 + data.len());
    bytes.push(kind as u8);
    bytes.extend_from_slice(data);
    Bytes::from(bytes)
}

fn text_bytes<'a>(text: &'a Bound<'_, PyString>) -> &'a [u8] {
    // Checked when it was encoded, and kept by the string since.
    text.to_str().map(str::as_bytes).unwrap_or_default()
}
