//! Where tasks and actors may run: what users call scheduling strategies and placement groups.

use crate::ids::{ActorId, JobId, NodeId, PlacementGroupId};
use crate::resources::Resources;

/// What a label of a node is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum LabelOperator {
    /// The node has the label, with one of the values.
    In = 0,
    /// The node has not the label, or with another value.
    NotIn = 1,
    Exists = 2,
    DoesNotExist = 3,
}

/// One condition on the labels of a node.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct LabelTerm {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(enumeration = "LabelOperator", tag = "2")]
    pub operator: i32,
    #[prost(string, repeated, tag = "3")]
    pub values: Vec<String>,
}

/// Conditions that must all hold; none at all holds everywhere.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct LabelSelector {
    #[prost(message, repeated, tag = "1")]
    pub terms: Vec<LabelTerm>,
}

/// A certain node.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct NodeAffinity {
    #[prost(message, required, tag = "1")]
    pub node: NodeId,
    /// Another node will do where this one is gone, or could never serve the request.
    #[prost(bool, tag = "2")]
    pub is_soft: bool,
    /// Another node will do where this one is busy.
    #[prost(bool, tag = "3")]
    pub spills: bool,
    /// To wait for this node while it is busy is an error.
    #[prost(bool, tag = "4")]
    pub fails_when_busy: bool,
}

/// A placement group, and a bundle of it.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct InGroup {
    #[prost(message, required, tag = "1")]
    pub group: PlacementGroupId,
    /// Absent: any bundle.
    #[prost(uint32, optional, tag = "2")]
    pub bundle: Option<u32>,
    /// What is submitted from within goes into the group as well, unless it says otherwise.
    #[prost(bool, tag = "3")]
    pub captures: bool,
}

/// Everything about where something may run, beyond the amounts that it asks for. Absent where the
/// default is meant, which is nearly always.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct SchedulingStrategy {
    /// Rather on nodes with little to do.
    #[prost(bool, tag = "1")]
    pub spreads: bool,
    #[prost(message, optional, tag = "2")]
    pub group: Option<InGroup>,
    #[prost(message, optional, tag = "3")]
    pub affinity: Option<NodeAffinity>,
    /// Labels that the node must have.
    #[prost(message, optional, tag = "4")]
    pub hard: Option<LabelSelector>,
    /// Labels that the node had better have.
    #[prost(message, optional, tag = "5")]
    pub soft: Option<LabelSelector>,
    /// The selector that the node must match; the further ones count where no node matches those
    /// before.
    #[prost(message, repeated, tag = "6")]
    pub selectors: Vec<LabelSelector>,
}

/// How the bundles of a group lie on nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum GroupStrategy {
    /// On few nodes.
    Pack = 0,
    /// On many nodes.
    Spread = 1,
    /// All on one node.
    StrictPack = 2,
    /// Each on a node of its own.
    StrictSpread = 3,
}

/// Resources that are reserved together.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BundleSpec {
    #[prost(message, required, tag = "1")]
    pub resources: Resources,
    /// Where it may lie.
    #[prost(message, optional, tag = "2")]
    pub selector: Option<LabelSelector>,
}

/// A group as its creator describes it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GroupSpec {
    #[prost(message, required, tag = "1")]
    pub group: PlacementGroupId,
    /// Empty for a group without a name.
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, tag = "3")]
    pub namespace: String,
    #[prost(enumeration = "GroupStrategy", tag = "4")]
    pub strategy: i32,
    #[prost(message, repeated, tag = "5")]
    pub bundles: Vec<BundleSpec>,
    /// Outlives its job.
    #[prost(bool, tag = "6")]
    pub detached: bool,
    #[prost(message, required, tag = "7")]
    pub job: JobId,
    /// The actor that created it, which it outlives no more than its job.
    #[prost(message, optional, tag = "8")]
    pub creator: Option<ActorId>,
    /// For [`GroupStrategy::StrictPack`]: the node that is tried first.
    #[prost(message, optional, tag = "9")]
    pub soft_target: Option<NodeId>,
}

/// One bundle of one group.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Message)]
pub struct BundleId {
    #[prost(message, required, tag = "1")]
    pub group: PlacementGroupId,
    #[prost(uint32, tag = "2")]
    pub index: u32,
}

/// Where a group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum GroupState {
    /// Waits for resources.
    Pending = 0,
    /// Nodes were asked for its bundles.
    Prepared = 1,
    /// All bundles are reserved, and serve.
    Created = 2,
    Removed = 3,
    /// Nodes with some of its bundles are gone; these wait for resources.
    Rescheduling = 4,
}
