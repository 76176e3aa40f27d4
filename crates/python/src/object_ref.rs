//! References to objects as Python sees them.

use std::hash::{Hash, Hasher};
use std::ops::Deref;

use prost::Message as _;
use pyo3::basic::CompareOp;
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use rustc_hash::FxHasher;
use whipray_proto::ids::ObjectId;
use whipray_proto::object::WorkerAddress;
use whipray_worker::ObjectHandle;

use crate::connection;
use crate::process_bound::ProcessBound;
use crate::value::references;
use crate::{completions, hooks, python_names};

/// A reference to an object; dropping the last one lets the object go.
#[pyclass(frozen, generic, weakref, module = "whipray")]
pub struct ObjectRef {
    id: ObjectId,
    /// None where the reference was made from an id alone.
    handle: ProcessBound<Option<ObjectHandle>>,
}

/// A handle that a reference keeps, or that was made for one.
pub enum Counted<'a> {
    Kept(&'a ObjectHandle),
    Made(ObjectHandle),
}

impl Deref for Counted<'_> {
    type Target = ObjectHandle;

    #[inline]
    fn deref(&self) -> &ObjectHandle {
        match self {
            Self::Kept(handle) => handle,
            Self::Made(handle) => handle,
        }
    }
}

impl ObjectRef {
    /// The Python face of a handle of the current connection.
    #[inline]
    pub fn of(handle: ObjectHandle) -> Self {
        Self {
            id: handle.id(),
            handle: ProcessBound::new(Some(handle)),
        }
    }

    fn of_id(id: ObjectId) -> Self {
        Self {
            id,
            handle: ProcessBound::new(None),
        }
    }

    /// The handle, where there is one and it belongs to the current connection.
    #[inline]
    pub fn live_handle(&self) -> Option<&ObjectHandle> {
        self.handle.as_ref().filter(|_| self.handle.is_current())
    }

    /// The handle.
    ///
    /// # Errors
    /// Not connected, or the reference is older than the connection.
    pub fn handle(&self, py: Python<'_>) -> PyResult<ObjectHandle> {
        if let Some(handle) = self.live_handle() {
            return Ok(handle.clone());
        }
        let connection = connection::current(py)?;
        if self.handle.is_some() {
            let message = format!(
                "{} was made before the last shutdown() or in another process; its object is gone.",
                self.__repr__()
            );
            return Err(hooks::engine_error(py, "UnknownOwner", &message));
        }
        Ok(connection
            .runtime
            .handle(self.id, connection.runtime.address()))
    }

    /// The handle, which the reference itself mostly keeps.
    ///
    /// # Errors
    /// See [`Self::handle`].
    #[inline]
    pub fn counted(&self, py: Python<'_>) -> PyResult<Counted<'_>> {
        match self.live_handle() {
            Some(handle) => Ok(Counted::Kept(handle)),
            None => self.handle(py).map(Counted::Made),
        }
    }

    fn owner(&self) -> Option<WorkerAddress> {
        self.live_handle().map(ObjectHandle::owner)
    }
}

#[pymethods]
impl ObjectRef {
    #[new]
    #[pyo3(
        signature = (
            id,
            owner_addr = None,
            call_site_data = "",
            skip_adding_local_ref = false,
            tensor_transport = None
        ),
        text_signature = "(id, owner_addr='', call_site_data='', skip_adding_local_ref=False, \
                          tensor_transport=None)"
    )]
    fn new(
        id: &Bound<'_, PyAny>,
        owner_addr: Option<&Bound<'_, PyAny>>,
        call_site_data: &str,
        skip_adding_local_ref: bool,
        tensor_transport: Option<&str>,
    ) -> PyResult<Self> {
        // Accepted for code that passes them; an owner is only learnt from the engine.
        let _ = (
            owner_addr,
            call_site_data,
            skip_adding_local_ref,
            tensor_transport,
        );
        let Ok(binary) = id.cast::<PyBytes>() else {
            let message = format!("Unsupported type: {}, expected bytes", id.get_type());
            return Err(PyTypeError::new_err(message));
        };
        Self::from_binary(binary.as_bytes())
    }

    #[staticmethod]
    pub fn nil() -> Self {
        Self::of_id(ObjectId::nil())
    }

    #[staticmethod]
    fn from_random() -> Self {
        Self::of_id(ObjectId::random())
    }

    #[staticmethod]
    fn from_binary(id_bytes: &[u8]) -> PyResult<Self> {
        let id = ObjectId::from_slice(id_bytes).ok_or_else(|| {
            PyValueError::new_err(format!(
                "ID string needs to have length {}, got {}",
                ObjectId::SIZE,
                id_bytes.len()
            ))
        })?;
        Ok(Self::of_id(id))
    }

    #[staticmethod]
    fn from_hex(hex_id: &str) -> PyResult<Self> {
        let id = ObjectId::from_hex(hex_id).ok_or_else(|| {
            PyValueError::new_err(format!(
                "not the {} hexadecimal digits of an id",
                2 * ObjectId::SIZE
            ))
        })?;
        Ok(Self::of_id(id))
    }

    #[staticmethod]
    fn size() -> usize {
        ObjectId::SIZE
    }

    fn binary<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.id.to_array())
    }

    fn hex(&self) -> String {
        self.id.to_hex()
    }

    fn is_nil(&self) -> bool {
        self.id.is_nil()
    }

    fn task_id<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        hooks::make_id(py, "TaskID", &self.id.task().to_array())
    }

    fn job_id<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        hooks::make_id(py, "JobID", &self.id.task().job().to_array())
    }

    fn call_site(&self) -> &'static str {
        ""
    }

    fn owner_address<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let owner = self
            .owner()
            .map(|owner| owner.encode_to_vec())
            .unwrap_or_default();
        PyBytes::new(py, &owner)
    }

    fn tensor_transport(&self) -> Option<&'static str> {
        None
    }

    fn future<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        python_names::futures(slf.py())?.call_method1(intern!(slf.py(), "future"), (slf,))
    }

    #[pyo3(signature = (_internal = false))]
    fn as_future<'py>(slf: &Bound<'py, Self>, _internal: bool) -> PyResult<Bound<'py, PyAny>> {
        python_names::futures(slf.py())?
            .call_method1(intern!(slf.py(), "as_future"), (slf, _internal))
    }

    fn __await__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        python_names::futures(slf.py())?.call_method1(intern!(slf.py(), "awaiting"), (slf,))
    }

    /// Call `callback(value)`, or with the exception that it is, once the object is ready.
    fn _on_completed<'py>(
        slf: Bound<'py, Self>,
        callback: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, Self>> {
        python_names::futures(slf.py())?
            .call_method1(intern!(slf.py(), "on_completed"), (&slf, callback))?;
        Ok(slf)
    }

    /// Call `callback()` once the object is ready, on a thread of the engine's.
    fn _on_ready(&self, py: Python<'_>, callback: Py<PyAny>) -> PyResult<()> {
        let handle = self.handle(py)?;
        if handle.is_ready() {
            callback.call0(py)?;
            return Ok(());
        }
        let completions = completions::handle()?;
        let run = move || {
            completions.call_soon(Box::new(move |py| callback.call0(py).map(drop)));
        };
        connection::current(py)?
            .runtime
            .when_ready(&handle, Box::new(run));
        Ok(())
    }

    fn _is_ready(&self) -> bool {
        self.live_handle().is_some_and(ObjectHandle::is_ready)
    }

    /// Whether the object is there, and an error.
    fn _is_failed(&self) -> bool {
        self.live_handle().is_some_and(ObjectHandle::is_error)
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = FxHasher::default();
        self.id.hash(&mut hasher);
        hasher.finish()
    }

    fn __richcmp__(
        &self,
        py: Python<'_>,
        other: &Bound<'_, PyAny>,
        op: CompareOp,
    ) -> PyResult<Py<PyAny>> {
        let Ok(other) = other.cast_exact::<Self>() else {
            return Ok(py.NotImplemented());
        };
        let equal = self.id == other.get().id;
        let answer = match op {
            CompareOp::Eq => equal,
            CompareOp::Ne => !equal,
            _ => return Ok(py.NotImplemented()),
        };
        Ok(answer.into_pyobject(py)?.to_owned().into_any().unbind())
    }

    fn __repr__(&self) -> String {
        format!("ObjectRef({})", self.id)
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let Some(handle) = self.live_handle() else {
            let class = py.get_type::<Self>();
            return PyTuple::new(
                py,
                [
                    class.into_any(),
                    PyTuple::new(py, [self.binary(py)])?.into_any(),
                ],
            );
        };
        if let Some(index) = references::note(handle) {
            let arguments = PyTuple::new(py, [index])?;
            return PyTuple::new(py, [python_names::reference_at(py)?, arguments.into_any()]);
        }
        // Outside of the engine nobody tells how many copies there will be, or until when.
        connection::current(py)?.runtime.pin_for_ever(handle);
        let arguments = PyTuple::new(py, [self.binary(py), self.owner_address(py)])?;
        PyTuple::new(
            py,
            [python_names::restore_reference(py)?, arguments.into_any()],
        )
    }
}

/// While a value is being serialized: list `ref` among its references and get its index; -1 outside.
#[pyfunction]
#[pyo3(signature = (r#ref))]
pub fn note_reference(py: Python<'_>, r#ref: &Bound<'_, ObjectRef>) -> PyResult<isize> {
    let handle = r#ref.get().handle(py)?;
    Ok(references::note(&handle).map_or(-1, |index| index as isize))
}

/// While a value is being deserialized: the reference with this index.
#[pyfunction]
pub fn reference_at(index: usize) -> PyResult<ObjectRef> {
    references::at(index).map(ObjectRef::of).ok_or_else(|| {
        PyRuntimeError::new_err(
            "an ObjectRef inside of a value can only be restored together with the value",
        )
    })
}

/// The reference that was pickled outside of the engine.
#[pyfunction]
pub fn restore_reference(id: &[u8], owner: &[u8]) -> PyResult<ObjectRef> {
    let reference = ObjectRef::from_binary(id)?;
    let Some(connection) = connection::find() else {
        return Ok(reference);
    };
    let owner = WorkerAddress::decode(owner)
        .map_err(|error| PyValueError::new_err(format!("not the address of an owner: {error}")))?;
    Ok(ObjectRef::of(
        connection.runtime.handle(reference.id, &owner),
    ))
}
