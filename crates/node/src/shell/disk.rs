//! Threads that write objects to disk.

use std::fs::File;
use std::io;
use std::iter;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use whipray_net::Waker;
use whipray_store::Arena;
use whipray_store::core::{DiskError, DiskJob, FilePlace, Piece};

use super::spill_places::{Content, SpillPlaces, SpillSites};

/// The stack of a thread, in bytes.
const STACK_BYTES: usize = 256 * 1024;

/// The same where it speaks with a bucket, through many layers.
const BUCKET_STACK_BYTES: usize = 2 * 1024 * 1024;

/// What is between objects in a file.
const GAP: [u8; 4096] = [0; 4096];

/// A job that came to its end: the number of the file, and where it is.
pub type Finished = (u64, Result<FilePlace, DiskError>);

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
            let stack_bytes = match shared.places.has_buckets() {
                true => BUCKET_STACK_BYTES,
                false => STACK_BYTES,
            };
            let spawned = std::thread::Builder::new()
                .name("spill".to_owned())
                .stack_size(stack_bytes)
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
        let (DiskJob::Write { file, .. }
        | DiskJob::Reserve { file, .. }
        | DiskJob::Fetch { file, .. }) = job
        else {
            return;
        };
        self.shared.finish(*file, Err(DiskError::Failed(text)));
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
    fn finish(&self, file: u64, outcome: Result<FilePlace, DiskError>) {
        if let Ok(finished) = self.finished.lock() {
            // Nobody listens any more once the daemon ends.
            let _ = finished.send((file, outcome));
        }
        self.waker.wake();
    }

    fn carry_out(&self, job: DiskJob) {
        match job {
            DiskJob::Write { file, pieces } => {
                let content = ArenaPieces {
                    arena: &self.arena,
                    pieces: &pieces,
                };
                self.finish(file, self.places.write(&file.to_string(), &content));
            }
            DiskJob::Reserve { file, size_bytes } => {
                let outcome = self.places.reserve(&file.to_string(), size_bytes);
                self.finish(file, outcome);
            }
            DiskJob::Fetch {
                file,
                from,
                offset,
                size_bytes,
            } => {
                let name = file.to_string();
                let outcome = self.places.fetch(&name, &from, offset, size_bytes);
                if let Err(error) = &outcome {
                    tracing::warn!(%error, "a spilled object is lost");
                }
                self.finish(file, outcome);
            }
            DiskJob::Remove { place } => self.places.remove(&place),
        }
    }
}

/// Objects of the arena, as they lie in a file.
struct ArenaPieces<'a> {
    arena: &'a Arena,
    pieces: &'a [Piece],
}

impl ArenaPieces<'_> {
    fn bytes_of(&self, piece: &Piece) -> io::Result<&[u8]> {
        // SAFETY: the object there is sealed, and keeps its room until this job has come to its end.
        let bytes = unsafe { self.arena.slice(piece.arena_offset, piece.length) };
        bytes.map_err(io::Error::other)
    }
}

impl Content for ArenaPieces<'_> {
    fn size_bytes(&self) -> u64 {
        let last = self.pieces.last();
        last.map_or(0, |piece| piece.file_offset + piece.length)
    }

    fn write_to(&self, file: &File) -> io::Result<()> {
        self.pieces
            .iter()
            .try_for_each(|piece| file.write_all_at(self.bytes_of(piece)?, piece.file_offset))
    }

    fn chunks(&self) -> impl Iterator<Item = io::Result<&[u8]>> {
        let mut end = 0;
        self.pieces.iter().flat_map(move |piece| {
            // Objects begin at pages: less than one is between them.
            let gap = (piece.file_offset - end).min(GAP.len() as u64);
            end = piece.file_offset + piece.length;
            iter::once(Ok(&GAP[..gap as usize])).chain(iter::once(self.bytes_of(piece)))
        })
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_file_is_the_same_in_a_folder_and_in_a_bucket() -> Result<(), Box<dyn std::error::Error>> {
        let arena = Arena::create(1 << 20)?;
        let piece = |arena_offset, file_offset, length| Piece {
            arena_offset,
            file_offset,
            length,
        };
        let pieces = [
            piece(8192, 0, 5000),
            piece(64, 8192, 4096),
            piece(0, 12288, 3),
        ];
        for piece in &pieces {
            let start = arena.pointer(piece.arena_offset, piece.length)?;
            // SAFETY: the arena is that long, and nobody else knows of it.
            unsafe { start.write_bytes(piece.length as u8, piece.length as usize) };
        }
        let content = ArenaPieces {
            arena: &arena,
            pieces: &pieces,
        };
        let chunks: Vec<&[u8]> = content.chunks().collect::<io::Result<_>>()?;
        let mut file = tempfile::tempfile()?;
        content.write_to(&file)?;
        let mut written = Vec::new();
        file.read_to_end(&mut written)?;
        assert_eq!(written.len() as u64, content.size_bytes());
        assert!(chunks.concat() == written);
        Ok(())
    }
}
