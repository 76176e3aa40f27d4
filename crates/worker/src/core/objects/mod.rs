//! The object table: values, references, borrowers.
//!
//! An object lives as long as anything refers to it: handles of this process, tasks of ours that
//! take it, objects of ours that contain it (all counted as `local`), and processes that borrowed
//! it (see [`accounts`](super::accounts)). An object goes when `local` is zero and every account is
//! settled.
//!
//! Who hands on a reference registers the receiver before it lets go of its own:
//! the executor of a task for what it returns ([`ObjectTable::register_receiver`]), the caller of a
//! task for what the executor keeps (`TaskReply::kept`).
//!
//! Invariants, checked by [`ObjectTable::validate`]:
//! - OT-1: no entry stays that nothing refers to.
//! - OT-2: a value that is there has no subscriber left, and nothing depends on it.
//! - OT-3: further copies are listed of objects alone whose value is in shared memory, elsewhere.

mod borrowing;
mod copies;
mod deaths;
mod directory;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;
use whipray_proto::failure::{Failure, FailureKind};
use whipray_proto::messages::object::{ObjectReady, RemoveBorrower, SubscribeObject};
use whipray_proto::{
    NodeId, ObjectId, ObjectValue, References, SharedLocation, TaskId, WorkerAddress, WorkerId,
};

use crate::cell::{ObjectCell, is_exception};
use crate::core::accounts::{Accounts, Registered};
use crate::core::effect::{DriverEvent, Effect};
use crate::core::party::Party;

pub(crate) use self::directory::Loss;

/// Whose object it is.
pub(crate) enum Ownership {
    Ours {
        borrowers: Accounts,
    },
    Borrowed {
        owner: Box<WorkerAddress>,
        registered: Registered,
        is_subscribed: bool,
    },
}

/// Whether the value of an object of ours can be made again where its last copy is lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Rebuild {
    /// No task makes it, or none that could be run again for it.
    #[default]
    Never,
    /// Its task has no retries.
    NoRetries,
    /// Its task is kept; see [`lineage`](super::lineage).
    Kept,
    /// Its task has no retries left.
    Exhausted,
    Evicted,
    Cancelled,
}

pub(crate) struct ObjectEntry {
    pub cell: Arc<ObjectCell>,
    pub local: u32,
    pub ownership: Ownership,
    /// Who waits for the value. Apart, because few objects have anybody, and there are many.
    awaited: Option<Box<Awaited>>,
    /// References inside the value; each is counted in its own entry.
    contained: SmallVec<[ObjectId; 0]>,
    rebuild: Rebuild,
}

/// Who waits for the value of an object, beside threads of this process.
#[derive(Default)]
struct Awaited {
    /// Borrowers.
    subscribers: Vec<WorkerAddress>,
    /// Tasks of ours.
    dependents: Vec<TaskId>,
}

impl ObjectEntry {
    fn awaited(&mut self) -> &mut Awaited {
        self.awaited.get_or_insert_default()
    }

    /// Whether `owner` was asked for the value, and has not sent it.
    fn awaits_from(&self, owner: &WorkerId) -> bool {
        match &self.ownership {
            Ownership::Borrowed {
                owner: its,
                is_subscribed,
                ..
            } => *is_subscribed && its.worker == *owner && !self.cell.is_ready(),
            Ownership::Ours { .. } => false,
        }
    }

    /// The references inside the value.
    pub fn contained(&self) -> &[ObjectId] {
        &self.contained
    }
}

/// A process whose death the node reports to us.
struct Watched {
    node: NodeId,
    /// Of a borrower that somebody else registered.
    address: Option<WorkerAddress>,
}

/// All objects that this process refers to.
pub struct ObjectTable {
    me: WorkerAddress,
    entries: FxHashMap<ObjectId, ObjectEntry>,
    /// Borrowers and owners whose death the node reports to us.
    watched: FxHashMap<WorkerId, Watched>,
    /// Owners of awaited values to whom the connection is lost, whether they live or not.
    lost_owners: FxHashSet<WorkerId>,
    /// Objects of ours in shared memory that nobody refers to any more; sent in one message.
    to_free: Vec<ObjectId>,
    /// The same on other nodes.
    to_free_elsewhere: Vec<(NodeId, ObjectId)>,
    /// Fetched copies of objects of ours that count from here on, since the first one is lost: they
    /// must not go when their node needs the room.
    to_keep: Vec<(ObjectId, NodeId)>,
    /// Further copies of objects of ours; see `directory`.
    copies: FxHashMap<ObjectId, SmallVec<[NodeId; 2]>>,
    /// A copy of ours was lost that others had been told of.
    has_moved: bool,
    /// Counts readers, to spread them over copies.
    turn: usize,
    /// Values came that lie on other nodes.
    has_far_values: Arc<AtomicBool>,
    /// Tasks that were kept for results which nobody refers to any more.
    pub(crate) released_results: Vec<TaskId>,
    /// Actors whose handle object is gone; see `actors`.
    pub(crate) released_actors: Vec<ObjectId>,
    /// Where objects were made, while that is recorded.
    call_sites: FxHashMap<ObjectId, String>,
}

impl ObjectTable {
    pub fn new(me: WorkerAddress) -> Self {
        Self {
            me,
            entries: FxHashMap::default(),
            watched: FxHashMap::default(),
            lost_owners: FxHashSet::default(),
            to_free: Vec::new(),
            to_free_elsewhere: Vec::new(),
            to_keep: Vec::new(),
            copies: FxHashMap::default(),
            has_moved: false,
            turn: 0,
            has_far_values: Arc::default(),
            released_results: Vec::new(),
            released_actors: Vec::new(),
            call_sites: FxHashMap::default(),
        }
    }

    /// All objects, in no order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&ObjectId, &ObjectEntry)> {
        self.entries.iter()
    }

    /// Notes where an object was made.
    pub fn note_call_site(&mut self, object: ObjectId, call_site: String) {
        if self.entries.contains_key(&object) {
            self.call_sites.insert(object, call_site);
        }
    }

    /// Where an object was made; empty where that was not recorded.
    pub fn call_site(&self, object: &ObjectId) -> &str {
        self.call_sites.get(object).map_or("", String::as_str)
    }

    /// How many objects there are, for tests and diagnosis.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What each object is kept for, in the order of their ids; for tests and diagnosis.
    pub fn describe(&self) -> Vec<String> {
        let mut objects: Vec<_> = self.entries.iter().collect();
        objects.sort_unstable_by_key(|(object, _)| **object);
        let lines = objects.into_iter().map(|(object, entry)| {
            let counted_by = match &entry.ownership {
                Ownership::Ours { borrowers } => format!("borrowers {borrowers:?}"),
                Ownership::Borrowed {
                    owner, registered, ..
                } => format!("{registered:?} at {}", owner.endpoint),
            };
            let state = if entry.cell.is_ready() {
                "there"
            } else {
                "awaited"
            };
            format!("{object} {state}, local {}, {counted_by}", entry.local)
        });
        lines.collect()
    }

    pub fn cell(&self, object: &ObjectId) -> Option<&Arc<ObjectCell>> {
        self.entries.get(object).map(|entry| &entry.cell)
    }

    /// The address of the owner.
    pub fn owner(&self, object: &ObjectId) -> Option<&WorkerAddress> {
        self.entries
            .get(object)
            .map(|entry| match &entry.ownership {
                Ownership::Ours { .. } => &self.me,
                Ownership::Borrowed { owner, .. } => owner,
            })
    }

    pub fn local_count(&self, object: &ObjectId) -> u32 {
        self.entries.get(object).map_or(0, |entry| entry.local)
    }

    /// Adds an object of ours with one local reference.
    pub fn insert_ours(&mut self, cell: Arc<ObjectCell>, contained: &[ObjectId]) {
        for inner in contained {
            self.retain(inner);
        }
        self.entries.insert(
            cell.id(),
            ObjectEntry {
                cell,
                local: 1,
                ownership: Ownership::Ours {
                    borrowers: Accounts::default(),
                },
                awaited: None,
                contained: SmallVec::from_slice(contained),
                rebuild: Rebuild::Never,
            },
        );
    }

    /// One more local reference to an object that is known or that `owner` has.
    pub fn refer(&mut self, object: ObjectId, owner: &WorkerAddress) -> &Arc<ObjectCell> {
        let me = self.me.worker;
        let is_ours = owner.worker == me;
        let entry = self.entries.entry(object).or_insert_with(|| ObjectEntry {
            cell: Arc::new(match is_ours {
                true => ObjectCell::pending(object),
                false => ObjectCell::borrowed(object),
            }),
            local: 0,
            ownership: if is_ours {
                Ownership::Ours {
                    borrowers: Accounts::default(),
                }
            } else {
                Ownership::Borrowed {
                    owner: Box::new(owner.clone()),
                    registered: Registered::default(),
                    is_subscribed: false,
                }
            },
            awaited: None,
            contained: SmallVec::new(),
            rebuild: Rebuild::Never,
        });
        entry.local += 1;
        &entry.cell
    }

    /// One more local reference to an object that is known.
    pub fn retain(&mut self, object: &ObjectId) {
        if let Some(entry) = self.entries.get_mut(object) {
            entry.local += 1;
        }
    }

    /// One local reference less.
    pub fn release(&mut self, object: &ObjectId, effects: &mut Vec<Effect>) {
        if let Some(entry) = self.entries.get_mut(object) {
            entry.local = entry.local.saturating_sub(1);
            self.collect(*object, effects);
        }
    }

    /// A borrower wants the value of an object of ours, now or later.
    pub fn on_subscribe(
        &mut self,
        message: SubscribeObject,
        from: &WorkerAddress,
        effects: &mut Vec<Effect>,
    ) {
        let object = message.object;
        match self.entries.get_mut(&object) {
            Some(entry) if entry.cell.is_ready() => self.send_value(object, from, effects),
            Some(entry) if matches!(entry.ownership, Ownership::Ours { .. }) => {
                entry.awaited().subscribers.push(from.clone());
            }
            _ => {
                let failure = Failure::new(
                    FailureKind::ReferenceDeleted,
                    object.to_hex(),
                    format!(
                        "object {object} is not known to its owner any more: all references that \
                         the owner knew of were gone"
                    ),
                );
                let value = ObjectValue::failed(failure);
                effects.push(Effect::ToPeer(
                    from.clone(),
                    ObjectReady { object, value }.into(),
                ));
            }
        }
    }

    fn send_value(&mut self, object: ObjectId, to: &WorkerAddress, effects: &mut Vec<Effect>) {
        let Some(value) = self.value_for(&object, &to.node) else {
            return;
        };
        if let Some(contained) = &value.contained {
            self.register_receiver(contained, to, effects);
        }
        effects.push(Effect::ToPeer(
            to.clone(),
            ObjectReady { object, value }.into(),
        ));
    }

    /// The owner of a borrowed object sent its value.
    pub fn on_object_ready(
        &mut self,
        message: ObjectReady,
        from: Party,
        effects: &mut Vec<Effect>,
    ) -> Vec<TaskId> {
        if !self.entries.contains_key(&message.object) {
            // We let go of it meanwhile. Its memory is the owner's to free.
            self.refuse_contained(&message.value, from, effects);
            return Vec::new();
        }
        self.complete(message.object, message.value, from, effects)
    }

    /// Asks the owner for the value of a borrowed object, once.
    pub fn subscribe(&mut self, object: &ObjectId, effects: &mut Vec<Effect>) {
        let Some(entry) = self.entries.get_mut(object) else {
            return;
        };
        if entry.cell.is_ready() {
            return;
        }
        if let Ownership::Borrowed {
            owner,
            is_subscribed,
            ..
        } = &mut entry.ownership
            && !*is_subscribed
        {
            *is_subscribed = true;
            let owner = owner.clone();
            self.watch(Party::from(&*owner), effects);
            let message = SubscribeObject {
                object: *object,
                lost: None,
            };
            effects.push(Effect::ToPeer(*owner, message.into()));
        }
    }

    /// Makes `task` wait for an object; returns whether there is anything to wait for.
    pub fn depend(&mut self, object: &ObjectId, task: TaskId, effects: &mut Vec<Effect>) -> bool {
        self.subscribe(object, effects);
        match self.entries.get_mut(object) {
            Some(entry) if !entry.cell.is_ready() => {
                entry.awaited().dependents.push(task);
                true
            }
            _ => false,
        }
    }

    /// Sets the value of an object; returns the tasks of ours that waited for it. The value's
    /// references were registered for us by the process that sent it.
    pub fn complete(
        &mut self,
        object: ObjectId,
        value: ObjectValue,
        from: Party,
        effects: &mut Vec<Effect>,
    ) -> Vec<TaskId> {
        let received = value
            .contained
            .as_ref()
            .map(|contained| self.receive(contained, from, effects));
        let Some(entry) = self.entries.get_mut(&object) else {
            // Nobody waits any more: let go of what came with the value.
            for inner in received.unwrap_or_default() {
                self.release(&inner, effects);
            }
            if let Some(location) = &value.shared {
                self.free_at(object, location.node);
            }
            if is_exception(&value) {
                let event = DriverEvent::UnhandledError(Box::new(value));
                effects.push(Effect::Tell(event));
            }
            return Vec::new();
        };
        if entry.cell.is_ready() {
            for inner in received.unwrap_or_default() {
                self.release(&inner, effects);
            }
            if let Some(location) = &value.shared
                && self.is_ours(&object)
            {
                self.refuse_copy(object, location.node);
            }
            return Vec::new();
        }
        if let Some(location) = &value.shared
            && location.node != self.me.node
        {
            self.has_far_values.store(true, Ordering::Relaxed);
        }
        // That of a copy that was lost may be there still.
        entry.contained.extend(received.unwrap_or_default());
        let waiters = entry.cell.complete(value);
        let awaited = entry.awaited.take();
        if !waiters.is_empty() {
            effects.push(Effect::Notify(waiters));
        }
        let Some(awaited) = awaited else {
            return Vec::new();
        };
        for subscriber in &awaited.subscribers {
            self.send_value(object, subscriber, effects);
        }
        awaited.dependents
    }

    /// A result of ours came that nobody asks for any more: lets go of the references that came with
    /// it, and of its memory where nobody knows the object.
    pub fn refuse(
        &mut self,
        object: ObjectId,
        value: &ObjectValue,
        from: Party,
        effects: &mut Vec<Effect>,
    ) {
        self.refuse_contained(value, from, effects);
        if let Some(location) = &value.shared {
            let is_elsewhere = location.node != self.me.node;
            if is_elsewhere || !self.entries.contains_key(&object) {
                self.refuse_copy(object, location.node);
            }
        }
    }

    pub(super) fn refuse_contained(
        &mut self,
        value: &ObjectValue,
        from: Party,
        effects: &mut Vec<Effect>,
    ) {
        let received = value
            .contained
            .as_ref()
            .map(|contained| self.receive(contained, from, effects));
        for inner in received.unwrap_or_default() {
            self.release(&inner, effects);
        }
    }

    /// References of ours that we send to ourselves: nobody else holds them on the way.
    pub fn hold_on_the_way(&mut self, references: &References) {
        let me = self.me.worker;
        for (object, owner) in references.iter() {
            if owner.worker == me {
                self.retain(&object);
            }
        }
    }

    /// They have arrived.
    pub fn release_arrived(&mut self, references: &References, effects: &mut Vec<Effect>) {
        let me = self.me.worker;
        for (object, owner) in references.iter() {
            if owner.worker == me {
                self.release(&object, effects);
            }
        }
    }

    /// Removes the entry of an object that nothing refers to, and lets go of what it held.
    fn collect(&mut self, object: ObjectId, effects: &mut Vec<Effect>) {
        let Some(entry) = self.entries.get(&object) else {
            return;
        };
        if entry.local > 0 {
            return;
        }
        if let Ownership::Ours { borrowers } = &entry.ownership
            && !borrowers.is_empty()
        {
            return;
        }
        let Some(entry) = self.entries.remove(&object) else {
            return;
        };
        if !self.call_sites.is_empty() {
            self.call_sites.remove(&object);
        }
        match entry.ownership {
            Ownership::Ours { .. } => {
                if is_handle_object(&object) {
                    self.released_actors.push(object);
                } else if let Some(location) = entry.cell.location() {
                    self.free_copies(object, location.node);
                    if entry.rebuild == Rebuild::Kept {
                        self.released_results.push(object.task());
                    }
                } else if let Some(value) = entry.cell.unseen_exception() {
                    let event = DriverEvent::UnhandledError(Box::new(value));
                    effects.push(Effect::Tell(event));
                }
            }
            Ownership::Borrowed {
                owner, registered, ..
            } => {
                if let Some((count, by_others)) = registered.into_message() {
                    let borrower = self.me.worker;
                    let message = RemoveBorrower {
                        object,
                        borrower,
                        count,
                        by_others,
                    };
                    effects.push(Effect::ToPeer(*owner, message.into()));
                }
            }
        }
        for inner in entry.contained {
            self.release(&inner, effects);
        }
    }

    /// Checks the invariants; for tests and the simulation.
    ///
    /// # Errors
    /// The name of the invariant that does not hold, and where.
    pub fn validate(&self) -> Result<(), String> {
        for (object, entry) in &self.entries {
            let has_borrowers = match &entry.ownership {
                Ownership::Ours { borrowers } => !borrowers.is_empty(),
                Ownership::Borrowed { .. } => false,
            };
            if entry.local == 0 && !has_borrowers {
                return Err(format!("OT-1: nothing refers to {object}"));
            }
            if entry.cell.is_ready() && entry.awaited.is_some() {
                return Err(format!("OT-2: {object} is there, and still waited for"));
            }
        }
        for (object, others) in &self.copies {
            let first = self.cell(object).and_then(|cell| cell.location());
            let is_first = |first: SharedLocation| others.contains(&first.node);
            if others.is_empty() || first.is_none_or(is_first) {
                return Err(format!("OT-3: {object} has copies {others:?} of nothing"));
            }
        }
        Ok(())
    }
}

/// Whether a program put the object, as opposed to a task that returned it.
pub(crate) fn is_put(object: &ObjectId) -> bool {
    object.index() >= ObjectId::FIRST_PUT
}

/// Whether the object only stands for the handles of an actor.
pub(crate) fn is_handle_object(object: &ObjectId) -> bool {
    object.index() == 0 && object.task().unique() == u64::MAX
}
