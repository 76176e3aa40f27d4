//! `wait`: which of some objects are ready.

use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use smallvec::SmallVec;
use whipray_worker::ObjectHandle;

use crate::generator::ObjectRefGenerator;
use crate::object_ref::{Counted, ObjectRef};
use crate::{connection, context, waiting};

/// Indexes of items that are ready, in order.
type Ready = SmallVec<[usize; 8]>;

/// Distinguishes the waits of a process; see `ObjectHandle::mark`.
static WAITS: AtomicU64 = AtomicU64::new(1);

/// Up to `num_returns` references that are ready, and all others, both in the order of `refs`.
///
/// `fetch_local`: values of those that are ready are fetched where they lie on other nodes.
#[pyfunction]
#[pyo3(signature = (refs, num_returns, timeout, fetch_local = false))]
pub fn wait<'py>(
    refs: &Bound<'py, PyAny>,
    num_returns: isize,
    timeout: Option<f64>,
    fetch_local: bool,
) -> PyResult<Bound<'py, PyTuple>> {
    let py = refs.py();
    let list = checked_list(refs)?;
    if let Some(seconds) = timeout.filter(|seconds| *seconds < 0.0) {
        return Err(PyValueError::new_err(format!(
            "The 'timeout' argument must be nonnegative. Received {seconds}"
        )));
    }
    if list.is_empty() {
        return PyTuple::new(py, [PyList::empty(py), PyList::empty(py)]);
    }
    let ready = look(list, num_returns)?;
    if ready.len() as isize == num_returns {
        if fetch_local {
            fetch(list, &ready)?;
        }
        return parted(list, &ready);
    }
    // The user may change the list while this waits.
    let list = list.get_slice(0, list.len());
    let items: Vec<Bound<'py, PyAny>> = list.iter().collect();
    let count = num_returns as usize;
    let made = items.iter().map(awaited).collect::<PyResult<Vec<_>>>()?;
    let handles: Vec<&ObjectHandle> = made.iter().map(|handle| &**handle).collect();
    let connection = connection::current(py)?;
    let timeout = waiting::timeout(timeout)?;
    let task = context::waiting_task(py, &connection);
    let outcome = waiting::interruptible(py, |interrupt| {
        connection
            .runtime
            .wait_some(&handles, count, timeout, task, interrupt)
    })?;
    waiting::is_ready(py, outcome)?;
    let is_ready = |(_, handle): &(usize, &&ObjectHandle)| handle.is_ready();
    let found = handles.iter().enumerate().filter(is_ready).take(count);
    let ready: Ready = found.map(|(index, _)| index).collect();
    if fetch_local {
        fetch(&list, &ready)?;
    }
    parted(&list, &ready)
}

/// Has the values of these items fetched, without waiting for them.
fn fetch(list: &Bound<'_, PyList>, ready: &[usize]) -> PyResult<()> {
    let Some(connection) = connection::find() else {
        return Ok(());
    };
    if !connection.runtime.has_far_values() {
        return Ok(());
    }
    let mut handles = Vec::with_capacity(ready.len());
    for index in ready {
        let item = list.get_item(*index)?;
        if let Ok(reference) = item.cast_exact::<ObjectRef>() {
            handles.push(reference.get().handle(list.py())?);
        }
    }
    let handles: Vec<&ObjectHandle> = handles.iter().collect();
    list.py().detach(|| connection.runtime.fetch(&handles));
    Ok(())
}

/// What tells that an item is ready: of a generator the next of its references.
fn awaited<'a>(item: &'a Bound<'_, PyAny>) -> PyResult<Counted<'a>> {
    match item.cast_exact::<ObjectRef>() {
        Ok(reference) => reference.get().counted(item.py()),
        Err(_) => {
            let generator = item.cast_exact::<ObjectRefGenerator>()?.get();
            generator.awaited(item.py()).map(Counted::Made)
        }
    }
}

/// The indexes of the first `count` that are ready, or of fewer. Looks at every item once, since
/// each has to be a reference, and none may be there twice.
fn look(list: &Bound<'_, PyList>, count: isize) -> PyResult<Ready> {
    let py = list.py();
    let mark = WAITS.fetch_add(1, Ordering::Relaxed);
    let mut ready = Ready::new();
    let mut is_unique = true;
    for index in 0..list.len() {
        // No Python code runs in this loop that could change the list.
        let item = list.get_item(index)?;
        let is_ready = if let Ok(reference) = item.cast_exact::<ObjectRef>() {
            let handle = reference.get().counted(py)?;
            is_unique &= handle.mark(mark);
            (ready.len() as isize) < count && handle.is_ready()
        } else {
            let generator = item
                .cast_exact::<ObjectRefGenerator>()
                .map_err(|_| not_a_list_of_refs(&item))?
                .get();
            is_unique &= generator.mark(mark);
            (ready.len() as isize) < count && generator.is_ready(py)?
        };
        if is_ready {
            ready.push(index);
        }
    }
    if !is_unique {
        return Err(PyValueError::new_err(
            "Wait requires a list of unique ray_waitables.",
        ));
    }
    match usize::try_from(count) {
        Ok(count) if count > list.len() => Err(PyValueError::new_err(
            "num_returns cannot be greater than the number of ray_waitables provided to ray.wait.",
        )),
        Ok(count) if count > 0 => Ok(ready),
        _ => Err(PyValueError::new_err(format!(
            "Invalid number of objects to return {count}."
        ))),
    }
}

/// The items with these indexes, and all others.
fn parted<'py>(list: &Bound<'py, PyList>, ready: &[usize]) -> PyResult<Bound<'py, PyTuple>> {
    let py = list.py();
    if let [first, .., last] | [first @ last] = ready
        && last - first + 1 == ready.len()
    {
        // Neighbours, mostly one alone: the others are a copy of the list without them.
        let found = list.get_slice(*first, last + 1);
        let rest = list.get_slice(0, list.len());
        rest.del_slice(*first, last + 1)?;
        return PyTuple::new(py, [found, rest]);
    }
    let found = PyList::empty(py);
    let rest = PyList::empty(py);
    let mut next = ready.iter().peekable();
    for (index, item) in list.iter().enumerate() {
        if next.next_if_eq(&&index).is_some() {
            found.append(item)?;
        } else {
            rest.append(item)?;
        }
    }
    PyTuple::new(py, [found, rest])
}

fn checked_list<'a, 'py>(refs: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, PyList>> {
    if refs.cast_exact::<ObjectRef>().is_ok() || refs.cast_exact::<ObjectRefGenerator>().is_ok() {
        return Err(PyTypeError::new_err(format!(
            "wait() expected a list of ray.ObjectRef or ray.ObjectRefGenerator, got a single \
             ray.ObjectRef or ray.ObjectRefGenerator {}",
            refs.repr()?
        )));
    }
    match refs.cast::<PyList>() {
        Ok(list) => Ok(list),
        Err(_) => Err(PyTypeError::new_err(format!(
            "wait() expected a list of ray.ObjectRef or ray.ObjectRefGenerator, got {}",
            refs.get_type().repr()?
        ))),
    }
}

fn not_a_list_of_refs(item: &Bound<'_, PyAny>) -> PyErr {
    match item.get_type().repr() {
        Ok(kind) => PyTypeError::new_err(format!(
            "wait() expected a list of ray.ObjectRef or ray.ObjectRefGenerator, got list containing \
             {kind}"
        )),
        Err(error) => error,
    }
}
