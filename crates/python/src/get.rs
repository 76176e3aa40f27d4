//! `get`: from references to values.

use std::sync::Arc;
use std::time::Instant;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};
use whipray_proto::object::ObjectValue;
use whipray_worker::{ObjectHandle, SharedView};

use crate::connection::{self, Connection};
use crate::generator::ObjectRefGenerator;
use crate::object_ref::ObjectRef;
use crate::value::{self, Memory};
use crate::{context, hooks, waiting};

/// The value, or the list of values; raises what the objects hold.
#[pyfunction]
#[pyo3(signature = (refs, timeout = None))]
pub fn get<'py>(refs: &Bound<'py, PyAny>, timeout: Option<f64>) -> PyResult<Bound<'py, PyAny>> {
    let py = refs.py();
    if let Ok(reference) = refs.cast_exact::<ObjectRef>() {
        return get_one(py, reference.get(), timeout);
    }
    if refs.is_instance_of::<ObjectRefGenerator>() {
        // What it gives is got one by one.
        return Ok(refs.clone());
    }
    match refs.cast::<PyList>() {
        Ok(list) => Ok(get_list(list, timeout)?.into_any()),
        Err(_) => Err(PyValueError::new_err(format!(
            "Invalid type of object refs, {}, is given. 'object_refs' must either be an ObjectRef or \
             a list of ObjectRefs. ",
            type_repr(refs)?
        ))),
    }
}

fn type_repr<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyString>> {
    value.get_type().repr()
}

fn get_one<'py>(
    py: Python<'py>,
    reference: &ObjectRef,
    timeout: Option<f64>,
) -> PyResult<Bound<'py, PyAny>> {
    let connection = connection::current(py)?;
    // The caller's reference outlives this call, and its handle with it.
    let kept;
    let handle = match reference.live_handle() {
        Some(handle) => handle,
        None => {
            kept = reference.handle(py)?;
            &kept
        }
    };
    let deadline = Deadline::after(timeout);
    loop {
        let mut value = handle.value();
        if value.is_none() {
            wait_for(py, &connection, &[handle], deadline.left())?;
            value = handle.value();
        }
        // What was there may have been lost meanwhile, and is awaited anew.
        let Some(value) = value else { continue };
        if value.shared.is_none() {
            return open_borrowed(py, &connection, value, None);
        }
        if let Some(view) = map(py, &connection, &[handle])?.pop().flatten() {
            return open_borrowed(py, &connection, value, Some(view));
        }
    }
}

/// When a `get` gives up: its values may be lost and awaited anew.
struct Deadline {
    timeout: Option<f64>,
    begun: Option<Instant>,
}

impl Deadline {
    fn after(timeout: Option<f64>) -> Self {
        let begun = timeout.map(|_| Instant::now());
        Self { timeout, begun }
    }

    /// The seconds that are left; `None` without a timeout.
    fn left(&self) -> Option<f64> {
        match (self.timeout, self.begun) {
            (Some(timeout), Some(begun)) if timeout > 0.0 => {
                Some((timeout - begun.elapsed().as_secs_f64()).max(0.0))
            }
            (timeout, _) => timeout,
        }
    }
}

fn get_list<'py>(list: &Bound<'py, PyList>, timeout: Option<f64>) -> PyResult<Bound<'py, PyList>> {
    let py = list.py();
    let connection = connection::current(py)?;
    let mut handles = Vec::with_capacity(list.len());
    for item in list.iter() {
        let reference = item.cast_exact::<ObjectRef>().map_err(|_| {
            let text = item.repr().map(|text| text.to_string()).unwrap_or_default();
            PyTypeError::new_err(format!(
                "Attempting to call `get` on the value {text}, which is not an ray.ObjectRef."
            ))
        })?;
        handles.push(reference.get().handle(py)?);
    }
    let waited: Vec<&ObjectHandle> = handles.iter().collect();
    let deadline = Deadline::after(timeout);
    loop {
        if !waited.iter().all(|handle| handle.is_ready()) {
            wait_for(py, &connection, &waited, deadline.left())?;
        }
        let mut values = Vec::with_capacity(waited.len());
        let mut any_shared = false;
        for handle in &waited {
            let value = handle.value();
            any_shared |= value.as_ref().is_some_and(|value| value.shared.is_some());
            values.push(value);
        }
        raise_first_error(py, &connection, &waited, &mut values)?;
        let views = match any_shared {
            false => vec![None; waited.len()],
            true => map(py, &connection, &waited)?,
        };
        // What was there may have been lost meanwhile, and is awaited anew.
        let is_whole = |(value, view): (&Option<ObjectValue>, &Option<Arc<SharedView>>)| {
            let value = value.as_ref();
            value.is_some_and(|value| value.shared.is_none() || view.is_some())
        };
        if values.iter().zip(&views).all(is_whole) {
            let opened = values.into_iter().flatten().zip(views);
            let results = opened
                .map(|(value, view)| open_borrowed(py, &connection, value, view))
                .collect::<PyResult<Vec<_>>>()?;
            return PyList::new(py, results);
        }
    }
}

/// Raises the first error in a list before any value of it is unpickled in vain.
fn raise_first_error(
    py: Python<'_>,
    connection: &Connection,
    handles: &[&ObjectHandle],
    values: &mut [Option<ObjectValue>],
) -> PyResult<()> {
    let failed = values
        .iter()
        .position(|value| value.as_ref().is_some_and(|value| value.is_error));
    let Some(index) = failed else { return Ok(()) };
    let Some(value) = values[index].take() else {
        return Ok(());
    };
    let view = match value.shared {
        None => None,
        Some(_) => {
            let found = map(py, connection, &handles[index..=index])?;
            let Some(view) = found.into_iter().next().flatten() else {
                return Ok(());
            };
            Some(view)
        }
    };
    open_borrowed(py, connection, value, view).map(drop)
}

fn wait_for(
    py: Python<'_>,
    connection: &Connection,
    handles: &[&ObjectHandle],
    timeout: Option<f64>,
) -> PyResult<()> {
    let timeout = waiting::timeout(timeout)?;
    let task = context::waiting_task(py, connection);
    let outcome = waiting::interruptible(py, |interrupt| {
        connection
            .runtime
            .wait_all(handles, timeout, task, interrupt)
    })?;
    if waiting::is_ready(py, outcome)? {
        return Ok(());
    }
    Err(hooks::engine_error(
        py,
        "GetTimeout",
        "Get timed out: some object(s) not ready.",
    ))
}

fn map(
    py: Python<'_>,
    connection: &Connection,
    handles: &[&ObjectHandle],
) -> PyResult<Vec<Option<Arc<SharedView>>>> {
    waiting::interruptible(py, |interrupt| {
        connection.runtime.map_shared(handles, interrupt)
    })?
    .map_err(|failure| hooks::failure(py, &failure))
}

/// Opens a value whose references this process does not hold yet.
fn open_borrowed<'py>(
    py: Python<'py>,
    connection: &Connection,
    value: ObjectValue,
    view: Option<Arc<SharedView>>,
) -> PyResult<Bound<'py, PyAny>> {
    let references = match &value.contained {
        None => Vec::new(),
        Some(references) => references
            .iter()
            .map(|(object, owner)| connection.runtime.handle(object, owner))
            .collect(),
    };
    open(py, value, view, references)
}

/// The Python object of a value, whose bytes are `view` where they lie in shared memory.
///
/// # Errors
/// The exception that the value is, or the one that decoding it raises.
pub fn open(
    py: Python<'_>,
    value: ObjectValue,
    view: Option<Arc<SharedView>>,
    references: Vec<ObjectHandle>,
) -> PyResult<Bound<'_, PyAny>> {
    if let Some(failure) = &value.failure {
        return Err(hooks::failure(py, failure));
    }
    let memory = view.map_or(Memory::Inline(value.data), Memory::Shared);
    value::decode(py, memory, references)
}
