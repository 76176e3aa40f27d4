//! Requests for room: who gets it at once, who waits, and what others do for it meanwhile.

use std::sync::Arc;

use whipray_proto::{ObjectId, limits};

use super::candidates::Class;
use super::disk::Copy;
use super::fetching::Fetched;
use super::table::{ClientId, Entry, ObjectTable, State};
use super::work::{DiskError, Micros, Room, Work};

/// Why an object cannot be created. The text is what the user reads.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum CreateError {
    #[error(
        "an object of {size_bytes} bytes does not fit into the object store: {used_bytes} of \
         {capacity_bytes} bytes are in use by {objects} objects that are still referred to, and the \
         longest free range has {largest_free_bytes} bytes; drop references that are not needed, or \
         start with a larger object_store_memory"
    )]
    Full {
        size_bytes: u64,
        used_bytes: u64,
        capacity_bytes: u64,
        largest_free_bytes: u64,
        objects: usize,
    },
    #[error("object {object} is in the object store already")]
    Exists { object: ObjectId },
    /// The arena is full, and so is the disk.
    #[error("{0}")]
    Disk(#[from] DiskError),
}

/// A request that is not answered yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub demand: Demand,
    pub size_bytes: u64,
    /// It is refused if nothing has changed by then.
    pub deadline: Micros,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Demand {
    Create(Creation),
    /// Room for all that has to come for a request from other nodes, by the number of its claim.
    Pull(u64),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Creation {
    pub client: ClientId,
    pub request: u64,
    pub object: ObjectId,
    pub size_bytes: u64,
    /// The client is gone.
    pub is_abandoned: bool,
}

impl ObjectTable {
    /// Room for an object, pinned for `client`, who writes it. The answer is among the work: at
    /// once where there is room, else when there is, or when it is clear that there will be none.
    ///
    /// A sealed object of the same id that nobody pins gives way: the task that makes it is tried
    /// again, and its earlier try came to the seal but not to its answer.
    pub fn create(
        &mut self,
        client: ClientId,
        request: u64,
        object: ObjectId,
        size_bytes: u64,
        now: Micros,
    ) {
        self.waiting.push_back(Waiting {
            demand: Demand::Create(Creation {
                client,
                request,
                object,
                size_bytes,
                is_abandoned: false,
            }),
            size_bytes,
            deadline: now + limits::ROOM_WAIT.as_micros() as Micros,
        });
        self.make_room(now);
    }

    /// When [`Self::on_time`] is due, while requests wait.
    pub fn next_deadline(&self) -> Option<Micros> {
        let first = self.waiting.front()?;
        if self.disk.is_writing() {
            return None;
        }
        let is_for_release = self.disk.settings.is_some() && !self.is_blocked(first);
        Some(if is_for_release {
            self.release_until
        } else {
            first.deadline
        })
    }

    /// Time has passed.
    pub fn on_time(&mut self, now: Micros) {
        self.make_room(now);
    }

    /// Serves requests in their order, as far as there is room, and sees to it that there will be
    /// some for those that are left. To be called after whatever may have given room back.
    pub fn make_room(&mut self, now: Micros) {
        loop {
            self.refresh_claims();
            let Some(first) = self.waiting.front().copied() else {
                return;
            };
            if self.serve(&first) {
                self.waiting.pop_front();
                continue;
            }
            if self.is_coming(&first, now) {
                return;
            }
            if let Demand::Create(creation) = first.demand
                && self.is_taken(&creation.object)
            {
                if now < first.deadline {
                    break;
                }
                self.waiting.pop_front();
                self.refuse_as_existing(&creation);
            } else if self.disk.settings.is_some() {
                self.waiting.pop_front();
                match first.demand {
                    Demand::Create(creation) => self.reserve_file(creation),
                    Demand::Pull(claim) => self.reserve_pulls(claim),
                }
            } else if now >= first.deadline || first.size_bytes > self.allocator.capacity() {
                self.waiting.pop_front();
                self.refuse_as_full(&first);
            } else {
                break;
            }
        }
        // The first one waits for what others may do, or may not: those behind it may go ahead.
        let mut index = 1;
        while let Some(next) = self.waiting.get(index).copied() {
            if self.serve(&next) {
                self.waiting.remove(index);
            } else {
                index += 1;
            }
        }
    }

    /// Whether room is being made for a request that does not fit.
    fn is_coming(&mut self, first: &Waiting, now: Micros) -> bool {
        if first.size_bytes > self.allocator.capacity() || self.is_blocked(first) {
            return false;
        }
        let sizes = self.waiting.iter().map(|it| it.size_bytes);
        let wanted_bytes = sizes.fold(0, u64::saturating_add);
        let wanted_bytes = self.bytes_at_once(wanted_bytes);
        if self.start_spilling(wanted_bytes) {
            return true;
        }
        if self.disk.settings.is_none() {
            return false;
        }
        if self.ask_keepers(wanted_bytes) {
            self.release_until = now + limits::RELEASE_WAIT.as_micros() as Micros;
        }
        now < self.release_until
    }

    /// Asks those who made objects, and keep them mapped for themselves alone, to let go of the
    /// oldest ones. Returns whether anybody was asked.
    fn ask_keepers(&mut self, wanted_bytes: u64) -> bool {
        let mut asked: Vec<(ClientId, Vec<ObjectId>)> = Vec::new();
        let mut bytes = 0;
        while bytes < wanted_bytes
            && let Some(object) = self.candidates.oldest(Class::Kept)
        {
            let Some(entry) = self.entries.get_mut(&object) else {
                break;
            };
            bytes += entry.size_bytes;
            if let Some(client) = entry.keeper.take() {
                match asked.iter_mut().find(|(other, _)| *other == client) {
                    Some((_, objects)) => objects.push(object),
                    None => asked.push((client, vec![object])),
                }
            }
            self.list(object);
        }
        let is_asked = !asked.is_empty();
        self.work.extend(
            asked
                .into_iter()
                .map(|(client, objects)| Work::Release { client, objects }),
        );
        is_asked
    }

    /// Gives a request its room, where there is some, if need be that of objects which are on disk
    /// already.
    fn serve(&mut self, waiting: &Waiting) -> bool {
        match &waiting.demand {
            Demand::Create(creation) => self.serve_creation(creation),
            Demand::Pull(claim) => self.serve_claim(*claim, waiting.size_bytes),
        }
    }

    fn serve_creation(&mut self, creation: &Creation) -> bool {
        if self.is_taken(&creation.object) {
            return false;
        }
        self.discard(creation.object);
        let Some(offset) = self.find_room(creation.size_bytes) else {
            return false;
        };
        let cold_bytes = self.provide(offset, creation.size_bytes);
        self.give(creation, Some(offset), None);
        self.answer(creation, Ok(Room::Arena { offset, cold_bytes }));
        true
    }

    /// Room in the arena, if need be that of objects which can be had elsewhere.
    pub(super) fn find_room(&mut self, size_bytes: u64) -> Option<u64> {
        let mut found = self.allocator.allocate(size_bytes);
        while found.is_none() && size_bytes <= self.allocator.capacity() && self.evict_oldest() {
            found = self.allocator.allocate(size_bytes);
        }
        found
    }

    /// Sees to the memory of new room. Returns how much of it its writer has to provide.
    pub(super) fn provide(&mut self, offset: u64, size_bytes: u64) -> u64 {
        let cold_bytes = self.commitment.on_allocated(offset, size_bytes);
        if let Some(extent) = self.commitment.next_extent() {
            self.work.push(Work::ProvideMemory(extent));
        }
        cold_bytes
    }

    /// Whether objects can leave the arena at once.
    pub(super) fn can_evict(&self) -> bool {
        self.candidates.oldest(Class::Copied).is_some()
    }

    /// Takes the room of the oldest object that has a copy elsewhere: on disk, or on another node.
    fn evict_oldest(&mut self) -> bool {
        let Some(object) = self.candidates.oldest(Class::Copied) else {
            return false;
        };
        let Some(entry) = self.entries.get_mut(&object) else {
            return false;
        };
        if entry.is_secondary {
            self.pulls.is_changed = true;
            self.discard(object);
        } else if let Some(offset) = entry.room.take() {
            self.allocator.release(offset, entry.size_bytes);
            self.disk.on_spilled(entry.size_bytes);
        }
        self.list(object);
        true
    }

    fn is_blocked(&self, waiting: &Waiting) -> bool {
        match &waiting.demand {
            Demand::Create(creation) => self.is_taken(&creation.object),
            Demand::Pull(_) => false,
        }
    }

    /// Whether an object of this id is in somebody's use, so that it cannot be made anew.
    pub(super) fn is_taken(&self, object: &ObjectId) -> bool {
        self.entries.get(object).is_some_and(|entry| {
            let is_idle = matches!(entry.state, State::Sealed { .. }) && entry.pins == 0;
            !is_idle || entry.is_spilling
        })
    }

    /// Gives a request a file in the place of room in the arena.
    pub(super) fn give_file(&mut self, creation: &Creation, copy: Copy, path: Arc<str>) {
        self.discard(creation.object);
        self.give(creation, None, Some(copy));
        self.answer(creation, Ok(Room::File { path }));
    }

    fn give(&mut self, creation: &Creation, room: Option<u64>, copy: Option<Copy>) {
        let (client, object) = (creation.client, creation.object);
        let state = State::Writing {
            writer: client,
            freed_by: None,
        };
        self.entries.insert(
            object,
            Entry {
                size_bytes: creation.size_bytes,
                pins: 1,
                state,
                room,
                copy,
                fetched: Fetched::Not,
                is_spilling: false,
                is_secondary: false,
                keeper: None,
                class: None,
            },
        );
        self.pins.entry(client).or_default().insert(object, 1);
        self.overtake_pull(object);
    }

    /// The disk cannot take what is in the way of those who wait: they do not fit.
    pub(super) fn refuse_waiting(&mut self, error: &DiskError, now: Micros) {
        let waiting = std::mem::take(&mut self.waiting);
        for request in waiting {
            if !self.serve(&request) {
                self.refuse_demand(&request, error.clone().into());
            }
        }
        self.release_until = self.release_until.min(now);
    }

    pub(super) fn refuse_as_existing(&mut self, creation: &Creation) {
        let object = creation.object;
        self.refuse(creation, CreateError::Exists { object });
    }

    fn refuse_as_full(&mut self, waiting: &Waiting) {
        let error = CreateError::Full {
            size_bytes: waiting.size_bytes,
            used_bytes: self.allocator.used(),
            capacity_bytes: self.allocator.capacity(),
            largest_free_bytes: self.allocator.largest_free(),
            objects: self.entries.len(),
        };
        self.refuse_demand(waiting, error);
    }

    fn refuse_demand(&mut self, waiting: &Waiting, error: CreateError) {
        match &waiting.demand {
            Demand::Create(creation) => self.refuse(creation, error),
            Demand::Pull(claim) => self.refuse_claim(*claim, &error),
        }
    }

    pub(super) fn refuse(&mut self, creation: &Creation, error: CreateError) {
        self.answer(creation, Err(error));
    }

    fn answer(&mut self, creation: &Creation, outcome: Result<Room, CreateError>) {
        if creation.is_abandoned {
            return;
        }
        self.work.push(Work::Answer {
            client: creation.client,
            request: creation.request,
            outcome,
        });
    }
}
