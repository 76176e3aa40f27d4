//! Results of a task on their way to its owner.

use bytes::{BufMut, Bytes, BytesMut};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use whipray_proto::limits::INLINE_VALUE_BYTES;
use whipray_proto::task::TaskSpec;
use whipray_worker::ReturnedValue;

use crate::connection::Connection;
use crate::objects::write_shared;
use crate::value;
use crate::value::layout::Kind;

/// The results of a task that returned `result`.
///
/// # Errors
/// The number of results is wrong, one of them cannot be serialized, or the store is full.
pub fn encode(
    connection: &Connection,
    spec: &TaskSpec,
    result: &Bound<'_, PyAny>,
) -> PyResult<Vec<ReturnedValue>> {
    match spec.num_returns {
        0 => Ok(Vec::new()),
        1 => Ok(vec![encode_one(connection, spec, 1, result)?]),
        count => {
            let count = count as usize;
            let length = result.len()?;
            if length != count {
                return Err(PyValueError::new_err(format!(
                    "Task returned {length} objects, but num_returns={count}."
                )));
            }
            let mut returns = Vec::with_capacity(count);
            for (index, item) in (1..).zip(result.try_iter()?) {
                returns.push(encode_one(connection, spec, index, &item?)?);
            }
            Ok(returns)
        }
    }
}

/// The result with this index among those of its task.
///
/// # Errors
/// It cannot be serialized, or the store is full.
pub fn encode_one(
    connection: &Connection,
    spec: &TaskSpec,
    index: u32,
    result: &Bound<'_, PyAny>,
) -> PyResult<ReturnedValue> {
    let mut encoded = value::encode(result)?;
    let contained = std::mem::take(&mut encoded.contained);
    if encoded.size_bytes() <= INLINE_VALUE_BYTES {
        return Ok(ReturnedValue::Inline {
            data: encoded.to_bytes(),
            contained,
            is_error: false,
        });
    }
    let object = spec.task.return_id(index);
    let writer = write_shared(result.py(), connection, object, encoded)?;
    Ok(ReturnedValue::Shared { writer, contained })
}

/// The value that a serialized error is.
pub fn error_value(serialized: &[u8]) -> Bytes {
    let mut data = BytesMut::with_capacity(1 + serialized.len());
    data.put_u8(Kind::Error as u8);
    data.put_slice(serialized);
    data.freeze()
}

/// A result that is an error; see [`error_value`].
pub fn error(data: &Bytes) -> ReturnedValue {
    ReturnedValue::Inline {
        data: data.clone(),
        contained: Vec::new(),
        is_error: true,
    }
}

/// The results of a task that ended with an error: the same one for each.
pub fn errors(spec: &TaskSpec, data: &Bytes) -> Vec<ReturnedValue> {
    (0..spec.num_returns).map(|_| error(data)).collect()
}
