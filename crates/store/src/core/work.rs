//! What the table of objects asks of the world around it.

use std::sync::Arc;

use whipray_proto::{NodeId, ObjectId};

use super::commitment::Extent;
use super::creating::CreateError;
use super::fetching::Lost;
use super::table::{ClientId, Pinned};

/// Microseconds since some moment; the clock of whoever calls.
pub type Micros = u64;

/// Where a new object is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Room {
    Arena {
        offset: u64,
        /// How many bytes of it, up to the end of its last huge page, have no memory yet: the writer
        /// is to provide it. Zero for all but large objects in room that was never used.
        cold_bytes: u64,
    },
    /// A file of the object's size, for what the arena cannot take.
    File { path: Arc<str> },
}

/// Where a file with objects lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilePlace {
    /// In a folder of this machine: whoever reads maps it.
    Folder(Arc<str>),
    /// In a bucket, at this address: an object that is to be read comes into a folder first.
    Bucket(Arc<str>),
}

impl FilePlace {
    /// The path, or the address in the bucket.
    pub fn address(&self) -> &Arc<str> {
        match self {
            Self::Folder(path) => path,
            Self::Bucket(address) => address,
        }
    }
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// Answer a request for room.
    Answer {
        client: ClientId,
        request: u64,
        outcome: Result<Room, CreateError>,
    },
    /// Answer a request for objects that lie somewhere: `found` are pinned for the client.
    Pinned {
        client: ClientId,
        request: u64,
        found: Vec<Pinned>,
        lost: Vec<Lost>,
    },
    /// This range of the arena is to get memory before it is used.
    ProvideMemory(Extent),
    /// These objects are needed out of the arena; the client, who put them, is to let go of the
    /// mappings that it keeps for itself alone.
    Release {
        client: ClientId,
        objects: Vec<ObjectId>,
    },
    Disk(DiskJob),
    Pull(Pull),
    /// The bytes of this pull are not wanted any more. It still has to come to its end: its room is
    /// its own until then.
    CancelPull {
        pull: u64,
    },
}

/// An object to be brought from another node, answered once with [`ObjectTable::on_pulled`].
///
/// [`ObjectTable::on_pulled`]: super::ObjectTable::on_pulled
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pull {
    /// The number of the pull; never the same twice.
    pub pull: u64,
    pub object: ObjectId,
    /// A node that has a copy.
    pub from: NodeId,
    pub size_bytes: u64,
    pub room: PullRoom,
}

/// Where the bytes of a pull go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PullRoom {
    Arena {
        offset: u64,
        /// As in [`Room::Arena`].
        cold_bytes: u64,
    },
    /// A part of a file, which other pulls may have parts of, too.
    File { path: Arc<str>, offset: u64 },
}

/// A part of the arena that goes into a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub arena_offset: u64,
    pub file_offset: u64,
    pub length: u64,
}

/// Something for the threads that use the disk. All but the last are answered with where the new
/// file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskJob {
    /// Write sealed objects into one new file, wherever objects are spilled to.
    Write { file: u64, pieces: Vec<Piece> },
    /// Make a file in a folder with room for one object, which its maker writes.
    Reserve { file: u64, size_bytes: u64 },
    /// Bring one object out of a file in a bucket into a new file in a folder.
    Fetch {
        file: u64,
        from: Arc<str>,
        offset: u64,
        size_bytes: u64,
    },
    /// Remove a file that nobody needs any more.
    Remove { place: FilePlace },
}

/// Why a file could not be written, or read. The text is what the user reads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// Every place for spilled objects is full.
    #[error("{0}")]
    Full(String),
    #[error("{0}")]
    Failed(String),
}
