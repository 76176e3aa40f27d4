//! Objects: the store of the node, and what borrowers and owners say to each other.

use crate::ids::{NodeId, ObjectId, WorkerId};
use crate::object::{ObjectValue, SharedLocation, WorkerAddress};

/// Client to node: room for an object. The client holds a pin on it from here on.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CreateObject {
    #[prost(uint64, tag = "1")]
    pub request: u64,
    #[prost(message, required, tag = "2")]
    pub object: ObjectId,
    #[prost(uint64, tag = "3")]
    pub size_bytes: u64,
}

/// Node to client: where to write, or why not.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ObjectCreated {
    #[prost(uint64, tag = "1")]
    pub request: u64,
    #[prost(uint64, tag = "2")]
    pub offset: u64,
    /// Empty where there is room; else a sentence that says why there is none.
    #[prost(string, tag = "3")]
    pub full: String,
    /// How many bytes, up to the end of the last huge page of the object, have no memory yet: the
    /// writer provides it.
    #[prost(uint64, tag = "4")]
    pub cold_bytes: u64,
    /// A file of the object's size to write to, where the arena cannot take the object.
    #[prost(string, tag = "5")]
    pub path: String,
    /// With `full`: not the arena is the reason, but the disk beyond it.
    #[prost(bool, tag = "6")]
    pub is_disk_full: bool,
}

/// Client to node: the object is written, and belongs to `owner` from now on.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SealObject {
    #[prost(message, required, tag = "1")]
    pub object: ObjectId,
    #[prost(message, required, tag = "2")]
    pub owner: WorkerId,
    /// Whether the client lets go of its pin with this.
    #[prost(bool, tag = "3")]
    pub unpin: bool,
    /// The node of the owner; absent where the owner is on the node of the store.
    #[prost(message, optional, tag = "4")]
    pub owner_node: Option<NodeId>,
}

/// Owner to node: nobody refers to these any more. The room comes back with the last pin.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FreeObjects {
    #[prost(message, repeated, tag = "1")]
    pub objects: Vec<ObjectId>,
    /// Where the copies are; absent for the owner's own node, which passes others' on.
    #[prost(message, optional, tag = "2")]
    pub node: Option<NodeId>,
    /// Whose they are, where one node says it to another.
    #[prost(message, optional, tag = "3")]
    pub owner: Option<WorkerId>,
}

/// Client to node: where are these? Each one that is found is pinned for the client.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PinObjects {
    #[prost(uint64, tag = "1")]
    pub request: u64,
    #[prost(message, repeated, tag = "2")]
    pub objects: Vec<ObjectId>,
    /// For each object a node that has a copy, so that the store can fetch what it has not; empty
    /// where all of them are expected here.
    #[prost(message, repeated, tag = "3")]
    pub locations: Vec<NodeId>,
    /// For each object its owner, so that the store knows whose copy it fetches; empty with
    /// `locations`.
    #[prost(message, repeated, tag = "4")]
    pub owners: Vec<WorkerId>,
    /// For each object its size in bytes, so that the store can make room; empty with `locations`.
    #[prost(uint64, repeated, tag = "5")]
    pub sizes: Vec<u64>,
    /// For each object the node of its owner, with which a fetched copy goes; empty with
    /// `locations`.
    #[prost(message, repeated, tag = "6")]
    pub owner_nodes: Vec<NodeId>,
}

/// One pinned object.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PinnedObject {
    #[prost(message, required, tag = "1")]
    pub object: ObjectId,
    /// In the arena, or in the file.
    #[prost(uint64, tag = "2")]
    pub offset: u64,
    #[prost(uint64, tag = "3")]
    pub size_bytes: u64,
    /// The file that the object lies in, where it is not in the arena.
    #[prost(string, tag = "4")]
    pub path: String,
    /// The copy was fetched from another node for this request: the owner is to hear of it.
    #[prost(bool, tag = "5")]
    pub is_new_copy: bool,
}

/// Node to client: the room of these objects is needed. Mappings of them that the client keeps only
/// because it put them are to go.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ReleaseMappings {
    #[prost(message, repeated, tag = "1")]
    pub objects: Vec<ObjectId>,
}

/// An object that is known, and whose copy cannot be had.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct LostObject {
    #[prost(message, required, tag = "1")]
    pub object: ObjectId,
    /// What the user reads.
    #[prost(string, tag = "2")]
    pub reason: String,
    /// The copy is where it was: only this store has no room for one of its own.
    #[prost(bool, tag = "3")]
    pub is_full: bool,
}

/// Node to client: the objects that were found, in any order.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ObjectsPinned {
    #[prost(uint64, tag = "1")]
    pub request: u64,
    #[prost(message, repeated, tag = "2")]
    pub objects: Vec<PinnedObject>,
    /// Of those that were not found, the ones that the store has heard of.
    #[prost(message, repeated, tag = "3")]
    pub lost: Vec<LostObject>,
}

/// Client to node: one pin less on each.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct UnpinObjects {
    #[prost(message, repeated, tag = "1")]
    pub objects: Vec<ObjectId>,
}

/// Borrower to owner: tell me the value of this object, now or when it is there.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SubscribeObject {
    #[prost(message, required, tag = "1")]
    pub object: ObjectId,
    /// The copy that you told me of is not there.
    #[prost(message, optional, tag = "2")]
    pub lost: Option<SharedLocation>,
}

/// Owner to borrower: the value. For the references inside it the borrower is registered already.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ObjectReady {
    #[prost(message, required, tag = "1")]
    pub object: ObjectId,
    #[prost(message, required, tag = "2")]
    pub value: ObjectValue,
}

/// Anyone to an owner: `borrower` refers to this object. Counted: each one is taken back once.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AddBorrower {
    #[prost(message, required, tag = "1")]
    pub object: ObjectId,
    #[prost(message, required, tag = "2")]
    pub borrower: WorkerAddress,
}

/// Borrower to owner: these registrations of mine are over. May overtake an [`AddBorrower`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RemoveBorrower {
    #[prost(message, required, tag = "1")]
    pub object: ObjectId,
    #[prost(message, required, tag = "2")]
    pub borrower: WorkerId,
    /// Those that the owner made.
    #[prost(uint32, tag = "3")]
    pub count: u32,
    /// Those that others made, or were to make. What one of these did not say before it died never
    /// comes.
    #[prost(message, repeated, tag = "6")]
    pub by_others: Vec<Registrations>,
}

/// Owner to borrower: `registered` is dead, and had registered you so often; take back what of that
/// never reached you. The registrar's own words to you come first.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ConfirmBorrower {
    #[prost(message, required, tag = "1")]
    pub object: ObjectId,
    #[prost(message, required, tag = "2")]
    pub registered: Registrations,
}

/// How often a process registered a borrower.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Registrations {
    #[prost(message, required, tag = "1")]
    pub registrar: WorkerId,
    #[prost(uint32, tag = "2")]
    pub count: u32,
    /// The node of the registrar.
    #[prost(message, required, tag = "3")]
    pub node: NodeId,
}

/// Reader to owner: there is a further copy of this object.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CopyAdded {
    #[prost(message, required, tag = "1")]
    pub object: ObjectId,
    /// With the attempt of the copy that it was made from.
    #[prost(message, required, tag = "2")]
    pub location: SharedLocation,
}
