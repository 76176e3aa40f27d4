//! Where the state of the cluster is kept.

#[cfg(test)]
mod conformance;
mod memory;
mod redb;

use bytes::Bytes;

pub use self::memory::MemoryStorage;
pub use self::redb::RedbStorage;

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    Nodes,
    Jobs,
    Actors,
    KeyValues,
    Groups,
}

impl Table {
    pub const ALL: [Table; 5] = [
        Table::Nodes,
        Table::Jobs,
        Table::Actors,
        Table::KeyValues,
        Table::Groups,
    ];

    /// The name of the table where it is kept.
    pub fn name(self) -> &'static str {
        match self {
            Table::Nodes => "nodes",
            Table::Jobs => "jobs",
            Table::Actors => "actors",
            Table::KeyValues => "key_values",
            Table::Groups => "placement_groups",
        }
    }
}

/// A change of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub table: Table,
    pub key: Bytes,
    /// The new content; `None` deletes the record.
    pub value: Option<Bytes>,
}

/// Why records cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("the control state in {path} cannot be used: {reason}")]
    Unusable { path: String, reason: String },
    #[error("the thread that writes the control state is gone")]
    WriterGone,
}

/// Keeps records. Writes are taken in order, and may reach the disk a moment later.
pub trait Storage {
    /// Notes a change.
    fn write(&mut self, write: Write);

    /// All records of a table by key, with all writes so far.
    ///
    /// # Errors
    /// The records cannot be read.
    fn read(&mut self, table: Table) -> Result<Vec<(Bytes, Bytes)>, StorageError>;

    /// Waits until all writes so far would survive the end of the process.
    ///
    /// # Errors
    /// They cannot be made to.
    fn flush(&mut self) -> Result<(), StorageError>;
}
