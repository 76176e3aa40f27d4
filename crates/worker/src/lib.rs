//! What is inside every driver and worker: ownership, submission, execution. No Python types.
//!
//! - [`core`]: the state machine; pure.
//! - [`cell`]: where waiting threads and makers of objects meet.
//! - [`Runtime`]: sockets, threads and waiting around the core.
//!
//! Not for: deciding where tasks run (the node's daemon does), keeping cluster state (the control
//! does), or anything about values (bytes, to this crate).

pub mod cell;
pub mod core;
mod handle;
mod shared;
mod shell;
mod template;

pub use crate::core::effect::DriverEvent;
pub use crate::core::metrics::{Definition, MetricNumber, TagValues};
pub use crate::core::sources::Source;
pub use crate::handle::{ActorHandle, ObjectHandle};
pub use crate::shared::{SharedView, SharedWriter};
pub use crate::shell::groups::{GroupQuery, GroupWait};
pub use crate::shell::metrics;
pub use crate::shell::runtime::{
    ArgumentInput, CancelError, ConnectError, ConnectOptions, CreatedActor, FinishedTask,
    IncomingTask, NextWork, ReturnedValue, Runtime, WaitOutcome, Work,
};
pub use crate::shell::streams::{NextItem, StreamHandle};
pub use crate::template::{ClassSlot, TaskTemplate};
