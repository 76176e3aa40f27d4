//! The world around the core: sockets, processes, files, signals, the clock.

mod connections;
mod daemon;
mod disk;
pub mod gpus;
mod heartbeat;
mod line_reader;
mod log_lines;
mod logs;
pub mod machine;
mod memory;
mod memory_events;
mod memory_provider;
mod metrics_door;
mod signals;
mod spill_places;
mod streams;
pub mod transfer;
mod zygote;

pub use daemon::{Control, Daemon, DaemonError, EndReason, ListenerKind, Settings};
pub use memory::{MemorySource, SystemMemory};
pub use spill_places::{SpillSite, SpillSites};
pub use streams::{Identity, JoinError, Joined, Patience, join, join_patiently};
