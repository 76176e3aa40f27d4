//! Objects that move to another node for good, because theirs is to go.
//!
//! The node that is to go asks another one with [`TakeObjects`], which fetches each object as it
//! fetches any, asks the owner with [`CopyTaken`] by way of the owner's node, and says
//! [`ObjectsTaken`] once the owner's answer, [`CopyKept`], is there. Only then the first node is rid
//! of it: at no time does the owner rely on a copy that may go.

use crate::ids::{NodeId, ObjectId, WorkerId};

/// One object that is to move.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ObjectToTake {
    #[prost(message, required, tag = "1")]
    pub object: ObjectId,
    #[prost(message, required, tag = "2")]
    pub owner: WorkerId,
    /// Where the owner is.
    #[prost(message, required, tag = "3")]
    pub owner_node: NodeId,
    #[prost(uint64, tag = "4")]
    pub size_bytes: u64,
}

/// A node that is to go to another one: fetch these from me, and have them as if they were made at
/// yours.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TakeObjects {
    #[prost(message, repeated, tag = "1")]
    pub objects: Vec<ObjectToTake>,
}

/// What became of an object that was to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum TakeOutcome {
    /// It did not come, for the reason that is given.
    Failed = 0,
    /// It is there, and its owner knows.
    Taken = 1,
    /// There is no room for it, for the reason that is given.
    NoRoom = 2,
    /// Its owner knows of no such copy: it has let go of the object, or has not heard of it yet.
    NotKept = 3,
    /// Its owner does not answer.
    Unanswered = 4,
    /// The node takes nothing: it is to go itself.
    Leaves = 5,
}

/// One answer to [`TakeObjects`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TakenObject {
    #[prost(message, required, tag = "1")]
    pub object: ObjectId,
    #[prost(enumeration = "TakeOutcome", tag = "2")]
    pub outcome: i32,
    /// A sentence, where it is not taken for a reason of the node's.
    #[prost(string, tag = "3")]
    pub reason: String,
}

/// The node that was asked to the one that is to go: what became of these.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ObjectsTaken {
    #[prost(message, repeated, tag = "1")]
    pub objects: Vec<TakenObject>,
}

/// A node to an owner, by way of the owner's node: an object of yours at `from`, which is to go, is
/// here now. Is it still wanted?
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct CopyTaken {
    /// A number of the node `by`.
    #[prost(uint64, tag = "1")]
    pub request: u64,
    #[prost(message, required, tag = "2")]
    pub object: ObjectId,
    #[prost(message, required, tag = "3")]
    pub owner: WorkerId,
    #[prost(message, required, tag = "4")]
    pub from: NodeId,
    /// The node with the new copy.
    #[prost(message, required, tag = "5")]
    pub by: NodeId,
}

/// The answer to [`CopyTaken`], by the same way; or without a question, to a node with a fetched copy:
/// the one that counted is lost, and from here on yours does.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct CopyKept {
    /// That of the question; none where nobody has asked.
    #[prost(uint64, optional, tag = "1")]
    pub request: Option<u64>,
    #[prost(message, required, tag = "2")]
    pub object: ObjectId,
    #[prost(message, required, tag = "3")]
    pub owner: WorkerId,
    #[prost(message, required, tag = "4")]
    pub by: NodeId,
    /// The owner counts on the new copy from here on.
    #[prost(bool, tag = "5")]
    pub is_kept: bool,
}
