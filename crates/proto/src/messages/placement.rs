//! Placement groups, between clients and the cluster's control.

use crate::ids::{NodeId, PlacementGroupId};
use crate::scheduling::GroupSpec;

/// Client to control. The client is subscribed to the group.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CreateGroup {
    /// Zero asks for no answer: without a name nothing can be wrong.
    #[prost(uint64, tag = "1")]
    pub request: u64,
    #[prost(message, required, tag = "2")]
    pub spec: GroupSpec,
}

/// Control to client.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GroupCreated {
    #[prost(uint64, tag = "1")]
    pub request: u64,
    /// The name is taken; empty where all is well.
    #[prost(string, tag = "2")]
    pub error: String,
}

/// Client to control. A group that is not there is no error.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RemoveGroup {
    #[prost(message, required, tag = "1")]
    pub group: PlacementGroupId,
}

/// Client to control: tell me its state now, and each change.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SubscribeGroup {
    #[prost(message, required, tag = "1")]
    pub group: PlacementGroupId,
}

/// Control to every subscriber, at each change of state.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GroupUpdate {
    #[prost(message, required, tag = "1")]
    pub group: PlacementGroupId,
    /// A [`GroupState`](crate::scheduling::GroupState).
    #[prost(int32, tag = "2")]
    pub state: i32,
}

/// Client to control: which groups are there? One by its id, one by its name, or all.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GroupsRequest {
    #[prost(uint64, tag = "1")]
    pub request: u64,
    #[prost(message, optional, tag = "2")]
    pub group: Option<PlacementGroupId>,
    /// Empty where no name is meant.
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub namespace: String,
}

/// Control to client.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Groups {
    #[prost(uint64, tag = "1")]
    pub request: u64,
    #[prost(message, repeated, tag = "2")]
    pub groups: Vec<GroupStatus>,
}

/// One group, for lists.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GroupStatus {
    #[prost(message, required, tag = "1")]
    pub spec: GroupSpec,
    /// A [`GroupState`](crate::scheduling::GroupState).
    #[prost(int32, tag = "2")]
    pub state: i32,
    /// The node of each bundle, nil for one that has none; empty where none has one.
    #[prost(message, repeated, tag = "3")]
    pub nodes: Vec<NodeId>,
    /// Why it is not created; empty where nothing is known.
    #[prost(string, tag = "4")]
    pub reason: String,
    /// No node could ever serve it.
    #[prost(bool, tag = "5")]
    pub infeasible: bool,
    /// How often nodes were looked for.
    #[prost(uint32, tag = "6")]
    pub attempts: u32,
    /// From the request to the reservation, in microseconds; zero before.
    #[prost(uint64, tag = "7")]
    pub creation_us: u64,
    /// From the last look for nodes to the reservation, in microseconds; zero before.
    #[prost(uint64, tag = "8")]
    pub scheduling_us: u64,
}
