//! The vocabulary of Whipray: what every process says to every other one.
//!
//! Nothing here does anything: ids, resources, task specs, failures, limits, and the messages that
//! carry them. Messages are protocol buffers (derived with `prost`, so a field keeps its tag for
//! ever and an unknown field is skipped); a frame is an eight-byte header and one message.

pub mod failure;
pub mod frame;
pub mod generator;
pub mod health;
pub mod ids;
pub mod limits;
pub mod link;
pub mod messages;
pub mod object;
pub mod resources;
pub mod scheduling;
pub mod task;

pub use failure::{DeathCause, DeathKind};
pub use frame::{FrameHeader, ProtocolError};
pub use ids::{
    ActorId, FunctionId, JobId, LeaseId, NodeId, ObjectId, PlacementGroupId, TaskId, WorkerId,
};
pub use messages::Message;
pub use object::{ObjectValue, References, SharedLocation, WorkerAddress};
pub use resources::Resources;
pub use scheduling::{BundleId, SchedulingStrategy};
pub use task::{ActorSpec, Argument, Assignment, TaskKind, TaskSpec};

/// The version of the protocol. Peers of different versions refuse each other in the hello.
pub const PROTOCOL_VERSION: u32 = 1;
