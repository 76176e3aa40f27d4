//! Which objects there are, who writes, reads and owns them.

use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use whipray_proto::{ObjectId, WorkerId};

use super::allocator::Allocator;
use super::candidates::{Candidates, Class};
use super::commitment::Commitment;
use super::creating::{Demand, Waiting};
use super::disk::{Copy, Disk, SpillSettings};
use super::fetching::{Fetched, Fetching};
use super::pulling::Pulls;
use super::work::{FilePlace, Micros, Work};

/// A connected process, by the number that its node gave it.
pub type ClientId = u64;

/// What is in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// In the arena.
    pub used_bytes: u64,
    pub capacity_bytes: u64,
    pub objects: u64,
    /// In files alone.
    pub spilled_bytes: u64,
    pub spilled_objects: u64,
}

/// Where a pinned object lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    pub object: ObjectId,
    /// In the arena, or in the file.
    pub offset: u64,
    pub size_bytes: u64,
    /// The file, where the object is not in the arena.
    pub path: Option<Arc<str>>,
    /// It has just come from another node, for the request that this answers.
    pub is_new_copy: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// `writer` fills it. `freed_by`: this process let go of it before the seal, which says whether
    /// it was the owner.
    Writing {
        writer: ClientId,
        freed_by: Option<WorkerId>,
    },
    /// Readable; lives until its owner frees it.
    Sealed { owner: WorkerId, seal: u64 },
    /// Freed by its owner; lives until the last pin goes, and the disk is done with it.
    Freed,
}

/// An object has room in the arena, or a copy on disk, or both.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub size_bytes: u64,
    /// Of all clients together.
    pub pins: u32,
    pub state: State,
    /// The offset in the arena.
    pub room: Option<u64>,
    pub copy: Option<Copy>,
    /// Where the copy is in a bucket and somebody reads it.
    pub fetched: Fetched,
    /// It is being written to disk: it keeps its room, whoever lets go of it.
    pub is_spilling: bool,
    /// Another node has the copy that counts: this one goes whenever room is needed, and is never
    /// written to disk for that.
    pub is_secondary: bool,
    /// The client that made it and keeps its own mapping, until it is asked to let go of it.
    pub keeper: Option<ClientId>,
    /// How it is listed among the candidates.
    pub class: Option<Class>,
}

/// All objects of one node: those in its arena and those on its disk.
///
/// An object exists while its owner has not freed it, or someone has a pin on it. Whatever names an
/// unknown object is ignored: a free may meet a pin that is on its way.
pub struct ObjectTable {
    pub(super) allocator: Allocator,
    pub(super) commitment: Commitment,
    pub(super) entries: FxHashMap<ObjectId, Entry>,
    pub(super) pins: FxHashMap<ClientId, FxHashMap<ObjectId, u32>>,
    pub(super) owned: FxHashMap<WorkerId, FxHashSet<ObjectId>>,
    /// Counts seals, so that the oldest objects can be told.
    seals: u64,
    pub(super) candidates: Candidates,
    /// Requests for room, in the order in which they came.
    pub(super) waiting: VecDeque<Waiting>,
    /// Clients that were asked to release mappings may take until then.
    pub(super) release_until: Micros,
    pub(super) disk: Disk,
    pub(super) fetching: Fetching,
    pub(super) pulls: Pulls,
    pub(super) work: Vec<Work>,
}

impl ObjectTable {
    /// An empty table over an arena of `capacity_bytes`. Without settings for it nothing is ever
    /// written to disk.
    pub fn new(capacity_bytes: u64, spilling: Option<SpillSettings>) -> Self {
        Self {
            allocator: Allocator::new(capacity_bytes),
            commitment: Commitment::new(capacity_bytes),
            entries: FxHashMap::default(),
            pins: FxHashMap::default(),
            owned: FxHashMap::default(),
            seals: 0,
            candidates: Candidates::default(),
            waiting: VecDeque::new(),
            release_until: 0,
            disk: Disk::new(spilling),
            fetching: Fetching::default(),
            pulls: Pulls::default(),
            work: Vec::new(),
        }
    }

    /// What there is to do after the last events; nothing, nearly always.
    pub fn take_work(&mut self) -> Vec<Work> {
        std::mem::take(&mut self.work)
    }

    /// Whether [`Self::take_work`] has something.
    pub fn has_work(&self) -> bool {
        !self.work.is_empty()
    }

    /// Makes an object readable and gives it to `owner`. Returns whether `client` was its writer.
    pub fn seal(
        &mut self,
        client: ClientId,
        object: ObjectId,
        owner: WorkerId,
        unpin: bool,
    ) -> bool {
        let Some(entry) = self.entries.get_mut(&object) else {
            return false;
        };
        let State::Writing { writer, freed_by } = entry.state else {
            return false;
        };
        if writer != client {
            return false;
        }
        if freed_by == Some(owner) {
            entry.state = State::Freed;
            self.on_never_sealed(object);
        } else {
            self.seals += 1;
            let seal = self.seals;
            entry.state = State::Sealed { owner, seal };
            entry.keeper = (!unpin).then_some(client);
            self.owned.entry(owner).or_default().insert(object);
        }
        self.on_seal(object);
        if unpin {
            self.unpin(client, object);
        } else {
            self.list(object);
        }
        true
    }

    pub(super) fn next_seal(&mut self) -> u64 {
        self.seals += 1;
        self.seals
    }

    /// Where an object lies, pinned once more for `client`; `None` where there is no such object on
    /// this machine. [`Self::pin_all`] has those come that are in buckets.
    ///
    /// Also before its seal, for those who need not wait for it: the seal and the pin travel on
    /// different sockets.
    pub fn pin(&mut self, client: ClientId, object: ObjectId) -> Option<Pinned> {
        let entry = self.entries.get(&object)?;
        let size_bytes = entry.size_bytes;
        let (offset, path) = match entry.room {
            Some(offset) => (offset, None),
            None => {
                let (file, offset) = match (entry.fetched, entry.copy) {
                    (Fetched::There(file), _) => (file, 0),
                    (_, Some(copy)) => (copy.file, copy.offset),
                    (_, None) => return None,
                };
                match self.disk.place(file)? {
                    FilePlace::Folder(path) => (offset, Some(path.clone())),
                    FilePlace::Bucket(_) => return None,
                }
            }
        };
        self.add_pin(client, object)?;
        Some(Pinned {
            object,
            offset,
            size_bytes,
            path,
            is_new_copy: false,
        })
    }

    /// One pin more of `client`; `None` where there is no such object.
    pub(super) fn add_pin(&mut self, client: ClientId, object: ObjectId) -> Option<()> {
        let entry = self.entries.get_mut(&object)?;
        entry.pins = entry.pins.checked_add(1)?;
        *self
            .pins
            .entry(client)
            .or_default()
            .entry(object)
            .or_insert(0) += 1;
        self.list(object);
        Some(())
    }

    /// Takes one pin of `client` back. A pin that it does not have is ignored, and so is the last
    /// one of a writer: the seal, or the end of the writer, decides there.
    pub fn unpin(&mut self, client: ClientId, object: ObjectId) {
        let Some(entry) = self.entries.get_mut(&object) else {
            return;
        };
        let is_writer = matches!(entry.state, State::Writing { writer, .. } if writer == client);
        let Some(held) = self.pins.get_mut(&client) else {
            return;
        };
        let Some(count) = held.get_mut(&object) else {
            return;
        };
        if is_writer && *count == 1 {
            return;
        }
        *count -= 1;
        if *count == 0 {
            held.remove(&object);
            entry.keeper = entry.keeper.filter(|keeper| *keeper != client);
        }
        self.drop_pins(object, 1);
    }

    /// `owner` let go of an object of its own; those of others are left alone.
    pub fn free(&mut self, owner: WorkerId, object: ObjectId) {
        let Some(entry) = self.entries.get_mut(&object) else {
            return self.pulls.free(owner, object);
        };
        match entry.state {
            State::Writing { writer, .. } => {
                entry.state = State::Writing {
                    writer,
                    freed_by: Some(owner),
                };
            }
            State::Sealed { owner: known, .. } if known != owner => {}
            State::Sealed { .. } => {
                self.unlist(object);
                if let Some(entry) = self.entries.get_mut(&object) {
                    entry.state = State::Freed;
                }
                self.disown(owner, object);
                self.drop_pins(object, 0);
            }
            State::Freed => {}
        }
    }

    /// A client's process is gone: what it was writing goes, its pins, and its requests.
    pub fn client_gone(&mut self, client: ClientId) {
        self.pulls.client_gone(client);
        let pulls = &self.pulls;
        self.waiting.retain(|waiting| match waiting.demand {
            Demand::Create(creation) => creation.client != client,
            Demand::Pull(claim) => pulls.has_claim(claim),
        });
        self.abandon_jobs(client);
        self.fetching.client_gone(client);
        self.cancel_unwanted_pulls();
        for (object, count) in self.pins.remove(&client).unwrap_or_default() {
            let Some(entry) = self.entries.get_mut(&object) else {
                continue;
            };
            if matches!(entry.state, State::Writing { writer, .. } if writer == client) {
                entry.state = State::Freed;
                self.on_never_sealed(object);
            }
            if let Some(entry) = self.entries.get_mut(&object) {
                entry.keeper = entry.keeper.filter(|keeper| *keeper != client);
            }
            self.drop_pins(object, count);
        }
    }

    /// An owner is gone: all that it owns is free.
    pub fn owner_gone(&mut self, owner: WorkerId) {
        self.pulls.owner_gone(owner);
        for object in self.owned.remove(&owner).unwrap_or_default() {
            self.free(owner, object);
        }
    }

    /// What is in the store.
    pub fn usage(&self) -> Usage {
        Usage {
            used_bytes: self.allocator.used(),
            capacity_bytes: self.allocator.capacity(),
            objects: self.entries.len() as u64,
            spilled_bytes: self.disk.spilled_bytes,
            spilled_objects: self.disk.spilled_objects,
        }
    }

    /// Whether anything is here that is not merely a copy of what another node has.
    pub fn has_originals(&self) -> bool {
        self.entries.values().any(|entry| !entry.is_secondary)
    }

    pub(super) fn drop_pins(&mut self, object: ObjectId, count: u32) {
        let Some(entry) = self.entries.get_mut(&object) else {
            return;
        };
        entry.pins = entry.pins.saturating_sub(count);
        let is_unread = entry.pins == 0;
        let is_over = entry.state == State::Freed && !entry.is_spilling;
        // A copy that is not even in the arena saves nobody much.
        let is_surplus = entry.is_secondary && entry.room.is_none();
        if is_unread && (is_over || is_surplus) {
            return self.discard(object);
        }
        if is_unread {
            self.drop_fetched(object);
        }
        self.list(object);
    }

    /// Forgets an object, and gives back what it takes.
    pub(super) fn discard(&mut self, object: ObjectId) {
        self.unlist(object);
        self.drop_fetched(object);
        let Some(entry) = self.entries.remove(&object) else {
            return;
        };
        match entry.room {
            Some(offset) => self.allocator.release(offset, entry.size_bytes),
            None => self.disk.on_unspilled(entry.size_bytes),
        }
        if let Some(copy) = entry.copy {
            self.drop_from_file(copy.file);
        }
        if let State::Sealed { owner, .. } = entry.state {
            self.disown(owner, object);
        }
    }

    fn disown(&mut self, owner: WorkerId, object: ObjectId) {
        if let Some(objects) = self.owned.get_mut(&owner) {
            objects.remove(&object);
            if objects.is_empty() {
                self.owned.remove(&owner);
            }
        }
    }

    /// Lists an object among the candidates, or takes it from the list, as its state now says.
    pub(super) fn list(&mut self, object: ObjectId) {
        let Some(entry) = self.entries.get_mut(&object) else {
            return;
        };
        let State::Sealed { seal, .. } = entry.state else {
            return;
        };
        let class = entry.class_now();
        if class == entry.class {
            return;
        }
        if let Some(before) = std::mem::replace(&mut entry.class, class) {
            self.candidates.remove(before, seal);
        }
        if let Some(now) = class {
            self.candidates.insert(now, seal, object);
        }
    }

    fn unlist(&mut self, object: ObjectId) {
        if let Some(entry) = self.entries.get_mut(&object)
            && let State::Sealed { seal, .. } = entry.state
            && let Some(class) = entry.class.take()
        {
            self.candidates.remove(class, seal);
        }
    }
}

impl Entry {
    /// What it would take for this object to leave the arena; `None` where it cannot.
    pub fn class_now(&self) -> Option<Class> {
        let is_sealed = matches!(self.state, State::Sealed { .. });
        if !is_sealed || self.is_spilling || self.room.is_none() {
            return None;
        }
        match (self.pins, &self.copy, self.keeper) {
            (0, _, _) if self.is_secondary => Some(Class::Copied),
            (0, Some(_), _) => Some(Class::Copied),
            (0, None, _) => Some(Class::Unread),
            (1, _, Some(_)) => Some(Class::Kept),
            _ => None,
        }
    }
}
