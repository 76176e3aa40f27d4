//! A process that becomes an actor, and how it leaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::{PyRuntimeError, PySystemExit};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use whipray_proto::failure::{DeathCause, DeathKind, Failure, FailureKind};
use whipray_proto::ids::{ActorId, ObjectId};
use whipray_proto::messages::actor::StartActor;
use whipray_proto::task::ActorSpec;
use whipray_worker::ObjectHandle;

use super::executor::Executor;
use super::incoming::{self, Unready};
use crate::context::{self, RunningTask, Scope};

/// How calls of an actor run beside each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concurrency {
    /// One by one in the main thread.
    None,
    /// On threads of the package's.
    Threads,
    /// As coroutines in the main thread.
    Coroutines,
}

/// The actor that this process is.
pub struct Actor {
    pub id: ActorId,
    pub instance: Py<PyAny>,
    pub concurrency: Concurrency,
}

/// Set by `exit_actor()`.
static EXIT_REQUESTED: AtomicBool = AtomicBool::new(false);

/// Marks the death of the current actor as intended; the worker ends after the current call.
#[pyfunction]
pub fn exit_actor(py: Python<'_>) -> PyResult<()> {
    if context::current(py).is_none_or(|task| task.actor.is_none()) {
        return Err(PyRuntimeError::new_err(
            "exit_actor() is only for the methods of an actor",
        ));
    }
    EXIT_REQUESTED.store(true, Ordering::Release);
    Ok(())
}

/// Whether the actor is to end: calls beside the one that said so are finished first.
#[pyfunction]
pub fn is_leaving() -> bool {
    EXIT_REQUESTED.load(Ordering::Acquire)
}

impl Executor {
    /// Runs the constructor and reports how it went; whether there is an actor now.
    ///
    /// # Errors
    /// The `SystemExit` that the constructor raised, or the node is gone.
    pub fn start_actor(
        &self,
        py: Python<'_>,
        start: StartActor,
        references: Vec<ObjectHandle>,
    ) -> PyResult<bool> {
        let StartActor {
            mut spec,
            incarnation,
            assignment,
        } = start;
        self.bind_job(py, spec.job)?;
        self.assign(py, assignment)?;
        let mut creation = std::mem::take(&mut spec.creation);
        let arguments = std::mem::take(&mut creation.arguments);
        let keywords = std::mem::take(&mut creation.keywords);
        let name = creation.name.clone();
        let brought: Vec<ObjectId> = references.iter().map(ObjectHandle::id).collect();
        let class = self.function(py, creation.function, &spec.class_name);
        let running = Arc::new(RunningTask {
            spec: creation,
            actor: Some(spec.actor),
            function: None,
        });
        // Threads that the actor starts work for it, also while none of its methods runs.
        context::set_background(Arc::clone(&running));
        let _scope = Scope::enter(running, false);
        let runtime = &self.connection.runtime;
        let started_at_us = runtime.time_us();
        let constructed = class.map_err(Unready::Unreadable).and_then(|class| {
            let (args, kwargs) =
                incoming::read(py, &self.connection, arguments, references, &keywords)?
                    .into_python(py)?;
            let described = describe(py, &spec, incarnation)?;
            Ok(self.hooks.start_actor(&described, &class, &args, &kwargs)?)
        });
        let exception = match constructed {
            Ok(instance) => {
                let concurrency = concurrency(&spec);
                let shown_as = shown_as(&instance);
                let actor = Actor {
                    id: spec.actor,
                    instance: instance.unbind(),
                    concurrency,
                };
                if self.actor.set(py, actor).is_err() {
                    return Err(PyRuntimeError::new_err("this worker is already an actor"));
                }
                let shown_as = Ok(shown_as);
                runtime.actor_started(spec.actor, incarnation, started_at_us, shown_as, &brought);
                return Ok(true);
            }
            Err(Unready::Unreadable(error)) if error.is_instance_of::<PySystemExit>(py) => {
                return Err(error);
            }
            Err(Unready::Unreadable(error)) => self.hooks.task_error(py, &error, &name),
            Err(unready) => {
                let error = unready.into_error(py);
                self.hooks.dependency_error(py, &error, &name)
            }
        };
        let message = format!("The constructor of the actor, {name}, raised.");
        let mut failure = Failure::new(FailureKind::ActorDied, spec.actor.to_hex(), message);
        failure.exception = exception;
        let failure = Err(failure);
        runtime.actor_started(spec.actor, incarnation, started_at_us, failure, &brought);
        Ok(false)
    }

    /// The exit with which the process is to end where a method asked for it.
    pub fn exit_of_actor(&self, py: Python<'_>) -> Option<PyErr> {
        if !is_leaving() {
            return None;
        }
        self.leave(py, DeathKind::ActorExit, "exit_actor() is called");
        Some(PySystemExit::new_err(0))
    }

    /// Tells the cluster that the actor ends on purpose.
    pub fn leave(&self, py: Python<'_>, kind: DeathKind, detail: &str) {
        if let Some(actor) = self.actor.get(py) {
            self.connection
                .runtime
                .actor_exiting(actor.id, DeathCause::new(kind, detail));
        }
    }
}

/// What the `__repr__` of an actor's class says, cut where it is long; nothing where the class has
/// none of its own.
fn shown_as(instance: &Bound<'_, PyAny>) -> String {
    const LONGEST: usize = 256;
    let is_own = || {
        let plain = instance.py().get_type::<PyAny>().getattr("__repr__")?;
        let method = instance.get_type().getattr("__repr__")?;
        PyResult::Ok(!method.is(&plain))
    };
    if !is_own().unwrap_or(false) {
        return String::new();
    }
    // One that fails is the user's concern where it is asked for.
    let text = instance.repr().map(|text| text.to_string());
    text.map_or_else(
        |_| String::new(),
        |text| text.chars().take(LONGEST).collect(),
    )
}

fn concurrency(spec: &ActorSpec) -> Concurrency {
    if spec.is_async {
        Concurrency::Coroutines
    } else if spec.max_concurrency > 1 || !spec.concurrency_groups.is_empty() {
        Concurrency::Threads
    } else {
        Concurrency::None
    }
}

fn describe<'py>(
    py: Python<'py>,
    spec: &ActorSpec,
    incarnation: u32,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("actor_id", PyBytes::new(py, &spec.actor.to_array()))?;
    dict.set_item("class_name", &spec.class_name)?;
    dict.set_item("name", &spec.name)?;
    dict.set_item("namespace", &spec.namespace)?;
    dict.set_item("max_concurrency", spec.max_concurrency)?;
    dict.set_item("is_async", spec.is_async)?;
    dict.set_item("concurrency_groups", &spec.concurrency_groups)?;
    dict.set_item("handle", PyBytes::new(py, &spec.handle))?;
    dict.set_item("incarnation", incarnation)?;
    Ok(dict)
}
