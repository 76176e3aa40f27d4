//! Threads that write objects to disk.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use whipray_net::Waker;
use whipray_store::Arena;
use whipray_store::core::{DiskError, DiskJob, Piece};

use super::spill_places::{SpillPlaces, SpillSites, reserve};

/// A job that came to its end: the number of the file, and its path.
pub type Finished = (u64, Result<String, DiskError>);

/// Carries jobs out. Threads start with the first jobs, so that a cluster that never spills has
/// none.
pub struct Disk {
    shared: Arc<Shared>,
    jobs: Sender<DiskJob>,
    finished: Receiver<Finished>,
    threads: usize,
    most_threads: usize,
}

struct Shared {
    arena: Arc<Arena>,
    places: SpillPlaces,
    jobs: Mutex<Receiver<DiskJob>>,
    finished: Mutex<Sender<Finished>>,
    waker: Waker,
}

impl Disk {
    /// A disk that wakes the loop when a job has come to its end.
    pub fn new(arena: Arc<Arena>, sites: SpillSites, most_threads: usize, waker: Waker) -> Self {
        let (jobs, incoming) = channel();
        let (outgoing, finished) = channel();
        let shared = Shared {
            arena,
            places: SpillPlaces::new(sites),
            jobs: Mutex::new(incoming),
            finished: Mutex::new(outgoing),
            waker,
        };
        Self {
            shared: Arc::new(shared),
            jobs,
            finished,
            threads: 0,
            most_threads,
        }
    }

    /// Removes what dead sessions have left, in the background.
    pub fn clean_up(&self) {
        let shared = self.shared.clone();
        let spawned = std::thread::Builder::new()
            .name("spill-cleanup".to_owned())
            .stack_size(128 * 1024)
            .spawn(move || shared.places.remove_stale());
        if let Err(error) = spawned {
            tracing::warn!(%error, "objects of dead sessions stay on disk");
        }
    }

    /// Has a job done soon.
    pub fn start(&mut self, job: DiskJob) {
        if self.threads < self.most_threads.max(1) {
            let shared = self.shared.clone();
            let spawned = std::thread::Builder::new()
                .name("spill".to_owned())
                .stack_size(256 * 1024)
                .spawn(move || run(&shared));
            match spawned {
                Ok(_) => self.threads += 1,
                Err(error) if self.threads == 0 => {
                    let text =
                        format!("no thread can be started to write objects to disk: {error}");
                    return self.fail(&job, text);
                }
                Err(_) => {}
            }
        }
        // Never fails: the receiver is kept by this very struct.
        let _ = self.jobs.send(job);
    }

    fn fail(&self, job: &DiskJob, text: String) {
        if let DiskJob::Write { file, .. } | DiskJob::Reserve { file, .. } = job {
            self.shared.finish(*file, Err(DiskError::Failed(text)));
        }
    }

    /// The jobs that came to their end since the last call.
    pub fn take_finished(&self) -> Vec<Finished> {
        self.shared.waker.reset();
        self.finished.try_iter().collect()
    }

    /// Removes all spilled objects.
    pub fn end(&self) {
        self.shared.places.end();
    }
}

impl Shared {
    fn finish(&self, file: u64, outcome: Result<String, DiskError>) {
        if let Ok(finished) = self.finished.lock() {
            // Nobody listens any more once the daemon ends.
            let _ = finished.send((file, outcome));
        }
        self.waker.wake();
    }

    fn carry_out(&self, job: DiskJob) {
        match job {
            DiskJob::Write { file, pieces } => {
                let size_bytes = pieces.iter().map(|piece| piece.length).sum();
                let outcome = self.places.write(&file.to_string(), size_bytes, |target| {
                    pieces
                        .iter()
                        .try_for_each(|piece| write_piece(&self.arena, piece, target))
                });
                self.finish(file, outcome);
            }
            DiskJob::Reserve { file, size_bytes } => {
                let outcome = self.places.write(&file.to_string(), size_bytes, |target| {
                    reserve(target, size_bytes)
                });
                self.finish(file, outcome);
            }
            DiskJob::Remove { path } => {
                if let Err(error) = std::fs::remove_file(&*path) {
                    tracing::info!(%path, %error, "a file of spilled objects is gone already");
                }
            }
        }
    }
}

fn write_piece(arena: &Arena, piece: &Piece, target: &File) -> io::Result<()> {
    // SAFETY: the object there is sealed, and keeps its room until this job has come to its end.
    let bytes = unsafe { arena.slice(piece.arena_offset, piece.length) };
    target.write_all_at(bytes.map_err(io::Error::other)?, piece.file_offset)
}

fn run(shared: &Shared) {
    loop {
        let job = match shared.jobs.lock() {
            Ok(jobs) => jobs.recv(),
            Err(_) => return,
        };
        match job {
            Ok(job) => shared.carry_out(job),
            Err(_) => return,
        }
    }
}
