//! Results that a task yields, one by one.

use bytes::Bytes;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyList, PyTuple};
use whipray_proto::generator::{GeneratorMode, GeneratorSpec};
use whipray_proto::task::{TaskOutcome, TaskSpec};
use whipray_worker::{ReturnedValue, Source, WaitOutcome};

use super::executor::{Accepted, Ending, Executor, Raised};
use super::returns;
use crate::{context, generator, waiting};

/// Whether the results of a task that returned `result` are what that yields.
pub fn is_yielded(spec: &TaskSpec, result: &Bound<'_, PyAny>) -> bool {
    // SAFETY: the pointer is that of a live object; only its type is looked at.
    let is_generator = || unsafe { ffi::PyGen_CheckExact(result.as_ptr()) != 0 };
    spec.generator.is_some() || (spec.num_returns > 0 && is_generator())
}

/// Runs what a task returned to its end. A generator that is given up closes with its last
/// reference.
pub fn exhaust<'py>(
    executor: &Executor,
    accepted: &Accepted,
    result: &Bound<'py, PyAny>,
) -> Ending<'py> {
    let spec = &accepted.running.spec;
    let ended = match spec.generator.as_deref().map(GeneratorSpec::mode) {
        None => fixed(executor, spec, result),
        Some(GeneratorMode::Dynamic) => dynamic(executor, accepted, result),
        Some(GeneratorMode::Streaming) => stream(executor, spec, result),
    };
    ended.unwrap_or_else(|error| Ending::Called(Err(error)))
}

fn iterator<'py>(result: &Bound<'py, PyAny>, described: &str) -> PyResult<Bound<'py, PyIterator>> {
    if result.hasattr("__aiter__")? {
        return Err(PyTypeError::new_err(
            "an 'async_generator' object can only be run by an actor with coroutine methods, with \
             num_returns=\"streaming\"",
        ));
    }
    if !result.hasattr("__next__")? {
        return Err(PyValueError::new_err(format!(
            "Functions with @ray.remote(num_returns=\"{described}\" must return a generator"
        )));
    }
    result.try_iter()
}

/// A number of results that was given: too many are not asked for, missing ones are errors.
fn fixed<'py>(
    executor: &Executor,
    spec: &TaskSpec,
    result: &Bound<'py, PyAny>,
) -> PyResult<Ending<'py>> {
    let py = result.py();
    let count = spec.num_returns as usize;
    let mut values = Vec::with_capacity(count);
    let mut items = result.try_iter()?;
    let mut index = 0;
    let encoded = items.by_ref().take(count).try_for_each(|item| {
        index += 1;
        values.push(returns::encode_one(
            &executor.connection,
            spec,
            index,
            &item?,
        )?);
        PyResult::Ok(())
    });
    let error = match encoded {
        Ok(()) if values.len() == count => {
            return Ok(Ending::Answered(TaskOutcome::Returned, values));
        }
        Ok(()) => PyValueError::new_err(format!(
            "Task returned {} objects, but num_returns={count}.",
            values.len()
        )),
        Err(error) => error,
    };
    let Raised { outcome, data } = executor.raised(py, spec, error)?;
    if outcome == TaskOutcome::Cancelled {
        values.clear();
    }
    values.resize_with(count, || returns::error(&data));
    Ok(Ending::Answered(outcome, values))
}

/// As many results as there are, behind a value with references to them.
fn dynamic<'py>(
    executor: &Executor,
    accepted: &Accepted,
    result: &Bound<'py, PyAny>,
) -> PyResult<Ending<'py>> {
    let py = result.py();
    let spec = &accepted.running.spec;
    let connection = &executor.connection;
    let mut values = Vec::new();
    let items = match iterator(result, "dynamic") {
        Ok(items) => items,
        Err(error) => return Ok(Ending::Called(Err(error))),
    };
    let collect = || -> PyResult<()> {
        for item in items {
            let index = index_of(values.len() as u32)?;
            values.push(returns::encode_one(connection, spec, index, &item?)?);
        }
        Ok(())
    };
    let mut outcome = TaskOutcome::Returned;
    if let Err(error) = collect() {
        let raised = executor.raised(py, spec, error)?;
        if raised.outcome == TaskOutcome::Cancelled {
            let errors = returns::errors(spec, &raised.data);
            return Ok(Ending::Answered(raised.outcome, errors));
        }
        if raised.outcome == TaskOutcome::RaisedRetryable {
            outcome = raised.outcome;
        }
        values.push(returns::error(&raised.data));
    }
    let handles = (0..values.len() as u32)
        .map(|index| {
            let object = spec.task.return_id(GeneratorSpec::FIRST_ITEM + index);
            connection.runtime.handle(object, &accepted.caller)
        })
        .collect();
    let references = generator::references_of(py, handles)?;
    values.insert(0, returns::encode_one(connection, spec, 1, &references)?);
    Ok(Ending::Answered(outcome, values))
}

/// Each result goes to the owner at once.
fn stream<'py>(
    executor: &Executor,
    spec: &TaskSpec,
    result: &Bound<'py, PyAny>,
) -> PyResult<Ending<'py>> {
    let py = result.py();
    let Some(source) = executor.connection.runtime.source(spec.task) else {
        return Ok(Ending::Cancelled);
    };
    let mut items = iterator(result, "streaming")?;
    loop {
        if !source.has_room() && !wait_for_room(executor, py, &source)? {
            return Ok(Ending::Cancelled);
        }
        if source.is_cancelled() {
            return Ok(Ending::Cancelled);
        }
        let Some(item) = items.next() else { break };
        let is_written = give(executor, spec, &source, &item?)?;
        if is_written
            && !executor.connection.runtime.is_output_low(&source)
            && !wait_for_room(executor, py, &source)?
        {
            return Ok(Ending::Cancelled);
        }
    }
    let nothing = vec![nothing()];
    Ok(Ending::Answered(TaskOutcome::Returned, nothing))
}

/// Whether the task is to go on.
fn wait_for_room(executor: &Executor, py: Python<'_>, source: &Source) -> PyResult<bool> {
    let connection = &executor.connection;
    let task = context::waiting_task(py, connection);
    let outcome = waiting::interruptible(py, |interrupt| {
        let mut stop = || interrupt() || executor.is_ending();
        connection.runtime.wait_for_room(source, task, &mut stop)
    })?;
    Ok(outcome == WaitOutcome::Ready)
}

/// Sends what one `yield` gave; whether it was written at once, see `Runtime::send_item`.
///
/// # Errors
/// It cannot be serialized, is not as many items as one `yield` is to give, or the store is full.
pub fn give(
    executor: &Executor,
    spec: &TaskSpec,
    source: &Source,
    item: &Bound<'_, PyAny>,
) -> PyResult<bool> {
    let per_yield = spec
        .generator
        .as_deref()
        .map_or(1, |generator| generator.items_per_yield as usize);
    if per_yield <= 1 {
        return give_one(executor, spec, source, item);
    }
    if !item.is_instance_of::<PyTuple>() && !item.is_instance_of::<PyList>() {
        return Err(PyValueError::new_err(format!(
            "Streaming generator tasks with _num_objects_per_yield={per_yield} must yield a tuple or \
             list of length {per_yield}."
        )));
    }
    let length = item.len()?;
    if length != per_yield {
        return Err(PyValueError::new_err(format!(
            "Streaming generator task yielded {length} objects, but \
             _num_objects_per_yield={per_yield}."
        )));
    }
    let mut is_written = false;
    for part in item.try_iter()? {
        is_written |= give_one(executor, spec, source, &part?)?;
    }
    Ok(is_written)
}

fn give_one(
    executor: &Executor,
    spec: &TaskSpec,
    source: &Source,
    item: &Bound<'_, PyAny>,
) -> PyResult<bool> {
    let Some(index) = source.wanted() else {
        source.count();
        return Ok(false);
    };
    let value = returns::encode_one(&executor.connection, spec, index_of(index)?, item)?;
    source.count();
    Ok(executor.connection.runtime.send_item(source, index, value))
}

fn index_of(item: u32) -> PyResult<u32> {
    if item >= GeneratorSpec::ITEMS {
        return Err(PyValueError::new_err(format!(
            "a generator yields up to {} items",
            GeneratorSpec::ITEMS
        )));
    }
    Ok(GeneratorSpec::FIRST_ITEM + item)
}

/// What stands for the whole of a stream that ended.
pub fn nothing() -> ReturnedValue {
    ReturnedValue::Inline {
        data: Bytes::from_static(&[0]),
        contained: Vec::new(),
        is_error: false,
    }
}
