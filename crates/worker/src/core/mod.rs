//! Ownership as a state machine: messages and calls in, effects out. No socket, no clock, no thread.
//!
//! Every method takes the time where it matters and appends what is to be done to
//! [`Core::effects`]; the shell carries it out in order and feeds back what comes of it. The
//! simulation runs this very code.

mod accounts;
pub mod actors;
mod answers;
pub mod cancelling;
pub mod dead_nodes;
pub mod effect;
mod estimate;
pub mod execution;
pub mod groups;
mod history;
pub mod lineage;
mod locality;
pub mod metrics;
pub mod objects;
pub mod oom_retries;
mod outcomes;
pub mod party;
mod rebuilding;
pub mod report;
pub mod sources;
pub mod streams;
mod submission;
pub mod tasks;
#[cfg(test)]
mod tests;
pub mod tried;

use std::sync::Arc;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use whipray_proto::failure::{Failure, FailureKind};
use whipray_proto::messages::actor::{ActorOutOfScope, ActorUpdate};
use whipray_proto::messages::execution::TaskReplied;
use whipray_proto::messages::moving::{CopyKept, CopyTaken};
use whipray_proto::messages::object::CopyAdded;
use whipray_proto::messages::session::Goodbye;
use whipray_proto::task::ActorSpec;
use whipray_proto::{
    ActorId, Assignment, DeathCause, LeaseId, Message, ObjectId, ObjectValue, References,
    SharedLocation, TaskId, TaskSpec, WorkerAddress, WorkerId, limits,
};

use self::actors::ActorTable;
use self::cancelling::Cancellations;
use self::dead_nodes::DeadNodes;
use self::effect::{DriverEvent, Effect};
use self::estimate::Durations;
use self::execution::ExecutionQueue;
use self::groups::GroupTable;
use self::history::History;
use self::lineage::Lineage;
use self::objects::ObjectTable;
use self::oom_retries::OomRetries;
use self::streams::Stream;
use self::tasks::{Micros, TaskTable};
use self::tried::Tried;

/// An argument as the core takes it: every object in it is referred to by the caller meanwhile.
pub enum CoreArgument {
    Value {
        data: bytes::Bytes,
        contained: SmallVec<[ObjectId; 0]>,
    },
    Object(ObjectId),
}

/// One call, as it is submitted.
pub struct Call {
    pub task: TaskId,
    /// The task that submits it.
    pub parent: TaskId,
    /// Positional arguments, then the keyword ones.
    pub arguments: Vec<CoreArgument>,
    /// Names of the last arguments.
    pub keywords: Vec<String>,
    /// Where the results are to come one by one.
    pub stream: Option<Arc<Stream>>,
}

/// An actor whose constructor waits for objects; the control knows it already.
struct Creation {
    spec: ActorSpec,
    missing: u32,
}

/// Everything that one process owns, borrows, submits and runs.
pub struct Core {
    pub me: WorkerAddress,
    pub objects: ObjectTable,
    pub tasks: TaskTable,
    pub actors: ActorTable,
    pub execution: ExecutionQueue,
    pub groups: GroupTable,
    durations: Durations,
    history: History,
    pub lineage: Lineage,
    pub cancellations: Cancellations,
    pub oom_retries: OomRetries,
    /// Nothing of what comes from these counts any more.
    pub dead_nodes: DeadNodes,
    tried: Tried,
    /// Actors whose constructors wait for objects, by the task of the constructor.
    creations: FxHashMap<TaskId, Creation>,
    /// What the constructors of our actors took, for as long as these may be started again.
    creation_held: FxHashMap<ActorId, SmallVec<[ObjectId; 2]>>,
    /// What the shell is to do, in order.
    pub effects: Vec<Effect>,
    /// When time was zero, in microseconds of the system's clock.
    pub began_at_us: u64,
    /// What the node said when it ended by itself; empty before.
    node_ends: String,
    /// The node daemon is gone: nothing is sent to others any more, whatever is still called.
    is_over: bool,
    /// Distinguishes connections, for [`crate::template::ClassSlot`].
    epoch: u32,
}

impl Core {
    pub fn new(me: WorkerAddress, epoch: u32) -> Self {
        Self {
            objects: ObjectTable::new(me.clone()),
            me,
            tasks: TaskTable::default(),
            actors: ActorTable::default(),
            execution: ExecutionQueue::default(),
            groups: GroupTable::default(),
            durations: Durations::default(),
            history: History::default(),
            began_at_us: 0,
            lineage: Lineage::default(),
            cancellations: Cancellations::default(),
            oom_retries: OomRetries::default(),
            dead_nodes: DeadNodes::default(),
            tried: Tried::default(),
            creations: FxHashMap::default(),
            creation_held: FxHashMap::default(),
            effects: Vec::new(),
            node_ends: String::new(),
            is_over: false,
            epoch,
        }
    }

    // ---- objects --------------------------------------------------------------------------------

    /// One local reference less.
    pub fn release(&mut self, object: &ObjectId) {
        self.objects.release(object, &mut self.effects);
        self.settle_releases();
    }

    fn settle_releases(&mut self) {
        self.settle_lineage();
        while let Some(object) = self.objects.released_actors.pop() {
            let actor = object.task().actor();
            if self.actors.on_released(actor) {
                self.leave_actor(actor);
            }
        }
    }

    /// An actor that has no handle and no call left: the control ends it, but for a detached one,
    /// which must not lose what its constructor waits for.
    fn leave_actor(&mut self, actor: ActorId) {
        let mut waiting = self.creations.values();
        if waiting.any(|creation| creation.spec.actor == actor && !creation.spec.detached) {
            self.release_creation(&actor);
        }
        self.effects
            .push(Effect::ToNode(ActorOutOfScope { actor }.into()));
    }

    /// Lets go of an actor whose last call may just have ended.
    fn leave_if_quiet(&mut self, actor: ActorId) {
        if self.actors.leave_if_quiet(actor) {
            self.leave_actor(actor);
        }
    }

    /// The list of these references with their owners.
    pub fn references(&self, objects: &[ObjectId]) -> Option<References> {
        if objects.is_empty() {
            return None;
        }
        let mut references = References::default();
        for object in objects {
            if let Some(owner) = self.objects.owner(object) {
                references.push(*object, owner);
            }
        }
        Some(references)
    }

    // ---- messages -------------------------------------------------------------------------------

    /// A message of another driver or worker.
    pub fn on_peer_message(&mut self, from: &WorkerAddress, message: Message, now: Micros) {
        match message {
            Message::PushTask(push) => self.execution.push(push, from.clone()),
            Message::TaskReplied(TaskReplied { reply }) => self.on_reply(from, reply, now),
            Message::CancelTask(cancel) if cancel.by_borrower => {
                self.cancel(cancel.task, cancel.force, cancel.recursive, now);
            }
            Message::StreamItem(item) => self.on_stream_item(from, item, now),
            Message::StreamTaken(taken) => self.execution.on_taken(&taken, &mut self.effects),
            Message::CancelTask(cancel) => {
                self.execution.on_cancel(&cancel, &mut self.effects);
                if cancel.recursive {
                    self.cancel_children(cancel.task, cancel.force, now);
                }
            }
            Message::ReclaimTasks(reclaim) => self.execution.hand_back(
                reclaim.count as usize,
                Some(from.worker),
                &mut self.effects,
            ),
            Message::SubscribeObject(subscribe) => {
                if let Some(location) = &subscribe.lost {
                    self.on_lost(&subscribe.object, location, now);
                }
                self.objects
                    .on_subscribe(subscribe, from, &mut self.effects);
            }
            Message::ObjectReady(ready) => {
                let waiting = self
                    .objects
                    .on_object_ready(ready, from.into(), &mut self.effects);
                self.on_dependencies(waiting, now);
            }
            Message::AddBorrower(add) => {
                self.objects
                    .on_add_borrower(add, from.into(), &mut self.effects);
            }
            Message::ConfirmBorrower(confirm) => {
                self.objects
                    .on_confirm_borrower(confirm, from, &mut self.effects);
            }
            Message::RemoveBorrower(remove) => {
                self.objects
                    .on_remove_borrower(remove, from.into(), &mut self.effects);
            }
            Message::CopyAdded(added) if !self.dead_nodes.contains(&added.location.node) => {
                let node = added.location.node;
                if !self.objects.add_copy(&added.object, &added.location)
                    && self.tasks.tasks.contains_key(&added.object.task())
                {
                    self.note_try(added.object.task(), node);
                }
            }
            // A peer that says what only nodes say is of no interest.
            _ => {}
        }
        self.settle_releases();
    }

    /// A message of the node daemon that is not the answer to a request.
    pub fn on_node_message(&mut self, message: Message, now: Micros) {
        match message {
            Message::LeaseGranted(granted) => self.on_granted(granted, now),
            Message::LeaseLost(lost) => self.on_lease_lost(lost, now),
            Message::ReclaimIdle(reclaim) => {
                self.tasks.on_reclaim(reclaim.round, now, &mut self.effects);
            }
            Message::LeasePending(pending) => self.on_pending(pending),
            Message::WorkerDied(died) => self.on_worker_died(&died.worker, &died.cause, now),
            Message::NodeDied(died) => self.on_node_died(&died.node, &died.cause, now),
            Message::CopyTaken(taken) => self.on_copy_taken(&taken),
            Message::LeaseRefused(refused) => self.on_refused(refused, now),
            Message::GroupUpdate(update) => self.on_group_update(&update, now),
            Message::ActorUpdate(update) => self.on_actor_update(&update, now),
            Message::Goodbye(goodbye) => self.on_goodbye(goodbye),
            Message::NodeEnds(ends) => self.node_ends = ends.reason,
            Message::LogLines(lines) => self.effects.push(Effect::Tell(DriverEvent::Log(lines))),
            Message::WarnDriver(warning) => {
                self.effects
                    .push(Effect::Tell(DriverEvent::Warning(warning.text)));
            }
            _ => {}
        }
        self.settle_releases();
    }

    /// A process that we watch is gone.
    pub(super) fn on_worker_died(&mut self, worker: &WorkerId, cause: &DeathCause, now: Micros) {
        let waiting = self
            .objects
            .on_worker_died(*worker, cause, &mut self.effects);
        self.execution.on_caller_gone(worker, &mut self.effects);
        self.on_dependencies(waiting, now);
    }

    /// The actors of ours that may restart, by their handles, each with what its constructor took and
    /// takes again then; for tests and the simulation.
    pub fn held_for_constructors(&self) -> impl Iterator<Item = (ObjectId, &[ObjectId])> {
        let held = self.creation_held.iter();
        held.map(|(actor, objects)| (actor.handle_object(), &objects[..]))
    }

    /// An object of ours has a copy on another node for good, since the one that had it is to go.
    fn on_copy_taken(&mut self, taken: &CopyTaken) {
        let is_there = !self.dead_nodes.contains(&taken.by);
        let is_kept = is_there
            && self
                .objects
                .move_copy(&taken.object, &taken.from, &taken.by);
        let answer = CopyKept {
            request: Some(taken.request),
            object: taken.object,
            owner: taken.owner,
            by: taken.by,
            is_kept,
        };
        self.effects.push(Effect::ToNode(answer.into()));
    }

    /// The store of this node has fetched an object for us, of which `copied` is another copy: its
    /// owner is to know.
    pub fn on_fetched(&mut self, object: ObjectId, owner: &WorkerAddress, copied: &SharedLocation) {
        let location = SharedLocation {
            node: self.me.node,
            ..*copied
        };
        if owner.worker == self.me.worker {
            self.objects.add_copy(&object, &location);
        } else {
            let message = CopyAdded { object, location };
            self.effects
                .push(Effect::ToPeer(owner.clone(), message.into()));
        }
    }

    /// The same where whoever asked for the object waits no more.
    pub fn on_fetched_late(&mut self, object: ObjectId) {
        let owner = self.objects.owner(&object).cloned();
        let copied = self.objects.cell(&object).and_then(|cell| cell.location());
        if let (Some(owner), Some(copied)) = (owner, copied) {
            self.on_fetched(object, &owner, &copied);
        }
    }

    /// What is to be sent with a task that is pushed to a worker: its spec, and with the first one of
    /// a lease what the worker was given.
    pub fn take_push(
        &mut self,
        to: &WorkerAddress,
        task: &TaskId,
    ) -> Option<(&TaskSpec, Option<Assignment>)> {
        if self.is_over {
            return None;
        }
        if self.objects.has_moved() {
            self.place_arguments(task, &to.node);
        }
        self.tasks.take_push(&to.worker, task)
    }

    /// The node has too many idle workers. One that is of no use to anybody agrees; the node ends
    /// the connection then, unless it has given the worker to somebody meanwhile.
    fn on_goodbye(&mut self, goodbye: Goodbye) {
        let is_unused = self.objects.is_empty()
            && self.tasks.tasks.is_empty()
            && self.tasks.leases.is_empty()
            && self.creations.is_empty()
            && self.execution.is_unused();
        if is_unused {
            self.effects.push(Effect::ToNode(goodbye.into()));
        }
    }

    /// The connection to another driver or worker ended; whether anything of ours was under way on
    /// it: calls, or values.
    pub fn on_peer_closed(&mut self, worker: &WorkerId) -> bool {
        self.execution.on_caller_gone(worker, &mut self.effects);
        let was_leased = self.tasks.on_worker_unreachable(worker);
        let was_called = self.actors.on_worker_unreachable(worker).is_some();
        was_leased || was_called || self.objects.on_owner_unreachable(worker)
    }

    /// The worker of a lease of ours.
    pub fn worker_of_lease(&self, lease: &LeaseId) -> Option<WorkerId> {
        self.tasks
            .leases
            .get(lease)
            .map(|lease| lease.worker.worker)
    }

    /// The process of an actor's life that this news says is over, where it is known to us.
    pub fn life_before(&self, update: &ActorUpdate) -> Option<WorkerId> {
        let known = self.actors.address(&update.actor)?.worker;
        let told = update.address.as_ref().map(|address| address.worker);
        (told != Some(known)).then_some(known)
    }

    /// Whether anything of ours waits for the word on why this worker died.
    pub fn is_awaited(&self, worker: &WorkerId) -> bool {
        self.tasks.has_lost_lease(worker)
            || self.actors.is_awaited(worker)
            || self.objects.is_lost_owner(worker)
    }

    /// How long the node may take to say why this worker died.
    pub fn death_cause_wait(&self, worker: &WorkerId) -> std::time::Duration {
        match worker.is_of(&self.me.node) {
            true => limits::DEATH_CAUSE_WAIT,
            false => limits::FAR_DEATH_CAUSE_WAIT,
        }
    }

    /// The node daemon is gone: nothing will come any more.
    pub fn on_node_gone(&mut self) {
        self.is_over = true;
        let message = match self.node_ends.as_str() {
            "" => {
                "The connection to the node daemon is gone: it ended, or was killed. Its log is in \
                   the session's folder, logs/daemon.log."
                    .to_owned()
            }
            reason => format!("The node daemon of this machine has ended: {reason}."),
        };
        let failure = Failure::new(FailureKind::NodeDied, "", message);
        self.fail_streams(&ObjectValue::failed(failure.clone()));
        self.objects.fail_all(&failure, &mut self.effects);
    }

    /// What is called after the end fails like what was pending then.
    pub(super) fn fail_if_over(&mut self) {
        if self.is_over {
            self.on_node_gone();
        }
    }

    /// What is due by time; see [`Self::deadline`].
    pub fn on_time(&mut self, now: Micros) {
        self.tasks.on_time(now, &mut self.effects);
        self.retry_due(now);
        self.settle_releases();
    }

    /// When [`Self::on_time`] is to be called next.
    pub fn deadline(&self) -> Option<Micros> {
        let deadlines = [self.tasks.deadline(), self.oom_retries.deadline()];
        deadlines.into_iter().flatten().min()
    }

    /// Whether [`Self::settle`] has anything to do.
    pub fn needs_settling(&self) -> bool {
        self.tasks.has_dirty_classes() || self.objects.has_word_for_stores()
    }

    /// Called before output is written: what is told to the node once per batch.
    pub fn settle(&mut self) {
        self.tasks.update_targets(&self.me.node, &mut self.effects);
        self.objects.tell_stores(&mut self.effects);
    }

    /// Checks every invariant; for tests and the simulation.
    ///
    /// # Errors
    /// The name of the invariant that does not hold, and where.
    pub fn validate(&self) -> Result<(), String> {
        self.objects.validate()?;
        for stream in self
            .tasks
            .tasks
            .values()
            .filter_map(|task| task.stream.as_ref())
        {
            stream.validate()?;
        }
        self.lineage.validate()?;
        self.tasks.validate()
    }
}
