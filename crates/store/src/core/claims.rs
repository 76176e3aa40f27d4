//! Requests for objects of which some are on other nodes, until they have room.
//!
//! Room for all that a request misses is given at once, before any of it comes, and a request that
//! waits for room holds nothing: so no two of them ever hold what the other one needs.

use rustc_hash::FxHashSet;
use whipray_proto::{ObjectId, limits};

use super::creating::{CreateError, Demand, Waiting};
use super::disk::FILE_ALIGNMENT;
use super::fetching::{Lost, PinRequest};
use super::pulling::{Held, SERVING, Source};
use super::table::{ClientId, ObjectTable, State};
use super::work::{Micros, PullRoom};

/// An object that somebody wants to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub object: ObjectId,
    /// `None`: it is here, or nowhere.
    pub source: Option<Source>,
}

/// A request that has no room yet.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub client: ClientId,
    pub request: u64,
    pub wanted: Vec<Wanted>,
    pub lost: Vec<Lost>,
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
        let number = self.pulls.add_claim(claim);
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
            if self.awaits_seal(claim.client, object, is_for_elsewhere) {
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

    /// Whether `client` may have been told of another copy than the one that is being written, which
    /// may be anything yet: of one on another node, or of an earlier one of a result that is made
    /// again. What was put is written once, and whoever can name it was told of it after that.
    pub(super) fn awaits_seal(
        &self,
        client: ClientId,
        object: ObjectId,
        is_told_of_another: bool,
    ) -> bool {
        let may_be_another = is_told_of_another || object.index() < ObjectId::FIRST_PUT;
        let entry = self.entries.get(&object);
        let state = entry.map(|entry| entry.state);
        may_be_another && matches!(state, Some(State::Writing { writer, .. }) if writer != client)
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
