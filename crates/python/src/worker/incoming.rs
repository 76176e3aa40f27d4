//! Arguments of a task as they arrive, and the call that they make.

use std::sync::Arc;

use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};
use whipray_proto::failure::{Failure, FailureKind};
use whipray_proto::ids::ObjectId;
use whipray_proto::task::Argument;
use whipray_worker::{ObjectHandle, SharedView};

use crate::connection::Connection;
use crate::value::pickle::vectorcall;
use crate::{get, hooks};

/// Why there are no arguments to call with.
pub enum Unready {
    /// An argument is an error or cannot be unpickled: the task is not run, its results are this
    /// error.
    Dependency(PyErr),
    /// Reading the arguments was interrupted, or they are no values at all.
    Unreadable(PyErr),
    /// These are not in shared memory any more: the task is to come again once they are.
    Lost(Vec<ObjectId>),
}

impl Unready {
    /// What to raise where nobody makes lost arguments again.
    pub fn into_error(self, py: Python<'_>) -> PyErr {
        match self {
            Self::Dependency(error) | Self::Unreadable(error) => error,
            Self::Lost(objects) => lost(py, objects.first().copied()),
        }
    }
}

impl From<PyErr> for Unready {
    fn from(error: PyErr) -> Self {
        Self::Unreadable(error)
    }
}

/// Arguments as Python objects, the named ones last.
pub struct CallArguments<'py> {
    values: Vec<Bound<'py, PyAny>>,
    names: Option<Bound<'py, PyTuple>>,
}

/// Reads the arguments of a task.
///
/// `references` are those inside all of their values, in order.
///
/// # Errors
/// See [`Unready`].
pub fn read<'py>(
    py: Python<'py>,
    connection: &Connection,
    arguments: Vec<Argument>,
    references: Vec<ObjectHandle>,
    keywords: &[String],
) -> Result<CallArguments<'py>, Unready> {
    let mut views = map(py, connection, &arguments)?.into_iter();
    let mut references = references.into_iter();
    let mut values = Vec::with_capacity(arguments.len());
    for argument in arguments {
        let value = argument
            .value
            .ok_or_else(|| Unready::Dependency(lost(py, argument.object)))?;
        let view = if value.shared.is_some() {
            views.next()
        } else {
            None
        };
        let is_failure = value.is_error;
        let inside = value
            .contained
            .as_ref()
            .map_or(0, |contained| contained.len());
        let own = references.by_ref().take(inside).collect();
        values.push(get::open(py, value, view, own).map_err(|error| {
            match is_failure || error.is_instance_of::<PyException>(py) {
                true => Unready::Dependency(error),
                false => Unready::Unreadable(error),
            }
        })?);
    }
    let names = match keywords {
        [] => None,
        _ => Some(PyTuple::new(
            py,
            keywords.iter().map(|name| PyString::intern(py, name)),
        )?),
    };
    Ok(CallArguments { values, names })
}

/// The views of all arguments that lie in shared memory, in order, asked for in one go.
fn map(
    py: Python<'_>,
    connection: &Connection,
    arguments: &[Argument],
) -> Result<Vec<Arc<SharedView>>, Unready> {
    let is_shared = |argument: &Argument| {
        argument
            .value
            .as_ref()
            .is_some_and(|value| value.shared.is_some())
    };
    if !arguments.iter().any(is_shared) {
        return Ok(Vec::new());
    }
    let mapped = py
        .detach(|| connection.runtime.map_arguments(arguments))
        .map_err(|failure| Unready::Dependency(hooks::failure(py, &failure)))?;
    let lost: Vec<ObjectId> = mapped
        .iter()
        .filter(|(_, view)| view.is_none())
        .map(|(object, _)| *object)
        .collect();
    if lost.is_empty() {
        Ok(mapped.into_iter().filter_map(|(_, view)| view).collect())
    } else {
        Err(Unready::Lost(lost))
    }
}

fn lost(py: Python<'_>, object: Option<ObjectId>) -> PyErr {
    let subject = object.map(|object| object.to_hex()).unwrap_or_default();
    let message = "an argument of the task is not there any more";
    hooks::failure(py, &Failure::new(FailureKind::ObjectLost, subject, message))
}

impl<'py> CallArguments<'py> {
    /// Calls `callable` with them.
    ///
    /// # Errors
    /// What it raises.
    pub fn call(self, callable: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let pointers: smallvec::SmallVec<[_; 8]> =
            self.values.iter().map(|value| value.as_ptr()).collect();
        vectorcall(callable, &pointers, self.names.as_ref())
    }

    /// The same as a tuple and a dictionary.
    ///
    /// # Errors
    /// No memory.
    pub fn into_python(
        self,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyTuple>, Bound<'py, PyDict>)> {
        let named = self.names.as_ref().map_or(0, |names| names.len());
        let positional = self.values.len().saturating_sub(named);
        let args = PyTuple::new(py, &self.values[..positional])?;
        let kwargs = PyDict::new(py);
        if let Some(names) = &self.names {
            for (name, value) in names.iter().zip(&self.values[positional..]) {
                kwargs.set_item(name, value)?;
            }
        }
        Ok((args, kwargs))
    }
}
