//! What a process runs for others: from the queue of its core to the answer.

use bytes::Bytes;
use smallvec::SmallVec;
use whipray_proto::failure::{DeathCause, DeathKind, Failure, FailureKind};
use whipray_proto::messages::actor::{ActorExiting, ActorStarted};
use whipray_proto::messages::object::{FreeObjects, SealObject};
use whipray_proto::task::TaskOutcome;
use whipray_proto::{ActorId, ObjectId, ObjectValue, TaskId, TaskSpec, WorkerAddress};
use whipray_worker::core::effect::Effect;

use super::frame::{ActorRef, Frame, FrameKind, Handle, Stage};
use super::{ActorWork, Lived, Process};
use crate::agenda::Event;
use crate::around::Around;

/// How a frame ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Returned,
    Raised,
    Cancelled,
    /// Arguments were not in the store.
    Lost,
}

impl Process {
    /// Lets programs go on that can, and starts what can be started.
    pub(super) fn progress(&mut self, around: &mut Around) {
        while self.is_alive && self.is_welcome {
            let ready: Vec<u64> = self
                .frames
                .values()
                .filter(|frame| self.is_answered(frame))
                .map(|frame| frame.number)
                .collect();
            for number in &ready {
                self.advance(*number, around);
            }
            if !self.start_work(around) && ready.is_empty() {
                return;
            }
        }
    }

    fn is_answered(&self, frame: &Frame) -> bool {
        match &frame.stage {
            Stage::Waits { set, .. } => set.is_done() || frame.is_interrupted || self.is_node_gone,
            Stage::Asks { request, .. } => {
                self.is_node_gone || matches!(self.answers.get(request), Some(Some(_)))
            }
            _ => false,
        }
    }

    /// A frame's pause is over, or what it waits for takes too long.
    pub fn on_wake(&mut self, number: u64, around: &mut Around) {
        let Some(frame) = self.frames.get_mut(&number) else {
            return;
        };
        if !self.is_alive || frame.wakes_at.is_none_or(|at| at > around.now) {
            return;
        }
        frame.wakes_at = None;
        self.advance(number, around);
        self.progress(around);
    }

    fn start_work(&mut self, around: &mut Around) -> bool {
        if !self.is_alive || self.is_driver() {
            return false;
        }
        let capacity = self.lived.as_ref().map_or(1, |lived| lived.max_concurrency);
        if self.is_stopping && self.frames.is_empty() {
            self.leave_actor(DeathKind::OutOfScope, around);
            return true;
        }
        if self.is_node_gone && self.frames.is_empty() {
            self.exit_in_order(around);
            return true;
        }
        if self.frames.len() >= capacity || self.is_stopping || self.is_node_gone {
            return false;
        }
        if let Some((queued, brought)) = self.core.execution.start(around.now) {
            let spec = queued.push.spec;
            around.witness.begun(spec.task, spec.attempt, self.index);
            let index = self.index;
            around.note(|| format!("process {index} begins {} ({})", spec.task, spec.name));
            let plan = plan_of(&spec);
            let kind = FrameKind::Task {
                spec: Box::new(spec),
                caller: queued.caller,
            };
            self.start_frame(kind, plan, &brought, around);
            return true;
        }
        match self.actor_work.pop_front() {
            Some(ActorWork::Start(start)) => {
                around
                    .witness
                    .actor_starts(start.spec.actor, start.incarnation, self.index);
                let brought = start.spec.creation.brought_references();
                let plan = plan_of(&start.spec.creation);
                let ids = brought.iter().map(|(object, _)| *object).collect();
                let kind = FrameKind::Constructor {
                    start,
                    brought: ids,
                };
                self.start_frame(kind, plan, &brought, around);
                true
            }
            Some(ActorWork::Stop) => {
                self.is_stopping = true;
                true
            }
            None => false,
        }
    }

    pub(super) fn is_driver(&self) -> bool {
        self.role == whipray_proto::messages::session::Role::Driver
    }

    /// Starts the program of a driver.
    pub(super) fn start_driver(&mut self, plan: usize, around: &mut Around) {
        self.start_frame(FrameKind::Driver, plan, &[], around);
    }

    fn start_frame(
        &mut self,
        kind: FrameKind,
        plan: usize,
        brought: &[(ObjectId, WorkerAddress)],
        around: &mut Around,
    ) {
        let stage = if matches!(kind, FrameKind::Driver) {
            Stage::Runs
        } else {
            Stage::Binds
        };
        self.next_frame += 1;
        let mut frame = Frame::new(self.next_frame, kind, plan, stage);
        for (object, owner) in brought {
            self.receive(&mut frame, *object, owner);
        }
        self.wake_at(&mut frame, around.now, around);
        self.frames.insert(frame.number, frame);
    }

    /// A reference has arrived: the frame holds it from now on.
    pub(super) fn receive(&mut self, frame: &mut Frame, object: ObjectId, owner: &WorkerAddress) {
        let handle = Handle {
            cell: self.core.objects.refer(object, owner).clone(),
        };
        match actor_of(&object) {
            Some(actor) => frame.actors.push(ActorRef {
                actor,
                handle: Some(handle),
            }),
            None => frame.objects.push(handle),
        }
    }

    pub(super) fn wake_at(&mut self, frame: &mut Frame, at: u64, around: &mut Around) {
        let is_earlier = frame
            .wakes_at
            .is_none_or(|known| at < known || known < around.now);
        if is_earlier {
            frame.wakes_at = Some(at);
            let event = Event::Wake {
                process: self.index,
                frame: frame.number,
            };
            around.agenda.add(at, event);
        }
    }

    pub(super) fn interrupt(&mut self, task: TaskId, around: &mut Around) {
        let frame = self.frames.values().find(|frame| {
            frame.task() == Some(task)
                && matches!(&frame.kind, FrameKind::Task { spec, .. } if spec.method.is_empty())
        });
        let Some(number) = frame.map(|frame| frame.number) else {
            return;
        };
        let now = around.now;
        if let Some(mut frame) = self.frames.remove(&number) {
            frame.is_interrupted = true;
            self.wake_at(&mut frame, now, around);
            self.frames.insert(number, frame);
        }
    }

    // ---- references

    pub(super) fn release(&mut self, handle: Handle, around: &mut Around) {
        let object = handle.id();
        drop(handle);
        self.core.release(&object);
        self.commit(around);
    }

    pub(super) fn release_actor(&mut self, actor: ActorRef, around: &mut Around) {
        if let Some(handle) = actor.handle {
            self.release(handle, around);
        }
    }

    pub(super) fn unview(&mut self, object: ObjectId, around: &mut Around) {
        self.unpins.push(object);
        around.witness.unviewed(self.index, object);
        self.commit(around);
    }

    fn release_all(&mut self, frame: &mut Frame, around: &mut Around) {
        for object in std::mem::take(&mut frame.views) {
            self.unview(object, around);
        }
        for handle in std::mem::take(&mut frame.objects) {
            self.release(handle, around);
        }
        for actor in std::mem::take(&mut frame.actors) {
            self.release_actor(actor, around);
        }
    }

    // ---- the end of a frame

    pub(super) fn end_frame(&mut self, mut frame: Frame, ending: Ending, around: &mut Around) {
        let index = self.index;
        let name = frame.task();
        around.note(|| format!("process {index} ends {name:?}: {ending:?}"));
        if frame.wants_exit && self.lived.is_some() {
            return self.leave_actor(DeathKind::ActorExit, around);
        }
        for group in std::mem::take(&mut frame.groups) {
            self.remove_group(group, around);
        }
        self.release_all(&mut frame, around);
        match std::mem::replace(&mut frame.kind, FrameKind::Driver) {
            FrameKind::Driver => {}
            FrameKind::Task { spec, caller } => {
                self.answer(frame, &spec, &caller, ending, around);
            }
            FrameKind::Constructor { start, brought } => {
                let actor = start.spec.actor;
                let failure = (ending != Ending::Returned).then(|| {
                    let text = "the constructor raised";
                    Failure::new(FailureKind::ActorDied, actor.to_hex(), text)
                });
                let is_there = failure.is_none();
                if is_there {
                    self.lived = Some(Lived {
                        actor,
                        incarnation: start.incarnation,
                        max_concurrency: start.spec.max_concurrency.max(1) as usize,
                    });
                } else if let Some(record) = around.witness.actors.get_mut(&actor) {
                    record.has_raised = true;
                }
                self.core.keep_constructor_references(&brought);
                let incarnation = start.incarnation;
                let started = ActorStarted {
                    actor,
                    incarnation,
                    failure,
                    ..ActorStarted::default()
                };
                self.core.effects.push(Effect::ToNode(started.into()));
                self.commit(around);
                if !is_there {
                    self.exit_in_order(around);
                }
            }
        }
    }

    fn answer(
        &mut self,
        mut frame: Frame,
        spec: &TaskSpec,
        caller: &WorkerAddress,
        ending: Ending,
        around: &mut Around,
    ) {
        let written = std::mem::take(&mut frame.written);
        for object in &written {
            // What was written for a task that raises in the end is given up.
            let is_result = ending == Ending::Returned;
            let owner = if is_result {
                caller.worker
            } else {
                self.address.worker
            };
            let node = if is_result {
                caller.node
            } else {
                self.address.node
            };
            let seal = SealObject {
                object: *object,
                owner,
                unpin: true,
                owner_node: (node != self.address.node).then_some(node),
            };
            self.send_to_node(&seal.into(), true, around);
            around.witness.unviewed(self.index, *object);
            if !is_result {
                let free = FreeObjects {
                    objects: vec![*object],
                    node: None,
                    owner: None,
                };
                self.send_to_node(&free.into(), true, around);
            }
        }
        let retries = spec.retry_any_exception;
        let (outcome, returns) = match ending {
            Ending::Returned => (TaskOutcome::Returned, std::mem::take(&mut frame.results)),
            Ending::Cancelled => (TaskOutcome::Cancelled, Vec::new()),
            Ending::Lost => (TaskOutcome::ArgumentsLost, Vec::new()),
            Ending::Raised => {
                let outcome = if retries {
                    TaskOutcome::RaisedRetryable
                } else {
                    TaskOutcome::Raised
                };
                let error = ObjectValue {
                    data: Bytes::from_static(b"raised"),
                    is_error: true,
                    ..ObjectValue::default()
                };
                (
                    outcome,
                    vec![(error, Vec::new()); spec.num_returns as usize],
                )
            }
        };
        if outcome == TaskOutcome::ArgumentsLost
            && let Some(record) = around.witness.tasks.get_mut(&spec.task)
        {
            record.handed_back += 1;
        }
        if outcome == TaskOutcome::RaisedRetryable
            && let Some(record) = around.witness.tasks.get_mut(&spec.task)
        {
            record.raised += 1;
        }
        let returns = returns
            .into_iter()
            .map(|(value, contained)| (value, SmallVec::from_vec(contained)))
            .collect();
        self.core
            .finish_execution(spec.task, outcome, returns, frame.lost, around.now);
        self.commit(around);
        for handle in std::mem::take(&mut frame.returned) {
            self.release(handle, around);
        }
    }

    fn leave_actor(&mut self, kind: DeathKind, around: &mut Around) {
        if let Some(lived) = &self.lived {
            let (actor, incarnation) = (lived.actor, lived.incarnation);
            let index = self.index;
            around.note(|| format!("process {index} leaves actor {actor} life {incarnation}"));
            let exiting = ActorExiting {
                actor,
                cause: DeathCause::new(kind, ""),
            };
            self.core.effects.push(Effect::ToNode(exiting.into()));
            self.commit(around);
        }
        self.exit_in_order(around);
    }

    fn exit_in_order(&mut self, around: &mut Around) {
        self.disconnect(around);
        self.exit = Some(0);
    }
}

/// The plan that the first argument of a call names.
fn plan_of(spec: &TaskSpec) -> usize {
    let data = spec
        .arguments
        .first()
        .and_then(|first| first.value.as_ref());
    let bytes = data.and_then(|value| value.data.first_chunk::<4>().copied());
    u32::from_le_bytes(bytes.unwrap_or_default()) as usize
}

/// The actor whose handles this object stands for, if it is such an object.
pub(super) fn actor_of(object: &ObjectId) -> Option<ActorId> {
    let actor = object.task().actor();
    (actor.handle_object() == *object).then_some(actor)
}
