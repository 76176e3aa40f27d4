//! Readers of objects whose only copy is in a bucket: it comes into a file of this machine first,
//! which lives as long as somebody reads it.

use rustc_hash::FxHashMap;
use whipray_proto::ObjectId;

use super::table::{ClientId, ObjectTable, Pinned};
use super::work::{DiskError, DiskJob, FilePlace, Work};

const NEVER_WHOLE: &str = "the process that was making it is gone";

/// An object that is there and cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    pub object: ObjectId,
    /// What the user reads.
    pub reason: String,
    /// It can be had; only this store has no room for it.
    pub is_full: bool,
}

impl Lost {
    pub(super) fn of(object: ObjectId, reason: &str) -> Self {
        Self {
            object,
            reason: reason.to_owned(),
            is_full: false,
        }
    }
}

/// What of an object in a bucket is on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fetched {
    Not,
    /// This job is bringing it. Who comes meanwhile waits for the same job.
    Coming(u64),
    /// All of it, in this file.
    There(u64),
}

/// Jobs that bring objects, and the requests that wait for them.
#[derive(Clone, Debug, Default)]
pub(super) struct Fetching {
    /// By the number of the file that they make.
    jobs: FxHashMap<u64, Fetch>,
    requests: FxHashMap<u64, PinRequest>,
    next_request: u64,
    /// Requests that wait until an object that is written here is whole.
    sealing: FxHashMap<ObjectId, Vec<u64>>,
}

#[derive(Clone, Debug)]
struct Fetch {
    object: ObjectId,
    requests: Vec<u64>,
}

/// A request whose answer is gathered. It holds the pins of what is still to come from buckets
/// already, so that neither a free nor anything else takes the object away meanwhile.
#[derive(Clone, Debug)]
pub(super) struct PinRequest {
    pub client: ClientId,
    pub request: u64,
    pub found: Vec<Pinned>,
    pub lost: Vec<Lost>,
    pub coming: usize,
}

impl Fetching {
    /// A client is gone: nobody waits for its answers.
    pub fn client_gone(&mut self, client: ClientId) {
        self.requests.retain(|_, waiting| waiting.client != client);
    }

    /// What a job brings; for checks.
    pub fn object_of(&self, file: u64) -> Option<ObjectId> {
        Some(self.jobs.get(&file)?.object)
    }

    /// The number of a new request.
    pub fn next_number(&mut self) -> u64 {
        self.next_request += 1;
        self.next_request - 1
    }

    /// Who waits with this request; `None` where it is over.
    pub fn client_of(&self, request: u64) -> Option<ClientId> {
        Some(self.requests.get(&request)?.client)
    }

    /// Has a request wait for the seal of an object.
    pub fn await_seal(&mut self, object: ObjectId, request: u64) {
        self.sealing.entry(object).or_default().push(request);
    }

    /// How many objects each request waits for, and how many of these come from buckets or are
    /// written here; for checks.
    pub fn waits(&self) -> FxHashMap<u64, (usize, usize)> {
        let mut waits: FxHashMap<u64, (usize, usize)> = self
            .requests
            .iter()
            .map(|(number, waiting)| (*number, (waiting.coming, 0)))
            .collect();
        let fetched = self.jobs.values().flat_map(|job| &job.requests);
        for number in fetched.chain(self.sealing.values().flatten()) {
            if let Some((_, known)) = waits.get_mut(number) {
                *known += 1;
            }
        }
        waits
    }

    /// The objects whose seals are waited for; for checks.
    pub fn sealing(&self) -> impl Iterator<Item = &ObjectId> {
        self.sealing.keys()
    }
}

impl ObjectTable {
    /// Pins objects for `client`, each one that there is. The answer is among the work: at once,
    /// or when what is in buckets, or on its way from another node, has come.
    pub fn pin_all(&mut self, client: ClientId, request: u64, objects: &[ObjectId]) {
        let mut answer = PinRequest {
            client,
            request,
            found: Vec::with_capacity(objects.len()),
            lost: Vec::new(),
            coming: 0,
        };
        let number = self.fetching.next_number();
        for object in objects {
            if self.awaits_seal(client, *object, false) {
                self.fetching.await_seal(*object, number);
                answer.coming += 1;
            } else if let Some(pinned) = self.pin(client, *object) {
                answer.found.push(pinned);
            } else {
                let waits =
                    self.wait_for(client, *object, number) || self.pulls.join(*object, number);
                answer.coming += usize::from(waits);
            }
        }
        self.answer_when_gathered(number, answer);
    }

    pub(super) fn answer_when_gathered(&mut self, number: u64, answer: PinRequest) {
        if answer.coming == 0 {
            self.answer_pins(answer);
        } else {
            self.fetching.requests.insert(number, answer);
        }
    }

    /// Has a request wait for an object in a bucket. Returns whether it is in one.
    pub(super) fn wait_for(&mut self, client: ClientId, object: ObjectId, request: u64) -> bool {
        let Some(entry) = self.entries.get(&object) else {
            return false;
        };
        let (size_bytes, fetched) = (entry.size_bytes, entry.fetched);
        let Some(copy) = entry.copy.filter(|_| entry.room.is_none()) else {
            return false;
        };
        let Some(FilePlace::Bucket(from)) = self.disk.place(copy.file).cloned() else {
            return false;
        };
        if self.add_pin(client, object).is_none() {
            return false;
        }
        let file = match fetched {
            Fetched::Coming(file) => file,
            Fetched::Not | Fetched::There(_) => {
                let file = self.disk.number();
                self.work.push(Work::Disk(DiskJob::Fetch {
                    file,
                    from,
                    offset: copy.offset,
                    size_bytes,
                }));
                file
            }
        };
        if let Some(entry) = self.entries.get_mut(&object) {
            entry.fetched = Fetched::Coming(file);
        }
        let requests = Vec::new();
        let job = self.fetching.jobs.entry(file);
        job.or_insert(Fetch { object, requests })
            .requests
            .push(request);
        true
    }

    /// A job that brings an object came to its end.
    pub(super) fn on_fetched(&mut self, file: u64, outcome: Result<FilePlace, DiskError>) {
        let Some(fetch) = self.fetching.jobs.remove(&file) else {
            return;
        };
        let object = fetch.object;
        // An object that was freed is gone with its last reader; a later one of the same id is not
        // what was fetched.
        let entry = self.entries.get_mut(&object);
        let mut entry = entry.filter(|entry| entry.fetched == Fetched::Coming(file));
        let is_read = entry.as_ref().is_some_and(|entry| entry.pins > 0);
        let size_bytes = entry.as_ref().map_or(0, |entry| entry.size_bytes);
        let is_there = is_read && outcome.is_ok();
        if let Some(entry) = &mut entry {
            entry.fetched = match is_there {
                true => Fetched::There(file),
                false => Fetched::Not,
            };
        }
        let found = match outcome {
            Ok(place) => {
                let path = Some(place.address().clone());
                self.disk.add(file, place, u32::from(is_there));
                self.remove_if_unused(file);
                Ok(Pinned {
                    object,
                    offset: 0,
                    size_bytes,
                    path,
                    is_new_copy: false,
                })
            }
            Err(error) => Err(Lost::of(object, &error.to_string())),
        };
        for request in fetch.requests {
            let client = self.fetching.client_of(request);
            self.on_resolved(request, found.clone());
            if let Some(client) = client
                && found.is_err()
            {
                self.unpin(client, object);
            }
        }
    }

    /// An object that was written here is whole: who waited for it has it.
    pub(super) fn on_seal(&mut self, object: ObjectId) {
        for request in self.fetching.sealing.remove(&object).unwrap_or_default() {
            let Some(client) = self.fetching.client_of(request) else {
                continue;
            };
            let outcome = self.pin(client, object);
            self.on_resolved(
                request,
                outcome.ok_or_else(|| Lost::of(object, NEVER_WHOLE)),
            );
        }
    }

    /// Whoever wrote an object is gone, and it will never be whole.
    pub(super) fn on_never_sealed(&mut self, object: ObjectId) {
        for request in self.fetching.sealing.remove(&object).unwrap_or_default() {
            self.on_resolved(request, Err(Lost::of(object, NEVER_WHOLE)));
        }
    }

    /// One object that a request waits for is there, or cannot be had.
    pub(super) fn on_resolved(&mut self, number: u64, outcome: Result<Pinned, Lost>) {
        let Some(waiting) = self.fetching.requests.get_mut(&number) else {
            return;
        };
        match outcome {
            Ok(pinned) => waiting.found.push(pinned),
            Err(lost) => waiting.lost.push(lost),
        }
        waiting.coming -= 1;
        if waiting.coming == 0
            && let Some(answer) = self.fetching.requests.remove(&number)
        {
            self.answer_pins(answer);
        }
    }

    fn answer_pins(&mut self, answer: PinRequest) {
        self.work.push(Work::Pinned {
            client: answer.client,
            request: answer.request,
            found: answer.found,
            lost: answer.lost,
        });
    }

    /// Nobody reads an object any more: the file that it came into goes.
    pub(super) fn drop_fetched(&mut self, object: ObjectId) {
        if let Some(entry) = self.entries.get_mut(&object)
            && let Fetched::There(file) = entry.fetched
        {
            entry.fetched = Fetched::Not;
            self.drop_from_file(file);
        }
    }
}
