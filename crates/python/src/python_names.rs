//! Python objects that the module itself refers to by name, resolved once.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyModule, PyType};

static CORE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
static FUTURES: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
static REFERENCE_AT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
static CANCELLED_ERROR: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static STREAMS: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
static RESTORE_REFERENCE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

fn core(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    let module = CORE.get_or_try_init(py, || py.import("whipray._core").map(Bound::unbind))?;
    Ok(module.bind(py))
}

/// The module `whipray._futures`.
///
/// # Errors
/// It cannot be imported.
pub fn futures(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    let module =
        FUTURES.get_or_try_init(py, || py.import("whipray._futures").map(Bound::unbind))?;
    Ok(module.bind(py))
}

/// The module `whipray._streams`.
///
/// # Errors
/// It cannot be imported.
pub fn streams(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    let module =
        STREAMS.get_or_try_init(py, || py.import("whipray._streams").map(Bound::unbind))?;
    Ok(module.bind(py))
}

/// `whipray._core.reference_at`.
///
/// # Errors
/// The module is not there under its name.
pub fn reference_at(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let function = REFERENCE_AT.get_or_try_init(py, || {
        core(py)?
            .getattr(intern!(py, "reference_at"))
            .map(Bound::unbind)
    })?;
    Ok(function.bind(py).clone())
}

/// `whipray._core.restore_reference`.
///
/// # Errors
/// The module is not there under its name.
pub fn restore_reference(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let function = RESTORE_REFERENCE.get_or_try_init(py, || {
        core(py)?
            .getattr(intern!(py, "restore_reference"))
            .map(Bound::unbind)
    })?;
    Ok(function.bind(py).clone())
}

/// Whether `error` is what cancels a coroutine. Does not load asyncio for the answer.
///
/// # Errors
/// No memory.
pub fn is_coroutine_cancelled(py: Python<'_>, error: &PyErr) -> PyResult<bool> {
    if error.get_type(py).name()? != "CancelledError" {
        return Ok(false);
    }
    let cancelled = CANCELLED_ERROR.import(py, "asyncio", "CancelledError")?;
    Ok(error.get_type(py).is(cancelled))
}
