//! What the daemons of a cluster say to each other.
//!
//! A *stream* carries the messages of one daemon to another one, in order and each once, over as
//! many connections as it takes: whoever sends keeps each message until it is acknowledged, and a
//! new connection begins with how many have arrived. The answers travel on a stream of their own.

use bytes::Bytes;

use crate::ids::NodeId;
use crate::messages::session::PeerHello;

/// A daemon to another one, first: these are my messages to you.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StreamHello {
    #[prost(uint32, tag = "1")]
    pub version: u32,
    #[prost(string, tag = "2")]
    pub token: String,
    #[prost(message, required, tag = "3")]
    pub from: NodeId,
    /// Whom the speaker means to reach; absent where it joins and knows an address alone.
    #[prost(message, optional, tag = "4")]
    pub to: Option<NodeId>,
    /// Where the speaker's daemon is reached: `tcp:host:port`.
    #[prost(string, tag = "5")]
    pub endpoint: String,
    /// `3.11`: all workers of a cluster speak the same.
    #[prost(string, tag = "6")]
    pub python: String,
    /// Messages that the speaker has let go of: the next one it has is the one after these.
    #[prost(uint64, tag = "7")]
    pub sent_from: u64,
}

/// The answer: go on.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StreamWelcome {
    #[prost(message, required, tag = "1")]
    pub node: NodeId,
    /// Messages of the stream that have arrived, over all connections.
    #[prost(uint64, tag = "2")]
    pub received: u64,
    /// `host:port` of the head, as users see it.
    #[prost(string, tag = "3")]
    pub cluster_address: String,
    #[prost(string, tag = "4")]
    pub session_name: String,
    /// Whether the daemon holds the control of the cluster.
    #[prost(bool, tag = "5")]
    pub is_head: bool,
    /// The settings of the whole cluster (`_system_config`), as JSON.
    #[prost(string, tag = "6")]
    pub system_config: String,
}

/// The receiver of a stream to its sender: so many messages have arrived.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StreamAck {
    #[prost(uint64, tag = "1")]
    pub received: u64,
}

/// A node to the head, over a connection of its own, and back: I am alive.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Heartbeat {
    /// Counts from one; the answer has the same.
    #[prost(uint64, tag = "1")]
    pub beat: u64,
}

/// A node to the head, first on the connection of its heartbeats.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct HeartbeatHello {
    #[prost(uint32, tag = "1")]
    pub version: u32,
    #[prost(string, tag = "2")]
    pub token: String,
    #[prost(message, required, tag = "3")]
    pub node: NodeId,
}

/// A daemon to one of its processes: a peer on another machine wants to speak with you. The
/// connection travels with it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PassedPeer {
    /// The peer's first words, checked.
    #[prost(message, required, tag = "1")]
    pub hello: PeerHello,
    /// What the peer sent behind them.
    #[prost(bytes = "bytes", tag = "2")]
    pub early: Bytes,
}
