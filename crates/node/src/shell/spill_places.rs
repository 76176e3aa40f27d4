//! The folders that spilled objects lie in.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use rustix::fs::{FallocateFlags, FlockOperation};
use rustix::io::Errno;
use whipray_store::core::DiskError;

/// What the folders of all sessions begin with.
const PREFIX: &str = "whipray_spilled_";

/// Held by the daemon that uses a folder, for its life.
const LOCK: &str = "lock";

/// A folder without a lock is somebody's that is just being made, unless it is older than this.
const BEING_MADE: Duration = Duration::from_secs(60);

/// Where objects may be spilled to.
#[derive(Clone, Debug)]
pub struct SpillSites {
    /// Used in turn.
    pub directories: Vec<PathBuf>,
    /// A file system that is fuller than this share takes nothing more.
    pub full_share: f64,
    pub session_name: String,
}

/// The folders of this daemon, made when they are first needed.
pub(super) struct SpillPlaces {
    sites: SpillSites,
    state: Mutex<State>,
}

struct State {
    next: usize,
    /// The locks of the folders that were made, by the index of their directory.
    locks: Vec<Option<File>>,
    is_over: bool,
}

impl SpillPlaces {
    pub fn new(sites: SpillSites) -> Self {
        let locks = sites.directories.iter().map(|_| None).collect();
        let state = State {
            next: 0,
            locks,
            is_over: false,
        };
        Self {
            sites,
            state: Mutex::new(state),
        }
    }

    /// Makes a file of this name, in the next folder that has room for `size_bytes`, and has `fill`
    /// write it. Returns its path.
    ///
    /// # Errors
    /// No folder can take it.
    pub fn write(
        &self,
        name: &str,
        size_bytes: u64,
        fill: impl Fn(&File) -> io::Result<()>,
    ) -> Result<String, DiskError> {
        let count = self.sites.directories.len();
        let first = self.turn();
        let (mut problems, mut all_full) = (Vec::new(), true);
        for step in 0..count {
            let index = (first + step) % count;
            let directory = &self.sites.directories[index];
            let written = self
                .folder(index)
                .and_then(|folder| self.check_room(&folder, size_bytes).map(|()| folder))
                .and_then(|folder| write_file(&folder.join(name), &fill));
            match written {
                Ok(path) => return Ok(path),
                Err(error) => {
                    all_full &= is_full(&error);
                    problems.push(format!("{}: {error}", directory.display()));
                }
            }
        }
        let text = format!(
            "the object store is full, and {size_bytes} bytes of it cannot be spilled to disk \
             ({}); free disk space, drop references that are not needed, or choose other \
             directories with object_spilling_directory",
            problems.join("; ")
        );
        Err(match all_full {
            true => DiskError::Full(text),
            false => DiskError::Failed(text),
        })
    }

    fn turn(&self) -> usize {
        let Ok(mut state) = self.state.lock() else {
            return 0;
        };
        state.next = state.next.wrapping_add(1);
        state.next - 1
    }

    /// The folder in a directory.
    fn folder(&self, index: usize) -> io::Result<PathBuf> {
        let directory = &self.sites.directories[index];
        let folder = directory.join(format!("{PREFIX}{}", self.sites.session_name));
        let mut state = self.state.lock().map_err(|_| io::ErrorKind::Other)?;
        if state.is_over {
            return Err(io::Error::other("the session ends"));
        }
        if state.locks[index].is_none() {
            fs::create_dir_all(directory)?;
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&folder)?;
            let lock = File::options()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(folder.join(LOCK))?;
            rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
            state.locks[index] = Some(lock);
        }
        Ok(folder)
    }

    fn check_room(&self, folder: &Path, size_bytes: u64) -> io::Result<()> {
        let system = rustix::fs::statvfs(folder)?;
        let total = system.f_blocks as f64 * system.f_frsize as f64;
        let available = system.f_bavail as f64 * system.f_frsize as f64;
        if total - available + size_bytes as f64 <= total * self.sites.full_share {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::StorageFull,
            format!(
                "{:.1} of {:.1} GB are in use, and no more than {:.0} % are to be",
                (total - available) / 1e9,
                total / 1e9,
                self.sites.full_share * 100.0
            ),
        ))
    }

    /// Removes what this daemon has made; nothing is written from here on.
    pub fn end(&self) {
        let Ok(mut state) = self.state.lock() else {
            return;
        };
        state.is_over = true;
        for (directory, lock) in self.sites.directories.iter().zip(&mut state.locks) {
            if lock.take().is_some() {
                let folder = directory.join(format!("{PREFIX}{}", self.sites.session_name));
                if let Err(error) = fs::remove_dir_all(&folder) {
                    tracing::warn!(folder = %folder.display(), %error, "spilled objects stay");
                }
            }
        }
    }

    /// Removes what daemons have left that were killed.
    pub fn remove_stale(&self) {
        for directory in &self.sites.directories {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
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
pub(super) fn reserve(file: &File, size_bytes: u64) -> io::Result<()> {
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

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn places(directories: &[&Path], full_share: f64) -> SpillPlaces {
        SpillPlaces::new(SpillSites {
            directories: directories.iter().map(|path| path.to_path_buf()).collect(),
            full_share,
            session_name: "session_1".to_owned(),
        })
    }

    fn hello(mut file: &File) -> io::Result<()> {
        file.write_all(b"hello")
    }

    #[test]
    fn directories_take_turns_and_nothing_stays() -> Result<(), Box<dyn std::error::Error>> {
        let (one, two) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let places = places(&[&one.path().join("deep"), two.path()], 1.0);
        let first = places.write("1", 5, hello)?;
        let second = places.write("2", 5, hello)?;
        assert!(first.starts_with(one.path().to_str().unwrap_or_default()));
        assert!(second.starts_with(two.path().to_str().unwrap_or_default()));
        assert_eq!(fs::read(&first)?, b"hello");
        places.end();
        assert_eq!(fs::read_dir(one.path().join("deep"))?.count(), 0);
        assert_eq!(fs::read_dir(two.path())?.count(), 0);
        assert!(places.write("3", 5, hello).is_err());
        Ok(())
    }

    #[test]
    fn a_full_directory_is_passed_over() -> io::Result<()> {
        let (one, two) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let places = places(&[one.path(), two.path()], 1.0);
        let into_two = |file: &File| {
            let path = fs::read_link(format!(
                "/proc/self/fd/{}",
                std::os::fd::AsRawFd::as_raw_fd(file)
            ))?;
            if path.starts_with(one.path()) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            hello(file)
        };
        for name in ["1", "2"] {
            let path = places.write(name, 5, into_two).map_err(io::Error::other)?;
            assert!(Path::new(&path).starts_with(two.path()));
        }
        Ok(())
    }

    #[test]
    fn a_full_disk_is_told_from_one_that_fails() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let full = places(&[folder.path()], 0.0).write("1", 5, hello);
        assert!(matches!(full, Err(DiskError::Full(_))), "{full:?}");
        let failed = places(&[Path::new("/proc/nowhere")], 1.0).write("1", 5, hello);
        assert!(matches!(failed, Err(DiskError::Failed(_))), "{failed:?}");
        Ok(())
    }

    #[test]
    fn only_the_dead_are_cleaned_up_after() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let alive = places(&[folder.path()], 1.0);
        let kept = alive.write("1", 5, hello)?;
        let dead = folder.path().join("whipray_spilled_session_0");
        fs::create_dir(&dead)?;
        fs::write(dead.join(LOCK), "")?;
        fs::write(dead.join("1"), "old")?;
        let new = folder.path().join("whipray_spilled_session_2");
        fs::create_dir(&new)?;
        let others = folder.path().join("precious");
        fs::create_dir(&others)?;
        alive.remove_stale();
        assert!(!dead.exists());
        assert!(new.exists() && others.exists() && Path::new(&kept).exists());
        Ok(())
    }

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
