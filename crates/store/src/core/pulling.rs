//! Objects that come from other nodes: who waits for them, and what room they have.
//!
//! Room for all that a request misses is given at once, before any of it comes, and a request that
//! waits for room holds nothing: so no two of them ever hold what the other one needs.

use rustc_hash::{FxHashMap, FxHashSet};
use whipray_proto::{NodeId, ObjectId, WorkerId, limits};

use super::creating::{CreateError, Demand, Waiting};
use super::disk::{Copy, FILE_ALIGNMENT};
use super::fetching::{Fetched, Lost, PinRequest};
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

/// An object that somebody wants to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub object: ObjectId,
    /// `None`: it is here, or nowhere.
    pub source: Option<Source>,
}

/// What is on its way here, and requests that wait for room.
#[derive(Clone, Debug, Default)]
pub(super) struct Pulls {
    jobs: FxHashMap<u64, Job>,
    /// Those that somebody waits for.
    by_object: FxHashMap<ObjectId, u64>,
    next_pull: u64,
    claims: FxHashMap<u64, Claim>,
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
enum Held {
    Arena(u64),
    File(Copy),
}

/// A request that has no room yet.
#[derive(Clone, Debug)]
struct Claim {
    client: ClientId,
    request: u64,
    wanted: Vec<Wanted>,
    lost: Vec<Lost>,
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
    }

    /// Forgets the requests of a client that have no room yet.
    pub fn client_gone(&mut self, client: ClientId) {
        self.claims.retain(|_, claim| claim.client != client);
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
    /// Pins objects for `client`, those that are elsewhere when they have come. The answer is among
    /// the work.
    pub fn pull_all(&mut self, client: ClientId, request: u64, wanted: Vec<Wanted>, now: Micros) {
        let missing = self.missing(&wanted);
        let claim = Claim {
            client,
            request,
            wanted,
            lost: Vec::new(),
        };
        if missing.is_empty() {
            return self.gather(claim);
        }
        let number = self.pulls.next_claim;
        self.pulls.next_claim += 1;
        self.pulls.claims.insert(number, claim);
        self.waiting.push_back(Waiting {
            demand: Demand::Pull(number),
            size_bytes: bytes_of(&missing),
            deadline: now + limits::ROOM_WAIT.as_micros() as Micros,
        });
        self.make_room(now);
    }

    /// Pins an object for a node that wants it, when all of it is here. The answer goes to
    /// [`SERVING`], which unpins it once it is sent.
    pub fn serve_object(&mut self, request: u64, object: ObjectId) {
        self.gather(Claim {
            client: SERVING,
            request,
            wanted: vec![Wanted {
                object,
                source: None,
            }],
            lost: Vec::new(),
        });
    }

    /// What of these has to come from elsewhere and is not on its way, each once.
    fn missing(&self, wanted: &[Wanted]) -> Vec<(ObjectId, Source)> {
        let mut seen = FxHashSet::default();
        wanted
            .iter()
            .filter_map(|it| Some((it.object, it.source?)))
            .filter(|(object, _)| {
                !self.entries.contains_key(object)
                    && !self.pulls.by_object.contains_key(object)
                    && seen.insert(*object)
            })
            .collect()
    }

    /// Gives a request room for all that it misses, or nothing. Returns whether it has it.
    pub(super) fn serve_claim(&mut self, number: u64, size_bytes: u64) -> bool {
        let free_bytes = self.allocator.capacity() - self.allocator.used();
        if size_bytes > free_bytes && !self.can_evict() {
            return false;
        }
        let Some(claim) = self.pulls.claims.remove(&number) else {
            return true;
        };
        let missing = self.missing(&claim.wanted);
        // What it has here already must not make the room.
        let objects = claim.wanted.iter().map(|it| it.object);
        let mut held: Vec<ObjectId> = objects.collect();
        held.retain(|object| self.add_pin(SERVING, *object).is_some());
        let is_served = match self.find_rooms(&missing) {
            Some(offsets) => {
                for ((object, source), offset) in missing.into_iter().zip(offsets) {
                    let pull = self.begin_pull(object, source, Some(Held::Arena(offset)));
                    let cold_bytes = self.provide(offset, source.size_bytes);
                    self.start_pull(pull, PullRoom::Arena { offset, cold_bytes });
                }
                self.gather(claim);
                true
            }
            None => {
                self.pulls.claims.insert(number, claim);
                false
            }
        };
        held.into_iter()
            .for_each(|object| self.unpin(SERVING, object));
        is_served
    }

    fn find_rooms(&mut self, missing: &[(ObjectId, Source)]) -> Option<Vec<u64>> {
        let mut offsets = Vec::with_capacity(missing.len());
        for (_, source) in missing {
            match self.find_room(source.size_bytes) {
                Some(offset) => offsets.push(offset),
                None => {
                    for (offset, (_, source)) in offsets.into_iter().zip(missing) {
                        self.allocator.release(offset, source.size_bytes);
                    }
                    return None;
                }
            }
        }
        Some(offsets)
    }

    /// Asks for a file that takes all that a request misses, since the arena cannot. From here on it
    /// holds the rest of what it wants: a file comes, or does not, whatever others do.
    pub(super) fn reserve_pulls(&mut self, number: u64) {
        let Some(claim) = self.pulls.claims.remove(&number) else {
            return;
        };
        let mut pulls = Vec::new();
        let (mut end, mut size_bytes) = (0u64, 0);
        for (object, source) in self.missing(&claim.wanted) {
            pulls.push((self.begin_pull(object, source, None), end));
            size_bytes = end.saturating_add(source.size_bytes);
            end = size_bytes
                .checked_next_multiple_of(FILE_ALIGNMENT)
                .unwrap_or(u64::MAX);
        }
        if !pulls.is_empty() {
            self.reserve_file_of_pulls(pulls, size_bytes);
        }
        self.gather(claim);
    }

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

    fn begin_pull(&mut self, object: ObjectId, source: Source, room: Option<Held>) -> u64 {
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

    fn start_pull(&mut self, pull: u64, room: PullRoom) {
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

    /// Pins what is here for a request, and has it wait for the rest.
    fn gather(&mut self, claim: Claim) {
        let number = self.fetching.next_number();
        let mut answer = PinRequest {
            client: claim.client,
            request: claim.request,
            found: Vec::with_capacity(claim.wanted.len()),
            lost: claim.lost,
            coming: 0,
        };
        for Wanted { object, source } in claim.wanted {
            let is_for_elsewhere = claim.client == SERVING || source.is_some();
            if is_for_elsewhere && self.is_unsealed(object) {
                // It was told of another copy: this one may be anything yet.
                self.fetching.await_seal(object, number);
                answer.coming += 1;
            } else if let Some(pinned) = self.pin(claim.client, object) {
                answer.found.push(pinned);
            } else {
                let waits =
                    self.wait_for(claim.client, object, number) || self.pulls.join(object, number);
                answer.coming += usize::from(waits);
            }
        }
        self.answer_when_gathered(number, answer);
    }

    fn is_unsealed(&self, object: ObjectId) -> bool {
        let entry = self.entries.get(&object);
        entry.is_some_and(|entry| matches!(entry.state, State::Writing { .. }))
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

    /// Counts anew what requests miss, where that may have changed.
    pub(super) fn refresh_claims(&mut self) {
        if !std::mem::take(&mut self.pulls.is_changed) || self.pulls.claims.is_empty() {
            return;
        }
        let mut waiting = std::mem::take(&mut self.waiting);
        for it in &mut waiting {
            if let Demand::Pull(number) = it.demand
                && let Some(claim) = self.pulls.claims.get(&number)
            {
                it.size_bytes = bytes_of(&self.missing(&claim.wanted));
            }
        }
        self.waiting = waiting;
    }

    /// There will be no room for what a request misses.
    pub(super) fn refuse_claim(&mut self, number: u64, error: &CreateError) {
        let Some(mut claim) = self.pulls.claims.remove(&number) else {
            return;
        };
        let missing = self.missing(&claim.wanted);
        let reason = error.to_string();
        for (object, _) in &missing {
            claim.lost.push(Lost {
                is_full: true,
                ..Lost::of(*object, &reason)
            });
        }
        self.gather(claim);
    }
}

/// The room that these take, in bytes.
fn bytes_of(missing: &[(ObjectId, Source)]) -> u64 {
    let sizes = missing.iter().map(|(_, source)| source.size_bytes);
    sizes.fold(0, u64::saturating_add)
}
