//! References that come one by one, as Python sees them.

use pyo3::exceptions::{PyNotImplementedError, PyStopIteration, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use whipray_proto::generator::{GeneratorMode, GeneratorSpec};
use whipray_worker::{NextItem, ObjectHandle, StreamHandle, WaitOutcome};

use crate::connection;
use crate::object_ref::ObjectRef;
use crate::process_bound::ProcessBound;
use crate::{context, hooks, python_names, waiting};

/// The results of a generator that runs as a task, as references in their order. Dropping it lets
/// go of those that were not taken.
#[pyclass(frozen, weakref, module = "whipray")]
pub struct ObjectRefGenerator {
    stream: ProcessBound<StreamHandle>,
}

/// What a wait for an item came to.
enum Waited {
    Item(ObjectHandle),
    End,
    TimedOut,
}

impl ObjectRefGenerator {
    /// The Python face of a stream of the current connection.
    pub fn of(stream: StreamHandle) -> Self {
        Self {
            stream: ProcessBound::new(stream),
        }
    }

    fn live(&self, py: Python<'_>) -> PyResult<&StreamHandle> {
        connection::current(py)?;
        if self.stream.is_current() {
            return Ok(&self.stream);
        }
        let message = format!(
            "The generator {} was made before the last shutdown() or in another process; its \
             objects are gone.",
            self.stream.whole().id()
        );
        Err(hooks::engine_error(py, "UnknownOwner", &message))
    }

    /// What is ready once the next item is there, or no more will come.
    ///
    /// # Errors
    /// Not connected, or the generator is older than the connection.
    pub fn awaited(&self, py: Python<'_>) -> PyResult<ObjectHandle> {
        Ok(self.live(py)?.awaited())
    }

    /// Leaves a mark; whether it was not there before. See [`ObjectHandle::mark`].
    pub fn mark(&self, mark: u64) -> bool {
        self.stream.whole().mark(mark)
    }

    /// Whether the next item is there, or no more will come.
    ///
    /// # Errors
    /// Not connected, or the generator is older than the connection.
    pub fn is_ready(&self, py: Python<'_>) -> PyResult<bool> {
        let stream = self.live(py)?;
        Ok(stream.has_next() || stream.is_finished())
    }

    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Waited> {
        let stream = self.live(py)?;
        match stream.take() {
            NextItem::Item(item) => return Ok(Waited::Item(item)),
            NextItem::End => return Ok(Waited::End),
            NextItem::Nothing => {}
        }
        let connection = connection::current(py)?;
        let timeout = waiting::timeout(timeout)?;
        let deadline = timeout.map(|timeout| std::time::Instant::now() + timeout);
        let task = context::waiting_task(py, &connection);
        loop {
            let awaited = stream.awaited();
            let left = deadline
                .map(|deadline| deadline.saturating_duration_since(std::time::Instant::now()));
            let outcome = waiting::interruptible(py, |interrupt| {
                connection
                    .runtime
                    .wait_all(&[&awaited], left, task, interrupt)
            })?;
            match stream.take() {
                NextItem::Item(item) => return Ok(Waited::Item(item)),
                NextItem::End => return Ok(Waited::End),
                NextItem::Nothing if outcome == WaitOutcome::TimedOut => {
                    return Ok(Waited::TimedOut);
                }
                // Another thread has taken it.
                NextItem::Nothing => waiting::is_ready(py, outcome)?,
            };
        }
    }
}

#[pymethods]
impl ObjectRefGenerator {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<ObjectRef>> {
        match self.wait(py, None)? {
            Waited::Item(item) => Ok(Some(ObjectRef::of(item))),
            Waited::End | Waited::TimedOut => Ok(None),
        }
    }

    /// The next reference; the nil one where none came within so many seconds.
    #[pyo3(signature = (timeout_s = None))]
    fn _next_sync(&self, py: Python<'_>, timeout_s: Option<f64>) -> PyResult<ObjectRef> {
        match self.wait(py, timeout_s)? {
            Waited::Item(item) => Ok(ObjectRef::of(item)),
            Waited::End => Err(PyStopIteration::new_err(())),
            Waited::TimedOut => Ok(ObjectRef::nil()),
        }
    }

    fn __aiter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __anext__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        python_names::streams(slf.py())?.call_method1("next_item", (slf,))
    }

    /// The next reference without waiting; None where it is not there yet.
    fn _take(&self, py: Python<'_>) -> PyResult<Option<ObjectRef>> {
        match self.live(py)?.take() {
            NextItem::Item(item) => Ok(Some(ObjectRef::of(item))),
            NextItem::Nothing => Ok(None),
            NextItem::End => Err(PyStopIteration::new_err(())),
        }
    }

    /// A reference that is ready once there is something to take, or nothing more will come.
    fn _awaited(&self, py: Python<'_>) -> PyResult<ObjectRef> {
        Ok(ObjectRef::of(self.awaited(py)?))
    }

    /// A reference that is ready once the task is through.
    fn completed(&self) -> ObjectRef {
        ObjectRef::of(self.stream.whole().clone())
    }

    #[getter]
    fn _generator_ref(&self) -> ObjectRef {
        self.completed()
    }

    /// Whether the next reference is there.
    fn next_ready(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.live(py)?.has_next())
    }

    /// Whether all references were taken, and no more will come.
    fn is_finished(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.live(py)?.is_finished())
    }

    #[pyo3(signature = (*_arguments))]
    fn send(&self, _arguments: &Bound<'_, PyTuple>) -> PyResult<()> {
        Err(unsupported("send"))
    }

    #[pyo3(signature = (*_arguments))]
    fn throw(&self, _arguments: &Bound<'_, PyTuple>) -> PyResult<()> {
        Err(unsupported("throw"))
    }

    fn close(&self) -> PyResult<()> {
        Err(unsupported("close"))
    }

    #[pyo3(signature = (*_arguments))]
    fn asend<'py>(&self, _arguments: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>> {
        unsupported_coroutine(_arguments.py(), "asend")
    }

    #[pyo3(signature = (*_arguments))]
    fn athrow<'py>(&self, _arguments: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>> {
        unsupported_coroutine(_arguments.py(), "athrow")
    }

    fn aclose<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        unsupported_coroutine(py, "aclose")
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "You cannot return or pass a generator to other task. Serializing a \
             ObjectRefGenerator is not allowed.",
        ))
    }

    fn __getstate__(&self) -> PyResult<()> {
        self.__reduce__()
    }
}

fn unsupported(method: &str) -> PyErr {
    PyNotImplementedError::new_err(format!("`gen.{method}` is not supported."))
}

fn unsupported_coroutine<'py>(py: Python<'py>, method: &str) -> PyResult<Bound<'py, PyAny>> {
    python_names::streams(py)?.call_method1("unsupported", (method,))
}

/// What a call that streams returns.
///
/// # Errors
/// No memory.
pub fn wrap(py: Python<'_>, stream: StreamHandle) -> PyResult<Bound<'_, PyAny>> {
    Ok(Bound::new(py, ObjectRefGenerator::of(stream))?.into_any())
}

/// The value of a task whose results are counted by its generator: references to all of them.
///
/// # Errors
/// The package lacks the class, or no memory.
pub fn references_of<'py>(
    py: Python<'py>,
    handles: Vec<ObjectHandle>,
) -> PyResult<Bound<'py, PyAny>> {
    let references = handles
        .into_iter()
        .map(|handle| Bound::new(py, ObjectRef::of(handle)))
        .collect::<PyResult<Vec<_>>>()?;
    let references = PyTuple::new(py, references)?;
    python_names::streams(py)?.call_method1("DynamicObjectRefGenerator", (references,))
}

/// The entry `generator` of a specification: the mode, the window and the items per `yield`.
///
/// # Errors
/// It is something else than a mode and two numbers.
pub fn specification(specification: &Bound<'_, PyDict>) -> PyResult<Option<GeneratorSpec>> {
    let Some(given) = specification.get_item("generator")? else {
        return Ok(None);
    };
    let Some((mode, window, items_per_yield)) = given.extract::<Option<(String, u32, u32)>>()?
    else {
        return Ok(None);
    };
    let mode = match mode.as_str() {
        "streaming" => GeneratorMode::Streaming,
        "dynamic" => GeneratorMode::Dynamic,
        other => {
            return Err(PyValueError::new_err(format!(
                "results come \"streaming\" or \"dynamic\", not {other:?}"
            )));
        }
    };
    Ok(Some(GeneratorSpec {
        mode: mode as i32,
        window,
        items_per_yield,
        ..GeneratorSpec::default()
    }))
}
