//! The main loop of a worker process.

use std::sync::Arc;

use pyo3::prelude::*;
use whipray_proto::failure::DeathKind;
use whipray_proto::ids::TaskId;
use whipray_worker::{IncomingTask, NextWork, Work};

use super::actor::{self, Concurrency};
use super::actor_calls::{AsyncCalls, CallCount, ThreadedCall};
use super::executor::{Accepted, Ending, Executor};
use super::hooks::WorkerHooks;
use super::interruption;
use crate::{connection, waiting};

/// Why the loop ended.
enum Ended {
    /// The node is gone, or the actor left in order.
    InOrder,
    /// The actor has an event loop, which goes on from here.
    BecameAsync,
}

/// Take work, run it, answer; returns when there is no more to come.
///
/// Raises `SystemExit` where a task or an actor ended the process.
#[pyfunction]
pub fn run_worker(hooks: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = hooks.py();
    let connection = connection::current(py)?;
    let executor = Arc::new(Executor::new(connection, WorkerHooks::resolve(hooks)?));
    interruption::install(py)?;
    let calls = AsyncCalls::new(Arc::clone(&executor));
    let cancelled = Arc::clone(&calls);
    executor
        .connection
        .runtime
        .set_cancel_hook(Box::new(move |task: TaskId| {
            if !interruption::interrupt(task) {
                cancelled.cancel(task);
            }
        }));
    let worker = WorkLoop {
        executor,
        count: Arc::default(),
    };
    let ended = match worker.run(py) {
        Ok(Ended::BecameAsync) => calls.run(py),
        Ok(Ended::InOrder) => Ok(()),
        Err(error) => Err(error),
    };
    worker.executor.connection.runtime.flush();
    let stopped = worker.executor.hooks.stop(py);
    // Exit functions of the user may count as well.
    worker.executor.connection.runtime.hand_over_metrics();
    if let Some(exit) = worker.executor.take_exit() {
        return Err(exit);
    }
    ended.and(stopped)
}

struct WorkLoop {
    executor: Arc<Executor>,
    count: Arc<CallCount>,
}

impl WorkLoop {
    fn run(&self, py: Python<'_>) -> PyResult<Ended> {
        loop {
            let work = match self.next(py)? {
                NextWork::Work(work) => work,
                NextWork::Disconnected => return Ok(Ended::InOrder),
                NextWork::Interrupted if self.executor.is_ending() => {
                    if actor::is_leaving() {
                        py.detach(|| self.count.wait_for_none());
                    }
                    return Ok(Ended::InOrder);
                }
                NextWork::Interrupted => continue,
            };
            match work {
                Work::Task(incoming) => self.run_task(py, *incoming)?,
                Work::StartActor(start, references) => {
                    if !self.executor.start_actor(py, *start, references)? {
                        return Ok(Ended::InOrder);
                    }
                    self.executor.connection.runtime.flush();
                    if self.executor.concurrency(py) == Concurrency::Coroutines {
                        return Ok(Ended::BecameAsync);
                    }
                }
                Work::StopActor => {
                    py.detach(|| self.count.wait_for_none());
                    self.executor.leave(py, DeathKind::OutOfScope, "");
                    return Ok(Ended::InOrder);
                }
            }
        }
    }

    fn next(&self, py: Python<'_>) -> PyResult<NextWork> {
        let executor = &self.executor;
        waiting::interruptible(py, |interrupt| {
            let mut stop = || interrupt() || executor.is_ending();
            executor.connection.runtime.next_work(&mut stop)
        })
    }

    fn run_task(&self, py: Python<'_>, mut incoming: IncomingTask) -> PyResult<()> {
        if let Err(error) = self.prepare(py, &mut incoming) {
            let accepted = Accepted::new(incoming.spec, incoming.caller, None);
            return self
                .executor
                .conclude(py, &accepted, Ending::Called(Err(error)));
        }
        match self.executor.concurrency(py) {
            Concurrency::Threads => {
                ThreadedCall::dispatch(py, &self.executor, &self.count, incoming)
            }
            Concurrency::None | Concurrency::Coroutines => {
                self.executor.execute(py, incoming, true)
            }
        }
    }

    fn prepare(&self, py: Python<'_>, incoming: &mut IncomingTask) -> PyResult<()> {
        self.executor.bind_job(py, incoming.spec.task.job())?;
        match incoming.assignment.take() {
            Some(assignment) => self.executor.assign(py, assignment),
            None => Ok(()),
        }
    }
}
