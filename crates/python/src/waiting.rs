//! What all waits have in common: timeouts, signals, and how a wait can end.

use std::time::Duration;

use pyo3::exceptions::PyOverflowError;
use pyo3::prelude::*;
use whipray_worker::WaitOutcome;

use crate::hooks;

/// Runs `wait` without the interpreter. `wait` gets what it has to call now and then: that runs the
/// signal handlers of Python, and says to stop where one of them raised.
///
/// # Errors
/// What a signal handler raised.
pub fn interruptible<T: Send>(
    py: Python<'_>,
    wait: impl FnOnce(&mut dyn FnMut() -> bool) -> T + Send,
) -> PyResult<T> {
    let mut raised = None;
    let result = py.detach(|| {
        wait(&mut || match Python::attach(|py| py.check_signals()) {
            Ok(()) => false,
            Err(error) => {
                raised = Some(error);
                true
            }
        })
    });
    match raised {
        Some(error) => Err(error),
        None => Ok(result),
    }
}

/// A timeout in seconds as the engine takes it; None and negative ones wait for ever.
///
/// # Errors
/// `OverflowError` where no clock can count that far.
pub fn timeout(seconds: Option<f64>) -> PyResult<Option<Duration>> {
    match seconds {
        None => Ok(None),
        Some(seconds) if seconds < 0.0 => Ok(None),
        Some(seconds) => Duration::try_from_secs_f64(seconds)
            .map(Some)
            .map_err(|error| PyOverflowError::new_err(format!("timeout {seconds}: {error}"))),
    }
}

/// Whether a wait ended because what it waited for is there, rather than by its timeout.
///
/// # Errors
/// The connection is gone.
pub fn is_ready(py: Python<'_>, outcome: WaitOutcome) -> PyResult<bool> {
    match outcome {
        WaitOutcome::Ready => Ok(true),
        // Interrupted without an error of a handler's: whoever waits looks again by its own means.
        WaitOutcome::TimedOut | WaitOutcome::Interrupted => Ok(false),
        WaitOutcome::Disconnected => Err(disconnected(py)),
    }
}

/// The exception of a wait whose connection is gone.
pub fn disconnected(py: Python<'_>) -> PyErr {
    hooks::engine_error(
        py,
        "Disconnected",
        "The connection to the cluster is gone: the node daemon ended, or shutdown() was called.",
    )
}
