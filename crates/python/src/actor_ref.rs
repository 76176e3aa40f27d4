//! The counted references behind handles of actors.

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use whipray_proto::ids::ActorId;
use whipray_worker::ActorHandle;

use crate::process_bound::ProcessBound;
use crate::value::references;
use crate::{connection, hooks};

/// The counted reference behind an actor handle. A weak one (by name) keeps nothing alive.
#[pyclass(frozen, weakref, module = "whipray._core")]
pub struct ActorRef {
    handle: ProcessBound<ActorHandle>,
}

impl ActorRef {
    /// The Python face of a handle of the current connection.
    pub fn of(handle: ActorHandle) -> Self {
        Self {
            handle: ProcessBound::new(handle),
        }
    }

    /// The handle.
    ///
    /// # Errors
    /// Not connected, or the reference is older than the connection.
    pub fn handle(&self, py: Python<'_>) -> PyResult<&ActorHandle> {
        connection::current(py)?;
        if self.handle.is_current() {
            return Ok(&self.handle);
        }
        let message = format!(
            "The handle of actor {} was made before the last shutdown() or in another process.",
            self.handle.actor()
        );
        Err(hooks::engine_error(py, "ActorDied", &message))
    }
}

#[pymethods]
impl ActorRef {
    #[getter]
    fn actor_id<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.handle.actor().to_array())
    }

    #[getter]
    fn is_weak(&self) -> bool {
        self.handle.object().is_none()
    }

    fn __repr__(&self) -> String {
        format!("ActorRef({})", self.handle.actor())
    }
}

/// While a value is being serialized: list the reference behind a handle; -1 for a weak one or
/// outside.
#[pyfunction]
#[pyo3(signature = (r#ref))]
pub fn note_actor(py: Python<'_>, r#ref: &Bound<'_, ActorRef>) -> PyResult<isize> {
    let object = r#ref.get().handle(py)?.object();
    Ok(object
        .and_then(references::note)
        .map_or(-1, |index| index as isize))
}

/// While a value is being deserialized: the actor's reference (index -1: a weak one).
#[pyfunction]
pub fn actor_at(py: Python<'_>, actor_id: &[u8], index: isize) -> PyResult<ActorRef> {
    let actor = parse_actor_id(actor_id)?;
    let connection = connection::current(py)?;
    let Ok(index) = usize::try_from(index) else {
        return Ok(ActorRef::of(connection.runtime.actor_handle(actor, None)));
    };
    let object = references::at(index).filter(|object| object.id() == actor.handle_object());
    let object = object.ok_or_else(|| {
        PyRuntimeError::new_err(
            "an actor handle inside of a value can only be restored together with the value",
        )
    })?;
    Ok(ActorRef::of(
        connection
            .runtime
            .actor_handle(actor, Some(&object.owner())),
    ))
}

/// The actor id with these bytes.
///
/// # Errors
/// `ValueError` where the length is wrong.
pub fn parse_actor_id(bytes: &[u8]) -> PyResult<ActorId> {
    ActorId::from_slice(bytes).ok_or_else(|| {
        PyValueError::new_err(format!(
            "an actor id has {} bytes, not {}",
            ActorId::SIZE,
            bytes.len()
        ))
    })
}
