//! How a frame goes from stage to stage: arguments, waiting, answers of the node, results.

use std::sync::Arc;

use whipray_proto::messages::cluster::JobRequest;
use whipray_proto::messages::object::{ObjectsPinned, PinObjects};
use whipray_proto::{Message, ObjectId, ObjectValue, limits};
use whipray_worker::cell::{ObjectCell, WaitSet, Waiter};

use super::Process;
use super::execution::Ending;
use super::frame::{ActorRef, Frame, FrameKind, Handle, Sought, Stage, Then, Wait};
use super::writing::content;
use crate::agenda::Micros;
use crate::around::Around;
use crate::witness::place;

/// What a frame does next.
pub(super) enum Flow {
    /// The next step, after a pause.
    Next,
    /// Another stage, at once.
    On,
    /// Whatever its stage waits for.
    Rest,
    End(Ending),
    /// The process is gone, and the frame with it.
    Gone,
}

impl Process {
    /// Lets a frame go on as far as it can.
    pub(super) fn advance(&mut self, number: u64, around: &mut Around) {
        let Some(mut frame) = self.frames.remove(&number) else {
            return;
        };
        loop {
            match self.step(&mut frame, around) {
                Flow::On => {}
                Flow::Next => {
                    frame.stage = Stage::Runs;
                    let pause = around.random.duration(around.scenario.pause_most.max(1));
                    self.wake_at(&mut frame, around.now + pause, around);
                    break;
                }
                Flow::Rest => break,
                Flow::End(ending) => return self.end_frame(frame, ending, around),
                Flow::Gone => return,
            }
        }
        self.frames.insert(number, frame);
    }

    fn step(&mut self, frame: &mut Frame, around: &mut Around) -> Flow {
        match std::mem::replace(&mut frame.stage, Stage::Runs) {
            Stage::Binds => self.bind(frame, around),
            Stage::Reads => self.read_arguments(frame, around),
            Stage::Runs => {
                if self.is_cancelled(frame) {
                    return Flow::End(Ending::Cancelled);
                }
                let scenario = around.scenario.clone();
                let plan = scenario.plans.get(frame.plan);
                match plan.and_then(|plan| plan.steps.get(frame.at)) {
                    Some(step) => {
                        frame.at += 1;
                        self.run_step(frame, step, around)
                    }
                    None if frame.is_driver() => Flow::End(Ending::Returned),
                    None => {
                        frame.stage = Stage::Returns(0);
                        Flow::On
                    }
                }
            }
            Stage::Waits { set, cells, wait } => self.wait(frame, set, cells, wait, around),
            Stage::Asks { request, then } => match self.answers.get_mut(&request) {
                Some(None) if !self.is_node_gone => {
                    frame.stage = Stage::Asks { request, then };
                    Flow::Rest
                }
                Some(answer) => {
                    let answer = answer.take();
                    self.answers.remove(&request);
                    match answer {
                        Some(answer) => self.on_answer(frame, then, answer, around),
                        None => Flow::End(Ending::Raised),
                    }
                }
                None => Flow::End(Ending::Raised),
            },
            Stage::Returns(index) => self.make_result(frame, index, around),
        }
    }

    fn is_cancelled(&self, frame: &Frame) -> bool {
        match &frame.kind {
            FrameKind::Task { spec, .. } => {
                let is_first = frame.at == 0;
                frame.is_interrupted || is_first && self.core.execution.is_cancelled(&spec.task)
            }
            _ => false,
        }
    }

    pub(super) fn ask(
        &mut self,
        frame: &mut Frame,
        message: Message,
        request: u64,
        then: Then,
        around: &mut Around,
    ) -> Flow {
        frame.stage = Stage::Asks { request, then };
        self.send_to_node(&message, true, around);
        Flow::Rest
    }

    // ---- before the first step

    fn bind(&mut self, frame: &mut Frame, around: &mut Around) -> Flow {
        let job = frame.task().map(|task| task.job());
        frame.stage = Stage::Reads;
        if job == self.bound_job {
            return Flow::On;
        }
        self.bound_job = job;
        let request = self.open_request();
        let message = JobRequest {
            request,
            job: job.unwrap_or_default(),
        };
        self.ask(frame, message.into(), request, Then::Bind, around)
    }

    fn read_arguments(&mut self, frame: &mut Frame, around: &mut Around) -> Flow {
        let spec = match &frame.kind {
            FrameKind::Driver => return Flow::On,
            FrameKind::Task { spec, .. } => spec,
            FrameKind::Constructor { start, .. } => &start.spec.creation,
        };
        let mut shared = Vec::new();
        let mut is_failed = false;
        for argument in &spec.arguments {
            let Some(value) = &argument.value else {
                around
                    .witness
                    .violation(format!("{} came without an argument's value", spec.task));
                continue;
            };
            is_failed |= value.is_error;
            if let Some(object) = &argument.object {
                if let Some(failure) = &value.failure {
                    around.witness.failed(*object, failure, self.index);
                } else if let Some(location) = value.shared {
                    shared.push(Sought {
                        object: *object,
                        location,
                        owner: argument.owner.clone(),
                    });
                } else if !value.is_error {
                    check_data(object, value, around);
                }
            }
        }
        if is_failed {
            return Flow::End(Ending::Raised);
        }
        if shared.is_empty() {
            return Flow::On;
        }
        shared.sort_unstable_by_key(|sought| sought.object);
        shared.dedup_by_key(|sought| sought.object);
        self.pin(frame, shared, Then::ReadArguments, around)
    }

    /// Asks the store for objects, which fetches those that are on other nodes.
    fn pin(
        &mut self,
        frame: &mut Frame,
        sought: Vec<Sought>,
        then: impl FnOnce(Vec<Sought>) -> Then,
        around: &mut Around,
    ) -> Flow {
        let request = self.open_request();
        let mut message = PinObjects {
            request,
            objects: sought.iter().map(|sought| sought.object).collect(),
            ..PinObjects::default()
        };
        let me = self.address.node;
        if sought.iter().any(|sought| sought.location.node != me) {
            for sought in &sought {
                let owner = sought.owner.as_ref().unwrap_or(&self.address);
                message.locations.push(sought.location.node);
                message.owners.push(owner.worker);
                message.owner_nodes.push(owner.node);
                message.sizes.push(sought.location.size_bytes);
            }
        }
        self.ask(frame, message.into(), request, then(sought), around)
    }

    // ---- waiting

    /// Waits until `needed` of these objects are there.
    pub(super) fn begin_wait(
        &mut self,
        frame: &mut Frame,
        cells: Vec<Arc<ObjectCell>>,
        needed: usize,
        timeout: Option<u64>,
        reads: Option<Handle>,
        around: &mut Around,
    ) -> Flow {
        let set = Arc::new(WaitSet::new(needed));
        for cell in &cells {
            self.core
                .objects
                .subscribe(&cell.id(), &mut self.core.effects);
        }
        self.commit(around);
        for cell in &cells {
            if let Some(Waiter::Count(set)) = cell.wait(Waiter::Count(set.clone())) {
                set.count_down();
            }
        }
        // A wait writes what was deferred first.
        self.flush(around);
        let grace = limits::BLOCKED_GRACE.as_micros() as Micros;
        let blocks_at = if frame.is_driver() {
            Micros::MAX
        } else {
            around.now + grace
        };
        let deadline = timeout.map(|timeout| around.now + timeout);
        let wait = Wait {
            needed,
            deadline,
            blocks_at,
            is_blocked: false,
            reads,
        };
        frame.stage = Stage::Waits { set, cells, wait };
        Flow::On
    }

    fn wait(
        &mut self,
        frame: &mut Frame,
        set: Arc<WaitSet>,
        cells: Vec<Arc<ObjectCell>>,
        mut wait: Wait,
        around: &mut Around,
    ) -> Flow {
        let is_late = wait.deadline.is_some_and(|deadline| deadline <= around.now);
        let is_done = set.is_done();
        if is_done || is_late || frame.is_interrupted || self.is_node_gone {
            if !is_done || wait.needed < cells.len() {
                for cell in &cells {
                    cell.forget(&set);
                }
            }
            if wait.is_blocked {
                self.set_blocked(false, around);
            }
            if frame.is_interrupted {
                return Flow::End(Ending::Cancelled);
            }
            return match wait.reads {
                Some(handle) if is_done => self.read_object(frame, handle, around),
                _ => Flow::Next,
            };
        }
        if !wait.is_blocked && wait.blocks_at <= around.now {
            wait.is_blocked = true;
            self.set_blocked(true, around);
        }
        let next = [wait.deadline, (!wait.is_blocked).then_some(wait.blocks_at)];
        if let Some(at) = next
            .into_iter()
            .flatten()
            .filter(|at| *at < Micros::MAX)
            .min()
        {
            self.wake_at(frame, at, around);
        }
        frame.stage = Stage::Waits { set, cells, wait };
        Flow::Rest
    }

    /// Reads an object that is there.
    pub(super) fn read_object(
        &mut self,
        frame: &mut Frame,
        handle: Handle,
        around: &mut Around,
    ) -> Flow {
        let object = handle.id();
        let Some(value) = handle.cell.value() else {
            return Flow::Next;
        };
        if let Some(failure) = &value.failure {
            around.witness.failed(object, failure, self.index);
            return Flow::Next;
        }
        if value.is_error {
            return Flow::Next;
        }
        let is_own = self.own_views.iter().any(|(_, own)| *own == object);
        if let Some(location) = value.shared
            && !is_own
        {
            let sought = Sought {
                object,
                location,
                owner: self.core.objects.owner(&object).cloned(),
            };
            let then = |sought| Then::ReadObject(handle, sought);
            return self.pin(frame, vec![sought], then, around);
        }
        if value.shared.is_none() {
            check_data(&object, &value, around);
        }
        self.take_contained(frame, &value);
        Flow::Next
    }

    fn take_contained(&mut self, frame: &mut Frame, value: &ObjectValue) {
        if let Some(contained) = &value.contained {
            for (object, owner) in contained.iter() {
                self.receive(frame, object, owner);
            }
        }
    }

    // ---- answers

    fn on_answer(
        &mut self,
        frame: &mut Frame,
        then: Then,
        answer: Message,
        around: &mut Around,
    ) -> Flow {
        match (then, answer) {
            (Then::Bind, Message::JobReply(_)) => {
                frame.stage = Stage::Reads;
                Flow::On
            }
            (Then::ReadArguments(sought), Message::ObjectsPinned(pinned)) => {
                let is_full = pinned.lost.iter().any(|lost| lost.is_full);
                self.pinned(frame, &sought, pinned, around);
                if is_full {
                    return Flow::End(Ending::Raised);
                }
                if frame.views.len() < sought.len() {
                    let is_task = matches!(frame.kind, FrameKind::Task { .. });
                    let views = &frame.views;
                    let objects = sought.iter().map(|sought| sought.object);
                    frame.lost = objects.filter(|object| !views.contains(object)).collect();
                    let ending = if is_task {
                        Ending::Lost
                    } else {
                        Ending::Raised
                    };
                    return Flow::End(ending);
                }
                Flow::On
            }
            (Then::ReadObject(handle, sought), Message::ObjectsPinned(pinned)) => {
                let object = handle.id();
                if pinned.lost.iter().any(|lost| lost.is_full) {
                    return Flow::Next;
                }
                if pinned.objects.is_empty() {
                    let location = sought[0].location;
                    self.not_in_store(object, &pinned, around);
                    let told = pinned.lost.first();
                    let reason = told.map_or("", |lost| lost.reason.as_str());
                    self.core
                        .report_lost(&object, &location, reason, around.now);
                    self.commit(around);
                    let timeout = self.patience(None, around);
                    let cells = vec![handle.cell.clone()];
                    return self.begin_wait(frame, cells, 1, timeout, Some(handle), around);
                }
                self.pinned(frame, &sought, pinned, around);
                if let Some(value) = handle.cell.value()
                    && frame.views.contains(&object)
                {
                    self.take_contained(frame, &value);
                }
                Flow::Next
            }
            (
                Then::Put {
                    object,
                    size_bytes,
                    inside,
                    tries,
                },
                Message::ObjectCreated(created),
            ) => {
                if !created.full.is_empty() {
                    if tries <= 1 {
                        return Flow::Next;
                    }
                    let then = Then::Put {
                        object,
                        size_bytes,
                        inside,
                        tries: tries - 1,
                    };
                    return self.create(frame, object, size_bytes, then, around);
                }
                let at = place(&created.path, created.offset);
                around.witness.writes(self.index, object, at, size_bytes);
                self.seal_put(frame, object, size_bytes, &inside, around);
                Flow::Next
            }
            (Then::Return { index, tries }, Message::ObjectCreated(created)) => {
                self.on_result_created(frame, index, tries, created, around)
            }
            (Then::NameActor { actor, handle }, Message::ActorCreated(created)) => {
                if !frame.is_driver() {
                    self.set_blocked(false, around);
                }
                match created.existing {
                    Some(existing) => {
                        self.core.forget_actor(actor);
                        self.commit(around);
                        self.release(handle, around);
                        frame.actors.push(ActorRef {
                            actor: existing.actor,
                            handle: None,
                        });
                    }
                    None if !created.error.is_empty() => {
                        self.core.forget_actor(actor);
                        self.commit(around);
                        self.release(handle, around);
                    }
                    None => frame.actors.push(ActorRef {
                        actor,
                        handle: Some(handle),
                    }),
                }
                Flow::Next
            }
            (Then::FindActor, Message::NamedActor(found)) => {
                if let Some(spec) = found.spec {
                    frame.actors.push(ActorRef {
                        actor: spec.actor,
                        handle: None,
                    });
                }
                Flow::Next
            }
            (_, answer) => {
                around
                    .witness
                    .violation(format!("{} answers another question", answer.name()));
                Flow::Next
            }
        }
    }

    fn pinned(
        &mut self,
        frame: &mut Frame,
        sought: &[Sought],
        pinned: ObjectsPinned,
        around: &mut Around,
    ) {
        for found in &pinned.objects {
            frame.views.push(found.object);
            let at = place(&found.path, found.offset);
            around.witness.reads(self.index, found.object, at);
            let meant = sought.iter().find(|sought| sought.object == found.object);
            if let Some(Sought {
                location,
                owner: Some(owner),
                ..
            }) = meant.filter(|_| found.is_new_copy)
            {
                self.core.on_fetched(found.object, owner, location);
            }
        }
        for Sought { object, .. } in sought {
            if !pinned.objects.iter().any(|found| found.object == *object) {
                self.not_in_store(*object, &pinned, around);
            }
        }
        self.commit(around);
    }

    fn not_in_store(&self, object: ObjectId, pinned: &ObjectsPinned, around: &mut Around) {
        let told = pinned.lost.iter().find(|lost| lost.object == object);
        if told.is_none_or(|lost| !lost.is_full) {
            around.witness.not_in_store(object, self.index);
        }
    }
}

/// One of these, as a pick chooses.
pub(super) fn pick_of<T>(among: &[T], pick: u32) -> Option<&T> {
    (!among.is_empty()).then(|| &among[pick as usize % among.len()])
}

fn check_data(object: &ObjectId, value: &ObjectValue, around: &mut Around) {
    around.witness.values_read += 1;
    if value.data != content(object) {
        let text = format!("W-5: object {object} has the bytes of another one");
        around.witness.violation(text);
    }
}
