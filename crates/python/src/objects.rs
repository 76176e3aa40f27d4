//! `put` and what else is done to objects as such.

use bytes::Bytes;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};
use whipray_proto::ids::{ObjectId, TaskId};
use whipray_proto::limits::INLINE_VALUE_BYTES;
use whipray_worker::core::cancelling::Cancellation;
use whipray_worker::{CancelError, ObjectHandle, SharedWriter};

use crate::connection::{self, Connection};
use crate::diagnosis::note_call_site;
use crate::object_ref::ObjectRef;
use crate::value::{self, Encoded, Memory};
use crate::{context, hooks};

/// Puts a value.
#[pyfunction]
pub fn put(py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<ObjectRef> {
    if value.cast_exact::<ObjectRef>().is_ok() {
        return Err(PyTypeError::new_err(
            "Calling 'put' on an ray.ObjectRef is not allowed. If you really want to do this, you can \
             wrap the ray.ObjectRef in a list and call 'put' on it.",
        ));
    }
    let connection = connection::current(py)?;
    let encoded = value::encode(value)
        .map_err(|error| hooks::unserializable(py, error, value, "put value", ""))?;
    let parent = context::parent(py, &connection);
    let handle = put_encoded(py, &connection, parent, encoded, INLINE_VALUE_BYTES)?;
    note_call_site(py, &connection, "put object", std::slice::from_ref(&handle))?;
    Ok(ObjectRef::of(handle))
}

/// Puts what was encoded: within a message up to `inline_bytes`, in shared memory beyond.
///
/// # Errors
/// The store is full.
pub fn put_encoded(
    py: Python<'_>,
    connection: &Connection,
    parent: TaskId,
    mut encoded: Encoded<'_>,
    inline_bytes: usize,
) -> PyResult<ObjectHandle> {
    let runtime = &connection.runtime;
    let contained = std::mem::take(&mut encoded.contained);
    if encoded.size_bytes() <= inline_bytes {
        return Ok(runtime.put_inline(parent, encoded.to_bytes(), contained));
    }
    let writer = write_shared(py, connection, runtime.next_put_id(parent), encoded)?;
    Ok(runtime.seal_put(writer, contained))
}

/// Copies what was encoded to room of its own in shared memory.
///
/// # Errors
/// The store is full.
pub fn write_shared(
    py: Python<'_>,
    connection: &Connection,
    object: ObjectId,
    encoded: Encoded<'_>,
) -> PyResult<SharedWriter> {
    let size = encoded.size_bytes();
    let mut writer = py
        .detach(|| connection.runtime.create_shared(object, size))
        .map_err(|failure| hooks::failure(py, &failure))?;
    encoded.write(py, writer.as_mut_slice())?;
    Ok(writer)
}

/// Ends the task that makes `ref`.
#[pyfunction]
#[pyo3(signature = (r#ref, force, recursive))]
pub fn cancel(
    py: Python<'_>,
    r#ref: &Bound<'_, ObjectRef>,
    force: bool,
    recursive: bool,
) -> PyResult<()> {
    let connection = connection::current(py)?;
    let handle = r#ref.get().handle(py)?;
    match connection.runtime.cancel(&handle, force, recursive) {
        Ok(()) => Ok(()),
        Err(CancelError::NotATask) => Err(PyTypeError::new_err(format!(
            "no task makes {}",
            r#ref.repr()?
        ))),
    }
}

/// What came of `cancel`: `"asked"`, `"not started"`, `"stopped"`, `"killed"`, `"too late"`, or
/// `None` where this process did not ask, or long ago.
#[pyfunction]
pub fn cancellation(
    py: Python<'_>,
    r#ref: &Bound<'_, ObjectRef>,
) -> PyResult<Option<&'static str>> {
    let connection = connection::current(py)?;
    let handle = r#ref.get().handle(py)?;
    let outcome = connection.runtime.cancellation(&handle);
    Ok(outcome.map(|outcome| match outcome {
        Cancellation::Asked => "asked",
        Cancellation::NotStarted => "not started",
        Cancellation::Stopped => "stopped",
        Cancellation::Killed => "killed",
        Cancellation::TooLate => "too late",
    }))
}

/// Lets the objects go although there are references to them; with `local_only` just the copies in
/// this node's shared memory, which are lost then. Blocks until the node knows.
#[pyfunction]
pub fn free(py: Python<'_>, refs: Vec<Bound<'_, ObjectRef>>, local_only: bool) -> PyResult<()> {
    let connection = connection::current(py)?;
    let handles = refs
        .iter()
        .map(|reference| reference.get().handle(py))
        .collect::<PyResult<Vec<_>>>()?;
    let handles: Vec<_> = handles.iter().collect();
    py.detach(|| {
        if local_only {
            connection.runtime.drop_copies(&handles)
        } else {
            connection.runtime.free(&handles)
        }
    })
    .map_err(|failure| hooks::failure(py, &failure))
}

/// The inline form of a value and the references inside it.
#[pyfunction]
pub fn serialize<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyTuple>> {
    let py = value.py();
    let mut encoded = value::encode(value)?;
    let contained = std::mem::take(&mut encoded.contained);
    let data = PyBytes::new_with(py, encoded.size_bytes(), |target| encoded.write(py, target))?;
    let references = contained
        .into_iter()
        .map(|handle| Bound::new(py, ObjectRef::of(handle)))
        .collect::<PyResult<Vec<_>>>()?;
    PyTuple::new(
        py,
        [data.into_any(), PyList::new(py, references)?.into_any()],
    )
}

/// The value of an inline form.
#[pyfunction]
pub fn deserialize<'py>(
    py: Python<'py>,
    data: &[u8],
    references: Vec<Bound<'py, ObjectRef>>,
) -> PyResult<Bound<'py, PyAny>> {
    let handles = references
        .iter()
        .map(|reference| reference.get().handle(py))
        .collect::<PyResult<Vec<_>>>()?;
    value::decode(py, Memory::Inline(Bytes::copy_from_slice(data)), handles)
}
