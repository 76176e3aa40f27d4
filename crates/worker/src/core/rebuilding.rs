//! Objects of ours whose last copy is gone: their tasks run again, with all that these take.

use smallvec::SmallVec;
use whipray_proto::messages::lease::LeaseLost;
use whipray_proto::task::TaskKind;
use whipray_proto::{
    Argument, DeathCause, NodeId, ObjectId, ObjectValue, SharedLocation, TaskId, WorkerAddress,
};

use crate::core::Core;
use crate::core::cancelling::Cancellation;
use crate::core::lineage::{Dropped, Kept, Unreconstructable};
use crate::core::objects::{Loss, Rebuild, is_handle_object, is_put};
use crate::core::party::Party;
use crate::core::tasks::{Micros, Task};

impl Core {
    /// A task of ours is through: keeps it where a result of it could be lost and made again, and
    /// lets go of what it held.
    pub(super) fn retire(&mut self, mut task: Task) {
        let id = task.spec.task;
        let mut results = 0;
        for index in 1..=task.spec.num_returns {
            let object = task.spec.task.return_id(index);
            results += u32::from(self.objects.set_rebuild(&object, rebuild_of(&task)));
        }
        let is_wanted = results > 0 || self.lineage.has_users(&id);
        if !is_wanted || rebuild_of(&task) != Rebuild::Kept {
            return self.release_all(task.held);
        }
        let (mut uses, mut held) = (SmallVec::new(), SmallVec::new());
        let mut arguments = std::mem::take(&mut task.spec.arguments);
        for argument in &mut arguments {
            self.keep_argument(argument, &mut uses, &mut held);
        }
        task.spec.arguments = arguments;
        self.release_all(std::mem::replace(&mut task.held, held));
        let dropped = self.lineage.keep(task, results, uses);
        self.let_go(dropped);
    }

    /// What of an argument is to be there when its task runs again: small values are in the spec,
    /// small ones inside of them are held, those in shared memory are made again, and held where they
    /// cannot be.
    fn keep_argument(
        &mut self,
        argument: &mut Argument,
        uses: &mut SmallVec<[TaskId; 2]>,
        held: &mut SmallVec<[ObjectId; 2]>,
    ) {
        let Some(value) = &argument.value else { return };
        if value.shared.is_some() {
            if let Some(object) = argument.object {
                argument.value = None;
                if self.objects.is_irreplaceable(&object) {
                    self.objects.retain(&object);
                    held.push(object);
                } else if self.objects.is_ours(&object) && !is_put(&object) {
                    uses.push(object.task());
                }
            }
            return;
        }
        let Some(contained) = &value.contained else {
            return;
        };
        for (object, _) in contained.iter() {
            // An actor does not live for what could be made again.
            if is_handle_object(&object) || !self.objects.is_ours(&object) {
                continue;
            }
            let cell = self.objects.cell(&object);
            if cell.is_some_and(|cell| cell.is_ready() && !cell.is_shared())
                || self.objects.is_irreplaceable(&object)
            {
                self.objects.retain(&object);
                held.push(object);
            } else if !is_put(&object) {
                uses.push(object.task());
            }
        }
    }

    fn release_all(&mut self, held: impl IntoIterator<Item = ObjectId>) {
        for object in held {
            self.objects.release(&object, &mut self.effects);
        }
    }

    pub(super) fn let_go(&mut self, dropped: Dropped) {
        for (task, count) in dropped.evicted {
            for index in 1..=count {
                let object = task.return_id(index);
                self.objects.set_rebuild(&object, Rebuild::Evicted);
            }
        }
        self.release_all(dropped.held);
    }

    /// Results of tasks went that these were kept for.
    pub(super) fn settle_lineage(&mut self) {
        while let Some(task) = self.objects.released_results.pop() {
            let dropped = self.lineage.release(&task);
            self.let_go(dropped);
        }
    }

    /// A copy of an object of ours is gone: the object is made again, or is a failure from here on.
    /// Old news, of a copy that was replaced since, are ignored.
    pub fn on_lost(&mut self, object: &ObjectId, location: &SharedLocation, now: Micros) {
        self.on_lost_because(object, location, "", now);
    }

    /// The same with what whoever did not find the copy was told; the failure says it.
    fn on_lost_because(
        &mut self,
        object: &ObjectId,
        location: &SharedLocation,
        reason: &str,
        now: Micros,
    ) {
        if self.objects.lose_copy(object, location) == Loss::Last {
            self.objects.forget_value(object);
            self.rebuild(*object, location.node, reason, now);
        }
    }

    /// A node is gone, and with it its processes and every copy that it had; leases on it are lost.
    /// What of this the daemon says one by one, too, changes nothing any more.
    pub fn on_node_died(&mut self, node: &NodeId, cause: &DeathCause, now: Micros) {
        if !self.dead_nodes.insert(*node) {
            return;
        }
        self.tried.on_node_died(node);
        self.actors.on_node_died(node);
        // First the leases: what is made again must not be sent to their workers.
        for lease in self.tasks.leases_on(node) {
            let cause = cause.clone();
            let lost = LeaseLost { lease, cause };
            self.on_lease_lost(lost, now);
        }
        let reason = cause.headline();
        for (object, location) in self.objects.of_node(node) {
            self.on_lost_because(&object, &location, &reason, now);
        }
        for worker in self.objects.watched_on(node) {
            self.on_worker_died(&worker, cause, now);
        }
        for caller in self.execution.callers_on(node) {
            self.execution.on_caller_gone(&caller, &mut self.effects);
        }
        self.objects.forget_node(node);
        self.settle_releases();
    }

    /// Runs the task of an object again whose value is not there, and those of the arguments that
    /// are not there either. Without recursion: chains of tasks may be long.
    fn rebuild(&mut self, first: ObjectId, lost_at: NodeId, reason: &str, now: Micros) {
        let mut lost = vec![first];
        // What tasks used goes only once all that is to be made again is on its way.
        let mut uses = SmallVec::new();
        while let Some(object) = lost.pop() {
            if self.tasks.tasks.contains_key(&object.task()) {
                continue; // It is on its way.
            }
            match self.take_kept(&object) {
                Ok(mut kept) => {
                    if object == first {
                        self.note_try(object.task(), lost_at);
                    }
                    uses.extend(kept.take_uses());
                    self.run_again(kept.task, &mut lost, now);
                }
                Err(why) => {
                    // A copy that could not be read may be there all the same.
                    let me = self.me.node;
                    let lost_at = if object == first { lost_at } else { me };
                    self.objects.free_at(object, lost_at);
                    let reason = if object == first { reason } else { "" };
                    let failure = ObjectValue::failed(why.failure(&object, reason));
                    let me = Party::from(&self.me);
                    let waiting = self
                        .objects
                        .complete(object, failure, me, &mut self.effects);
                    self.on_dependencies(waiting, now);
                }
            }
        }
        let dropped = self.lineage.let_go_of(uses);
        self.let_go(dropped);
    }

    fn take_kept(&mut self, object: &ObjectId) -> Result<Kept, Unreconstructable> {
        let task = object.task();
        if is_put(object) {
            return Err(Unreconstructable::Put);
        }
        if !self.lineage.is_kept(&task) {
            return Err(self.objects.why_not_kept(object));
        }
        let actor = task.actor();
        if !actor.is_none() && !self.actors.is_callable(&actor) {
            self.objects.released_results.push(task);
            return Err(Unreconstructable::NotFound);
        }
        let kept = self.lineage.take(&task);
        kept.ok_or(Unreconstructable::NotFound)
    }

    fn run_again(&mut self, mut task: Task, lost: &mut Vec<ObjectId>, now: Micros) {
        let id = task.spec.task;
        task.retries_left -= i32::from(task.retries_left > 0);
        task.retries_used += 1;
        task.spec.attempt += 1;
        let arguments = std::mem::take(&mut task.spec.arguments);
        for argument in &arguments {
            self.need_argument(argument, &mut task, lost);
        }
        task.spec.arguments = arguments;
        let is_method = task.spec.kind() == TaskKind::ActorMethod;
        let is_there = task.missing == 0;
        if is_method {
            let handle = id.actor().handle_object();
            self.objects.retain(&handle);
            task.held.push(handle);
        }
        self.tasks.tasks.insert(id, task);
        if is_method && let Some(failure) = self.actors.enqueue_again(&id.actor(), id, !is_there) {
            return self.fail(id, failure, now);
        }
        if is_there {
            self.start(id, now);
        }
    }

    /// Holds what an argument needs, and lists what of it is to be made again first.
    fn need_argument(&mut self, argument: &Argument, task: &mut Task, lost: &mut Vec<ObjectId>) {
        if let (Some(object), Some(owner), None) =
            (argument.object, &argument.owner, &argument.value)
        {
            self.need(object, owner, task, lost);
            let id = task.spec.task;
            let is_missing = self.objects.depend(&object, id, &mut self.effects);
            task.missing += u32::from(is_missing);
            return;
        }
        let contained = argument.value.as_ref().and_then(|it| it.contained.as_ref());
        for (object, owner) in contained.into_iter().flat_map(|contained| contained.iter()) {
            self.need(object, owner, task, lost);
        }
    }

    /// An object of ours that is not there any more is made again. One of another process may be
    /// there still: its owner says so, or why not, to whoever asks for it.
    fn need(
        &mut self,
        object: ObjectId,
        owner: &WorkerAddress,
        task: &mut Task,
        lost: &mut Vec<ObjectId>,
    ) {
        let is_known = self.objects.cell(&object).is_some();
        self.objects.refer(object, owner);
        task.held.push(object);
        if !is_known && self.objects.is_ours(&object) {
            lost.push(object);
        }
    }

    /// Whether arguments of a task that was to start were lost while it waited for others: it waits
    /// for these, too.
    pub(super) fn misses_arguments(&mut self, task: TaskId) -> bool {
        let Some(entry) = self.tasks.tasks.get(&task) else {
            return false;
        };
        let lost = lost_of(&entry.spec.arguments);
        let missing = self.depend_again(task, &lost);
        if let Some(entry) = self.tasks.tasks.get_mut(&task) {
            entry.missing += missing;
        }
        missing > 0
    }

    /// Has a task, or the creation of an actor, wait for objects that were there and are made again;
    /// of how many that is true.
    pub(super) fn depend_again(&mut self, task: TaskId, lost: &[ObjectId]) -> u32 {
        let mut missing = 0;
        for object in lost {
            missing += u32::from(self.objects.depend(object, task, &mut self.effects));
        }
        missing
    }

    /// An executor did not find arguments of a task: they are made again, and the task waits.
    pub(super) fn on_lost_arguments(&mut self, task: TaskId, lost: &[ObjectId], now: Micros) {
        let Some(entry) = self.tasks.tasks.get_mut(&task) else {
            return;
        };
        let mut locations = Vec::new();
        for argument in &mut entry.spec.arguments {
            let Some(object) = argument.object.filter(|object| lost.contains(object)) else {
                continue;
            };
            let value = argument.value.take();
            locations.extend(value.and_then(|value| Some((object, value.shared?))));
        }
        if entry.is_cancelled {
            return self.fail_cancelled(task, Cancellation::NotStarted, now);
        }
        // First all of them, then the task waits for each: what cannot be made again is there at once,
        // and must not start a task that is still to wait for others.
        for (object, location) in &locations {
            self.report_lost(object, location, "", now);
        }
        for (object, _) in locations {
            let is_missing = self.objects.depend(&object, task, &mut self.effects);
            if let Some(entry) = self.tasks.tasks.get_mut(&task) {
                entry.missing += u32::from(is_missing);
            }
        }
        let Some(entry) = self.tasks.tasks.get(&task) else {
            return;
        };
        let is_missing = entry.missing > 0;
        if entry.spec.kind() == TaskKind::ActorMethod
            && let Some(failure) = self.actors.enqueue_again(&task.actor(), task, is_missing)
        {
            return self.fail(task, failure, now);
        }
        if !is_missing {
            self.start(task, now);
        }
    }

    /// A reader in this process did not find the copy of an object: where it is ours it is made
    /// again, else its owner hears of it. Either way its value is waited for anew. `reason` is why, as
    /// far as that is known.
    pub fn report_lost(
        &mut self,
        object: &ObjectId,
        location: &SharedLocation,
        reason: &str,
        now: Micros,
    ) {
        if self.objects.is_ours(object) {
            self.on_lost_because(object, location, reason, now);
        } else if self.objects.is_at(object, location) {
            self.objects.forget_value(object);
            self.objects
                .subscribe_anew(object, *location, &mut self.effects);
        }
        self.settle_releases();
    }
}

/// The objects among arguments whose values are not there.
pub(super) fn lost_of(arguments: &[Argument]) -> SmallVec<[ObjectId; 2]> {
    let lost = arguments.iter().filter(|argument| argument.value.is_none());
    lost.filter_map(|argument| argument.object).collect()
}

/// Whether a finished task can be run again.
fn rebuild_of(task: &Task) -> Rebuild {
    if task.spec.generator.is_some() {
        // Which of its items are wanted is not known any more.
        Rebuild::Never
    } else if task.is_cancelled {
        Rebuild::Cancelled
    } else if task.retries_left != 0 {
        Rebuild::Kept
    } else if task.retries_used > 0 {
        Rebuild::Exhausted
    } else {
        Rebuild::NoRetries
    }
}
