//! Nodes that are to leave the cluster.

use crate::ids::NodeId;

/// Why a node is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum DrainReason {
    Unspecified = 0,
    /// It has nothing to do. One that has is not drained.
    Idle = 1,
    /// Its machine is taken away, whether it has something to do or not.
    Preemption = 2,
}

/// Client to control: let a node finish what it has, and end it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DrainNode {
    #[prost(uint64, tag = "1")]
    pub request: u64,
    #[prost(message, required, tag = "2")]
    pub node: NodeId,
    #[prost(enumeration = "DrainReason", tag = "3")]
    pub reason: i32,
    /// What people read as the reason.
    #[prost(string, tag = "4")]
    pub reason_message: String,
    /// What still runs after so many milliseconds from now is ended; zero: however long it takes.
    #[prost(uint64, tag = "5")]
    pub deadline_ms: u64,
}

/// Control to client: the node is being drained, or is not.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NodeDrained {
    #[prost(uint64, tag = "1")]
    pub request: u64,
    #[prost(bool, tag = "2")]
    pub is_accepted: bool,
    /// Why not, as a sentence.
    #[prost(string, tag = "3")]
    pub rejection: String,
}
