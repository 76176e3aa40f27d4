//! The Python side of the engine: what only Python code can do, as callables resolved once.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};
use whipray_proto::failure::{DeathCause, Failure};

use crate::value::pickle::vectorcall;

struct Hooks {
    to_exception: Py<PyAny>,
    load_error: Py<PyAny>,
    is_failure: Py<PyAny>,
    unreadable_value: Py<PyAny>,
    pickle: Py<PyAny>,
    explain_unserializable: Py<PyAny>,
    note_large_argument: Py<PyAny>,
    call_site: Py<PyAny>,
    make_id: Py<PyAny>,
}

static HOOKS: PyOnceLock<Hooks> = PyOnceLock::new();

/// Register the Python side; called once.
#[pyfunction]
pub fn install(hooks: &Bound<'_, PyAny>) -> PyResult<()> {
    let found = Hooks {
        to_exception: hooks.getattr("to_exception")?.unbind(),
        load_error: hooks.getattr("load_error")?.unbind(),
        is_failure: hooks.getattr("is_failure")?.unbind(),
        unreadable_value: hooks.getattr("unreadable_value")?.unbind(),
        pickle: hooks.getattr("pickle")?.unbind(),
        explain_unserializable: hooks.getattr("explain_unserializable")?.unbind(),
        note_large_argument: hooks.getattr("note_large_argument")?.unbind(),
        call_site: hooks.getattr("call_site")?.unbind(),
        make_id: hooks.getattr("make_id")?.unbind(),
    };
    HOOKS
        .set(hooks.py(), found)
        .map_err(|_| PyRuntimeError::new_err("the hooks of whipray are already installed"))
}

fn hooks(py: Python<'_>) -> PyResult<&Hooks> {
    HOOKS
        .get(py)
        .ok_or_else(|| PyRuntimeError::new_err("the hooks of whipray are not installed"))
}

/// The general serializer: a pickle and its out-of-band buffers.
///
/// # Errors
/// What pickling raises.
pub fn pickle<'py>(
    value: &Bound<'py, PyAny>,
) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyList>)> {
    let hooks = hooks(value.py())?;
    let pair = vectorcall(hooks.pickle.bind(value.py()), &[value.as_ptr()], None)?;
    let pair = pair.cast_into::<PyTuple>()?;
    Ok((
        pair.get_item(0)?.cast_into()?,
        pair.get_item(1)?.cast_into()?,
    ))
}

/// The exception that a value of the kind "error" is.
pub fn load_error(data: &Bound<'_, PyAny>) -> PyErr {
    let py = data.py();
    let loaded =
        hooks(py).and_then(|hooks| vectorcall(hooks.load_error.bind(py), &[data.as_ptr()], None));
    match loaded {
        Ok(exception) => PyErr::from_value(exception),
        Err(error) => error,
    }
}

/// The exception `value` as a value, or raised where it is one that the engine itself raises: a
/// failure stays a failure for whoever asks for it, wherever it was caught in between.
///
/// # Errors
/// `value`, or what the package raises.
pub fn raise_failures(value: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyAny>> {
    let py = value.py();
    let is_failure = vectorcall(hooks(py)?.is_failure.bind(py), &[value.as_ptr()], None)?;
    if is_failure.is_truthy()? {
        return Err(PyErr::from_value(value));
    }
    Ok(value)
}

/// The error that stands for a value that cannot be unpickled in this process.
pub fn unreadable_value(py: Python<'_>, error: PyErr) -> PyErr {
    // With its traceback, which the text of the new error has.
    let error = error.into_value(py);
    let made = hooks(py)
        .and_then(|hooks| vectorcall(hooks.unreadable_value.bind(py), &[error.as_ptr()], None));
    match made {
        Ok(exception) => PyErr::from_value(exception),
        Err(error) => error,
    }
}

/// The error that says which value of the user cannot be serialized. `role` is `"argument"` or
/// `"put value"`; `name` is the task or actor that it was meant for, or empty.
pub fn unserializable(
    py: Python<'_>,
    error: PyErr,
    value: &Bound<'_, PyAny>,
    role: &str,
    name: &str,
) -> PyErr {
    let explained = hooks(py).and_then(|hooks| {
        hooks
            .explain_unserializable
            .bind(py)
            .call1((error.value(py), value, role, name))
    });
    match explained {
        Ok(exception) => PyErr::from_value(exception),
        Err(error) => error,
    }
}

/// Tells the package of a large argument, so that it can warn of one that is passed again and again.
/// `place` is its number or keyword.
///
/// # Errors
/// What the package raises.
pub fn note_large_argument(
    value: &Bound<'_, PyAny>,
    size_bytes: usize,
    task: &str,
    place: &str,
) -> PyResult<()> {
    let py = value.py();
    hooks(py)?
        .note_large_argument
        .bind(py)
        .call1((value, size_bytes, task, place))?;
    Ok(())
}

/// Where the user's code is: file, line and function.
///
/// # Errors
/// What the package raises.
pub fn call_site(py: Python<'_>) -> PyResult<String> {
    hooks(py)?.call_site.bind(py).call0()?.extract()
}

/// An id as users see it; `class` is the name of its class.
///
/// # Errors
/// What the class raises.
pub fn make_id<'py>(py: Python<'py>, class: &str, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    hooks(py)?
        .make_id
        .bind(py)
        .call1((class, PyBytes::new(py, bytes)))
}

/// The exception of a failure that the engine reports.
pub fn failure(py: Python<'_>, failure: &Failure) -> PyErr {
    let kind = format!("{:?}", failure.kind());
    to_exception(
        py,
        &kind,
        &failure.message,
        &failure.subject,
        failure.cause.as_deref(),
        &failure.exception,
    )
}

/// The exception of something that went wrong on this side; `kind` is one of those that
/// `hooks.to_exception` knows.
pub fn engine_error(py: Python<'_>, kind: &str, message: &str) -> PyErr {
    to_exception(py, kind, message, "", None, &[])
}

fn to_exception(
    py: Python<'_>,
    kind: &str,
    message: &str,
    subject: &str,
    cause: Option<&DeathCause>,
    exception: &[u8],
) -> PyErr {
    let made = hooks(py).and_then(|hooks| {
        let cause = cause.map(|cause| death_cause(py, cause)).transpose()?;
        let exception = PyBytes::new(py, exception);
        hooks
            .to_exception
            .bind(py)
            .call1((kind, message, subject, cause, exception))
    });
    match made {
        Ok(exception) => PyErr::from_value(exception),
        Err(error) => error,
    }
}

/// A death cause as the package sees it.
///
/// # Errors
/// No memory.
pub fn death_cause<'py>(py: Python<'py>, cause: &DeathCause) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("kind", format!("{:?}", cause.kind()))?;
    dict.set_item("exit_code", cause.exit_code)?;
    dict.set_item("signal", cause.signal)?;
    dict.set_item("pid", cause.pid)?;
    dict.set_item("worker_id", cause.worker.to_hex())?;
    dict.set_item("node_id", cause.node.to_hex())?;
    dict.set_item("node_ip", &cause.node_ip)?;
    dict.set_item("stderr_tail", &cause.stderr_tail)?;
    dict.set_item("detail", &cause.detail)?;
    dict.set_item("memory", memory_verdict(py, cause)?)?;
    dict.set_item("headline", cause.headline())?;
    dict.set_item("description", cause.describe())?;
    Ok(dict)
}

/// What the memory monitor knew when it ended a process; None where it did not.
fn memory_verdict<'py>(
    py: Python<'py>,
    cause: &DeathCause,
) -> PyResult<Option<Bound<'py, PyDict>>> {
    let Some(memory) = &cause.memory else {
        return Ok(None);
    };
    let dict = PyDict::new(py);
    dict.set_item("used_bytes", memory.used_bytes)?;
    dict.set_item("total_bytes", memory.total_bytes)?;
    dict.set_item("scope", &memory.scope)?;
    dict.set_item("resident_bytes", memory.victim.resident_bytes)?;
    dict.set_item("requested_bytes", memory.victim.requested_bytes)?;
    Ok(Some(dict))
}
