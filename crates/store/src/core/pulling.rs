//! Objects that come from other nodes: where each one is on its way, and who waits for it.

use rustc_hash::FxHashMap;
use whipray_proto::{NodeId, ObjectId, WorkerId};

use super::claims::Claim;
use super::disk::Copy;
use super::fetching::{Fetched, Lost};
use super::table::{ClientId, Entry, ObjectTable, Pinned, State};
use super::work::{DiskError, FilePlace, Micros, Pull, PullRoom, Work};

/// Stands for the nodes that objects are sent to, among the clients that have pins.
pub const SERVING: ClientId = ClientId::MAX;

/// Where an object can be had that is not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    pub node: NodeId,
    /// Whose it is.
    pub owner: WorkerId,
    pub size_bytes: u64,
}

/// What is on its way here, and requests that wait for room.
#[derive(Clone, Debug, Default)]
pub(super) struct Pulls {
    jobs: FxHashMap<u64, Job>,
    /// Those that somebody waits for.
    pub by_object: FxHashMap<ObjectId, u64>,
    next_pull: u64,
    pub claims: FxHashMap<u64, Claim>,
    next_claim: u64,
    /// Requests may miss more or less than when they were last looked at.
    pub is_changed: bool,
}

#[derive(Clone, Debug)]
struct Job {
    object: ObjectId,
    source: Source,
    /// `None` while its file is being made.
    room: Option<Held>,
    requests: Vec<u64>,
    /// By its owner: it lives as long as somebody reads it.
    is_freed: bool,
    /// Nobody waits for it any more; its room is given back when the bytes have stopped.
    is_ending: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Held {
    Arena(u64),
    File(Copy),
}

impl Pulls {
    /// Has a request wait for an object that is on its way. Returns whether it is.
    pub fn join(&mut self, object: ObjectId, request: u64) -> bool {
        let pull = self.by_object.get(&object);
        let job = pull.and_then(|pull| self.jobs.get_mut(pull));
        job.map(|job| job.requests.push(request)).is_some()
    }

    /// An owner let go of an object that is on its way.
    pub fn free(&mut self, owner: WorkerId, object: ObjectId) {
        if let Some(pull) = self.by_object.get(&object)
            && let Some(job) = self.jobs.get_mut(pull)
            && job.source.owner == owner
        {
            job.is_freed = true;
        }
    }

    pub fn owner_gone(&mut self, owner: WorkerId) {
        for job in self.jobs.values_mut() {
            job.is_freed |= job.source.owner == owner;
        }
        // What has no room yet is not fetched any more: nobody would tell of its end.
        let claims = self.claims.values_mut();
        for wanted in claims.flat_map(|claim| &mut claim.wanted) {
            wanted.source.take_if(|source| source.owner == owner);
        }
        self.is_changed = true;
    }

    /// Forgets the requests of a client that have no room yet.
    pub fn client_gone(&mut self, client: ClientId) {
        self.claims.retain(|_, claim| claim.client != client);
    }

    /// Takes a request in that has no room yet. Returns its number.
    pub fn add_claim(&mut self, claim: Claim) -> u64 {
        let number = self.next_claim;
        self.next_claim += 1;
        self.claims.insert(number, claim);
        number
    }

    pub fn has_claim(&self, claim: u64) -> bool {
        self.claims.contains_key(&claim)
    }

    /// The requests that wait for what is on its way; for checks.
    pub fn awaited(&self) -> impl Iterator<Item = u64> {
        self.jobs.values().flat_map(|job| job.requests.clone())
    }

    /// The ranges of the arena that have no object yet; for checks.
    pub fn rooms(&self) -> impl Iterator<Item = (u64, u64)> {
        self.jobs.values().filter_map(|job| match job.room {
            Some(Held::Arena(offset)) => Some((offset, job.source.size_bytes)),
            _ => None,
        })
    }

    /// The files that have room for what is on its way; for checks.
    pub fn files(&self) -> impl Iterator<Item = u64> {
        self.jobs.values().filter_map(|job| match job.room {
            Some(Held::File(copy)) => Some(copy.file),
            _ => None,
        })
    }

    /// What does not hold; for checks.
    pub fn validate(&self) -> Result<(), String> {
        for (pull, job) in &self.jobs {
            let is_listed = self.by_object.get(&job.object) == Some(pull);
            if is_listed == job.is_ending || job.requests.is_empty() != job.is_ending {
                return Err(format!("{} comes for nobody, or unasked", job.object));
            }
        }
        match self
            .by_object
            .values()
            .find(|pull| !self.jobs.contains_key(*pull))
        {
            Some(pull) => Err(format!("pull {pull} is listed, and not there")),
            None => Ok(()),
        }
    }

    /// The objects that somebody waits for; for checks.
    pub fn objects(&self) -> impl Iterator<Item = &ObjectId> {
        self.by_object.keys()
    }

    /// How many requests have no room yet; for checks.
    pub fn claims(&self) -> usize {
        self.claims.len()
    }
}

impl ObjectTable {
    /// The file of pulls is there, or cannot be made.
    pub(super) fn on_pulls_reserved(
        &mut self,
        file: u64,
        pulls: Vec<(u64, u64)>,
        outcome: Result<FilePlace, DiskError>,
    ) {
        let place = match outcome {
            Ok(place) => place,
            Err(error) => {
                for (pull, _) in pulls {
                    self.fail_pull(pull, &error.to_string(), true);
                }
                return;
            }
        };
        let path = place.address().clone();
        self.disk.add(file, place, 0);
        for (pull, offset) in pulls {
            let job = self.pulls.jobs.get_mut(&pull);
            let Some(job) = job.filter(|job| !job.is_ending) else {
                self.pulls.jobs.remove(&pull);
                continue;
            };
            job.room = Some(Held::File(Copy { file, offset }));
            self.disk.add_to_file(file);
            let path = path.clone();
            self.start_pull(pull, PullRoom::File { path, offset });
        }
        self.remove_if_unused(file);
    }

    pub(super) fn begin_pull(
        &mut self,
        object: ObjectId,
        source: Source,
        room: Option<Held>,
    ) -> u64 {
        let pull = self.pulls.next_pull;
        self.pulls.next_pull += 1;
        let job = Job {
            object,
            source,
            room,
            requests: Vec::new(),
            is_freed: false,
            is_ending: false,
        };
        self.pulls.jobs.insert(pull, job);
        self.pulls.by_object.insert(object, pull);
        self.pulls.is_changed = true;
        pull
    }

    pub(super) fn start_pull(&mut self, pull: u64, room: PullRoom) {
        if let Some(job) = self.pulls.jobs.get(&pull) {
            self.work.push(Work::Pull(Pull {
                pull,
                object: job.object,
                from: job.source.node,
                size_bytes: job.source.size_bytes,
                room,
            }));
        }
    }

    /// A pull came to its end: the bytes are all there, or why they are not.
    pub fn on_pulled(&mut self, pull: u64, outcome: Result<(), String>, now: Micros) {
        match outcome {
            Ok(()) if self.is_wanted(pull) => self.complete_pull(pull),
            Ok(()) => self.fail_pull(pull, "", false),
            Err(reason) => self.fail_pull(pull, &reason, false),
        }
        self.make_room(now);
    }

    fn is_wanted(&self, pull: u64) -> bool {
        let job = self.pulls.jobs.get(&pull);
        job.is_some_and(|job| !job.is_ending && job.room.is_some())
    }

    fn complete_pull(&mut self, pull: u64) {
        let Some(job) = self.forget_pull(pull) else {
            return;
        };
        let (object, Source { owner, .. }) = (job.object, job.source);
        let size_bytes = job.source.size_bytes;
        let (room, copy) = match job.room {
            Some(Held::Arena(offset)) => (Some(offset), None),
            Some(Held::File(copy)) => {
                self.disk.on_spilled(size_bytes);
                (None, Some(copy))
            }
            None => return,
        };
        let seal = self.next_seal();
        let state = match job.is_freed {
            true => State::Freed,
            false => {
                self.owned.entry(owner).or_default().insert(object);
                State::Sealed { owner, seal }
            }
        };
        let entry = Entry {
            size_bytes,
            pins: 0,
            state,
            room,
            copy,
            fetched: Fetched::Not,
            is_spilling: false,
            is_secondary: true,
            keeper: None,
            class: None,
        };
        self.entries.insert(object, entry);
        for request in job.requests {
            let Some(client) = self.fetching.client_of(request) else {
                continue;
            };
            let outcome = match self.pin(client, object) {
                Some(pinned) => Ok(Pinned {
                    is_new_copy: true,
                    ..pinned
                }),
                None => Err(Lost::of(object, "it is read by too many")),
            };
            self.on_resolved(request, outcome);
        }
        // Where all who waited for it are gone, it stays as far as it may.
        self.drop_pins(object, 0);
    }

    fn fail_pull(&mut self, pull: u64, reason: &str, is_full: bool) {
        let Some(job) = self.forget_pull(pull) else {
            return;
        };
        match job.room {
            Some(Held::Arena(offset)) => {
                self.allocator.release(offset, job.source.size_bytes);
            }
            Some(Held::File(copy)) => self.drop_from_file(copy.file),
            None => {}
        }
        self.lose(job.object, job.requests, reason, is_full);
    }

    fn forget_pull(&mut self, pull: u64) -> Option<Job> {
        let job = self.pulls.jobs.remove(&pull)?;
        if self.pulls.by_object.get(&job.object) == Some(&pull) {
            self.pulls.by_object.remove(&job.object);
        }
        self.pulls.is_changed = true;
        Some(job)
    }

    fn lose(&mut self, object: ObjectId, requests: Vec<u64>, reason: &str, is_full: bool) {
        for request in requests {
            let lost = Lost {
                is_full,
                ..Lost::of(object, reason)
            };
            self.on_resolved(request, Err(lost));
        }
    }

    /// Nobody wants the bytes of a pull any more. Returns the requests that waited for it.
    fn cancel_pull(&mut self, pull: u64) -> Vec<u64> {
        let Some(job) = self.pulls.jobs.get_mut(&pull) else {
            return Vec::new();
        };
        job.is_ending = true;
        self.pulls.by_object.remove(&job.object);
        self.pulls.is_changed = true;
        if job.room.is_some() {
            self.work.push(Work::CancelPull { pull });
        }
        std::mem::take(&mut job.requests)
    }

    /// Ends what nobody waits for, after requests went with their client.
    pub(super) fn cancel_unwanted_pulls(&mut self) {
        let mut unwanted = Vec::new();
        for (pull, job) in &mut self.pulls.jobs {
            let fetching = &self.fetching;
            job.requests
                .retain(|request| fetching.client_of(*request).is_some());
            if job.requests.is_empty() && !job.is_ending {
                unwanted.push(*pull);
            }
        }
        for pull in unwanted {
            self.cancel_pull(pull);
        }
    }

    /// An object is made anew here while it is on its way: whoever waits gets this one.
    pub(super) fn overtake_pull(&mut self, object: ObjectId) {
        if let Some(pull) = self.pulls.by_object.get(&object).copied() {
            for request in self.cancel_pull(pull) {
                self.fetching.await_seal(object, request);
            }
        }
        self.pulls.is_changed = true;
    }

    /// A node is dead: nothing comes from there any more.
    pub fn source_gone(&mut self, node: NodeId, reason: &str, now: Micros) {
        let jobs = self.pulls.jobs.iter();
        let gone = jobs.filter(|(_, job)| job.source.node == node && !job.is_ending);
        let gone: Vec<u64> = gone.map(|(pull, _)| *pull).collect();
        for pull in gone {
            let object = self.pulls.jobs.get(&pull).map(|job| job.object);
            let requests = self.cancel_pull(pull);
            if let Some(object) = object {
                self.lose(object, requests, reason, false);
            }
        }
        for claim in self.pulls.claims.values_mut() {
            for wanted in &mut claim.wanted {
                if wanted.source.is_some_and(|source| source.node == node) {
                    wanted.source = None;
                    if !self.entries.contains_key(&wanted.object) {
                        claim.lost.push(Lost::of(wanted.object, reason));
                    }
                }
            }
        }
        self.pulls.is_changed = true;
        self.make_room(now);
    }
}
