//! Results that come one by one: the consumer's end, and the executor's.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use whipray_proto::failure::Failure;
use whipray_proto::messages::execution::StreamItem;
use whipray_proto::{ActorId, TaskId, limits};

use crate::cell::Waiter;
use crate::core::party::Party;
use crate::core::sources::Source;
use crate::core::streams::{Stream, Taken};
use crate::handle::{ActorHandle, ObjectHandle};
use crate::shell::blocked::Wanted;
use crate::shell::runtime::{ArgumentInput, ReturnedValue, Runtime, WaitOutcome};
use crate::shell::submission::Submission;
use crate::template::TaskTemplate;

/// The consumer's end of a stream. Dropped, it lets go of what was not taken.
pub struct StreamHandle {
    stream: Arc<Stream>,
    /// Stands for the whole: there once the task is through.
    whole: ObjectHandle,
    runtime: Weak<Runtime>,
}

/// What a consumer gets.
pub enum NextItem {
    Item(ObjectHandle),
    /// Nothing is there yet.
    Nothing,
    End,
}

impl StreamHandle {
    /// The object that is there once the task is through: an error where the engine ended it.
    pub fn whole(&self) -> &ObjectHandle {
        &self.whole
    }

    /// Takes the next item, if it is there.
    pub fn take(&self) -> NextItem {
        match self.stream.take() {
            Taken::Item { cell, is_awaited } => {
                let item = ObjectHandle::adopt(cell, self.runtime.clone());
                if is_awaited && let Some(runtime) = self.runtime.upgrade() {
                    let mut state = runtime.state.lock();
                    state.core.tell_taken(&self.stream);
                    runtime.commit(state);
                }
                NextItem::Item(item)
            }
            Taken::Nothing => NextItem::Nothing,
            Taken::End => NextItem::End,
        }
    }

    /// A handle of the next item, there or not, without taking it; of the whole where no more come.
    /// Whoever waits for it looks again afterwards: another thread may have taken it.
    pub fn awaited(&self) -> ObjectHandle {
        let Some(runtime) = self.runtime.upgrade() else {
            return self.whole.clone();
        };
        let cell = runtime.state.lock().core.await_item(&self.stream);
        match cell {
            Some(cell) => runtime.adopt(cell),
            None => self.whole.clone(),
        }
    }

    /// Whether [`Self::take`] has an item to give.
    pub fn has_next(&self) -> bool {
        self.stream.has_next()
    }

    /// Whether all items were taken, and no more will come.
    pub fn is_finished(&self) -> bool {
        self.stream.is_finished()
    }
}

impl Drop for StreamHandle {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.upgrade() {
            let mut state = runtime.state.lock();
            state.core.close_stream(&self.stream);
            runtime.commit(state);
        }
    }
}

impl Runtime {
    /// Submits a task, of an actor where one is given, whose results come one by one.
    ///
    /// # Errors
    /// As [`Runtime::submit_actor`].
    pub fn submit_stream(
        &self,
        actor: Option<&ActorHandle>,
        template: &Arc<TaskTemplate>,
        parent: TaskId,
        arguments: Vec<ArgumentInput>,
        keywords: Vec<String>,
    ) -> Result<StreamHandle, Failure> {
        let task = self.next_task_id(match actor {
            Some(actor) => actor.actor(),
            None => ActorId::none_of(self.job()),
        });
        let window = template.generator.as_ref().map_or(0, |spec| spec.window);
        let stream = Arc::new(Stream::new(task, window));
        let submission = Submission {
            task,
            parent,
            arguments,
            keywords,
            stream: Some(stream.clone()),
        };
        let mut returned = match actor {
            None => self.submit_task(template, submission),
            Some(actor) => self.submit_call(actor, template, submission)?,
        };
        // A stream has exactly one result, which stands for the whole.
        let whole = returned.swap_remove(0);
        Ok(StreamHandle {
            stream,
            whole,
            runtime: self.this.clone(),
        })
    }

    /// What a task that runs here gives its results to, where it gives them one by one.
    pub fn source(&self, task: TaskId) -> Option<Arc<Source>> {
        self.state.lock().core.execution.source(&task)
    }

    /// Sends an item of a task that runs here. Items that follow each other closely travel together.
    /// Returns whether they were written now, so that it is time to look around.
    pub fn send_item(&self, source: &Source, index: u32, item: ReturnedValue) -> bool {
        let mut state = self.state.lock();
        let (value, contained) = self.lower_returned(&mut state, item, Party::from(&source.caller));
        let ids: Vec<_> = contained.iter().map(ObjectHandle::id).collect();
        let message = StreamItem {
            task: source.task,
            attempt: source.attempt,
            index,
            value,
        };
        state.core.send_item(&source.caller, message, &ids);
        let is_due = source.is_due(state.now(), limits::STREAM_GATHER.as_micros() as u64);
        if is_due {
            state.settle(&self.poller);
            state.links.flush(&self.poller);
        }
        self.commit(state);
        // Only after the receiver was registered.
        drop(contained);
        is_due
    }

    /// Waits until another item may be made: the consumer has taken some, and what was made has left
    /// this process. Blocks.
    pub fn wait_for_room(
        &self,
        source: &Source,
        task: Option<TaskId>,
        interrupt: &mut dyn FnMut() -> bool,
    ) -> WaitOutcome {
        if !source.has_room() {
            let wanted = Wanted::something(task);
            let outcome = self.wait_in_task(&|| source.has_room(), None, &wanted, interrupt);
            if outcome != WaitOutcome::Ready {
                return outcome;
            }
        }
        if self.is_output_low(source) {
            return WaitOutcome::Ready;
        }
        self.wait_until(&|| self.is_output_low(source), None, interrupt)
    }

    /// Whether little of what was made waits for being read by the owner.
    pub fn is_output_low(&self, source: &Source) -> bool {
        let state = self.state.lock();
        state.links.output_bytes(&source.caller.worker) < limits::STREAM_OUTPUT_BYTES
    }

    /// Calls back once another item may be made, from any thread and without locks; at once, where
    /// that is now.
    pub fn when_room(&self, source: &Source, callback: Box<dyn FnOnce() + Send>) {
        self.callbacks.fetch_add(1, Ordering::Relaxed);
        if let Some(Waiter::Callback(callback)) = source.wait(Waiter::Callback(callback)) {
            self.callbacks.fetch_sub(1, Ordering::Relaxed);
            callback();
            return;
        }
        self.flush();
        self.bench.wake();
    }
}
