//! Objects in shared memory.
//!
//! One [`Arena`] per node holds all objects. The node daemon decides what lies where and for how
//! long ([`core`]: an allocator and a table of objects, both pure); drivers and workers map the
//! same arena and read and write at the offsets that they were told. All `unsafe` mapping is in
//! this crate.

mod arena;
pub mod core;
mod file_mapping;
mod pages;

pub use arena::{Arena, OutOfArena};
pub use file_mapping::FileMapping;
