//! Arguments on their way to a task.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};
use whipray_proto::ids::TaskId;
use whipray_proto::limits::INLINE_VALUE_BYTES;
use whipray_worker::ArgumentInput;

use crate::connection::Connection;
use crate::object_ref::ObjectRef;
use crate::objects::put_encoded;
use crate::{hooks, value};

/// All values within one call, beyond which larger ones go to shared memory: a call is one message.
const CALL_INLINE_BYTES: usize = 8 * 1024 * 1024;

/// Values up to this size stay in the message in any case.
const TINY_VALUE_BYTES: usize = 1024;

/// Values above this size are counted, to find the one that is passed again and again.
const NOTED_BYTES: usize = 1024 * 1024;

/// The arguments of a call in order, the named ones last, and their names.
pub struct Arguments {
    pub inputs: Vec<ArgumentInput>,
    pub keywords: Vec<String>,
}

/// Encodes the arguments of a call. `name` is what a message to the user calls the task.
///
/// # Errors
/// `TypeError` that says which argument cannot be serialized; the store is full.
pub fn encode(
    py: Python<'_>,
    connection: &Connection,
    parent: TaskId,
    name: &str,
    args: &Bound<'_, PyTuple>,
    kwargs: Option<&Bound<'_, PyDict>>,
) -> PyResult<Arguments> {
    let named = kwargs.map_or(0, |kwargs| kwargs.len());
    let mut call = Call {
        py,
        connection,
        parent,
        name,
        inline_bytes_left: CALL_INLINE_BYTES,
        inputs: Vec::with_capacity(args.len() + named),
    };
    for argument in args.iter_borrowed() {
        call.add(&argument, None)?;
    }
    let mut keywords = Vec::with_capacity(named);
    if let Some(kwargs) = kwargs {
        for (key, argument) in kwargs.iter() {
            let key = key.cast::<PyString>()?.to_str()?;
            keywords.push(key.to_owned());
            call.add(&argument, Some(key))?;
        }
    }
    Ok(Arguments {
        inputs: call.inputs,
        keywords,
    })
}

struct Call<'a, 'py> {
    py: Python<'py>,
    connection: &'a Connection,
    parent: TaskId,
    name: &'a str,
    inline_bytes_left: usize,
    inputs: Vec<ArgumentInput>,
}

impl<'py> Call<'_, 'py> {
    fn add(&mut self, argument: &Bound<'py, PyAny>, keyword: Option<&str>) -> PyResult<()> {
        if let Ok(reference) = argument.cast_exact::<ObjectRef>() {
            let handle = reference.get().handle(self.py)?;
            self.inputs.push(ArgumentInput::Object(handle));
            return Ok(());
        }
        let mut encoded = value::encode(argument).map_err(|error| {
            hooks::unserializable(self.py, error, argument, "argument", self.name)
        })?;
        let size = encoded.size_bytes();
        let input = if size <= TINY_VALUE_BYTES
            || (size <= INLINE_VALUE_BYTES && size <= self.inline_bytes_left)
        {
            self.inline_bytes_left = self.inline_bytes_left.saturating_sub(size);
            let contained = std::mem::take(&mut encoded.contained);
            ArgumentInput::Value {
                data: encoded.to_bytes(),
                contained,
            }
        } else {
            if size > NOTED_BYTES {
                let place = keyword.map_or_else(|| self.inputs.len().to_string(), str::to_owned);
                hooks::note_large_argument(argument, size, self.name, &place)?;
            }
            ArgumentInput::Object(put_encoded(
                self.py,
                self.connection,
                self.parent,
                encoded,
                0,
            )?)
        };
        self.inputs.push(input);
        Ok(())
    }
}
