//! Callbacks into Python when objects become ready, on one thread of their own.
//!
//! The engine's thread never waits for the interpreter: it hands each callback over and goes on. The
//! thread starts with the first callback and ends with the connection.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{JoinHandle, ThreadId};

use parking_lot::Mutex;
use pyo3::prelude::*;

use crate::connection;

/// What is to be done with the interpreter.
pub type Callback = Box<dyn FnOnce(Python<'_>) -> PyResult<()> + Send>;

enum Completion {
    Call(Callback),
    Stop,
}

struct Worker {
    sender: Sender<Completion>,
    thread: JoinHandle<()>,
    id: ThreadId,
    epoch: u64,
}

static WORKER: Mutex<Option<Worker>> = Mutex::new(None);

/// Where callbacks are handed over; cheap to clone.
#[derive(Clone)]
pub struct Completions(Sender<Completion>);

impl Completions {
    /// Has `callback` called soon. A callback that comes after the end is dropped.
    pub fn call_soon(&self, callback: Callback) {
        // After the end nobody receives; there is nobody left to be told either.
        let _ = self.0.send(Completion::Call(callback));
    }
}

/// The thread of the current connection, started where there is none.
///
/// # Errors
/// The system has no more threads.
pub fn handle() -> PyResult<Completions> {
    let epoch = connection::current_epoch();
    let mut worker = WORKER.lock();
    if let Some(running) = worker.as_ref().filter(|running| running.epoch == epoch) {
        return Ok(Completions(running.sender.clone()));
    }
    let (sender, receiver) = channel();
    let thread = spawn_without_signals(move || run(&receiver))?;
    let id = thread.thread().id();
    if let Some(old) = worker.replace(Worker {
        sender: sender.clone(),
        thread,
        id,
        epoch,
    }) {
        // A forked child has no such thread: there is nothing to stop.
        std::mem::forget(old);
    }
    Ok(Completions(sender))
}

/// Ends the thread, after the callbacks that it already has.
pub fn stop(py: Python<'_>) {
    let Some(worker) = WORKER.lock().take() else {
        return;
    };
    if connection::is_inherited(worker.epoch) {
        // The thread is the parent's: there is nothing to stop, and nothing that could be joined.
        std::mem::forget(worker);
        return;
    }
    if worker.sender.send(Completion::Stop).is_err() || worker.id == std::thread::current().id() {
        return;
    }
    // A callback that panicked was reported when it did.
    py.detach(|| drop(worker.thread.join()));
}

fn run(receiver: &Receiver<Completion>) {
    while let Ok(first) = receiver.recv() {
        let mut stopped = false;
        Python::attach(|py| {
            let mut next = Some(first);
            while let Some(completion) = next {
                let Completion::Call(callback) = completion else {
                    stopped = true;
                    break;
                };
                if let Err(error) = callback(py) {
                    error.write_unraisable(py, None);
                }
                next = receiver.try_recv().ok();
            }
        });
        if stopped {
            return;
        }
    }
}

/// Starts a thread that no signal is delivered to: they are for the interpreter's main thread.
fn spawn_without_signals(body: impl FnOnce() + Send + 'static) -> PyResult<JoinHandle<()>> {
    let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: both sets are memory of the right size; a new thread inherits the mask of its maker.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
    }
    let spawned = std::thread::Builder::new()
        .name("whipray-callback".to_owned())
        .spawn(body);
    // SAFETY: the set was filled in above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut()) };
    Ok(spawned?)
}
