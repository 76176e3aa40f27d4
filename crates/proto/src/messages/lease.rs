//! Leases of workers, between owners and nodes.

use std::collections::BTreeMap;

use crate::failure::{DeathCause, Failure};
use crate::ids::{JobId, LeaseId, NodeId, WorkerId};
use crate::object::WorkerAddress;
use crate::resources::Resources;
use crate::scheduling::SchedulingStrategy;
use crate::task::Assignment;

/// What all tasks that may share a worker have in common.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct SchedulingClass {
    #[prost(message, required, tag = "1")]
    pub resources: Resources,
    #[prost(message, required, tag = "2")]
    pub job: JobId,
    /// Variables of the environment that the process must have.
    #[prost(btree_map = "string, string", tag = "3")]
    pub environment: BTreeMap<String, String>,
    /// Where its tasks may run; absent for the default.
    #[prost(message, optional, boxed, tag = "4")]
    pub strategy: Option<Box<SchedulingStrategy>>,
    /// The node with most of what its tasks take, where that is much: rather there.
    #[prost(message, optional, tag = "5")]
    pub near: Option<NodeId>,
}

/// Owner to node: how many leases of a class the owner wants to hold in all. The last word counts.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct LeaseTarget {
    /// The owner's number for the class.
    #[prost(uint64, tag = "1")]
    pub class: u64,
    #[prost(message, required, tag = "2")]
    pub definition: SchedulingClass,
    #[prost(uint32, tag = "3")]
    pub target: u32,
    /// A task of the class, for messages to people.
    #[prost(string, tag = "4")]
    pub example: String,
    /// Of a node for its owners: where nothing is free even once all idle leases are back, say so
    /// with [`LeasePending::is_only_busy`].
    #[prost(bool, tag = "5")]
    pub says_if_busy: bool,
}

/// Node to owner: a worker is yours.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct LeaseGranted {
    #[prost(uint64, tag = "1")]
    pub class: u64,
    #[prost(message, required, tag = "2")]
    pub lease: LeaseId,
    #[prost(message, required, tag = "3")]
    pub worker: WorkerAddress,
    #[prost(message, required, tag = "4")]
    pub assignment: Assignment,
}

/// Owner to node: a worker is yours again. A lease of which the node knows nothing is no error.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct LeaseReturn {
    #[prost(message, required, tag = "1")]
    pub lease: LeaseId,
    /// The worker is to end (it served as many calls as it may, or cannot be trusted any more).
    #[prost(bool, tag = "2")]
    pub end_worker: bool,
}

/// Node to owner: the worker of your lease is dead. Sent for every lease that did not end by return.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct LeaseLost {
    #[prost(message, required, tag = "1")]
    pub lease: LeaseId,
    #[prost(message, required, tag = "2")]
    pub cause: DeathCause,
}

/// Node to owner: others wait; return leases that have nothing to do.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ReclaimIdle {
    /// What [`IdleReturned`] is to name; zero: no answer is wanted.
    #[prost(uint64, tag = "1")]
    pub round: u64,
}

/// Owner to node: all leases that had nothing to do are back.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct IdleReturned {
    #[prost(uint64, tag = "1")]
    pub round: u64,
}

/// Node to owner: why a class gets nothing. Sent when the reason changes.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct LeasePending {
    #[prost(uint64, tag = "1")]
    pub class: u64,
    /// No node could ever serve it.
    #[prost(bool, tag = "2")]
    pub infeasible: bool,
    /// A sentence that names what is missing.
    #[prost(string, tag = "3")]
    pub reason: String,
    /// The answer to [`LeaseTarget::says_if_busy`]: others may have it sooner.
    #[prost(bool, tag = "4")]
    pub is_only_busy: bool,
}

/// Node to owner: no task of this class can run any more. Those that wait fail with this, and the
/// node has forgotten the class.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct LeaseRefused {
    #[prost(uint64, tag = "1")]
    pub class: u64,
    #[prost(message, required, tag = "2")]
    pub failure: Failure,
}

/// Worker to node: my task waits for others; its CPUs are free meanwhile.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct WorkerBlocked {}

/// Worker to node: my task goes on.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct WorkerUnblocked {}

/// Owner to node: end this worker now (a forced cancel).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct KillWorker {
    #[prost(message, required, tag = "1")]
    pub worker: WorkerId,
    #[prost(string, tag = "2")]
    pub reason: String,
}

/// Client to node: tell me when this worker or driver is gone (at once, if it is).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct WatchWorker {
    #[prost(message, required, tag = "1")]
    pub worker: WorkerId,
    /// The node of that process; absent for the one that is asked.
    #[prost(message, optional, tag = "2")]
    pub node: Option<NodeId>,
}

/// Node to client: a watched worker is gone.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct WorkerDied {
    #[prost(message, required, tag = "1")]
    pub worker: WorkerId,
    #[prost(message, required, tag = "2")]
    pub cause: DeathCause,
}

/// Node to its clients: another node of the cluster is gone, with all its processes and all copies
/// of objects that were there. What comes of it after this is of the past.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NodeDied {
    #[prost(message, required, tag = "1")]
    pub node: NodeId,
    #[prost(message, required, tag = "2")]
    pub cause: DeathCause,
}
