//! Calls of actors that run beside each other: on threads, or as coroutines.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex};
use pyo3::prelude::*;
use pyo3::types::PyCFunction;
use rustc_hash::FxHashMap;
use whipray_proto::failure::DeathKind;
use whipray_proto::generator::GeneratorMode;
use whipray_proto::ids::{ObjectId, TaskId};
use whipray_proto::task::{Argument, TaskOutcome};
use whipray_worker::{IncomingTask, ObjectHandle, Work};

use super::actor;
use super::executor::{Accepted, Ending, Executor};
use super::incoming::{self, Unready};
use super::item_sink::ItemSink;
use super::yields;
use crate::{completions, context};

/// Counts the calls under way, so that an actor that leaves finishes them first.
#[derive(Default)]
pub struct CallCount {
    running: Mutex<usize>,
    none: Condvar,
}

impl CallCount {
    fn add(&self) {
        *self.running.lock() += 1;
    }

    fn remove(&self) {
        let mut running = self.running.lock();
        *running -= 1;
        if *running == 0 {
            self.none.notify_all();
        }
    }

    /// Blocks until no call is under way.
    pub fn wait_for_none(&self) {
        let mut running = self.running.lock();
        while *running > 0 {
            self.none.wait(&mut running);
        }
    }
}

/// One call of an actor with threads; Python calls it once, on the thread that is to run it.
#[pyclass(frozen, module = "whipray._core")]
pub struct ThreadedCall {
    executor: Arc<Executor>,
    count: Arc<CallCount>,
    incoming: Mutex<Option<IncomingTask>>,
}

impl ThreadedCall {
    /// Has `incoming` run on a thread of its concurrency group.
    ///
    /// # Errors
    /// The package has no such group.
    pub fn dispatch(
        py: Python<'_>,
        executor: &Arc<Executor>,
        count: &Arc<CallCount>,
        incoming: IncomingTask,
    ) -> PyResult<()> {
        let group = executor.name(py, &incoming.spec.concurrency_group);
        let call = Self {
            executor: Arc::clone(executor),
            count: Arc::clone(count),
            incoming: Mutex::new(Some(incoming)),
        };
        let call = Bound::new(py, call)?;
        count.add();
        match executor.hooks.dispatch(call.as_any(), &group) {
            Ok(()) => Ok(()),
            Err(error) => {
                count.remove();
                let taken = call.get().incoming.lock().take();
                let Some(incoming) = taken else {
                    return Err(error);
                };
                let accepted = Accepted::new(incoming.spec, incoming.caller, None);
                executor.conclude(py, &accepted, Ending::Called(Err(error)))
            }
        }
    }
}

#[pymethods]
impl ThreadedCall {
    fn __call__(&self, py: Python<'_>) {
        let Some(incoming) = self.incoming.lock().take() else {
            return;
        };
        if let Err(exit) = self.executor.execute(py, incoming, false) {
            self.executor.end_process(exit);
        }
        self.count.remove();
    }
}

/// The calls of an actor with coroutines.
pub struct AsyncCalls {
    executor: Arc<Executor>,
    running: AtomicUsize,
    stopping: AtomicBool,
    /// What cancels the calls that are under way, from any thread.
    cancellers: Mutex<FxHashMap<TaskId, Canceller>>,
}

/// How far the cancelling of a call has come.
enum Canceller {
    /// Nobody asked; this cancels it.
    Unused(Py<PyAny>),
    /// It was asked for.
    Used,
}

/// One call of an actor with coroutines.
///
/// Python calls `start()` inside of an asyncio task of its own, awaits the result where it can be
/// awaited, and ends with `done(result, exception)`, in the loop's thread.
#[pyclass(frozen, module = "whipray._core")]
pub struct AsyncCall {
    calls: Arc<AsyncCalls>,
    accepted: Accepted,
    callable: Mutex<Option<PyResult<Py<PyAny>>>>,
    arguments: Mutex<Option<(Vec<Argument>, Vec<ObjectHandle>)>>,
    not_run: AtomicBool,
    /// Arguments that are not in shared memory any more.
    lost: Mutex<Vec<ObjectId>>,
    ended: AtomicBool,
}

impl AsyncCalls {
    pub fn new(executor: Arc<Executor>) -> Arc<Self> {
        Arc::new(Self {
            executor,
            running: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            cancellers: Mutex::default(),
        })
    }

    /// Runs the event loop until the actor ends.
    ///
    /// # Errors
    /// What the loop raises.
    pub fn run(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        context::use_coroutines();
        let calls = Arc::clone(self);
        let drive =
            PyCFunction::new_closure(py, None, None, move |args, _| calls.drive(args.py()))?;
        let descriptor = self.executor.connection.runtime.poll_descriptor();
        self.executor
            .hooks
            .enter_event_loop(descriptor, drive.as_any())
    }

    /// Reads what arrived and starts it; whether the loop is to go on.
    fn drive(self: &Arc<Self>, py: Python<'_>) -> PyResult<bool> {
        let runtime = &self.executor.connection.runtime;
        runtime.drive();
        // One that ends begins nothing new.
        while !self.executor.is_ending()
            && let Some(work) = runtime.try_next_work()
        {
            match work {
                Work::Task(incoming) => self.start(py, *incoming)?,
                Work::StopActor => self.stopping.store(true, Ordering::Release),
                // The node starts an actor once per process.
                Work::StartActor(..) => {}
            }
        }
        runtime.flush();
        Ok(runtime.is_connected() && self.goes_on(py))
    }

    fn goes_on(&self, py: Python<'_>) -> bool {
        // What asked for it may be no call, but a thread or an asyncio task that one has started.
        if !self.executor.is_ending()
            && let Some(exit) = self.executor.exit_of_actor(py)
        {
            self.executor.end_process(exit);
        }
        if self.executor.is_ending() {
            return actor::is_leaving() && self.running.load(Ordering::Acquire) > 0;
        }
        let finished =
            self.stopping.load(Ordering::Acquire) && self.running.load(Ordering::Acquire) == 0;
        if finished {
            self.executor.leave(py, DeathKind::OutOfScope, "");
        }
        !finished
    }

    fn start(self: &Arc<Self>, py: Python<'_>, incoming: IncomingTask) -> PyResult<()> {
        let IncomingTask {
            mut spec,
            caller,
            references,
            ..
        } = incoming;
        let arguments = std::mem::take(&mut spec.arguments);
        let task = spec.task;
        let group = self.executor.name(py, &spec.concurrency_group);
        let callable = self.executor.callable(py, &spec);
        let accepted = Accepted::new(spec, caller, None);
        self.running.fetch_add(1, Ordering::AcqRel);
        let call = AsyncCall {
            calls: Arc::clone(self),
            accepted,
            callable: Mutex::new(Some(callable.map(Bound::unbind))),
            arguments: Mutex::new(Some((arguments, references))),
            not_run: AtomicBool::new(false),
            lost: Mutex::default(),
            ended: AtomicBool::new(false),
        };
        let call = Bound::new(py, call)?;
        let canceller = match self.executor.hooks.run_async(call.as_any(), &group) {
            Ok(canceller) => canceller,
            Err(error) => {
                call.get().end(py, Ending::Called(Err(error)));
                return Ok(());
            }
        };
        if !call.get().ended.load(Ordering::Acquire) {
            let canceller = Canceller::Unused(canceller.unbind());
            let earlier = self.cancellers.lock().insert(task, canceller);
            if matches!(earlier, Some(Canceller::Used)) {
                self.cancel(task);
            }
        }
        Ok(())
    }

    /// Cancels a call that is under way, from any thread.
    pub fn cancel(&self, task: TaskId) {
        let mut cancellers = self.cancellers.lock();
        if !self.executor.connection.runtime.is_cancelled(task) {
            return; // It has ended meanwhile, and would never be taken out again.
        }
        let canceller = cancellers.insert(task, Canceller::Used);
        drop(cancellers);
        if let (Some(Canceller::Unused(canceller)), Ok(completions)) =
            (canceller, completions::handle())
        {
            completions.call_soon(Box::new(move |py| canceller.call0(py).map(drop)));
        }
    }
}

#[pymethods]
impl AsyncCall {
    /// Calls the method; what it returns is to be awaited where it can be.
    fn start<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        context::enter_coroutine(py, Arc::clone(&self.accepted.running))?;
        let callable = self.callable.lock().take();
        let arguments = self.arguments.lock().take();
        let (Some(callable), Some((arguments, references))) = (callable, arguments) else {
            return Ok(py.None().into_bound(py));
        };
        let callable = callable?.into_bound(py);
        let keywords = &self.accepted.running.spec.keywords;
        let connection = &self.calls.executor.connection;
        match incoming::read(py, connection, arguments, references, keywords) {
            Ok(arguments) => arguments.call(&callable),
            Err(Unready::Unreadable(error)) => Err(error),
            Err(Unready::Lost(objects)) => {
                (*self.lost.lock()).clone_from(&objects);
                Err(Unready::Lost(objects).into_error(py))
            }
            Err(Unready::Dependency(error)) => {
                self.not_run.store(true, Ordering::Release);
                Err(error)
            }
        }
    }

    /// Where the items go that the method yields; None where its results come with its answer.
    fn sink(&self) -> Option<ItemSink> {
        ItemSink::of(&self.calls.executor, &self.accepted.running)
    }

    /// Answers for the call; whether the event loop is to go on.
    fn done(&self, result: Bound<'_, PyAny>, exception: Option<Bound<'_, PyAny>>) -> bool {
        let py = result.py();
        let task = &self.accepted.running.spec.task;
        let is_cancelled = matches!(
            self.calls.cancellers.lock().get(task),
            Some(Canceller::Used)
        );
        let lost = std::mem::take(&mut *self.lost.lock());
        let ending = match exception {
            Some(_) if !lost.is_empty() => Ending::Lost(lost),
            // Whatever it made of the interruption.
            error if is_cancelled => {
                let error = error.unwrap_or_else(|| py.None().into_bound(py));
                Ending::Interrupted(PyErr::from_value(error))
            }
            None if self.streams() => {
                Ending::Answered(TaskOutcome::Returned, vec![yields::nothing()])
            }
            None if yields::is_yielded(&self.accepted.running.spec, &result) => {
                yields::exhaust(&self.calls.executor, &self.accepted, &result)
            }
            None => Ending::Called(Ok(result)),
            Some(error) if self.not_run.load(Ordering::Acquire) => {
                Ending::NotRun(PyErr::from_value(error))
            }
            Some(error) => Ending::Called(Err(PyErr::from_value(error))),
        };
        self.end(py, ending);
        self.calls.goes_on(py)
    }
}

impl AsyncCall {
    /// Whether the results went to a sink.
    fn streams(&self) -> bool {
        let generator = self.accepted.running.spec.generator.as_deref();
        generator.is_some_and(|spec| spec.mode() == GeneratorMode::Streaming)
    }

    fn end(&self, py: Python<'_>, ending: Ending<'_>) {
        if self.ended.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Err(exit) = self.calls.executor.conclude(py, &self.accepted, ending) {
            self.calls.executor.end_process(exit);
        }
        let task = &self.accepted.running.spec.task;
        self.calls.cancellers.lock().remove(task);
        self.calls.running.fetch_sub(1, Ordering::AcqRel);
    }
}
