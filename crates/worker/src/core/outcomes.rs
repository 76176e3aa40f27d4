//! How tasks of ours end: answers, retries, crashes, the deaths of actors.

use whipray_proto::failure::{Failure, FailureKind};
use whipray_proto::messages::actor::{ActorState, ActorUpdate};
use whipray_proto::messages::lease::{
    LeaseGranted, LeaseLost, LeasePending, LeaseRefused, LeaseReturn,
};
use whipray_proto::task::{TaskKind, TaskOutcome, TaskReply};
use whipray_proto::{
    DeathCause, NodeId, ObjectId, ObjectValue, References, TaskId, WorkerAddress, WorkerId,
};

use crate::core::Core;
use crate::core::actors::{Interrupted, Turn};
use crate::core::cancelling::Cancellation;
use crate::core::effect::{DriverEvent, Effect};
use crate::core::history::{self, End, Ending, Run};
use crate::core::party::Party;
use crate::core::tasks::{Micros, Task};

impl Core {
    pub(super) fn on_reply(&mut self, from: &WorkerAddress, reply: TaskReply, now: Micros) {
        let own: Vec<References> = if from.worker == self.me.worker {
            let values = reply.returns.iter();
            values.filter_map(|value| value.contained.clone()).collect()
        } else {
            Vec::new()
        };
        if let Some(late) = self.take_reply(from, reply, now) {
            // The news of its worker's death overtook it; the task was tried again, or has failed.
            if let Some(kept) = &late.kept {
                self.objects.register_kept(kept, from, &mut self.effects);
            }
            if self.tasks.tasks.contains_key(&late.task) {
                self.note_try(late.task, from.node);
            }
            for (index, value) in (1u32..).zip(&late.returns) {
                let object = late.task.return_id(index);
                self.objects
                    .refuse(object, value, from.into(), &mut self.effects);
            }
        }
        for references in own {
            self.objects.release_arrived(&references, &mut self.effects);
        }
    }

    /// Takes an answer in; gives it back where nobody waits for it.
    pub(super) fn take_reply(
        &mut self,
        from: &WorkerAddress,
        reply: TaskReply,
        now: Micros,
    ) -> Option<TaskReply> {
        let task = reply.task;
        let outcome = reply.outcome();
        let Some(entry) = self.tasks.tasks.get(&task) else {
            return Some(reply);
        };
        let class = entry.class;
        let is_actor = entry.spec.kind() == TaskKind::ActorMethod;
        if matches!(outcome, TaskOutcome::Returned) && !is_actor {
            self.durations.learn(entry.spec.function, reply.duration_us);
        }
        let was_under_way = if is_actor {
            self.actors.take_in_flight(&task.actor(), &task)
        } else {
            self.tasks.take_in_flight(
                &from.worker,
                &task,
                &self.durations,
                outcome == TaskOutcome::HandedBack,
                now,
                &mut self.effects,
            )
        };
        if !was_under_way {
            return Some(reply);
        }
        if let Some(kept) = &reply.kept {
            self.objects.register_kept(kept, from, &mut self.effects);
        }
        let run = Run::of(from.worker, &reply);
        match outcome {
            TaskOutcome::Returned | TaskOutcome::Raised => {
                self.end(task, reply.returns, from.into(), run, now);
            }
            TaskOutcome::RaisedRetryable => {
                let ending = Ending::of(run, &reply.returns);
                if self.retry(task, ending, now) {
                    self.note_try(task, from.node);
                    // Items of a generator may have come before the exception.
                    for value in &reply.returns {
                        self.objects
                            .refuse_contained(value, from.into(), &mut self.effects);
                    }
                } else {
                    self.end(task, reply.returns, from.into(), run, now);
                }
            }
            // A task of the user's code that was interrupted has its traceback with it.
            TaskOutcome::Cancelled if !reply.returns.is_empty() => {
                self.cancellations.note(task, Cancellation::Stopped);
                let ending = Ending::of(run, &reply.returns);
                self.finish(task, reply.returns, from.into(), ending, now);
            }
            TaskOutcome::Cancelled => {
                // The cancel may have come when its results were sealed.
                self.note_try(task, from.node);
                let has_run = reply.duration_us > 0;
                let outcome = if has_run {
                    Cancellation::Stopped
                } else {
                    Cancellation::NotStarted
                };
                self.fail_cancelled(task, outcome, now);
            }
            TaskOutcome::HandedBack => self.requeue(task, now),
            TaskOutcome::ArgumentsLost => self.on_lost_arguments(task, &reply.lost, now),
        }
        if is_actor {
            self.leave_if_quiet(task.actor());
        } else {
            self.end_forced(&from.worker);
            self.tasks
                .pump(class, &self.durations, now, &mut self.effects);
        }
        None
    }

    /// A task of ours ended by itself; a cancel of it came too late.
    fn end(&mut self, task: TaskId, returns: Vec<ObjectValue>, from: Party, run: Run, now: Micros) {
        let entry = self.tasks.tasks.get(&task);
        if entry.is_some_and(|entry| entry.is_cancelled) {
            self.cancellations.note(task, Cancellation::TooLate);
        }
        let ending = Ending::of(run, &returns);
        self.finish(task, returns, from, ending, now);
    }

    /// Queues a task again, whose try came to this end; whether it had a retry left.
    pub(super) fn retry(&mut self, task: TaskId, ending: Ending, now: Micros) -> bool {
        let may_retry = |entry: &Task| entry.retries_left != 0 && !entry.is_cancelled;
        if !self.tasks.tasks.get(&task).is_some_and(may_retry) {
            return false;
        }
        self.remember_try(task, ending);
        let Some(entry) = self.tasks.tasks.get_mut(&task) else {
            return false;
        };
        entry.begin_retry();
        if entry.spec.kind() == TaskKind::ActorMethod {
            let actor = task.actor();
            if let Some(failure) = self.actors.enqueue(&actor, task, Turn::First) {
                self.fail(task, failure, now);
            }
            self.actors.pump(&actor, &self.tasks, &mut self.effects);
        } else if !self.oom_retries.pause_other(task, now) {
            self.tasks.enqueue(task, true);
        }
        true
    }

    /// Keeps how a try of a task came to its end, which is to be tried again.
    pub(super) fn remember_try(&mut self, task: TaskId, ending: Ending) {
        if let Some(entry) = self.tasks.tasks.get(&task) {
            let names = (entry.spec.name.clone(), entry.spec.method.clone());
            let group = self.tasks.group_of(entry);
            self.history.add(names, entry, group, ending);
        }
    }

    /// What the end of an actor's life, or of the way to it, means for calls under way.
    pub(super) fn settle_interrupted(&mut self, interrupted: Interrupted, now: Micros) {
        // These first: what waits for those that fail may have the actor's queue sent on.
        for struck in interrupted.retried {
            let ending = self.crashed(struck.worker, &struck.failure, now);
            self.remember_try(struck.task, ending);
            if let Some(entry) = self.tasks.tasks.get_mut(&struck.task) {
                entry.begin_retry();
            }
        }
        for struck in interrupted.failed {
            self.fail_in(struck.worker, struck.task, struck.failure, now);
        }
    }

    /// The end of a task, or of a try, that the engine tells, not its worker: it is gone, if the task
    /// had one.
    fn crashed(&self, worker: Option<WorkerId>, failure: &Failure, now: Micros) -> Ending {
        let run = Run {
            worker,
            duration_us: None,
            ended_at_us: self.began_at_us + now,
        };
        Ending {
            run,
            end: End::Failed(failure.kind()),
            error: history::kept(failure.message.as_bytes()),
        }
    }

    /// Queues a task again that did not run; one that was cancelled meanwhile is through.
    fn requeue(&mut self, task: TaskId, now: Micros) {
        let entry = self.tasks.tasks.get(&task);
        if entry.is_some_and(|entry| entry.is_cancelled) {
            self.fail_cancelled(task, Cancellation::NotStarted, now);
        } else {
            self.tasks.enqueue(task, true);
        }
    }

    /// A task is through: its results are there, from the worker that ran it or from here.
    pub(super) fn finish(
        &mut self,
        task: TaskId,
        returns: Vec<ObjectValue>,
        from: Party,
        ending: Ending,
        now: Micros,
    ) {
        let Some(mut entry) = self.tasks.tasks.remove(&task) else {
            return;
        };
        let tried = self.tried.take(&task);
        let mut any_shared = false;
        if let (Some(stream), Some(returned)) = (&entry.stream, returns.first()) {
            self.end_stream(stream, returned, from, now);
        }
        for (index, mut value) in (1u32..).zip(returns) {
            let object = task.return_id(index);
            // A try that met a death may have sealed a result before it could answer.
            let was_tried = entry.spec.attempt > 0 || value.failure.is_some();
            let node = value.shared.as_ref().map(|location| location.node);
            if was_tried && node.is_none() {
                self.objects.free_unknown(object);
            }
            if let Some(location) = &mut value.shared {
                location.attempt = entry.spec.attempt;
                any_shared = true;
            }
            let waiting = self
                .objects
                .complete(object, compact(value), from, &mut self.effects);
            if !waiting.is_empty() {
                self.on_dependencies(waiting, now);
            }
            if was_tried {
                self.free_earlier_tries(object, &tried, node);
            }
        }
        // What may run again needs its name.
        let is_kept = any_shared || self.lineage.has_users(&task);
        let names = match is_kept {
            true => (entry.spec.name.clone(), entry.spec.method.clone()),
            false => (
                std::mem::take(&mut entry.spec.name),
                std::mem::take(&mut entry.spec.method),
            ),
        };
        let group = self.tasks.group_of(&entry);
        self.history.add(names, &entry, group, ending);
        if is_kept {
            self.retire(entry);
        } else {
            for object in entry.held {
                self.objects.release(&object, &mut self.effects);
            }
        }
        self.settle_releases();
    }

    /// Earlier tries may have sealed an object on other nodes than the one whose copy counts now, if
    /// there is one.
    pub(super) fn free_earlier_tries(
        &mut self,
        object: ObjectId,
        tried: &[NodeId],
        now_at: Option<NodeId>,
    ) {
        let me = self.me.node;
        let own = now_at.filter(|node| *node != me).map(|_| me);
        for node in tried.iter().copied().chain(own) {
            if now_at != Some(node) && !self.objects.has_copy_at(&object, &node) {
                self.objects.free_at(object, node);
            }
        }
    }

    /// A task ends with a failure of the engine in the place of each result.
    pub(super) fn fail(&mut self, task: TaskId, failure: Failure, now: Micros) {
        self.fail_in(None, task, failure, now);
    }

    /// The same, where it had a worker.
    pub(super) fn fail_in(
        &mut self,
        worker: Option<WorkerId>,
        task: TaskId,
        failure: Failure,
        now: Micros,
    ) {
        let Some(entry) = self.tasks.tasks.get(&task) else {
            return;
        };
        let count = entry.spec.num_returns as usize;
        let ending = self.crashed(worker, &failure, now);
        let failures = vec![ObjectValue::failed(failure); count];
        self.finish(task, failures, Party::from(&self.me), ending, now);
    }

    /// A try of a task that is under way again may have left results on a node.
    pub(super) fn note_try(&mut self, task: TaskId, node: NodeId) {
        if node != self.me.node && !self.dead_nodes.contains(&node) {
            self.tried.note(task, node);
        }
    }

    pub(super) fn on_granted(&mut self, granted: LeaseGranted, now: Micros) {
        if self.dead_nodes.contains(&granted.worker.node) {
            let lease = granted.lease;
            let returned = LeaseReturn {
                lease,
                end_worker: false,
            };
            return self.effects.push(Effect::ToNode(returned.into()));
        }
        let class = self.tasks.on_granted(
            granted.class,
            granted.lease,
            granted.worker,
            granted.assignment,
            now,
            &mut self.effects,
        );
        if let Some(class) = class {
            self.tasks
                .pump(class, &self.durations, now, &mut self.effects);
        }
    }

    pub(super) fn on_lease_lost(&mut self, lost: LeaseLost, now: Micros) {
        let Some((class, in_flight, has_begun, node)) = self.tasks.on_lost(&lost.lease) else {
            return;
        };
        if has_begun {
            for task in &in_flight {
                self.note_try(*task, node);
            }
        }
        // A worker runs its tasks one by one and in order: the first is the one that met the death.
        // The others had not started, unless answers were lost with the worker; they are pushed
        // again without being charged, but alone, so that the next death tells whose it is.
        let mut others = in_flight;
        if has_begun && others.len() > 1 {
            self.tasks.suspect(&others);
        }
        let met = if has_begun { others.pop_front() } else { None };
        for task in others.into_iter().rev() {
            self.requeue(task, now);
        }
        if let Some(task) = met {
            self.on_crash(task, &lost.cause, now);
        }
        self.tasks
            .pump(class, &self.durations, now, &mut self.effects);
    }

    /// No task of a class can run any more: those that wait fail.
    pub(super) fn on_refused(&mut self, refused: LeaseRefused, now: Micros) {
        for task in self.tasks.on_refused(refused.class) {
            let mut failure = refused.failure.clone();
            failure.subject = task.to_hex();
            self.fail(task, failure, now);
        }
    }

    pub(super) fn on_crash(&mut self, task: TaskId, cause: &DeathCause, now: Micros) {
        let Some(entry) = self.tasks.tasks.get(&task) else {
            return;
        };
        if entry.is_cancelled {
            self.fail_cancelled(task, Cancellation::Killed, now);
            return;
        }
        let (name, used, left) = (
            entry.spec.name.clone(),
            entry.retries_used,
            entry.retries_left,
        );
        let kind = match cause.kind() {
            whipray_proto::DeathKind::OutOfMemory => FailureKind::OutOfMemory,
            whipray_proto::DeathKind::NodeDied => FailureKind::NodeDied,
            _ => FailureKind::WorkerCrashed,
        };
        let worker = Some(cause.worker).filter(|worker| !worker.is_nil());
        let failure = |tries: &str| {
            let message = format!(
                "The task {name} failed: {}. {tries}{}",
                cause.headline(),
                cause.last_words()
            );
            Failure::new(kind, task.to_hex(), message).because_of(cause.clone())
        };
        let again = self.crashed(worker, &failure("It is tried again."), now);
        let tries = if cause.memory.is_some() {
            if self.retry_out_of_memory(task, again, now) {
                return;
            }
            let used = self
                .tasks
                .tasks
                .get(&task)
                .map_or(0, |entry| entry.oom_retries_used);
            format!("It was tried again {used} times for want of memory, and is not any more.")
        } else {
            if left != 0 && self.retry(task, again, now) {
                return;
            }
            format!("Retries: {used} used, 0 left.")
        };
        self.fail_in(worker, task, failure(&tries), now);
    }

    pub(super) fn on_pending(&mut self, pending: LeasePending) {
        let Some((example, definition)) = self.tasks.describe(pending.class) else {
            return;
        };
        let what = if pending.infeasible {
            "cannot be scheduled"
        } else {
            "waits"
        };
        let text = format!(
            "The task {example} with {} {what}: {}",
            definition.resources.describe(),
            pending.reason
        );
        self.effects.push(Effect::Tell(DriverEvent::Warning(text)));
    }

    pub(super) fn on_actor_update(&mut self, update: &ActorUpdate, now: Micros) {
        let interrupted = self
            .actors
            .on_update(update, &self.dead_nodes, &mut self.tasks);
        if let Some(node) = interrupted.node {
            for struck in interrupted.retried.iter().chain(&interrupted.failed) {
                self.note_try(struck.task, node);
            }
        }
        self.settle_interrupted(interrupted, now);
        if update.state() == ActorState::Dead {
            self.release_creation(&update.actor);
        }
        self.actors
            .pump(&update.actor, &self.tasks, &mut self.effects);
        self.leave_if_quiet(update.actor);
    }
}

/// Values arrive as slices of the buffer that a whole batch was read into; one that is kept for
/// long must not keep the batch.
pub(super) fn compact(mut value: ObjectValue) -> ObjectValue {
    const SMALL_BYTES: usize = 8 * 1024;
    if value.data.len() <= SMALL_BYTES {
        value.data = bytes::Bytes::copy_from_slice(&value.data);
    }
    value
}
