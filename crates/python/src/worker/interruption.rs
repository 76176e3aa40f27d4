//! Cancelling a task that runs in the main thread: a `KeyboardInterrupt` inside of it, and only there.
//!
//! The engine's thread sends SIGINT to the main thread, which ends blocking calls. Python's handler
//! for it then runs in the main thread between two instructions, or in the call that was
//! interrupted, and raises only while the task that was cancelled still runs. Ctrl-C in a terminal
//! reaches workers as well, and is none of their business.

use std::sync::OnceLock;

use parking_lot::Mutex;
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use whipray_proto::ids::TaskId;

struct Running {
    task: Option<TaskId>,
    cancelled: bool,
}

static RUNNING: Mutex<Running> = Mutex::new(Running {
    task: None,
    cancelled: false,
});
static MAIN_THREAD: OnceLock<libc::pthread_t> = OnceLock::new();

/// Marks the time in which the main thread may be interrupted for a task, until it is dropped.
pub struct Interruptible(());

impl Interruptible {
    pub fn start(task: TaskId) -> Self {
        *RUNNING.lock() = Running {
            task: Some(task),
            cancelled: false,
        };
        Self(())
    }
}

impl Drop for Interruptible {
    fn drop(&mut self) {
        *RUNNING.lock() = Running {
            task: None,
            cancelled: false,
        };
    }
}

/// Interrupts the main thread if it runs `task`; whether it does. From any thread.
pub fn interrupt(task: TaskId) -> bool {
    {
        let mut running = RUNNING.lock();
        if running.task != Some(task) {
            return false;
        }
        running.cancelled = true;
    }
    wake_main_thread();
    true
}

/// Ends a blocking call of the main thread, whose waits then look around.
pub fn wake_main_thread() {
    if let Some(thread) = MAIN_THREAD.get() {
        // SAFETY: the main thread lives as long as the process.
        unsafe { libc::pthread_kill(*thread, libc::SIGINT) };
    }
}

/// What Python runs in the main thread on SIGINT.
#[pyfunction]
#[pyo3(signature = (*_arguments))]
fn on_interrupt(_arguments: &Bound<'_, PyTuple>) -> PyResult<()> {
    let mut running = RUNNING.lock();
    if running.cancelled && running.task.is_some() {
        running.cancelled = false;
        return Err(PyKeyboardInterrupt::new_err(()));
    }
    Ok(())
}

/// Makes the calling thread, which is the main one, interruptible.
///
/// # Errors
/// `ValueError` in another thread.
pub fn install(py: Python<'_>) -> PyResult<()> {
    let signal = py.import("signal")?;
    let handler = wrap_pyfunction!(on_interrupt, py)?;
    signal.call_method1(intern!(py, "signal"), (libc::SIGINT, handler))?;
    // SAFETY: always allowed.
    MAIN_THREAD.get_or_init(|| unsafe { libc::pthread_self() });
    Ok(())
}
