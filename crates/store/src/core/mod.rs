//! What lies where in the arena and on disk, and for how long. Pure: nothing here touches the memory
//! or a file.

mod allocator;
mod candidates;
mod claims;
mod commitment;
mod creating;
mod disk;
mod fetching;
mod moving;
mod pulling;
mod table;
mod validate;
mod work;

#[cfg(test)]
mod tests;

pub use allocator::Allocator;
pub use claims::Wanted;
pub use commitment::{Commitment, Extent, HUGE_PAGE_BYTES};
pub use creating::CreateError;
pub use disk::SpillSettings;
pub use fetching::Lost;
pub use moving::TAKING;
pub use pulling::{SERVING, Source};
pub use table::{ClientId, ObjectTable, Pinned, Usage};
pub use work::{DiskError, DiskJob, FilePlace, Micros, Piece, Pull, PullRoom, Room, Work};
