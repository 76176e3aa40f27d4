//! The first and the last words of a connection.

use crate::ids::{JobId, NodeId, WorkerId};
use crate::object::WorkerAddress;
use crate::resources::Resources;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Role {
    Unspecified = 0,
    Driver = 1,
    Worker = 2,
    /// The command line: asks and goes.
    Tool = 3,
    /// The daemon of another node, as its peers count it among those they serve. It says no hello.
    Node = 4,
}

/// Anyone to a node, first. Nothing else is read before the token was checked.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Hello {
    #[prost(uint32, tag = "1")]
    pub version: u32,
    #[prost(string, tag = "2")]
    pub token: String,
    #[prost(enumeration = "Role", tag = "3")]
    pub role: i32,
    #[prost(message, required, tag = "4")]
    pub worker: WorkerId,
    /// Where others reach the speaker; empty for a tool.
    #[prost(string, tag = "5")]
    pub endpoint: String,
    #[prost(uint32, tag = "6")]
    pub pid: u32,
    /// `3.11`; empty for a tool.
    #[prost(string, tag = "7")]
    pub python: String,
    /// A driver's program.
    #[prost(message, optional, tag = "8")]
    pub job: Option<JobDescription>,
}

/// What a worker must know of a driver's program, to import what the driver can.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct JobDescription {
    #[prost(message, required, tag = "1")]
    pub job: JobId,
    #[prost(string, tag = "2")]
    pub entrypoint: String,
    #[prost(string, repeated, tag = "3")]
    pub python_path: Vec<String>,
    #[prost(string, tag = "4")]
    pub working_directory: String,
    #[prost(string, tag = "5")]
    pub namespace: String,
    /// Variables of the environment for all workers of the job.
    #[prost(btree_map = "string, string", tag = "6")]
    pub environment: std::collections::BTreeMap<String, String>,
    #[prost(uint32, tag = "7")]
    pub driver_pid: u32,
    /// Whether output of the workers goes to the driver.
    #[prost(bool, tag = "8")]
    pub log_to_driver: bool,
    /// The runtime environment of the job as JSON, as the user gave it.
    #[prost(string, tag = "9")]
    pub runtime_env: String,
    /// Whether its actors outlive it where they do not say.
    #[prost(bool, tag = "10")]
    pub detached_actors: bool,
}

/// A node to whoever said hello well. The arena's file descriptor travels beside it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Welcome {
    #[prost(message, required, tag = "1")]
    pub node: NodeId,
    #[prost(string, tag = "2")]
    pub node_ip: String,
    /// The folder of the session.
    #[prost(string, tag = "3")]
    pub session_directory: String,
    #[prost(string, tag = "4")]
    pub session_name: String,
    #[prost(uint64, tag = "5")]
    pub arena_bytes: u64,
    /// A driver's new job.
    #[prost(message, required, tag = "6")]
    pub job: JobId,
    #[prost(message, required, tag = "7")]
    pub node_resources: Resources,
    /// `host:port` of the cluster, as users see it.
    #[prost(string, tag = "8")]
    pub cluster_address: String,
    /// Whether a file descriptor of the arena comes with this message.
    #[prost(bool, tag = "9")]
    pub has_arena: bool,
    /// `tcp:host:port` by which other machines reach this node; empty where they cannot.
    #[prost(string, tag = "10")]
    pub node_endpoint: String,
}

/// A node or peer to whoever said hello badly, before it closes.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Refused {
    #[prost(string, tag = "1")]
    pub reason: String,
}

/// A driver or worker to another one, first. There is no answer; a bad one is closed.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PeerHello {
    #[prost(uint32, tag = "1")]
    pub version: u32,
    #[prost(string, tag = "2")]
    pub token: String,
    #[prost(message, required, tag = "3")]
    pub from: WorkerAddress,
    /// Whom the speaker means to reach; anyone else closes.
    #[prost(message, required, tag = "4")]
    pub to: WorkerId,
}

/// A client that leaves on purpose: not a crash.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Goodbye {
    #[prost(string, tag = "1")]
    pub reason: String,
}

/// A tool, or the driver whose cluster this is, to the node: end everything.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ShutDown {
    #[prost(string, tag = "1")]
    pub reason: String,
}

/// A node to its clients, last: it ends, and why. Nothing will come any more.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NodeEnds {
    #[prost(string, tag = "1")]
    pub reason: String,
}
