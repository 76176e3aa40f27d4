//! What is kept of an actor, and of a placement group.

use whipray_proto::scheduling::GroupSpec;
use whipray_proto::{ActorSpec, DeathCause, NodeId};

/// An actor as it is written to storage.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ActorRecord {
    #[prost(message, required, tag = "1")]
    pub spec: ActorSpec,
    /// The number of the life that it is in.
    #[prost(uint32, tag = "2")]
    pub incarnation: u32,
    /// An [`ActorState`](whipray_proto::messages::actor::ActorState).
    #[prost(int32, tag = "3")]
    pub state: i32,
    /// Why its last life ended.
    #[prost(message, optional, tag = "4")]
    pub cause: Option<DeathCause>,
    /// Restarts that do not count.
    #[prost(uint32, tag = "5")]
    pub preempted: u32,
}

/// A placement group as it is written to storage.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GroupRecord {
    #[prost(message, required, tag = "1")]
    pub spec: GroupSpec,
    /// A [`GroupState`](whipray_proto::scheduling::GroupState).
    #[prost(int32, tag = "2")]
    pub state: i32,
    /// The node of each bundle, nil for one that has none; empty where none has one.
    #[prost(message, repeated, tag = "3")]
    pub nodes: Vec<NodeId>,
}
