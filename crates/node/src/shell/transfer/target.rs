//! Where the bytes of an object go that comes from another node.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use whipray_net::{BulkConnection, ConnectionError};
use whipray_store::Arena;
use whipray_store::core::{Extent, HUGE_PAGE_BYTES, Pull, PullRoom};

/// What is read at once of what goes to a file, in bytes.
const FILE_STEP_BYTES: u64 = 1 << 20;

/// The room of one pull.
pub struct Target<'a> {
    arena: &'a Arena,
    place: Place,
}

enum Place {
    Arena { offset: u64, cold: Extent },
    File { file: File, offset: u64 },
}

/// Why bytes did not come to their place.
pub enum ReceiveError {
    Connection(ConnectionError),
    /// On this machine.
    Here(String),
}

impl<'a> Target<'a> {
    /// The room that a pull has.
    ///
    /// # Errors
    /// It lies outside the arena, or in a file that is not there; what the user reads.
    pub fn open(arena: &'a Arena, pull: &Pull) -> Result<Self, String> {
        let place = match &pull.room {
            PullRoom::Arena { offset, cold_bytes } => {
                let inside = arena.pointer(*offset, pull.size_bytes);
                inside.map_err(|error| error.to_string())?;
                let end = (offset + pull.size_bytes).next_multiple_of(HUGE_PAGE_BYTES);
                let end = end.min(arena.len());
                Place::Arena {
                    offset: *offset,
                    cold: Extent {
                        offset: end.saturating_sub(*cold_bytes),
                        length: *cold_bytes,
                    },
                }
            }
            PullRoom::File { path, offset } => {
                let file = File::options().write(true).open(&**path);
                Place::File {
                    file: file.map_err(|error| format!("cannot write {path}: {error}"))?,
                    offset: *offset,
                }
            }
        };
        Ok(Self { arena, place })
    }

    /// Sees to it that a part can be written.
    ///
    /// # Errors
    /// The system has no memory left; what the user reads.
    pub fn prepare(&self, start: u64, length: u64) -> Result<(), String> {
        let Place::Arena { offset, cold } = &self.place else {
            return Ok(());
        };
        let (first, end) = (offset + start, offset + start + length);
        let cold_first = first.max(cold.offset);
        let cold_end = end
            .next_multiple_of(HUGE_PAGE_BYTES)
            .min(cold.offset + cold.length);
        if length > 0 && cold_first < cold_end {
            // What is missing then is found by the call below.
            let _ = self.arena.provide(Extent {
                offset: cold_first,
                length: cold_end - cold_first,
            });
        }
        self.arena
            .prepare_write(first, length)
            .map_err(|error| format!("the system has no memory for it: {error}"))
    }

    /// Takes the next bytes of a connection in.
    ///
    /// # Errors
    /// The connection ended, or the disk does not take them.
    pub fn receive(
        &self,
        connection: &mut BulkConnection,
        start: u64,
        length: u64,
    ) -> Result<(), ReceiveError> {
        match &self.place {
            Place::Arena { offset, .. } => {
                // SAFETY: the room is this pull's alone until its end is told, and no two of its
                // streams have the same part.
                let bytes = unsafe { self.arena.slice_mut(offset + start, length) };
                let bytes = bytes.map_err(|error| ReceiveError::Here(error.to_string()))?;
                connection
                    .receive_bytes(bytes)
                    .map_err(ReceiveError::Connection)
            }
            Place::File { file, offset } => {
                let mut buffer = vec![0; length.min(FILE_STEP_BYTES) as usize];
                let mut position = start;
                while position < start + length {
                    let step = (start + length - position).min(FILE_STEP_BYTES) as usize;
                    connection
                        .receive_bytes(&mut buffer[..step])
                        .map_err(ReceiveError::Connection)?;
                    let written = file.write_all_at(&buffer[..step], offset + position);
                    written.map_err(|error: io::Error| {
                        ReceiveError::Here(format!("it cannot be written to disk: {error}"))
                    })?;
                    position += step as u64;
                }
                Ok(())
            }
        }
    }

    /// Bytes that have come, where they lie in the arena.
    pub fn arena_offset(pull: &Pull, start: u64) -> Option<u64> {
        match &pull.room {
            PullRoom::Arena { offset, .. } => Some(offset + start),
            PullRoom::File { .. } => None,
        }
    }
}
