//! Where the coroutine of a call puts the items of its stream.

use std::sync::Arc;

use pyo3::prelude::*;
use whipray_worker::Source;

use super::executor::Executor;
use super::yields;
use crate::completions;
use crate::context::RunningTask;

/// The items of one call of an actor with coroutines; used in the thread of its event loop.
#[pyclass(frozen, module = "whipray._core")]
pub struct ItemSink {
    executor: Arc<Executor>,
    running: Arc<RunningTask>,
    source: Arc<Source>,
}

impl ItemSink {
    /// The sink of a call that runs; None where its results come with its answer.
    pub fn of(executor: &Arc<Executor>, running: &Arc<RunningTask>) -> Option<Self> {
        // Asked first: nearly all calls have none.
        running.spec.generator.as_ref()?;
        let source = executor.connection.runtime.source(running.spec.task)?;
        Some(Self {
            executor: Arc::clone(executor),
            running: Arc::clone(running),
            source,
        })
    }
}

#[pymethods]
impl ItemSink {
    /// Send what one `yield` gave; whether it is time to let others have the event loop.
    fn send(&self, item: &Bound<'_, PyAny>) -> PyResult<bool> {
        let is_written = yields::give(&self.executor, &self.running.spec, &self.source, item)?;
        Ok(is_written || !self.source.has_room())
    }

    /// Whether the consumer has room for another item.
    fn has_room(&self) -> bool {
        self.source.has_room()
    }

    /// Whether little of what was sent waits for being read.
    fn is_output_low(&self) -> bool {
        self.executor.connection.runtime.is_output_low(&self.source)
    }

    /// Call `callback()` once there is room for another item, in any thread.
    fn when_room(&self, callback: Py<PyAny>) -> PyResult<()> {
        let completions = completions::handle()?;
        let run = move || {
            completions.call_soon(Box::new(move |py| callback.call0(py).map(drop)));
        };
        self.executor
            .connection
            .runtime
            .when_room(&self.source, Box::new(run));
        Ok(())
    }
}
