//! What this process runs for others: a queue of tasks, and what runs now.

use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use smallvec::smallvec;
use whipray_proto::generator::GeneratorSpec;
use whipray_proto::messages::execution::{CancelTask, PushTask, StreamTaken, TaskReplied};
use whipray_proto::task::{TaskKind, TaskOutcome, TaskReply};
use whipray_proto::{NodeId, ObjectId, TaskId, WorkerAddress, WorkerId};

use crate::core::effect::Effect;
use crate::core::sources::Source;

/// A task that waits here, with who sent it.
pub struct QueuedTask {
    pub push: Box<PushTask>,
    pub caller: WorkerAddress,
}

struct RunningTask {
    caller: WorkerAddress,
    /// References that came inside the arguments.
    brought: Vec<ObjectId>,
    is_cancelled: bool,
    /// It is a method of an actor, which is not interrupted: one that was cancelled meanwhile counts
    /// as cancelled whatever it returns.
    is_method: bool,
    started_us: u64,
    /// Where its results are given one by one.
    source: Option<Arc<Source>>,
}

/// A task that ran here and is through.
pub struct EndedTask {
    pub caller: WorkerAddress,
    /// References that came inside the arguments.
    pub brought: Vec<ObjectId>,
    pub duration_us: u64,
    /// What it returned is not wanted: see `is_method` of what runs.
    pub is_refused: bool,
}

/// The tasks of others in this process.
#[derive(Default)]
pub struct ExecutionQueue {
    queue: VecDeque<QueuedTask>,
    running: FxHashMap<TaskId, RunningTask>,
}

impl ExecutionQueue {
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// What runs here, for whom, and for how long, in microseconds.
    pub fn running(&self, now_us: u64) -> impl Iterator<Item = (TaskId, WorkerId, u64)> {
        self.running.iter().map(move |(task, running)| {
            let age_us = now_us.saturating_sub(running.started_us);
            (*task, running.caller.worker, age_us)
        })
    }

    /// What waits here for its turn, in order.
    pub fn queued(&self) -> impl Iterator<Item = TaskId> {
        self.queue.iter().map(|queued| queued.push.spec.task)
    }

    /// Whether no task waits or runs here.
    pub fn is_unused(&self) -> bool {
        self.queue.is_empty() && self.running.is_empty()
    }

    /// Tasks that have not started.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    pub fn push(&mut self, push: Box<PushTask>, caller: WorkerAddress) {
        self.queue.push_back(QueuedTask { push, caller });
    }

    /// Takes the next task to run it; `brought` are the references inside its arguments.
    pub fn start(&mut self, now_us: u64) -> Option<(QueuedTask, Vec<(ObjectId, WorkerAddress)>)> {
        let queued = self.queue.pop_front()?;
        let brought = queued.push.spec.brought_references();
        self.running.insert(
            queued.push.spec.task,
            RunningTask {
                caller: queued.caller.clone(),
                brought: brought.iter().map(|(object, _)| *object).collect(),
                is_cancelled: false,
                is_method: queued.push.spec.kind() == TaskKind::ActorMethod,
                started_us: now_us,
                source: Source::of(&queued.push.spec, &queued.caller).map(Arc::new),
            },
        );
        Some((queued, brought))
    }

    /// The task is through. `None` for a task that does not run here.
    pub fn finish(&mut self, task: &TaskId, now_us: u64) -> Option<EndedTask> {
        let running = self.running.remove(task)?;
        Some(EndedTask {
            caller: running.caller,
            brought: running.brought,
            duration_us: now_us.saturating_sub(running.started_us),
            is_refused: running.is_cancelled && running.is_method,
        })
    }

    pub fn is_cancelled(&self, task: &TaskId) -> bool {
        self.running
            .get(task)
            .is_some_and(|running| running.is_cancelled)
    }

    /// Its owner does not want a task any more.
    pub fn on_cancel(&mut self, message: &CancelTask, effects: &mut Vec<Effect>) {
        let task = message.task;
        if let Some(position) = self
            .queue
            .iter()
            .position(|queued| queued.push.spec.task == task)
        {
            if let Some(queued) = self.queue.remove(position) {
                effects.push(answer_unrun(queued, TaskOutcome::Cancelled));
            }
        } else if let Some(running) = self.running.get_mut(&task)
            && !running.is_cancelled
        {
            running.is_cancelled = true;
            let waiter = running
                .source
                .as_ref()
                .and_then(|source| source.on_cancel());
            effects.extend(waiter.map(|waiter| Effect::Notify(smallvec![waiter])));
            // With force the node ends the process: an interruption would only race with that.
            if !message.force {
                effects.push(Effect::Interrupt(task));
            }
        }
    }

    /// Hands up to `count` plain tasks back that have not started, the last ones first: all of
    /// them, because the worker waits for others, or those that `caller` asked for.
    pub fn hand_back(&mut self, count: usize, caller: Option<WorkerId>, effects: &mut Vec<Effect>) {
        let mut left = count;
        let mut kept = VecDeque::with_capacity(self.queue.len());
        while let Some(queued) = self.queue.pop_back() {
            let is_plain = queued.push.spec.kind() == TaskKind::Plain;
            let is_asked = caller.is_none_or(|caller| queued.caller.worker == caller);
            if left > 0 && is_plain && is_asked {
                left -= 1;
                effects.push(answer_unrun(queued, TaskOutcome::HandedBack));
            } else {
                kept.push_front(queued);
            }
        }
        self.queue = kept;
    }

    /// What a task that runs here gives its results to, where it gives them one by one.
    pub fn source(&self, task: &TaskId) -> Option<Arc<Source>> {
        self.running.get(task)?.source.clone()
    }

    /// A consumer has taken items, or is gone.
    pub fn on_taken(&mut self, message: &StreamTaken, effects: &mut Vec<Effect>) {
        if let Some(running) = self.running.get(&message.task) {
            let source = running.source.as_ref();
            let waiter = source.and_then(|source| source.on_taken(message.taken));
            effects.extend(waiter.map(|waiter| Effect::Notify(smallvec![waiter])));
            return;
        }
        let queued = self.queue.iter_mut();
        let mut specs = queued.map(|queued| &mut queued.push.spec);
        if let Some(spec) = specs.find(|spec| spec.task == message.task)
            && let Some(generator) = &mut spec.generator
            && message.taken == GeneratorSpec::NONE_WANTED
        {
            generator.wanted_from = message.taken;
        }
    }

    /// Whoever has tasks here and is on a node.
    pub fn callers_on(&self, node: &NodeId) -> Vec<WorkerId> {
        let queued = self.queue.iter().map(|queued| &queued.caller);
        let running = self.running.values().map(|running| &running.caller);
        let callers = queued.chain(running);
        let callers = callers.filter(|caller| caller.node == *node);
        let mut callers: Vec<WorkerId> = callers.map(|caller| caller.worker).collect();
        callers.sort_unstable();
        callers.dedup();
        callers
    }

    /// The node of whoever has this task run here.
    pub fn node_of_caller(&self, task: &TaskId) -> Option<NodeId> {
        Some(self.running.get(task)?.caller.node)
    }

    /// A caller is gone: what it queued does not start any more, and nothing of what runs is for it.
    pub fn on_caller_gone(&mut self, caller: &WorkerId, effects: &mut Vec<Effect>) {
        self.queue.retain(|queued| queued.caller.worker != *caller);
        for running in self.running.values() {
            if running.caller.worker == *caller
                && let Some(source) = &running.source
                && let Some(waiter) = source.on_taken(GeneratorSpec::NONE_WANTED)
            {
                effects.push(Effect::Notify(smallvec![waiter]));
            }
        }
    }
}

fn answer_unrun(queued: QueuedTask, outcome: TaskOutcome) -> Effect {
    let reply = TaskReply {
        task: queued.push.spec.task,
        outcome: outcome as i32,
        ..TaskReply::default()
    };
    Effect::ToPeer(queued.caller, TaskReplied { reply }.into())
}
