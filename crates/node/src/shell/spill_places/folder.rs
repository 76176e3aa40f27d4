//! A folder that spilled objects lie in.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use rustix::fs::{FallocateFlags, FlockOperation};
use rustix::io::Errno;

use super::PREFIX;

/// Held by the daemon that uses a folder, for its life.
const LOCK: &str = "lock";

/// A folder without a lock is somebody's that is just being made, unless it is older than this.
const BEING_MADE: Duration = Duration::from_secs(60);

/// The folder of this session in a directory, made when it is first needed.
pub(super) struct Folder {
    directory: PathBuf,
    path: PathBuf,
    /// A file system that is fuller than this share takes nothing more.
    full_share: f64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Of the folder, once it is made.
    lock: Option<File>,
    is_over: bool,
}

impl Folder {
    /// The folder of this name in a directory. Nothing is made yet.
    pub fn new(directory: PathBuf, name: &str, full_share: f64) -> Self {
        Self {
            path: directory.join(name),
            directory,
            full_share,
            state: Mutex::default(),
        }
    }

    /// Where the folder is, or will be.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Makes a file of this name, where there is room for `size_bytes`, and has `fill` write it.
    /// Returns its path.
    ///
    /// # Errors
    /// There is no room, or something is wrong with the directory.
    pub fn write(
        &self,
        name: &str,
        size_bytes: u64,
        fill: impl Fn(&File) -> io::Result<()>,
    ) -> io::Result<String> {
        self.make()?;
        self.check_room(size_bytes)?;
        write_file(&self.path.join(name), fill)
    }

    fn make(&self) -> io::Result<()> {
        let mut state = self.state.lock().map_err(|_| io::ErrorKind::Other)?;
        if state.is_over {
            return Err(io::Error::other("the session ends"));
        }
        if state.lock.is_some() {
            return Ok(());
        }
        fs::create_dir_all(&self.directory)?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path)?;
        let lock = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.path.join(LOCK))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        state.lock = Some(lock);
        Ok(())
    }

    fn check_room(&self, size_bytes: u64) -> io::Result<()> {
        let system = rustix::fs::statvfs(&self.path)?;
        let total = system.f_blocks as f64 * system.f_frsize as f64;
        let available = system.f_bavail as f64 * system.f_frsize as f64;
        if total - available + size_bytes as f64 <= total * self.full_share {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::StorageFull,
            format!(
                "{:.1} of {:.1} GB are in use, and no more than {:.0} % are to be",
                (total - available) / 1e9,
                total / 1e9,
                self.full_share * 100.0
            ),
        ))
    }

    /// Removes what this daemon has made; nothing is written from here on.
    pub fn end(&self) {
        let Ok(mut state) = self.state.lock() else {
            return;
        };
        state.is_over = true;
        if state.lock.take().is_some()
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            tracing::warn!(folder = %self.path.display(), %error, "spilled objects stay");
        }
    }

    /// Removes what daemons have left in the directory that were killed.
    pub fn remove_stale(&self) {
        for entry in fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .flatten()
        {
            let is_ours = entry
                .file_name()
                .to_str()
                .is_some_and(|name| name.starts_with(PREFIX));
            if is_ours && is_stale(&entry.path()) {
                tracing::info!(folder = %entry.path().display(), "removing a dead session's objects");
                // One that belongs to somebody else stays.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

/// Whether nobody holds the lock of a folder.
fn is_stale(folder: &Path) -> bool {
    match File::options().write(true).open(folder.join(LOCK)) {
        Ok(lock) => rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::metadata(folder)
            .and_then(|data| data.modified())
            .is_ok_and(|made| {
                SystemTime::now()
                    .duration_since(made)
                    .is_ok_and(|age| age > BEING_MADE)
            }),
        Err(_) => false,
    }
}

fn write_file(path: &Path, fill: impl Fn(&File) -> io::Result<()>) -> io::Result<String> {
    let text = path
        .to_str()
        .ok_or_else(|| io::Error::other("the path is no UTF-8"))?
        .to_owned();
    let file = File::options()
        .create_new(true)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(path)?;
    match fill(&file) {
        Ok(()) => Ok(text),
        Err(error) => {
            let _ = fs::remove_file(path);
            Err(error)
        }
    }
}

/// Gives a file its size, and blocks on the disk for all of it, so that writing to it cannot fail.
///
/// # Errors
/// There is no room.
pub(in crate::shell) fn reserve(file: &File, size_bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, size_bytes.max(1)) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_zeros(file, size_bytes),
        Err(error) => Err(error.into()),
    }
}

fn write_zeros(mut file: &File, size_bytes: u64) -> io::Result<()> {
    let mut zeros = io::Read::take(io::repeat(0), size_bytes.max(1));
    io::copy(&mut zeros, &mut file).map(drop)
}

pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_files_have_their_size() -> io::Result<()> {
        let file = tempfile::tempfile()?;
        reserve(&file, 10_000)?;
        assert_eq!(file.metadata()?.len(), 10_000);
        let other = tempfile::tempfile()?;
        write_zeros(&other, 10_000)?;
        assert_eq!(other.metadata()?.len(), 10_000);
        Ok(())
    }
}
