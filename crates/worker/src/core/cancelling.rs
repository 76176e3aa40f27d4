//! Ending tasks and actors before they end by themselves.
//!
//! A cancel is a request: whoever runs the task answers what came of it. The outcome is kept for
//! those who ask later ([`Cancellations`]), and is part of the text of the error.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use whipray_proto::failure::{Failure, FailureKind};
use whipray_proto::messages::actor::KillActor;
use whipray_proto::messages::execution::CancelTask;
use whipray_proto::messages::lease::KillWorker;
use whipray_proto::task::TaskKind;
use whipray_proto::{ActorId, ObjectId, TaskId, WorkerId};

use crate::core::Core;
use crate::core::effect::Effect;
use crate::core::tasks::Micros;

/// What came of the request to cancel a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancellation {
    /// The process that has the task was told; its answer is on its way.
    Asked,
    /// It had not started, and will not.
    NotStarted,
    /// It ran, and was ended.
    Stopped,
    /// Its process was ended with it.
    Killed,
    /// It was through before the request was heard.
    TooLate,
}

impl Cancellation {
    /// A sentence for the end of a message; empty where there is nothing to say.
    fn describe(self) -> &'static str {
        match self {
            Self::Asked | Self::TooLate => "",
            Self::NotStarted => " It had not started.",
            Self::Stopped => " It was under way.",
            Self::Killed => " It was under way, and its process was ended.",
        }
    }
}

/// The outcomes of the latest cancels, the oldest of which are forgotten.
#[derive(Default)]
pub struct Cancellations {
    outcomes: FxHashMap<TaskId, Cancellation>,
    order: VecDeque<TaskId>,
}

impl Cancellations {
    /// Outcomes that are remembered.
    const MOST: usize = 1024;

    /// What came of the cancel of a task; `None` where nobody asked for one, or long ago.
    pub fn outcome(&self, task: &TaskId) -> Option<Cancellation> {
        self.outcomes.get(task).copied()
    }

    pub(super) fn note(&mut self, task: TaskId, outcome: Cancellation) {
        if self.outcomes.insert(task, outcome).is_none() {
            self.order.push_back(task);
            if self.order.len() > Self::MOST
                && let Some(oldest) = self.order.pop_front()
            {
                self.outcomes.remove(&oldest);
            }
        }
    }
}

impl Core {
    /// Ends a task of ours as far as it can be ended; one that is through is left alone.
    pub fn cancel(&mut self, task: TaskId, force: bool, recursive: bool, now: Micros) {
        let Some(entry) = self.tasks.tasks.get_mut(&task) else {
            if self.cancellations.outcome(&task).is_none() {
                self.cancellations.note(task, Cancellation::TooLate);
            }
            return;
        };
        self.cancellations.note(task, Cancellation::Asked);
        entry.is_cancelled = true;
        entry.is_forced |= force;
        let is_actor = entry.spec.kind() == TaskKind::ActorMethod;
        let is_waiting = entry.missing > 0;
        let actor = task.actor();
        if is_actor {
            if self.actors.unqueue(&actor, &task) {
                self.fail_cancelled(task, Cancellation::NotStarted, now);
                self.actors.pump(&actor, &self.tasks, &mut self.effects);
            } else if let Some(address) = self.actors.address(&actor) {
                let message = CancelTask {
                    task,
                    recursive,
                    ..CancelTask::default()
                };
                self.effects
                    .push(Effect::ToPeer(address.clone(), message.into()));
            }
            return;
        }
        if is_waiting || self.tasks.unqueue(&task) || self.oom_retries.remove(&task) {
            self.fail_cancelled(task, Cancellation::NotStarted, now);
            return;
        }
        let Some(worker) = self.tasks.worker_of(&task).cloned() else {
            return;
        };
        let message = CancelTask {
            task,
            recursive,
            force,
            by_borrower: false,
        };
        let id = worker.worker;
        self.effects.push(Effect::ToPeer(worker, message.into()));
        self.end_forced(&id);
    }

    /// Has the owner of a result that we borrowed cancel its task.
    pub fn cancel_borrowed(&mut self, object: &ObjectId, force: bool, recursive: bool) {
        let Some(owner) = self.objects.owner(object).cloned() else {
            return;
        };
        let message = CancelTask {
            task: object.task(),
            recursive,
            force,
            by_borrower: true,
        };
        self.effects.push(Effect::ToPeer(owner, message.into()));
    }

    /// A task that was cancelled is through.
    pub(super) fn fail_cancelled(&mut self, task: TaskId, outcome: Cancellation, now: Micros) {
        self.cancellations.note(task, outcome);
        self.fail(task, cancelled(task, outcome), now);
    }

    /// Ends a worker where the task that it runs is to be ended with it. One that waits behind others
    /// is not worth their lives: it is taken out of the worker's queue, or its turn comes.
    pub(super) fn end_forced(&mut self, worker: &WorkerId) {
        let Some(task) = self.tasks.first_in(worker).filter(|task| task.is_forced) else {
            return;
        };
        let reason = format!("cancel(force=True) of task {}", task.spec.task);
        let worker = *worker;
        self.effects
            .push(Effect::ToNode(KillWorker { worker, reason }.into()));
    }

    pub(super) fn cancel_children(&mut self, parent: TaskId, force: bool, now: Micros) {
        let children: Vec<TaskId> = self
            .tasks
            .tasks
            .values()
            .filter(|task| task.spec.parent == parent)
            .map(|task| task.spec.task)
            .collect();
        for child in children {
            self.cancel(child, force, true, now);
        }
    }

    /// The node says nothing of a process to which the connection is lost: it is cut off. A worker is
    /// ended, so that its tasks can be retried; an actor, which others may call, is called again.
    pub fn give_up(&mut self, worker: WorkerId, now: Micros) {
        self.objects.ask_again(&worker, &mut self.effects);
        if self.tasks.has_lost_lease(&worker) {
            let reason = "the connection between it and its caller was lost".to_owned();
            self.effects
                .push(Effect::ToNode(KillWorker { worker, reason }.into()));
        }
        if let Some((actor, interrupted)) = self.actors.give_up(&worker, &mut self.tasks) {
            self.settle_interrupted(interrupted, now);
            self.actors.pump(&actor, &self.tasks, &mut self.effects);
            self.leave_if_quiet(actor);
        }
    }

    /// Asks for the end of an actor's process.
    pub fn kill_actor(&mut self, actor: ActorId, no_restart: bool) {
        self.actors.on_kill(&actor);
        self.effects
            .push(Effect::ToNode(KillActor { actor, no_restart }.into()));
    }
}

/// The failure in the place of the results of a task that was cancelled.
pub(super) fn cancelled(task: TaskId, outcome: Cancellation) -> Failure {
    Failure::new(
        FailureKind::TaskCancelled,
        task.to_hex(),
        format!("Task: {task} was cancelled.{}", outcome.describe()),
    )
}
