//! What this process runs for others.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use whipray_proto::failure::Failure;
use whipray_proto::messages::actor::{ActorExiting, ActorStarted, Constructed};
use whipray_proto::messages::object::SealObject;
use whipray_proto::{
    ActorId, DeathCause, ObjectId, ObjectValue, SharedLocation, TaskId, WorkerAddress,
};

use crate::core::party::Party;
use crate::handle::ObjectHandle;
use crate::shell::runtime::{
    FinishedTask, IncomingTask, NextWork, ReturnedValue, Runtime, WaitOutcome, Work,
};
use crate::shell::state::{ActorWork, State};

impl Runtime {
    /// The next thing to run. Blocks; the thread that calls it drives the sockets.
    pub fn next_work(&self, interrupt: &mut dyn FnMut() -> bool) -> NextWork {
        loop {
            if let Some(work) = self.try_next_work() {
                self.served.fetch_add(1, Ordering::Relaxed);
                return NextWork::Work(work);
            }
            let has_work = || self.has_work.load(Ordering::Acquire);
            // One call since the last wait: its caller waits for each, and the next is soon here.
            let looks = self.served.swap(0, Ordering::Relaxed) == 1;
            match self.wait_looking(&has_work, None, looks, interrupt) {
                WaitOutcome::Interrupted => return NextWork::Interrupted,
                WaitOutcome::Disconnected => return NextWork::Disconnected,
                WaitOutcome::Ready | WaitOutcome::TimedOut => {}
            }
            if self.state.lock().is_node_gone {
                return NextWork::Disconnected;
            }
        }
    }

    /// The next thing to run, if there is one.
    pub fn try_next_work(&self) -> Option<Work> {
        let mut state = self.state.lock();
        let now = state.now();
        let work = if let Some((queued, brought)) = state.core.execution.start(now) {
            let references = self.refer_all(&mut state, &brought);
            Some(Work::Task(Box::new(IncomingTask {
                spec: queued.push.spec,
                caller: queued.caller,
                assignment: queued.push.assignment,
                references,
            })))
        } else {
            match state.actor_work.pop_front() {
                Some(ActorWork::Start(start)) => {
                    let brought = start.spec.creation.brought_references();
                    let references = self.refer_all(&mut state, &brought);
                    Some(Work::StartActor(start, references))
                }
                Some(ActorWork::Stop) => Some(Work::StopActor),
                None => None,
            }
        };
        self.has_work.store(state.has_work(), Ordering::Release);
        work
    }

    fn refer_all(
        &self,
        state: &mut State,
        brought: &[(ObjectId, WorkerAddress)],
    ) -> Vec<ObjectHandle> {
        brought
            .iter()
            .map(|(object, owner)| self.adopt(state.core.objects.refer(*object, owner).clone()))
            .collect()
    }

    /// A task that ran here is through. Handles to its arguments must be gone, but for those that
    /// the process keeps.
    pub fn finish(&self, finished: FinishedTask) {
        let mut state = self.state.lock();
        let mut kept = Vec::new();
        let node = state.core.execution.node_of_caller(&finished.task);
        let owner = Party {
            worker: finished.caller,
            node: node.unwrap_or(self.address.node),
        };
        let mut returns = Vec::with_capacity(finished.returns.len());
        for returned in finished.returns {
            let (value, contained) = self.lower_returned(&mut state, returned, owner);
            returns.push((value, contained.iter().map(ObjectHandle::id).collect()));
            kept.extend(contained);
        }
        let now = state.now();
        state
            .core
            .finish_execution(finished.task, finished.outcome, returns, finished.lost, now);
        self.commit(state);
        // Only after the receiver was registered.
        drop(kept);
    }

    /// A result as it travels, with the references inside it; one in shared memory is sealed for
    /// `owner`.
    pub(crate) fn lower_returned(
        &self,
        state: &mut State,
        returned: ReturnedValue,
        owner: Party,
    ) -> (ObjectValue, Vec<ObjectHandle>) {
        match returned {
            ReturnedValue::Inline {
                data,
                contained,
                is_error,
            } => {
                let value = ObjectValue {
                    data,
                    is_error,
                    ..ObjectValue::default()
                };
                (value, contained)
            }
            ReturnedValue::Shared { writer, contained } => {
                let (object, size) = writer.into_sealed();
                let seal = SealObject {
                    object,
                    owner: owner.worker,
                    unpin: true,
                    owner_node: (owner.node != self.address.node).then_some(owner.node),
                };
                state.links.send_to_node(&seal.into(), true, &self.poller);
                let location = SharedLocation {
                    node: self.welcome.node,
                    size_bytes: size as u64,
                    attempt: 0, // The owner knows it.
                };
                let value = ObjectValue {
                    shared: Some(location),
                    ..ObjectValue::default()
                };
                (value, contained)
            }
        }
    }

    /// The system's time, in microseconds since the epoch.
    pub fn time_us(&self) -> u64 {
        let state = self.state.lock();
        state.core.began_at_us + state.now()
    }

    /// The constructor of the actor in this process is through; it began at `started_at_us`.
    pub fn actor_started(
        &self,
        actor: ActorId,
        incarnation: u32,
        started_at_us: u64,
        outcome: Result<String, Failure>,
        brought: &[ObjectId],
    ) {
        let (shown_as, failure) = match outcome {
            Ok(shown_as) => (shown_as, None),
            Err(failure) => (String::new(), Some(failure)),
        };
        let mut state = self.state.lock();
        state.core.keep_constructor_references(brought);
        let ended_at_us = state.core.began_at_us + state.now();
        self.send(
            state,
            ActorStarted {
                actor,
                incarnation,
                failure,
                shown_as,
                constructed: Constructed {
                    started_at_us,
                    ended_at_us,
                },
            }
            .into(),
        );
    }

    /// The actor in this process ends on purpose; the caller ends the process next.
    pub fn actor_exiting(&self, actor: ActorId, cause: DeathCause) {
        self.to_node(ActorExiting { actor, cause }.into());
        self.flush();
    }

    /// Whether the owner of a task that runs here has cancelled it.
    pub fn is_cancelled(&self, task: TaskId) -> bool {
        self.state.lock().core.execution.is_cancelled(&task)
    }

    /// Called, from any thread and without locks, when a task that runs here is cancelled.
    pub fn set_cancel_hook(&self, hook: Box<dyn Fn(TaskId) + Send + Sync>) {
        *self.cancel_hook.lock() = Some(Arc::from(hook));
    }
}
