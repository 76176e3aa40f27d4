//! The places that spilled objects lie in: folders of this machine, and buckets.

mod folder;

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use whipray_bucket::{Address, Bucket};
use whipray_store::core::{DiskError, FilePlace};

use folder::Folder;

/// What the folders of all sessions begin with.
const PREFIX: &str = "whipray_spilled_";

/// How long the end of a session may take to remove what is in one bucket.
const BUCKET_END: Duration = Duration::from_secs(10);

/// One place that objects may be spilled to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpillSite {
    Folder(PathBuf),
    Bucket(Address),
}

/// Where objects may be spilled to.
#[derive(Clone, Debug)]
pub struct SpillSites {
    /// Used in turn.
    pub sites: Vec<SpillSite>,
    /// Where files go that programs map, when all the sites are buckets.
    pub local_directory: PathBuf,
    /// A file system that is fuller than this share takes nothing more.
    pub full_share: f64,
    pub session_name: String,
}

/// What goes into a file.
pub(super) trait Content {
    /// Of the whole file.
    fn size_bytes(&self) -> u64;

    /// Writes it to an empty file.
    ///
    /// # Errors
    /// The disk's.
    fn write_to(&self, file: &File) -> io::Result<()>;

    /// All bytes of the file, in their order.
    fn chunks(&self) -> impl Iterator<Item = io::Result<&[u8]>>;
}

/// The places of this daemon, where nothing is made before it is needed.
pub(super) struct SpillPlaces {
    places: Vec<Place>,
    /// Used where the places are buckets alone.
    local: Folder,
    next: AtomicUsize,
}

enum Place {
    Folder(Folder),
    Bucket(Bucket),
}

/// Why the places that were tried did not take a file.
struct Refusals {
    problems: Vec<String>,
    all_full: bool,
}

impl SpillPlaces {
    pub fn new(sites: SpillSites) -> Self {
        let name = format!("{PREFIX}{}", sites.session_name);
        let place = |site| match site {
            SpillSite::Folder(directory) => {
                Place::Folder(Folder::new(directory, &name, sites.full_share))
            }
            SpillSite::Bucket(address) => Place::Bucket(Bucket::new(address, &name)),
        };
        Self {
            places: sites.sites.into_iter().map(place).collect(),
            local: Folder::new(sites.local_directory, &name, sites.full_share),
            next: AtomicUsize::new(0),
        }
    }

    /// Whether objects are spilled to buckets.
    pub fn has_buckets(&self) -> bool {
        self.buckets().next().is_some()
    }

    /// Makes a file of this name in the next place that takes it.
    ///
    /// # Errors
    /// No place can take it.
    pub fn write(&self, name: &str, content: &impl Content) -> Result<FilePlace, DiskError> {
        let size_bytes = content.size_bytes();
        let mut refusals = Refusals::new();
        for place in self.in_turn(self.places.iter()) {
            let written = match place {
                Place::Folder(folder) => {
                    folder.write(name, size_bytes, |file| content.write_to(file))
                }
                Place::Bucket(bucket) => match bucket.write(name, size_bytes, content.chunks()) {
                    Ok(address) => return Ok(FilePlace::Bucket(address.into())),
                    Err(error) => Err(io::Error::other(error.reason)),
                },
            };
            match written {
                Ok(path) => return Ok(FilePlace::Folder(path.into())),
                Err(error) => refusals.add(place.name(), &error),
            }
        }
        Err(refusals.into_error(size_bytes))
    }

    /// Makes a file of this name and size on this machine, for a program to write to.
    ///
    /// # Errors
    /// No folder has room for it.
    pub fn reserve(&self, name: &str, size_bytes: u64) -> Result<FilePlace, DiskError> {
        let fill = |file: &File| folder::reserve(file, size_bytes);
        self.write_local(name, size_bytes, fill)
            .map_err(|refusals| refusals.into_error(size_bytes))
    }

    /// Makes a file of this name on this machine from a part of one in a bucket.
    ///
    /// # Errors
    /// The bucket does not give it, or no folder has room for it.
    pub fn fetch(
        &self,
        name: &str,
        from: &str,
        offset: u64,
        size_bytes: u64,
    ) -> Result<FilePlace, DiskError> {
        let failed = |why: String| {
            DiskError::Failed(format!(
                "it was spilled to {from} and cannot be brought back: {why}"
            ))
        };
        let bucket = self.buckets().find(|bucket| bucket.owns(from));
        let bucket =
            bucket.ok_or_else(|| failed("it is in no bucket of this session".to_owned()))?;
        self.write_local(name, size_bytes, |file| {
            bucket
                .read(from, offset, size_bytes, file)
                .map_err(|error| io::Error::other(error.reason))
        })
        .map_err(|refusals| failed(refusals.problems.join("; ")))
    }

    fn write_local(
        &self,
        name: &str,
        size_bytes: u64,
        fill: impl Fn(&File) -> io::Result<()>,
    ) -> Result<FilePlace, Refusals> {
        let mut refusals = Refusals::new();
        for folder in self.in_turn(self.folders()) {
            match folder.write(name, size_bytes, &fill) {
                Ok(path) => return Ok(FilePlace::Folder(path.into())),
                Err(error) => refusals.add(folder.directory().display().to_string(), &error),
            }
        }
        Err(refusals)
    }

    /// Removes a file.
    pub fn remove(&self, place: &FilePlace) {
        match place {
            FilePlace::Folder(path) => {
                if let Err(error) = std::fs::remove_file(&**path) {
                    tracing::info!(%path, %error, "a file of spilled objects is gone already");
                }
            }
            FilePlace::Bucket(address) => {
                let bucket = self.buckets().find(|bucket| bucket.owns(address));
                if let Some(Err(error)) = bucket.map(|bucket| bucket.remove(address)) {
                    tracing::warn!(%error, "spilled objects stay until the end of the session");
                }
            }
        }
    }

    /// Removes what this daemon has made; nothing is written from here on. What is in several
    /// buckets goes at the same time, so that all of it is bounded.
    pub fn end(&self) {
        self.folders().for_each(Folder::end);
        std::thread::scope(|scope| {
            for bucket in self.buckets().filter(|bucket| bucket.is_used()) {
                scope.spawn(|| {
                    if let Err(error) = bucket.end(BUCKET_END) {
                        tracing::warn!(%error, "spilled objects stay in a bucket");
                    }
                });
            }
        });
    }

    /// Removes what daemons have left in the folders that were killed.
    pub fn remove_stale(&self) {
        self.folders().for_each(Folder::remove_stale);
    }

    fn buckets(&self) -> impl Iterator<Item = &Bucket> {
        self.places.iter().filter_map(|place| match place {
            Place::Bucket(bucket) => Some(bucket),
            Place::Folder(_) => None,
        })
    }

    /// Those of this machine.
    fn folders(&self) -> impl Iterator<Item = &Folder> + Clone {
        let folders = self.places.iter().filter_map(|place| match place {
            Place::Folder(folder) => Some(folder),
            Place::Bucket(_) => None,
        });
        let is_alone = folders.clone().next().is_none();
        folders.chain(is_alone.then_some(&self.local))
    }

    /// All of them, each time beginning with another one.
    fn in_turn<T>(&self, places: impl Iterator<Item = T> + Clone) -> impl Iterator<Item = T> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let count = places.clone().count().max(1);
        let before = places.clone().take(first % count);
        places.skip(first % count).chain(before)
    }
}

impl Place {
    fn name(&self) -> String {
        match self {
            Self::Folder(folder) => folder.directory().display().to_string(),
            Self::Bucket(bucket) => bucket.address().to_string(),
        }
    }
}

impl Refusals {
    fn new() -> Self {
        Self {
            problems: Vec::new(),
            all_full: true,
        }
    }

    fn add(&mut self, place: String, error: &io::Error) {
        self.all_full &= folder::is_full(error);
        self.problems.push(format!("{place}: {error}"));
    }

    fn into_error(self, size_bytes: u64) -> DiskError {
        let problems = self.problems.join("; ");
        let what =
            format!("the object store is full, and {size_bytes} bytes of it cannot be spilled");
        match self.all_full {
            true => DiskError::Full(format!(
                "{what} to disk ({problems}); free disk space, drop references that are not needed, \
                 or choose other directories with object_spilling_directory"
            )),
            false => DiskError::Failed(format!(
                "{what} ({problems}); see to it that the place can be written to, or choose another \
                 one with object_spilling_directory"
            )),
        }
    }
}

#[cfg(test)]
mod tests;
