//! Forks of this process: the parent goes on as if nothing had been, the child starts with nothing.
//!
//! A child must not use what it inherited: the sockets and the counts of references are the parent's.
//! It must not keep them open either, or nobody would see the parent's end while the child lives.
//! Handlers of the system are used rather than Python's, since libraries fork as well.

use std::cell::Cell;
use std::sync::Arc;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use whipray_worker::metrics;

use crate::connection::{self, Connection};

thread_local! {
    /// The connection whose state this thread holds while it forks. Leaked in a child.
    static HELD: Cell<Option<Arc<Connection>>> = const { Cell::new(None) };
}

/// Holds the state of the connection, so that the child gets a whole one.
extern "C" fn before() {
    if let Some(connection) = connection::find() {
        connection.runtime.before_fork();
        HELD.set(Some(connection));
    }
    metrics::before_fork();
}

extern "C" fn after_in_parent() {
    metrics::after_fork_in_parent();
    if let Some(connection) = HELD.take() {
        connection.runtime.after_fork_in_parent();
    }
}

extern "C" fn after_in_child() {
    metrics::after_fork_in_child();
    connection::forget_inherited();
    if let Some(connection) = HELD.take() {
        connection.runtime.after_fork_in_child();
        // To drop it would be to say goodbye in the parent's name.
        std::mem::forget(connection);
    }
}

/// Arranges for all forks of this process from now on.
///
/// # Errors
/// `RuntimeError` where the system has no room for the arrangement.
pub fn watch() -> PyResult<()> {
    // SAFETY: the handlers live as long as the module, which is never unloaded.
    match unsafe { libc::pthread_atfork(Some(before), Some(after_in_parent), Some(after_in_child)) }
    {
        0 => Ok(()),
        code => Err(PyRuntimeError::new_err(format!(
            "pthread_atfork failed with error {code}"
        ))),
    }
}
