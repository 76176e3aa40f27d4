//! What a node and the control of its cluster say to each other.
//!
//! Neither links the other: whoever composes them carries these from one to the other. All that is
//! said is made of messages, ids and causes, so that the two may as well be on different machines.

use crate::failure::DeathCause;
use crate::ids::{ActorId, JobId, NodeId, PlacementGroupId, WorkerId};
use crate::messages::Message;
use crate::messages::cluster::{NodeStatus, PendingDemand};
use crate::messages::scaling::{NodeType, NodeWants};
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
    /// Why an actor gets no process yet, as a sentence; empty where it only has to wait.
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
        group: PlacementGroupId,
        attempt: u32,
        /// Whether all of them are reserved; else none is.
        is_granted: bool,
        /// What is free now; as good as [`NodeSays::Available`].
        available: Resources,
    },
    /// An actor that [`ControlSays::RecallActor`] named had no process, and is forgotten.
    ActorRecalled { actor: ActorId, incarnation: u32 },
    /// Nothing runs here any more that would have to end first, and objects have moved elsewhere; or
    /// the time is over. See [`ControlSays::Drain`]. `left_behind` says what objects could not move,
    /// and why; empty where all have.
    Drained { left_behind: String },
    /// It has heard [`ControlSays::Drain`]: from here on its time runs.
    DrainHeard,
    /// It was to be drained because it is idle, and is not: it goes on as before.
    NotIdle { reason: String },
    /// What waits here and whether this node is idle, after [`ControlSays::NodeTypes`]; said again
    /// when it changes.
    Wants(NodeWants),
    /// This node ends in order, and all that it has with it.
    Leaves { reason: String },
    /// What is free, after [`ControlSays::WatchResources`], and at each change from then on that
    /// control wants to hear of.
    Available { available: Resources },
    /// Someone here waits for a placement group of which the node knows nothing.
    GroupWanted { group: PlacementGroupId },
    /// Someone here insists on a node of which this one has not heard: what is known of it?
    NodeWanted { node: NodeId },
    /// The answer to [`ControlSays::Report`].
    Reported {
        request: u64,
        node: Box<NodeStatus>,
        demands: Vec<PendingDemand>,
    },
}

/// Where a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum NodeState {
    Alive = 0,
    /// Silent for a moment: it gets nothing new.
    Suspect = 1,
    /// It is to go: it gets nothing new, and its objects move away.
    Draining = 2,
    /// For ever. A daemon that comes back is a new node.
    Dead = 3,
}

/// What the nodes of a cluster are to know of each other.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NodeNews {
    #[prost(message, required, tag = "1")]
    pub node: NodeId,
    #[prost(enumeration = "NodeState", tag = "2")]
    pub state: i32,
    /// `tcp:host:port` of its daemon.
    #[prost(string, tag = "3")]
    pub endpoint: String,
    #[prost(string, tag = "4")]
    pub ip: String,
    #[prost(message, required, tag = "5")]
    pub total: Resources,
    #[prost(message, required, tag = "6")]
    pub available: Resources,
    #[prost(btree_map = "string, string", tag = "7")]
    pub labels: std::collections::BTreeMap<String, String>,
    /// Why it is dead.
    #[prost(message, optional, tag = "8")]
    pub cause: Option<DeathCause>,
}

/// Control to a node.
#[derive(Clone, Debug, PartialEq)]
pub enum ControlSays {
    /// Nodes that came, went, or have more or less to give than when this node heard of them last.
    /// A node that joins hears of all that are there, itself among them.
    Nodes(Vec<NodeNews>),
    /// The answer to [`NodeSays::NodeWanted`] where no such node was ever there; else news of it.
    NodeUnknown { node: NodeId },
    /// A driver anywhere in the cluster has this job: its workers may be wanted here.
    JobStarted {
        description: Box<JobDescription>,
        driver: WorkerAddress,
    },
    /// An actor that waits here could have a process elsewhere: forget it if it has none yet, and
    /// say so with [`NodeSays::ActorRecalled`]; else nothing.
    RecallActor { actor: ActorId, incarnation: u32 },
    /// Where the bundles of a group lie, by their indexes (nil: nowhere now), for a node that asked
    /// with [`NodeSays::GroupWanted`]; and again at each change.
    GroupPlaced {
        group: PlacementGroupId,
        nodes: Vec<NodeId>,
    },
    /// Take nothing new, have others take your objects, and say [`NodeSays::Drained`] once nothing runs
    /// any more and nothing is left, or when `deadline_us` microseconds are over; zero: however long it
    /// takes. Say [`NodeSays::DrainHeard`] at once. The last word counts. With `only_if_idle` a node that has something to do says
    /// [`NodeSays::NotIdle`] and goes on.
    Drain {
        reason: String,
        deadline_us: u64,
        only_if_idle: bool,
    },
    /// There is an autoscaler, which can start nodes of these types: say what waits, and whether you
    /// are idle, with [`NodeSays::Wants`]. Said again when something about a type changes.
    NodeTypes(Vec<NodeType>),
    /// The cluster ends in order, and all its nodes.
    Ends { reason: String },
    /// The cluster has given this node up: all that it has is of the past. It ends its processes, and
    /// may join as a new node; one that was to be drained ends.
    Fenced { reason: String },
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
        group: PlacementGroupId,
        attempt: u32,
        bundles: Vec<(u32, Resources)>,
    },
    /// What was reserved in that attempt serves from now on.
    CommitBundles {
        group: PlacementGroupId,
        attempt: u32,
    },
    /// What was reserved in that attempt is not wanted.
    ReturnBundles {
        group: PlacementGroupId,
        attempt: u32,
    },
    /// The group is gone: so are its bundles, whoever uses them, and those who wait for it.
    RemoveGroup { group: PlacementGroupId },
    /// Whether to say what is free. `is_on`: someone waits for room, and wants to hear of each growth
    /// at once. `with_decreases`: other nodes want to know, and hear of each change, at most every
    /// `VIEW_INTERVAL`. With either of them it is said once at once.
    WatchResources { is_on: bool, with_decreases: bool },
    /// How are you?
    Report { request: u64 },
}
