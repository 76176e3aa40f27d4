//! Objects on disk: which files there are, what is in them, and what is on its way there.

use rustc_hash::FxHashMap;
use whipray_proto::ObjectId;

use super::candidates::Class;
use super::creating::Creation;
use super::table::{ObjectTable, State};
use super::work::{DiskError, DiskJob, FilePlace, Micros, Piece, Work};

/// Objects in files begin at multiples of this, so that they can be mapped from there.
pub(super) const FILE_ALIGNMENT: u64 = 4096;

/// How objects are written to disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpillSettings {
    /// Objects are put together into files of at least this size, where there are enough of them.
    pub file_bytes: u64,
    /// The most objects in one file.
    pub file_objects: usize,
    /// How many files are written at the same time.
    pub jobs: usize,
}

impl Default for SpillSettings {
    fn default() -> Self {
        Self {
            file_bytes: 100 * 1024 * 1024,
            file_objects: 2000,
            jobs: 4,
        }
    }
}

/// Where an object lies on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Copy {
    pub file: u64,
    pub offset: u64,
}

#[derive(Clone, Debug)]
struct File {
    place: FilePlace,
    /// Objects in it that still exist; of a fetched one: that are read.
    live: u32,
}

#[derive(Clone, Debug)]
enum Job {
    Write {
        objects: Vec<(ObjectId, u64)>,
        size_bytes: u64,
    },
    Reserve(Creation),
    /// Of what comes from other nodes: each pull, and where in the file it goes.
    ReservePulls(Vec<(u64, u64)>),
}

/// Files and jobs.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    pub settings: Option<SpillSettings>,
    files: FxHashMap<u64, File>,
    jobs: FxHashMap<u64, Job>,
    next_file: u64,
    /// Bytes that jobs are writing out of the arena.
    writing_bytes: u64,
    /// Of objects that are in no arena.
    pub spilled_bytes: u64,
    pub spilled_objects: u64,
}

impl Disk {
    pub fn new(settings: Option<SpillSettings>) -> Self {
        Self {
            settings,
            files: FxHashMap::default(),
            jobs: FxHashMap::default(),
            next_file: 1,
            writing_bytes: 0,
            spilled_bytes: 0,
            spilled_objects: 0,
        }
    }

    pub fn place(&self, file: u64) -> Option<&FilePlace> {
        Some(&self.files.get(&file)?.place)
    }

    /// A file that a job made, with so many objects.
    pub fn add(&mut self, file: u64, place: FilePlace, live: u32) {
        self.files.insert(file, File { place, live });
    }

    /// One object more is in a file.
    pub fn add_to_file(&mut self, file: u64) {
        if let Some(file) = self.files.get_mut(&file) {
            file.live += 1;
        }
    }

    pub fn is_writing(&self) -> bool {
        self.writing_bytes > 0
    }

    /// The number of a new file.
    pub fn number(&mut self) -> u64 {
        self.next_file += 1;
        self.next_file - 1
    }

    fn start(&mut self, job: Job) -> u64 {
        let file = self.number();
        self.jobs.insert(file, job);
        file
    }

    pub fn on_spilled(&mut self, size_bytes: u64) {
        self.spilled_bytes += size_bytes;
        self.spilled_objects += 1;
    }

    pub fn on_unspilled(&mut self, size_bytes: u64) {
        self.spilled_bytes -= size_bytes;
        self.spilled_objects -= 1;
    }

    /// How many live objects each file has; for checks.
    pub fn live(&self) -> impl Iterator<Item = (u64, u32)> {
        self.files.iter().map(|(file, it)| (*file, it.live))
    }

    /// How many objects are being written; for checks.
    pub fn spilling(&self) -> usize {
        let counts = self.jobs.values().map(|job| match job {
            Job::Write { objects, .. } => objects.len(),
            Job::Reserve(_) | Job::ReservePulls(_) => 0,
        });
        counts.sum()
    }
}

impl ObjectTable {
    /// How much room is made at a time: somewhat more than is asked for, since the next request comes
    /// soon, and small objects are to share a file.
    pub(super) fn bytes_at_once(&self, wanted_bytes: u64) -> u64 {
        let file_bytes = self.disk.settings.map_or(0, |settings| settings.file_bytes);
        wanted_bytes.max(file_bytes.min(self.allocator.capacity() / 8))
    }

    /// Has objects written to disk until `wanted_bytes` of the arena are on their way out. Returns
    /// whether any are.
    pub(super) fn start_spilling(&mut self, wanted_bytes: u64) -> bool {
        let Some(settings) = self.disk.settings else {
            return false;
        };
        while self.disk.jobs.len() < settings.jobs && self.disk.writing_bytes < wanted_bytes {
            let left = wanted_bytes - self.disk.writing_bytes;
            if !self.start_file(&settings, left.min(settings.file_bytes)) {
                break;
            }
        }
        self.disk.is_writing()
    }

    /// Starts one file with the oldest objects that nobody reads. Returns whether there are any.
    fn start_file(&mut self, settings: &SpillSettings, wanted_bytes: u64) -> bool {
        let mut objects = Vec::new();
        let mut pieces = Vec::new();
        let (mut end, mut size_bytes) = (0, 0);
        for object in self.candidates.iter(Class::Unread) {
            if size_bytes >= wanted_bytes || objects.len() >= settings.file_objects {
                break;
            }
            let Some(entry) = self.entries.get(&object) else {
                continue;
            };
            let Some(arena_offset) = entry.room else {
                continue;
            };
            pieces.push(Piece {
                arena_offset,
                file_offset: end,
                length: entry.size_bytes,
            });
            objects.push((object, end));
            size_bytes += entry.size_bytes.max(1);
            end = (end + entry.size_bytes).next_multiple_of(FILE_ALIGNMENT);
        }
        if objects.is_empty() {
            return false;
        }
        for (object, _) in &objects {
            if let Some(entry) = self.entries.get_mut(object) {
                entry.is_spilling = true;
            }
            self.list(*object);
        }
        self.disk.writing_bytes += size_bytes;
        let file = self.disk.start(Job::Write {
            objects,
            size_bytes,
        });
        self.work.push(Work::Disk(DiskJob::Write { file, pieces }));
        true
    }

    /// Asks for a file that takes what the arena cannot.
    pub(super) fn reserve_file(&mut self, creation: Creation) {
        self.ask_for_file(Job::Reserve(creation), creation.size_bytes);
    }

    /// The same for what comes from other nodes.
    pub(super) fn reserve_file_of_pulls(&mut self, pulls: Vec<(u64, u64)>, size_bytes: u64) {
        self.ask_for_file(Job::ReservePulls(pulls), size_bytes);
    }

    fn ask_for_file(&mut self, job: Job, size_bytes: u64) {
        let file = self.disk.start(job);
        self.work
            .push(Work::Disk(DiskJob::Reserve { file, size_bytes }));
    }

    /// A job with a file came to its end: where the file is, or why there is none.
    pub fn on_disk(&mut self, file: u64, outcome: Result<FilePlace, DiskError>, now: Micros) {
        match self.disk.jobs.remove(&file) {
            Some(Job::Write {
                objects,
                size_bytes,
            }) => {
                self.disk.writing_bytes -= size_bytes;
                self.on_written(file, objects, outcome, now);
            }
            Some(Job::Reserve(creation)) => self.on_reserved(file, creation, outcome),
            Some(Job::ReservePulls(pulls)) => self.on_pulls_reserved(file, pulls, outcome),
            None => self.on_fetched(file, outcome),
        }
        self.make_room(now);
    }

    fn on_written(
        &mut self,
        file: u64,
        objects: Vec<(ObjectId, u64)>,
        outcome: Result<FilePlace, DiskError>,
        now: Micros,
    ) {
        let failure = match outcome {
            Ok(place) => {
                self.disk.add(file, place, 0);
                None
            }
            Err(error) => Some(error),
        };
        for (object, offset) in objects {
            let Some(entry) = self.entries.get_mut(&object) else {
                continue;
            };
            entry.is_spilling = false;
            if failure.is_none() && entry.state != State::Freed {
                entry.copy = Some(Copy { file, offset });
                self.disk.add_to_file(file);
            }
            if entry.state == State::Freed && entry.pins == 0 {
                self.discard(object);
            } else {
                self.list(object);
            }
        }
        match failure {
            None => self.remove_if_unused(file),
            Some(error) => self.refuse_waiting(&error, now),
        }
    }

    fn on_reserved(
        &mut self,
        file: u64,
        creation: Creation,
        outcome: Result<FilePlace, DiskError>,
    ) {
        let place = match outcome {
            Ok(place) => place,
            Err(error) => return self.refuse(&creation, error.into()),
        };
        let path = place.address().clone();
        self.disk.add(file, place, 0);
        if creation.is_abandoned {
            return self.remove_if_unused(file);
        }
        if self.is_taken(&creation.object) {
            self.remove_if_unused(file);
            return self.refuse_as_existing(&creation);
        }
        self.disk.add_to_file(file);
        let copy = Copy { file, offset: 0 };
        self.disk.on_spilled(creation.size_bytes);
        self.give_file(&creation, copy, path);
    }

    /// The jobs of a client that is gone give what they make back.
    pub(super) fn abandon_jobs(&mut self, client: u64) {
        for job in self.disk.jobs.values_mut() {
            if let Job::Reserve(creation) = job
                && creation.client == client
            {
                creation.is_abandoned = true;
            }
        }
    }

    /// One object of a file is gone.
    pub(super) fn drop_from_file(&mut self, number: u64) {
        if let Some(file) = self.disk.files.get_mut(&number) {
            file.live -= 1;
        }
        self.remove_if_unused(number);
    }

    pub(super) fn remove_if_unused(&mut self, file: u64) {
        if self
            .disk
            .files
            .get(&file)
            .is_some_and(|file| file.live == 0)
            && let Some(file) = self.disk.files.remove(&file)
        {
            let place = file.place;
            self.work.push(Work::Disk(DiskJob::Remove { place }));
        }
    }
}
