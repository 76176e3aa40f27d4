//! The interpreter's own pickle, resolved once and called without intermediate objects.

use std::ptr;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyList, PyTuple};
use pyo3::{ffi, intern};

struct Pickle {
    dumps: Py<PyAny>,
    loads: Py<PyAny>,
    protocol: Py<PyAny>,
    buffer_callback: Py<PyTuple>,
    buffers: Py<PyTuple>,
}

static PICKLE: PyOnceLock<Pickle> = PyOnceLock::new();

fn pickle(py: Python<'_>) -> PyResult<&Pickle> {
    PICKLE.get_or_try_init(py, || {
        let module = py.import("_pickle")?;
        Ok(Pickle {
            dumps: module.getattr("dumps")?.unbind(),
            loads: module.getattr("loads")?.unbind(),
            protocol: 5_i32.into_pyobject(py)?.into_any().unbind(),
            buffer_callback: PyTuple::new(py, [intern!(py, "buffer_callback")])?.unbind(),
            buffers: PyTuple::new(py, [intern!(py, "buffers")])?.unbind(),
        })
    })
}

/// Calls `callable` with `arguments`, the last of which have the names in `keywords`.
///
/// # Errors
/// What the callable raises.
pub fn vectorcall<'py>(
    callable: &Bound<'py, PyAny>,
    arguments: &[*mut ffi::PyObject],
    keywords: Option<&Bound<'py, PyTuple>>,
) -> PyResult<Bound<'py, PyAny>> {
    let named = keywords.map_or(0, |names| names.len());
    let positional = arguments.len().saturating_sub(named);
    // SAFETY: every pointer in `arguments` is a live object borrowed from the caller for the length
    // of the call, and `keywords` has as many names as there are arguments beyond `positional`.
    unsafe {
        Bound::from_owned_ptr_or_err(
            callable.py(),
            ffi::PyObject_Vectorcall(
                callable.as_ptr(),
                arguments.as_ptr(),
                positional,
                keywords.map_or(ptr::null_mut(), |names| names.as_ptr()),
            ),
        )
    }
}

/// `pickle.dumps(value, 5)`.
///
/// # Errors
/// What pickling raises.
pub fn dumps<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let py = value.py();
    let pickle = pickle(py)?;
    let arguments = [value.as_ptr(), pickle.protocol.as_ptr()];
    Ok(vectorcall(pickle.dumps.bind(py), &arguments, None)?.cast_into()?)
}

/// `pickle.dumps(value, 5, buffer_callback=list.append)`, with the list.
///
/// # Errors
/// What pickling raises.
pub fn dumps_with_buffers<'py>(
    value: &Bound<'py, PyAny>,
) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyList>)> {
    let py = value.py();
    let pickle = pickle(py)?;
    let buffers = PyList::empty(py);
    let append = buffers.getattr(intern!(py, "append"))?;
    let arguments = [value.as_ptr(), pickle.protocol.as_ptr(), append.as_ptr()];
    let keywords = Some(pickle.buffer_callback.bind(py));
    let data = vectorcall(pickle.dumps.bind(py), &arguments, keywords)?.cast_into()?;
    Ok((data, buffers))
}

/// `pickle.loads(data)`.
///
/// # Errors
/// What unpickling raises.
pub fn loads<'py>(data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = data.py();
    vectorcall(pickle(py)?.loads.bind(py), &[data.as_ptr()], None)
}

/// `pickle.loads(data, buffers=buffers)`.
///
/// # Errors
/// What unpickling raises.
pub fn loads_with_buffers<'py>(
    data: &Bound<'py, PyAny>,
    buffers: &Bound<'py, PyList>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = data.py();
    let pickle = pickle(py)?;
    let arguments = [data.as_ptr(), buffers.as_ptr()];
    vectorcall(
        pickle.loads.bind(py),
        &arguments,
        Some(pickle.buffers.bind(py)),
    )
}
