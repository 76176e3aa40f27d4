//! What a node and the control of its cluster say to each other.
//!
//! Neither links the other: whoever composes them carries these from one to the other. All that is
//! said is made of messages, ids and causes, so that the two may as well be on different machines.

use crate::failure::DeathCause;
use crate::ids::{ActorId, JobId, NodeId, PlacementGroupId, WorkerId};
use crate::messages::Message;
use crate::messages::cluster::{NodeStatus, PendingDemand};
use crate::messages::session::JobDescription;
use crate::object::WorkerAddress;
use crate::resources::Resources;
use crate::task::ActorSpec;

/// A node to control.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeSays {
    /// This machine is there.
    Joined(Box<NodeStatus>),
    /// A driver said hello; it is welcome once control answers with a job.
    DriverJoined {
        driver: WorkerAddress,
        description: Box<JobDescription>,
    },
    /// A client's message that is control's business.
    ClientSaid {
        client: WorkerId,
        message: Box<Message>,
    },
    /// A worker or driver is gone, and all that it held of the node.
    ProcessGone {
        process: WorkerId,
        cause: Box<DeathCause>,
    },
    /// Why an actor gets no process yet, as a sentence.
    ActorPending {
        actor: ActorId,
        incarnation: u32,
        reason: String,
    },
    /// An actor has a process, which now runs its constructor.
    ActorPlaced {
        actor: ActorId,
        incarnation: u32,
        address: WorkerAddress,
        pid: u32,
    },
    /// The process of an actor is gone.
    ActorEnded {
        actor: ActorId,
        incarnation: u32,
        cause: Box<DeathCause>,
    },
    /// The answer to [`ControlSays::PrepareBundles`].
    BundlesPrepared {
        node: NodeId,
        group: PlacementGroupId,
        attempt: u32,
        /// Whether all of them are reserved; else none is.
        is_granted: bool,
        /// What is free now.
        available: Resources,
    },
    /// What is free, after [`ControlSays::WatchResources`] and at each growth from then on.
    Available { node: NodeId, available: Resources },
    /// Someone here waits for a placement group of which the node knows nothing.
    GroupWanted {
        node: NodeId,
        group: PlacementGroupId,
    },
    /// The answer to [`ControlSays::Report`].
    Reported {
        request: u64,
        node: Box<NodeStatus>,
        demands: Vec<PendingDemand>,
    },
}

/// Control to a node.
#[derive(Clone, Debug, PartialEq)]
pub enum ControlSays {
    /// Pass this on to a client of yours; one that is gone is no error.
    Tell {
        client: WorkerId,
        message: Box<Message>,
    },
    /// The driver that joined has this job.
    DriverAccepted {
        driver: WorkerId,
        description: Box<JobDescription>,
    },
    /// The job is over: its workers may go.
    JobEnded { job: JobId },
    /// Find a process for an actor.
    PlaceActor {
        spec: Box<ActorSpec>,
        incarnation: u32,
    },
    /// Let an actor finish what it has and end; one without a process is dropped.
    StopActor { actor: ActorId, incarnation: u32 },
    /// End the process of an actor now; one without a process is dropped.
    KillActor {
        actor: ActorId,
        incarnation: u32,
        cause: Box<DeathCause>,
    },
    /// Reserve all of these, or none.
    PrepareBundles {
        node: NodeId,
        group: PlacementGroupId,
        attempt: u32,
        bundles: Vec<(u32, Resources)>,
    },
    /// What was reserved in that attempt serves from now on.
    CommitBundles {
        node: NodeId,
        group: PlacementGroupId,
        attempt: u32,
    },
    /// What was reserved in that attempt is not wanted.
    ReturnBundles {
        node: NodeId,
        group: PlacementGroupId,
        attempt: u32,
    },
    /// The group is gone: so are its bundles, whoever uses them, and those who wait for it.
    RemoveGroup {
        node: NodeId,
        group: PlacementGroupId,
    },
    /// Whether to say at once, and at each growth, what is free.
    WatchResources { node: NodeId, is_on: bool },
    /// How are you?
    Report { request: u64 },
}
