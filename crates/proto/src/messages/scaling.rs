//! How many nodes the cluster is to have: between control and the autoscaler, and what nodes say
//! for it.

use std::collections::BTreeMap;

use crate::ids::NodeId;
use crate::link::NodeState;
use crate::resources::Resources;
use crate::scheduling::{BundleSpec, GroupSpec, SchedulingStrategy};

/// The label of a node that names its node type.
pub const NODE_TYPE_LABEL: &str = "ray.io/node-group";

/// Tasks or actors of one kind that wait.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Want {
    #[prost(message, required, tag = "1")]
    pub resources: Resources,
    /// Where they may run; absent for anywhere.
    #[prost(message, optional, boxed, tag = "2")]
    pub strategy: Option<Box<SchedulingStrategy>>,
    #[prost(uint32, tag = "3")]
    pub count: u32,
}

/// What a node says for the autoscaler, whenever it is not what it said last.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NodeWants {
    #[prost(message, repeated, tag = "1")]
    pub wants: Vec<Want>,
    /// What the node has to do, as a sentence; empty where it is idle.
    #[prost(string, tag = "2")]
    pub busy: String,
}

/// A kind of node that can be started, and how it is with it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NodeType {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, required, tag = "2")]
    pub resources: Resources,
    #[prost(btree_map = "string, string", tag = "3")]
    pub labels: BTreeMap<String, String>,
    #[prost(uint32, tag = "4")]
    pub min_nodes: u32,
    #[prost(uint32, tag = "5")]
    pub max_nodes: u32,
    /// Nodes that are being started.
    #[prost(uint32, tag = "6")]
    pub starting: u32,
    /// Why none is started now, as a sentence; empty where one would be.
    #[prost(string, tag = "7")]
    pub obstacle: String,
}

/// A node that did not come.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FailedStart {
    #[prost(string, tag = "1")]
    pub node_type: String,
    #[prost(string, tag = "2")]
    pub reason: String,
    /// Milliseconds since 1970.
    #[prost(uint64, tag = "3")]
    pub at_unix_ms: u64,
}

/// Autoscaler to control: what it can start and what it does. The first one says that there is an
/// autoscaler, which from then on hears of each change with [`ScalingView`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ScalingStatus {
    #[prost(message, repeated, tag = "1")]
    pub types: Vec<NodeType>,
    /// The latest last.
    #[prost(message, repeated, tag = "2")]
    pub failures: Vec<FailedStart>,
    /// The type of the head's node.
    #[prost(string, tag = "3")]
    pub head_type: String,
    /// What [`RequestResources`] asked for; filled in by control.
    #[prost(message, repeated, tag = "4")]
    pub requested: Vec<BundleSpec>,
    /// Nodes that may be there at the same time, the head's aside.
    #[prost(uint32, tag = "5")]
    pub max_nodes: u32,
}

/// A node, as far as the autoscaler needs it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ScalingNode {
    #[prost(message, required, tag = "1")]
    pub node: NodeId,
    /// What its provider calls it; empty where none started it.
    #[prost(string, tag = "2")]
    pub instance: String,
    #[prost(string, tag = "3")]
    pub node_type: String,
    #[prost(message, required, tag = "4")]
    pub total: Resources,
    #[prost(message, required, tag = "5")]
    pub available: Resources,
    #[prost(btree_map = "string, string", tag = "6")]
    pub labels: BTreeMap<String, String>,
    #[prost(enumeration = "NodeState", tag = "7")]
    pub state: i32,
    #[prost(bool, tag = "8")]
    pub is_head: bool,
    /// What it has to do, as a sentence; empty where it is idle.
    #[prost(string, tag = "9")]
    pub busy: String,
}

/// A placement group that has no room.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct WaitingGroup {
    #[prost(message, required, tag = "1")]
    pub spec: GroupSpec,
    /// The node of each bundle, nil for one that has none.
    #[prost(message, repeated, tag = "2")]
    pub nodes: Vec<NodeId>,
}

/// Control to the autoscaler: the cluster as it is, without nodes that are dead.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ScalingView {
    #[prost(message, repeated, tag = "1")]
    pub nodes: Vec<ScalingNode>,
    #[prost(message, repeated, tag = "2")]
    pub wants: Vec<Want>,
    #[prost(message, repeated, tag = "3")]
    pub groups: Vec<WaitingGroup>,
    #[prost(message, repeated, tag = "4")]
    pub requested: Vec<BundleSpec>,
}

/// Client to control: let the cluster be large enough for all of these, whatever it does. Takes the
/// place of what was asked for before.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RequestResources {
    #[prost(message, repeated, tag = "1")]
    pub bundles: Vec<BundleSpec>,
}
