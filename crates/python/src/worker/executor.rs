//! One task from its arrival to its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use pyo3::exceptions::{PyKeyboardInterrupt, PyRuntimeError, PySystemExit};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;
use rustc_hash::FxHashMap;
use whipray_proto::ids::{FunctionId, JobId, ObjectId};
use whipray_proto::messages::session::JobDescription;
use whipray_proto::object::WorkerAddress;
use whipray_proto::task::{Assignment, TaskOutcome, TaskSpec};
use whipray_worker::{FinishedTask, IncomingTask, ReturnedValue};

use super::actor::{Actor, Concurrency};
use super::hooks::WorkerHooks;
use super::incoming::{self, CallArguments, Unready};
use super::interruption::{self, Interruptible};
use super::{returns, yields};
use crate::connection::Connection;
use crate::context::{self, RunningTask, Scope};
use crate::python_names;

/// Functions that a worker keeps loaded. A program that makes ever new ones loads them anew.
const FUNCTIONS: usize = 4096;

/// What a worker process keeps from one task to the next.
pub struct Executor {
    pub connection: Arc<Connection>,
    pub hooks: WorkerHooks,
    functions: Mutex<FxHashMap<FunctionId, Py<PyAny>>>,
    names: Mutex<FxHashMap<String, Py<PyString>>>,
    bound_job: Mutex<Option<JobId>>,
    /// Set once, where the process becomes an actor.
    pub actor: PyOnceLock<Actor>,
    exit: Mutex<Option<PyErr>>,
    exit_wanted: AtomicBool,
}

/// A task without its arguments, and who asked for it.
pub struct Accepted {
    pub running: Arc<RunningTask>,
    pub caller: WorkerAddress,
}

impl Accepted {
    /// `function`: what the task calls, where that is not a method.
    pub fn new(spec: TaskSpec, caller: WorkerAddress, function: Option<Py<PyAny>>) -> Self {
        let actor = (!spec.method.is_empty()).then(|| spec.task.actor());
        Self {
            running: Arc::new(RunningTask {
                spec,
                actor,
                function,
            }),
            caller,
        }
    }
}

/// How a call ended, from the point of view of the answer.
pub enum Ending<'py> {
    Called(PyResult<Bound<'py, PyAny>>),
    NotRun(PyErr),
    /// These of its arguments are not in shared memory any more.
    Lost(Vec<ObjectId>),
    /// It was cancelled before it began.
    Cancelled,
    /// It was cancelled while it ran, and this is what came out of it.
    Interrupted(PyErr),
    /// Its results are complete.
    Answered(TaskOutcome, Vec<ReturnedValue>),
}

/// What a task raised, as its answer has it.
pub struct Raised {
    pub outcome: TaskOutcome,
    /// The error as a value.
    pub data: Bytes,
}

impl Executor {
    pub fn new(connection: Arc<Connection>, hooks: WorkerHooks) -> Self {
        Self {
            connection,
            hooks,
            functions: Mutex::default(),
            names: Mutex::default(),
            bound_job: Mutex::default(),
            actor: PyOnceLock::new(),
            exit: Mutex::default(),
            exit_wanted: AtomicBool::new(false),
        }
    }

    /// How the actor of this process runs its calls; `None` also where there is no actor.
    pub fn concurrency(&self, py: Python<'_>) -> Concurrency {
        self.actor
            .get(py)
            .map_or(Concurrency::None, |actor| actor.concurrency)
    }

    /// Runs a task in the calling thread, and answers. `main`: it is the main thread.
    ///
    /// # Errors
    /// The `SystemExit` with which the process is to end.
    pub fn execute(&self, py: Python<'_>, incoming: IncomingTask, main: bool) -> PyResult<()> {
        let IncomingTask {
            mut spec,
            caller,
            references,
            ..
        } = incoming;
        let arguments = std::mem::take(&mut spec.arguments);
        let callable = self.callable(py, &spec);
        let function = match &callable {
            Ok(function) if spec.method.is_empty() => Some(function.clone().unbind()),
            _ => None,
        };
        let accepted = Accepted::new(spec, caller, function);
        let _scope = Scope::enter(Arc::clone(&accepted.running), main);
        let spec = &accepted.running.spec;
        let ending = match callable {
            Err(error) => Ending::Called(Err(error)),
            Ok(callable) => {
                match incoming::read(py, &self.connection, arguments, references, &spec.keywords) {
                    Ok(arguments) => self.call(&callable, arguments, &accepted, main),
                    Err(Unready::Dependency(error)) => Ending::NotRun(error),
                    Err(Unready::Unreadable(error)) => Ending::Called(Err(error)),
                    Err(Unready::Lost(objects)) => Ending::Lost(objects),
                }
            }
        };
        self.conclude(py, &accepted, ending)
    }

    fn call<'py>(
        &self,
        callable: &Bound<'py, PyAny>,
        arguments: CallArguments<'py>,
        accepted: &Accepted,
        main: bool,
    ) -> Ending<'py> {
        let task = accepted.running.spec.task;
        // A method of an actor is not interrupted: the actor's state would be anybody's guess.
        let guard = (main && accepted.running.actor.is_none()).then(|| Interruptible::start(task));
        if self.connection.runtime.is_cancelled(task) {
            return Ending::Cancelled;
        }
        match arguments.call(callable) {
            Ok(result) if yields::is_yielded(&accepted.running.spec, &result) => {
                let ending = yields::exhaust(self, accepted, &result);
                // A generator that is given up closes with its last reference: that is not interrupted.
                drop(guard);
                drop(result);
                ending
            }
            result => {
                drop(guard);
                Ending::Called(result)
            }
        }
    }

    /// Answers for a task that ended.
    ///
    /// # Errors
    /// The `SystemExit` with which the process is to end.
    pub fn conclude(
        &self,
        py: Python<'_>,
        accepted: &Accepted,
        ending: Ending<'_>,
    ) -> PyResult<()> {
        let spec = &accepted.running.spec;
        // The call that leaves has no answer; those beside it have theirs before the process ends.
        if let Ending::Called(Err(error)) = &ending
            && error.is_instance_of::<PySystemExit>(py)
            && let Some(exit) = self.exit_of_actor(py)
        {
            return Err(exit);
        }
        let mut lost = Vec::new();
        let (outcome, returns) = match ending {
            Ending::Lost(objects) => {
                lost = objects;
                (TaskOutcome::ArgumentsLost, Vec::new())
            }
            Ending::Cancelled => (TaskOutcome::Cancelled, Vec::new()),
            Ending::Interrupted(error) => self.interrupted(py, spec, &error),
            Ending::Answered(outcome, returns) => (outcome, returns),
            Ending::NotRun(error) => {
                let data = self.hooks.dependency_error(py, &error, &spec.name);
                let data = returns::error_value(&data);
                (TaskOutcome::Raised, returns::errors(spec, &data))
            }
            Ending::Called(Err(error)) => self.answer_raised(py, spec, error)?,
            Ending::Called(Ok(result)) => match returns::encode(&self.connection, spec, &result) {
                Ok(returns) => (TaskOutcome::Returned, returns),
                Err(error) => self.answer_raised(py, spec, error)?,
            },
        };
        // Everything that the call used is gone by now: what the process still refers to after the
        // answer counts as kept.
        self.connection.runtime.finish(FinishedTask {
            task: spec.task,
            caller: accepted.caller.worker,
            outcome,
            returns,
            lost,
        });
        self.exit_of_actor(py).map_or(Ok(()), Err)
    }

    /// The answer to a task that raised. Where its results come one by one, an exception that ends
    /// it is the last of them.
    fn answer_raised(
        &self,
        py: Python<'_>,
        spec: &TaskSpec,
        error: PyErr,
    ) -> PyResult<(TaskOutcome, Vec<ReturnedValue>)> {
        let Raised { outcome, data } = self.raised(py, spec, error)?;
        let runtime = &self.connection.runtime;
        if outcome == TaskOutcome::Raised
            && spec.generator.is_some()
            && let Some(source) = runtime.source(spec.task)
        {
            if let Some(index) = source.wanted() {
                runtime.send_item(&source, index, returns::error(&data));
            }
            return Ok((TaskOutcome::Returned, vec![yields::nothing()]));
        }
        Ok((outcome, returns::errors(spec, &data)))
    }

    /// What becomes of an exception that came out of the user's code.
    ///
    /// # Errors
    /// The `SystemExit` with which the process is to end.
    pub fn raised(&self, py: Python<'_>, spec: &TaskSpec, error: PyErr) -> PyResult<Raised> {
        if error.is_instance_of::<PySystemExit>(py) {
            return Err(error);
        }
        // Elsewhere it is about coroutines of the user's own, and an exception like any other.
        let is_coroutine_cancelled = self.concurrency(py) == Concurrency::Coroutines
            && python_names::is_coroutine_cancelled(py, &error)?;
        if error.is_instance_of::<PyKeyboardInterrupt>(py) || is_coroutine_cancelled {
            let data = self
                .hooks
                .cancelled_error(py, &error, &spec.name, &spec.task.to_array());
            return Ok(Raised {
                outcome: TaskOutcome::Cancelled,
                data: returns::error_value(&data),
            });
        }
        let retryable = spec.retry_any_exception
            || (!spec.retry_exceptions.is_empty()
                && self.hooks.is_retryable(py, &error, &spec.retry_exceptions));
        let outcome = if retryable {
            TaskOutcome::RaisedRetryable
        } else {
            TaskOutcome::Raised
        };
        let data = returns::error_value(&self.hooks.task_error(py, &error, &spec.name));
        Ok(Raised { outcome, data })
    }

    /// The answer of a task that was cancelled under way: its error has the traceback.
    fn interrupted(
        &self,
        py: Python<'_>,
        spec: &TaskSpec,
        error: &PyErr,
    ) -> (TaskOutcome, Vec<ReturnedValue>) {
        let data = self
            .hooks
            .cancelled_error(py, error, &spec.name, &spec.task.to_array());
        let data = returns::error_value(&data);
        (TaskOutcome::Cancelled, returns::errors(spec, &data))
    }

    /// What a task calls.
    ///
    /// # Errors
    /// The function cannot be loaded, or the actor has no such method.
    pub fn callable<'py>(&self, py: Python<'py>, spec: &TaskSpec) -> PyResult<Bound<'py, PyAny>> {
        if spec.method.is_empty() {
            return self.function(py, spec.function, "");
        }
        let actor = self.actor.get(py).ok_or_else(|| {
            PyRuntimeError::new_err(format!(
                "{} was sent to a worker that is no actor",
                spec.name
            ))
        })?;
        let name = self.name(py, &spec.method);
        let instance = actor.instance.bind(py);
        if spec.method.starts_with("__ray_") {
            return self.hooks.actor_method(instance, &name);
        }
        instance.getattr(name)
    }

    /// A function by its id, or the class of an actor, which `class_name` is then.
    ///
    /// # Errors
    /// It cannot be loaded.
    pub fn function<'py>(
        &self,
        py: Python<'py>,
        id: FunctionId,
        class_name: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        if let Some(function) = self.functions.lock().get(&id) {
            return Ok(function.bind(py).clone());
        }
        let function = self.hooks.load_function(py, id, class_name)?;
        self.remember(id, function.clone().unbind());
        Ok(function)
    }

    fn remember(&self, id: FunctionId, function: Py<PyAny>) {
        let mut functions = self.functions.lock();
        let forgotten = if functions.len() >= FUNCTIONS {
            std::mem::take(&mut *functions)
        } else {
            Default::default()
        };
        functions.insert(id, function);
        drop(functions);
        // Only now: what goes with them may run Python code, which may come back here.
        drop(forgotten);
    }

    /// A name as an interned string.
    pub fn name<'py>(&self, py: Python<'py>, name: &str) -> Bound<'py, PyString> {
        let mut names = self.names.lock();
        if let Some(known) = names.get(name) {
            return known.bind(py).clone();
        }
        let interned = PyString::intern(py, name);
        names.insert(name.to_owned(), interned.clone().unbind());
        interned
    }

    /// Prepares the process for work of `job`, before its first piece.
    ///
    /// # Errors
    /// The node is gone, or the package cannot do what the job asks for.
    pub fn bind_job(&self, py: Python<'_>, job: JobId) -> PyResult<()> {
        if *self.bound_job.lock() == Some(job) {
            return Ok(());
        }
        let runtime = &self.connection.runtime;
        runtime.set_job(job);
        let description = py
            .detach(|| runtime.job_description(job))
            .map_err(|failure| crate::hooks::failure(py, &failure))?;
        let description = description.unwrap_or_else(|| JobDescription {
            job,
            ..JobDescription::default()
        });
        self.hooks.bind_job(py, &description)?;
        *self.bound_job.lock() = Some(job);
        Ok(())
    }

    /// Takes note of what the lease or the actor brings.
    ///
    /// # Errors
    /// What the package raises.
    pub fn assign(&self, py: Python<'_>, assignment: Assignment) -> PyResult<()> {
        self.hooks.assign(py, &assignment)?;
        context::set_assignment(assignment);
        Ok(())
    }

    /// Has the main thread end the process with `exit`, from any thread.
    pub fn end_process(&self, exit: PyErr) {
        self.exit.lock().get_or_insert(exit);
        self.exit_wanted.store(true, Ordering::Release);
        interruption::wake_main_thread();
    }

    /// Whether some thread wants the process to end.
    pub fn is_ending(&self) -> bool {
        self.exit_wanted.load(Ordering::Acquire)
    }

    /// With what the process is to end.
    pub fn take_exit(&self) -> Option<PyErr> {
        self.exit.lock().take()
    }
}
