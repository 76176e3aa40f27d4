//! Sockets, threads and waiting around the core.
//!
//! [`runtime`] connects a process and holds its parts; what it can be asked for stands in one file
//! per subject: [`references`], [`store`], [`wait`], [`submission`], [`execution`], [`streams`],
//! [`questions`], [`groups`], [`metrics`]; what waits for room in a full store in [`patience`].
//! Below them: [`drive`] (who reads the sockets), [`background`] (who does while nobody waits),
//! [`state`] (what the lock protects), [`links`] (connections).

mod background;
mod blocked;
mod drive;
mod execution;
pub(crate) mod groups;
mod links;
pub mod metrics;
mod patience;
mod questions;
mod references;
mod requests;
pub(crate) mod runtime;
mod settings;
pub(crate) mod spin;
mod state;
mod store;
pub(crate) mod streams;
mod submission;
mod wait;
