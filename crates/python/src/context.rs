//! For which task the current thread, or coroutine, works.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::RwLock;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyString};
use pyo3::{ffi, intern};
use whipray_proto::ids::{ActorId, JobId, PlacementGroupId, TaskId};
use whipray_proto::task::{Assignment, TaskSpec};

use crate::cluster;
use crate::connection::{self, Connection};

/// A task that runs in this process.
pub struct RunningTask {
    /// Without its arguments, which the call owns.
    pub spec: TaskSpec,
    /// The actor that it runs on, if any.
    pub actor: Option<ActorId>,
    /// What is called; None where it is a method.
    pub function: Option<Py<PyAny>>,
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<RunningTask>>> = const { RefCell::new(None) };
}

/// The task of the main thread, which threads of the user's count as working for.
static MAIN: RwLock<Option<Arc<RunningTask>>> = RwLock::new(None);
/// What the process was given for its lease or its actor.
static ASSIGNMENT: RwLock<Option<Assignment>> = RwLock::new(None);
/// Grows whenever the placement group changes that catches what is submitted here.
static CAPTURES: AtomicU64 = AtomicU64::new(0);
/// Whether tasks are coroutines here, told apart by a context variable.
static COROUTINES: AtomicBool = AtomicBool::new(false);
static VARIABLE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// A task, for a context variable.
#[pyclass(frozen, module = "whipray._core")]
pub struct TaskToken(Arc<RunningTask>);

/// Makes the thread work for a task until it is dropped.
pub struct Scope {
    before: Option<Arc<RunningTask>>,
    /// What was set for the main thread before, where this is the main thread.
    main_before: Option<Option<Arc<RunningTask>>>,
}

impl Scope {
    /// `main`: the thread is the process's main one.
    pub fn enter(task: Arc<RunningTask>, main: bool) -> Self {
        let main_before = main.then(|| MAIN.write().replace(Arc::clone(&task)));
        Self {
            before: CURRENT.replace(Some(task)),
            main_before,
        }
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        if let Some(before) = self.main_before.take() {
            *MAIN.write() = before;
        }
        CURRENT.set(self.before.take());
    }
}

/// Tells tasks apart by coroutine from now on.
pub fn use_coroutines() {
    COROUTINES.store(true, Ordering::Relaxed);
}

fn variable(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    let variable = VARIABLE.get_or_try_init(py, || {
        let module = py.import("contextvars")?;
        module
            .getattr("ContextVar")?
            .call1(("whipray_task",))
            .map(Bound::unbind)
    })?;
    Ok(variable.bind(py))
}

/// Makes the current coroutine work for `task`.
///
/// # Errors
/// No memory.
pub fn enter_coroutine(py: Python<'_>, task: Arc<RunningTask>) -> PyResult<()> {
    let token = Bound::new(py, TaskToken(task))?;
    variable(py)?.call_method1(intern!(py, "set"), (token,))?;
    Ok(())
}

fn coroutine_task(py: Python<'_>) -> Option<Arc<RunningTask>> {
    let variable = variable(py).ok()?;
    let mut found = std::ptr::null_mut();
    // SAFETY: the variable is a ContextVar; a found value is a new reference.
    let token = unsafe {
        if ffi::PyContextVar_Get(variable.as_ptr(), std::ptr::null_mut(), &mut found) != 0 {
            PyErr::fetch(py).write_unraisable(py, None);
            return None;
        }
        Bound::from_owned_ptr_or_opt(py, found)?
    };
    token
        .cast::<TaskToken>()
        .ok()
        .map(|token| Arc::clone(&token.get().0))
}

/// The task that the caller works for.
pub fn current(py: Python<'_>) -> Option<Arc<RunningTask>> {
    if COROUTINES.load(Ordering::Relaxed)
        && let Some(task) = coroutine_task(py)
    {
        return Some(task);
    }
    CURRENT
        .with_borrow(Clone::clone)
        .or_else(|| MAIN.read().clone())
}

/// The task on whose behalf something is submitted or put.
#[inline]
pub fn parent(py: Python<'_>, connection: &Connection) -> TaskId {
    if connection.is_driver {
        return connection.root_task;
    }
    current(py).map_or(connection.root_task, |task| task.spec.task)
}

/// The job of what the caller submits.
pub fn job(py: Python<'_>, connection: &Connection) -> JobId {
    match current(py) {
        Some(task) if !connection.is_driver => task.spec.task.job(),
        _ => connection.runtime.job(),
    }
}

/// The task that a wait of the caller holds up, and whose CPU others may have meanwhile.
pub fn waiting_task(py: Python<'_>, connection: &Connection) -> Option<TaskId> {
    if connection.is_driver {
        return None;
    }
    current(py).map(|task| task.spec.task)
}

/// Makes `task` what threads count as working for while the main thread runs nothing.
pub fn set_background(task: Arc<RunningTask>) {
    *MAIN.write() = Some(task);
}

/// Notes what the process was given.
pub fn set_assignment(assignment: Assignment) {
    let after = catching(&assignment);
    let before = ASSIGNMENT.write().replace(assignment);
    if before.as_ref().and_then(catching) != after {
        CAPTURES.fetch_add(1, Ordering::Relaxed);
    }
}

/// The placement group that catches what a process with this assignment submits.
fn catching(assignment: &Assignment) -> Option<PlacementGroupId> {
    let bundle = assignment.bundle.filter(|_| assignment.captures)?;
    Some(bundle.group)
}

/// Changes whenever prepared calls are to be prepared again, because what they do not say of their
/// placement group has another meaning now.
#[inline]
pub fn captures() -> u64 {
    CAPTURES.load(Ordering::Relaxed)
}

/// The placement group that catches what is submitted here without a word about groups.
#[pyfunction]
pub fn captured_group(py: Python<'_>) -> Option<Bound<'_, PyBytes>> {
    let assignment = ASSIGNMENT.read();
    let group = assignment.as_ref().and_then(catching)?;
    Some(PyBytes::new(py, &group.to_array()))
}

/// The current task and what the process has for it.
#[pyfunction]
pub fn context(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let connection = connection::current(py)?;
    let runtime = &connection.runtime;
    let welcome = runtime.welcome();
    let task = if connection.is_driver {
        None
    } else {
        current(py)
    };
    let dict = PyDict::new(py);
    let job = task
        .as_ref()
        .map_or_else(|| runtime.job(), |task| task.spec.task.job());
    dict.set_item("job_id", PyBytes::new(py, &job.to_array()))?;
    dict.set_item(
        "worker_id",
        PyBytes::new(py, &runtime.address().worker.to_array()),
    )?;
    dict.set_item("node_id", PyBytes::new(py, &welcome.node.to_array()))?;
    dict.set_item("session_directory", &welcome.session_directory)?;
    let task = task.as_deref();
    dict.set_item(
        "task_id",
        task.map(|task| PyBytes::new(py, &task.spec.task.to_array())),
    )?;
    dict.set_item("task_name", task.map_or("", |task| task.spec.name.as_str()))?;
    dict.set_item("function_name", function_name(py, task))?;
    dict.set_item("method", task.map_or("", |task| task.spec.method.as_str()))?;
    let actor = task.and_then(|task| task.actor);
    dict.set_item(
        "actor_id",
        actor.map(|actor| PyBytes::new(py, &actor.to_array())),
    )?;
    dict.set_item("attempt", task.map_or(0, |task| task.spec.attempt))?;
    let assignment = ASSIGNMENT.read().clone().unwrap_or_default();
    dict.set_item("resources", cluster::resources(py, &assignment.resources)?)?;
    dict.set_item("gpu_ids", assignment.gpus)?;
    let group = assignment.bundle.map(|bundle| bundle.group.to_array());
    dict.set_item("group", group.map(|group| PyBytes::new(py, &group)))?;
    dict.set_item("captures", assignment.captures)?;
    Ok(dict)
}

/// `module.qualname` of what runs; the task's name where it is a method.
fn function_name(py: Python<'_>, task: Option<&RunningTask>) -> String {
    let Some(task) = task else {
        return String::new();
    };
    let named = task.function.as_ref().and_then(|function| {
        let function = function.bind(py);
        let module = function.getattr(intern!(py, "__module__")).ok()?;
        let name = function.getattr(intern!(py, "__qualname__")).ok()?;
        Some(format!("{module}.{name}"))
    });
    named.unwrap_or_else(|| task.spec.name.clone())
}

/// The name of the task that the caller works for; empty for none.
#[pyfunction]
pub fn current_name(py: Python<'_>) -> Bound<'_, PyString> {
    match current(py) {
        Some(task) => PyString::new(py, &task.spec.name),
        None => PyString::new(py, ""),
    }
}

/// Whether the current task was cancelled.
#[pyfunction]
pub fn is_cancelled(py: Python<'_>) -> PyResult<bool> {
    let connection = connection::current(py)?;
    let task = current(py).ok_or_else(|| PyRuntimeError::new_err("no task runs here"))?;
    Ok(connection.runtime.is_cancelled(task.spec.task))
}
