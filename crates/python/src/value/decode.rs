//! From the bytes of a value to a Python object.

use std::ops::Range;
use std::sync::Arc;

use pyo3::exceptions::{PyBaseException, PyException, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyInt, PyList, PyString, PyTuple};
use whipray_worker::ObjectHandle;

use super::buffers::{AlignedBytes, Memory, ValueBuffer};
use super::layout::{BufferLayout, Kind};
use super::pickle;
use super::references::Offer;
use crate::hooks;
use crate::object_ref::ObjectRef;

/// Pickles up to this size are copied for the unpickler rather than lent to it, which costs more.
const COPY_PICKLE_BYTES: usize = 4096;

/// Decodes a value. `references` are those inside it.
///
/// # Errors
/// The exception that the value is, also where it was put or returned as a value;
/// `RaySystemError` for what unpickling raises, and `ValueError` for bytes that are no value.
pub fn decode(
    py: Python<'_>,
    memory: Memory,
    references: Vec<ObjectHandle>,
) -> PyResult<Bound<'_, PyAny>> {
    let bytes = memory.as_slice();
    let Some((kind, rest)) = bytes.split_first() else {
        return Err(malformed("it is empty"));
    };
    match Kind::from_byte(*kind).ok_or_else(|| malformed("its kind is unknown"))? {
        Kind::None => Ok(py.None().into_bound(py)),
        Kind::True => Ok(PyBool::new(py, true).to_owned().into_any()),
        Kind::False => Ok(PyBool::new(py, false).to_owned().into_any()),
        Kind::Integer => Ok(PyInt::new(py, i64::from_le_bytes(number(rest)?)).into_any()),
        Kind::Float => Ok(PyFloat::new(py, f64::from_le_bytes(number(rest)?)).into_any()),
        Kind::Text => {
            let text = std::str::from_utf8(rest).map_err(|_| malformed("its text is no UTF-8"))?;
            Ok(PyString::new(py, text).into_any())
        }
        Kind::Bytes => Ok(PyBytes::new(py, rest).into_any()),
        Kind::Pickle => {
            let _offer = Offer::start(references);
            let range = 1..bytes.len();
            unpickled(py, pickle::loads(&lend_pickle(py, &memory, range)?))
        }
        Kind::Buffers => decode_buffers(py, memory, references),
        Kind::ReferenceList => Ok(PyList::new(py, wrap(py, references)?)?.into_any()),
        Kind::ReferenceTuple => Ok(PyTuple::new(py, wrap(py, references)?)?.into_any()),
        Kind::Error => {
            let _offer = Offer::start(references);
            let range = 1..bytes.len();
            let data = Bound::new(py, ValueBuffer::new(memory.clone(), range))?;
            Err(hooks::load_error(data.as_any()))
        }
    }
}

fn decode_buffers(
    py: Python<'_>,
    memory: Memory,
    references: Vec<ObjectHandle>,
) -> PyResult<Bound<'_, PyAny>> {
    let layout = BufferLayout::parse(memory.as_slice())
        .ok_or_else(|| malformed("its parts lie outside of it"))?;
    // Inline bytes lie wherever their message did; arrays are promised their alignment.
    let memory = match memory {
        Memory::Inline(bytes) => Memory::Aligned(Arc::new(AlignedBytes::copy_of(&bytes)?)),
        aligned => aligned,
    };
    let buffers = PyList::empty(py);
    for range in layout.buffers {
        buffers.append(Bound::new(py, ValueBuffer::new(memory.clone(), range))?)?;
    }
    let _offer = Offer::start(references);
    let pickle = lend_pickle(py, &memory, layout.pickle)?;
    unpickled(py, pickle::loads_with_buffers(&pickle, &buffers))
}

/// What came out of a pickle, as whoever asks for the value finds it.
fn unpickled<'py>(
    py: Python<'py>,
    loaded: PyResult<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    match loaded {
        Ok(value) if value.is_instance_of::<PyBaseException>() => hooks::raise_failures(value),
        // An interrupt is no fault of the value.
        Err(error) if error.is_instance_of::<PyException>(py) => {
            Err(hooks::unreadable_value(py, error))
        }
        loaded => loaded,
    }
}

fn lend_pickle<'py>(
    py: Python<'py>,
    memory: &Memory,
    range: Range<usize>,
) -> PyResult<Bound<'py, PyAny>> {
    if range.len() <= COPY_PICKLE_BYTES {
        let data = memory.as_slice().get(range).unwrap_or_default();
        return Ok(PyBytes::new(py, data).into_any());
    }
    Ok(Bound::new(py, ValueBuffer::new(memory.clone(), range))?.into_any())
}

fn wrap(py: Python<'_>, references: Vec<ObjectHandle>) -> PyResult<Vec<Bound<'_, ObjectRef>>> {
    references
        .into_iter()
        .map(|handle| Bound::new(py, ObjectRef::of(handle)))
        .collect()
}

fn number(bytes: &[u8]) -> PyResult<[u8; 8]> {
    <[u8; 8]>::try_from(bytes).map_err(|_| malformed("its number has not eight bytes"))
}

fn malformed(what: &str) -> PyErr {
    PyValueError::new_err(format!("the bytes of an object are no value: {what}"))
}
