//! Questions to the cluster, its key-value store, and the output of workers.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::failure::DeathCause;
use crate::ids::{ActorId, JobId, NodeId, PlacementGroupId, TaskId, WorkerId};
use crate::messages::actor::Constructed;
use crate::messages::scaling::ScalingStatus;
use crate::messages::session::JobDescription;
use crate::resources::Resources;
use crate::scheduling::{BundleId, SchedulingStrategy};

/// What to do with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum KeyValueVerb {
    Get = 0,
    /// Write, also over an existing value.
    Put = 1,
    /// Write only where there is none.
    PutNew = 2,
    Delete = 3,
    Exists = 4,
    /// All keys that start with `key`.
    List = 5,
    /// Get, and wait for it where it is not there yet.
    GetWhenThere = 6,
}

/// Client to control.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct KeyValueRequest {
    /// Zero asks for no answer.
    #[prost(uint64, tag = "1")]
    pub request: u64,
    #[prost(enumeration = "KeyValueVerb", tag = "2")]
    pub verb: i32,
    /// Functions, runtime environments and users' keys live apart.
    #[prost(string, tag = "3")]
    pub namespace: String,
    #[prost(bytes = "bytes", tag = "4")]
    pub key: Bytes,
    #[prost(bytes = "bytes", tag = "5")]
    pub value: Bytes,
}

/// Control to client.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct KeyValueReply {
    #[prost(uint64, tag = "1")]
    pub request: u64,
    /// Get, Exists: it is there. PutNew, Put: it was there before. Delete: it is gone now.
    #[prost(bool, tag = "2")]
    pub found: bool,
    #[prost(bytes = "bytes", tag = "3")]
    pub value: Bytes,
    #[prost(bytes = "bytes", repeated, tag = "4")]
    pub keys: Vec<Bytes>,
}

/// Anyone to control: the state of the cluster.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StatusRequest {
    #[prost(uint64, tag = "1")]
    pub request: u64,
}

/// One machine.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NodeStatus {
    #[prost(message, required, tag = "1")]
    pub node: NodeId,
    #[prost(bool, tag = "2")]
    pub alive: bool,
    #[prost(string, tag = "3")]
    pub ip: String,
    #[prost(string, tag = "4")]
    pub hostname: String,
    #[prost(string, tag = "5")]
    pub endpoint: String,
    #[prost(message, required, tag = "6")]
    pub total: Resources,
    #[prost(message, required, tag = "7")]
    pub available: Resources,
    #[prost(btree_map = "string, string", tag = "8")]
    pub labels: BTreeMap<String, String>,
    #[prost(bool, tag = "9")]
    pub is_head: bool,
    #[prost(uint64, tag = "10")]
    pub store_used_bytes: u64,
    #[prost(uint64, tag = "11")]
    pub store_capacity_bytes: u64,
    #[prost(uint32, tag = "12")]
    pub workers: u32,
    #[prost(string, tag = "13")]
    pub session_directory: String,
    #[prost(uint64, tag = "14")]
    pub store_objects: u64,
    /// The bundles of placement groups that lie here; they are no part of `available`.
    #[prost(message, repeated, tag = "15")]
    pub bundles: Vec<BundleStatus>,
    /// Of objects that are on disk alone.
    #[prost(uint64, tag = "16")]
    pub store_spilled_bytes: u64,
    #[prost(uint64, tag = "17")]
    pub store_spilled_objects: u64,
    /// Where metrics can be fetched; zero while nowhere.
    #[prost(uint32, tag = "20")]
    pub metrics_port: u32,
    /// `tcp:host:port` by which other machines reach the node; empty where they cannot.
    #[prost(string, tag = "24")]
    pub node_endpoint: String,
    /// What the provider that started the machine calls it; empty where none did.
    #[prost(string, tag = "27")]
    pub instance: String,
    /// The node type of the autoscaler's configuration; empty where it has none.
    #[prost(string, tag = "28")]
    pub node_type: String,
    /// A [`NodeState`](crate::link::NodeState), filled in by control.
    #[prost(enumeration = "crate::link::NodeState", tag = "21")]
    pub state: i32,
    /// Why it is dead, as a sentence.
    #[prost(string, tag = "22")]
    pub death: String,
    /// The same as a [`NodeEnd`].
    #[prost(enumeration = "NodeEnd", tag = "23")]
    pub end: i32,
    /// What it waits for, where it is to go, as a clause; else empty.
    #[prost(string, tag = "25")]
    pub goes_after: String,
    /// Since it joined, by the control's clock, which fills this and the next in.
    #[prost(uint64, tag = "29")]
    pub age_us: u64,
    /// Since it is dead; zero for one that is not.
    #[prost(uint64, tag = "30")]
    pub dead_since_us: u64,
}

/// How a node came to its end, with Ray's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum NodeEnd {
    Unspecified = 0,
    Expected = 1,
    Unexpected = 2,
    DrainedForPreemption = 3,
    DrainedIdle = 4,
}

/// What is reserved for one bundle of a placement group.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BundleStatus {
    #[prost(message, required, tag = "1")]
    pub bundle: BundleId,
    #[prost(message, required, tag = "2")]
    pub available: Resources,
    /// Tasks and actors that use it.
    #[prost(uint32, tag = "3")]
    pub users: u32,
}

/// Demand that is not served.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PendingDemand {
    #[prost(message, required, tag = "1")]
    pub resources: Resources,
    #[prost(uint32, tag = "2")]
    pub count: u32,
    #[prost(bool, tag = "3")]
    pub infeasible: bool,
    #[prost(string, tag = "4")]
    pub reason: String,
    #[prost(string, tag = "5")]
    pub example: String,
}

/// One actor, for lists.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ActorStatus {
    #[prost(message, required, tag = "1")]
    pub actor: ActorId,
    #[prost(string, tag = "2")]
    pub class_name: String,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub namespace: String,
    /// An [`ActorState`](super::actor::ActorState).
    #[prost(int32, tag = "5")]
    pub state: i32,
    #[prost(uint32, tag = "6")]
    pub restarts: u32,
    #[prost(string, tag = "7")]
    pub death: String,
    /// Why it has no process yet, as a sentence.
    #[prost(string, tag = "8")]
    pub pending_reason: String,
    /// Its constructor runs.
    #[prost(bool, tag = "9")]
    pub is_starting: bool,
    #[prost(uint32, tag = "10")]
    pub pid: u32,
    #[prost(message, optional, tag = "11")]
    pub worker: Option<WorkerId>,
    #[prost(message, optional, tag = "12")]
    pub node: Option<NodeId>,
    #[prost(message, required, tag = "13")]
    pub job: JobId,
    /// Restarts that are left; below zero: without end.
    #[prost(int32, tag = "14")]
    pub restarts_left: i32,
    #[prost(message, required, tag = "15")]
    pub resources: Resources,
    /// Why it died, or why its life before this one ended.
    #[prost(message, optional, boxed, tag = "16")]
    pub cause: Option<Box<DeathCause>>,
    /// The arguments of its constructor are not there yet.
    #[prost(bool, tag = "17")]
    pub waits_for_arguments: bool,
    #[prost(bool, tag = "18")]
    pub detached: bool,
    #[prost(message, required, tag = "19")]
    pub owner: WorkerId,
    /// Those of its restarts that happened because its node was drained.
    #[prost(uint32, tag = "20")]
    pub restarts_by_drains: u32,
    /// The placement group that it runs in.
    #[prost(message, optional, tag = "21")]
    pub group: Option<PlacementGroupId>,
    /// Where it may run; absent for the default.
    #[prost(message, optional, boxed, tag = "22")]
    pub strategy: Option<Box<SchedulingStrategy>>,
    /// Variables that its process was given.
    #[prost(btree_map = "string, string", tag = "23")]
    pub environment: BTreeMap<String, String>,
    /// The task that created it.
    #[prost(message, required, tag = "24")]
    pub parent: TaskId,
    /// How it shows itself, where its class says that; else empty.
    #[prost(string, tag = "25")]
    pub shown_as: String,
    /// Since it was asked for, by the control's clock.
    #[prost(uint64, tag = "26")]
    pub age_us: u64,
    /// The last run of its constructor.
    #[prost(message, required, tag = "27")]
    pub constructed: Constructed,
}

/// One job, for lists. Times are ages, by the control's clock.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct JobStatus {
    #[prost(message, required, tag = "1")]
    pub description: JobDescription,
    /// The node of its driver.
    #[prost(message, required, tag = "2")]
    pub node: NodeId,
    #[prost(uint64, tag = "3")]
    pub age_us: u64,
    /// Its driver is gone.
    #[prost(bool, tag = "4")]
    pub is_over: bool,
    /// Since its driver is gone.
    #[prost(uint64, tag = "5")]
    pub over_since_us: u64,
}

/// Control to whoever asked.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StatusReply {
    #[prost(uint64, tag = "1")]
    pub request: u64,
    #[prost(message, repeated, tag = "2")]
    pub nodes: Vec<NodeStatus>,
    #[prost(message, repeated, tag = "3")]
    pub demands: Vec<PendingDemand>,
    #[prost(message, repeated, tag = "4")]
    pub actors: Vec<ActorStatus>,
    /// Those that run, and the last ones that are over.
    #[prost(message, repeated, tag = "9")]
    pub jobs: Vec<JobStatus>,
    #[prost(string, tag = "6")]
    pub version: String,
    #[prost(string, tag = "7")]
    pub cluster_address: String,
    /// Absent without an autoscaler.
    #[prost(message, optional, boxed, tag = "8")]
    pub scaling: Option<Box<ScalingStatus>>,
}

/// Node to driver: what one worker wrote, as whole lines.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct LogLines {
    #[prost(message, required, tag = "1")]
    pub job: JobId,
    #[prost(message, required, tag = "2")]
    pub worker: WorkerId,
    #[prost(uint32, tag = "3")]
    pub pid: u32,
    #[prost(string, tag = "4")]
    pub ip: String,
    /// The task's function or the actor's class; empty where neither is known.
    #[prost(string, tag = "5")]
    pub name: String,
    #[prost(bool, tag = "6")]
    pub is_error: bool,
    #[prost(string, repeated, tag = "7")]
    pub lines: Vec<String>,
}

/// Driver to node: send what the workers wrote until now.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FlushLogs {
    #[prost(uint64, tag = "1")]
    pub request: u64,
}

/// Node to driver: it was sent.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct LogsFlushed {
    #[prost(uint64, tag = "1")]
    pub request: u64,
}

/// Node or control to driver: a sentence that the user should see.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct WarnDriver {
    #[prost(string, tag = "1")]
    pub text: String,
    /// Whose driver is meant, where one node says it to another.
    #[prost(message, optional, tag = "2")]
    pub job: Option<JobId>,
}

/// Worker to control: what do I need to know of this job?
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct JobRequest {
    #[prost(uint64, tag = "1")]
    pub request: u64,
    #[prost(message, required, tag = "2")]
    pub job: JobId,
}

/// Control to worker.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct JobReply {
    #[prost(uint64, tag = "1")]
    pub request: u64,
    #[prost(message, optional, tag = "2")]
    pub job: Option<JobDescription>,
}
