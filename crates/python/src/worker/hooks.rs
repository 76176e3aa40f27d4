//! What only Python code can do for a worker, as callables resolved once.

use bytes::Bytes;
use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};
use whipray_proto::ids::FunctionId;
use whipray_proto::messages::session::JobDescription;
use whipray_proto::task::Assignment;

use crate::cluster;

/// The functions of the module `whipray._worker`; the interface is stated in `_core.pyi`.
pub struct WorkerHooks {
    bind_job: Py<PyAny>,
    load_function: Py<PyAny>,
    assign: Py<PyAny>,
    task_error: Py<PyAny>,
    dependency_error: Py<PyAny>,
    cancelled_error: Py<PyAny>,
    is_retryable: Py<PyAny>,
    start_actor: Py<PyAny>,
    actor_method: Py<PyAny>,
    dispatch: Py<PyAny>,
    run_async: Py<PyAny>,
    enter_event_loop: Py<PyAny>,
    stop: Py<PyAny>,
}

impl WorkerHooks {
    /// # Errors
    /// One of them is missing.
    pub fn resolve(hooks: &Bound<'_, PyAny>) -> PyResult<Self> {
        let hook = |name: &str| hooks.getattr(name).map(Bound::unbind);
        Ok(Self {
            bind_job: hook("bind_job")?,
            load_function: hook("load_function")?,
            assign: hook("assign")?,
            task_error: hook("task_error")?,
            dependency_error: hook("dependency_error")?,
            cancelled_error: hook("cancelled_error")?,
            is_retryable: hook("is_retryable")?,
            start_actor: hook("start_actor")?,
            actor_method: hook("actor_method")?,
            dispatch: hook("dispatch")?,
            run_async: hook("run_async")?,
            enter_event_loop: hook("enter_event_loop")?,
            stop: hook("stop")?,
        })
    }

    pub fn bind_job(&self, py: Python<'_>, job: &JobDescription) -> PyResult<()> {
        self.bind_job.call1(py, (cluster::job(py, job)?,)).map(drop)
    }

    pub fn load_function<'py>(
        &self,
        py: Python<'py>,
        function: FunctionId,
        class_name: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.load_function
            .bind(py)
            .call1((PyBytes::new(py, &function.to_array()), class_name))
    }

    pub fn assign(&self, py: Python<'_>, assignment: &Assignment) -> PyResult<()> {
        let resources = cluster::resources(py, &assignment.resources)?;
        let gpus = PyList::new(py, &assignment.gpus)?;
        self.assign.call1(py, (resources, gpus)).map(drop)
    }

    /// The serialized error of what the user's code raised. Where that cannot be made either, the
    /// error of its making.
    pub fn task_error(&self, py: Python<'_>, error: &PyErr, name: &str) -> Bytes {
        self.serialized(py, &self.task_error, error, name)
    }

    /// The same for the error of an argument, because of which a task did not run.
    pub fn dependency_error(&self, py: Python<'_>, error: &PyErr, name: &str) -> Bytes {
        self.serialized(py, &self.dependency_error, error, name)
    }

    /// The same for a task that was cancelled while it ran; `error` is what interrupted it.
    pub fn cancelled_error(&self, py: Python<'_>, error: &PyErr, name: &str, task: &[u8]) -> Bytes {
        let make = |error: &PyErr| -> PyResult<PyErr> {
            let cancelled = self
                .cancelled_error
                .bind(py)
                .call1((raised(py, error), PyBytes::new(py, task)))?;
            Ok(PyErr::from_value(cancelled))
        };
        let cancelled = make(error).unwrap_or_else(|error| error);
        self.task_error(py, &cancelled, name)
    }

    fn serialized(&self, py: Python<'_>, hook: &Py<PyAny>, error: &PyErr, name: &str) -> Bytes {
        let serialize = |error: &PyErr| -> PyResult<Bytes> {
            let data = hook.bind(py).call1((raised(py, error), name))?;
            Ok(Bytes::copy_from_slice(data.extract::<&[u8]>()?))
        };
        serialize(error)
            .or_else(|second| serialize(&second))
            .unwrap_or_else(|third| {
                third.write_unraisable(py, None);
                Bytes::new()
            })
    }

    /// Whether the user wants a task that raised `error` to be tried again. A doubt says no.
    pub fn is_retryable(&self, py: Python<'_>, error: &PyErr, types: &[u8]) -> bool {
        let answer = self
            .is_retryable
            .bind(py)
            .call1((raised(py, error), PyBytes::new(py, types)))
            .and_then(|answer| answer.is_truthy());
        answer.unwrap_or_else(|error| {
            error.write_unraisable(py, None);
            false
        })
    }

    pub fn start_actor<'py>(
        &self,
        spec: &Bound<'py, PyDict>,
        class: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        kwargs: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.start_actor
            .bind(spec.py())
            .call1((spec, class, args, kwargs))
    }

    pub fn actor_method<'py>(
        &self,
        instance: &Bound<'py, PyAny>,
        name: &Bound<'py, PyString>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.actor_method
            .bind(instance.py())
            .call1((instance, name))
    }

    pub fn dispatch(&self, job: &Bound<'_, PyAny>, group: &Bound<'_, PyString>) -> PyResult<()> {
        self.dispatch.bind(job.py()).call1((job, group)).map(drop)
    }

    pub fn run_async<'py>(
        &self,
        call: &Bound<'py, PyAny>,
        group: &Bound<'py, PyString>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.run_async.bind(call.py()).call1((call, group))
    }

    pub fn enter_event_loop(&self, descriptor: i32, drive: &Bound<'_, PyAny>) -> PyResult<()> {
        self.enter_event_loop
            .bind(drive.py())
            .call1((descriptor, drive))
            .map(drop)
    }

    pub fn stop(&self, py: Python<'_>) -> PyResult<()> {
        self.stop.call0(py).map(drop)
    }
}

/// The exception with its traceback, which the bare value does not have before Python 3.12.
fn raised(py: Python<'_>, error: &PyErr) -> Py<PyBaseException> {
    error.clone_ref(py).into_value(py)
}
