//! Objects from one node to another, on connections of their own.
//!
//! Whoever wants an object opens the connection, says [`TransferHello`] and asks; there is one
//! question at a time. Raw bytes follow a [`FetchStarted`], as many as were asked for.

use crate::ids::{NodeId, ObjectId};

/// A daemon to another one, first: I want objects of yours. Only a bad one is answered.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TransferHello {
    #[prost(uint32, tag = "1")]
    pub version: u32,
    #[prost(string, tag = "2")]
    pub token: String,
    #[prost(message, required, tag = "3")]
    pub from: NodeId,
    /// Whom the speaker means to reach; anyone else refuses.
    #[prost(message, required, tag = "4")]
    pub to: NodeId,
    /// Where the speaker's daemon is reached, for those who are sent to it: `tcp:host:port`.
    #[prost(string, tag = "5")]
    pub endpoint: String,
}

/// Give me this part of an object.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FetchObject {
    #[prost(message, required, tag = "1")]
    pub object: ObjectId,
    #[prost(uint64, tag = "2")]
    pub offset: u64,
    #[prost(uint64, tag = "3")]
    pub length: u64,
    /// The size of the whole object, as the asker knows it.
    #[prost(uint64, tag = "4")]
    pub size_bytes: u64,
    /// From you and nobody else: the asker has been elsewhere.
    #[prost(bool, tag = "5")]
    pub is_direct: bool,
}

/// The bytes that were asked for follow.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FetchStarted {
    #[prost(uint64, tag = "1")]
    pub length: u64,
}

/// The object cannot be had here.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FetchFailed {
    /// What the user reads.
    #[prost(string, tag = "1")]
    pub reason: String,
}

/// Many want this object: that node has it, or is getting it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FetchElsewhere {
    #[prost(message, required, tag = "1")]
    pub node: NodeId,
    #[prost(string, tag = "2")]
    pub endpoint: String,
}

/// The answer takes its time, and is still to come.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FetchWaits {}

/// The asker wants no more of this object on this connection.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FetchEnded {
    #[prost(message, required, tag = "1")]
    pub object: ObjectId,
    /// The asker has all of it, and can give it to others.
    #[prost(bool, tag = "2")]
    pub is_complete: bool,
}
