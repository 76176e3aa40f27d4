//! Objects as messages carry them: values, locations, and references with their owners.

use bytes::Bytes;

use crate::failure::Failure;
use crate::ids::{NodeId, ObjectId, WorkerId};

/// Where a driver or worker can be reached.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct WorkerAddress {
    #[prost(message, required, tag = "1")]
    pub worker: WorkerId,
    #[prost(message, required, tag = "2")]
    pub node: NodeId,
    /// `unix:@name`, an abstract Unix socket: for processes of the same node.
    #[prost(string, tag = "3")]
    pub endpoint: String,
    /// `tcp:host:port` of the node's daemon, which passes connections of other machines on to the
    /// process; empty where the node has no such port.
    #[prost(string, tag = "4")]
    pub node_endpoint: String,
}

/// References with their owners; each owner is written once, however many of its objects follow.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct References {
    #[prost(message, repeated, tag = "1")]
    pub owners: Vec<WorkerAddress>,
    #[prost(message, repeated, tag = "2")]
    pub objects: Vec<ObjectId>,
    /// For each object the index of its owner in `owners`.
    #[prost(uint32, repeated, tag = "3")]
    pub owner_indexes: Vec<u32>,
}

impl References {
    /// Appends a reference.
    pub fn push(&mut self, object: ObjectId, owner: &WorkerAddress) {
        // Most lists have one owner, or runs of the same one: look from the end.
        let index = match self
            .owners
            .iter()
            .rposition(|known| known.worker == owner.worker)
        {
            Some(index) => index,
            None => {
                self.owners.push(owner.clone());
                self.owners.len() - 1
            }
        };
        self.objects.push(object);
        self.owner_indexes.push(index as u32);
    }

    /// The references in order; one whose owner index is out of range is left out.
    pub fn iter(&self) -> impl Iterator<Item = (ObjectId, &WorkerAddress)> {
        self.objects
            .iter()
            .zip(&self.owner_indexes)
            .filter_map(|(object, index)| Some((*object, self.owners.get(*index as usize)?)))
    }

    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    pub fn len(&self) -> usize {
        self.objects.len()
    }
}

/// A sealed object in the shared memory of a node.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct SharedLocation {
    #[prost(message, required, tag = "1")]
    pub node: NodeId,
    #[prost(uint64, tag = "2")]
    pub size_bytes: u64,
    /// Which try of its task made it: a copy that is gone is told from the one that replaces it.
    #[prost(uint32, tag = "3")]
    pub attempt: u32,
}

/// The value of an object: its bytes, or where they lie.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ObjectValue {
    /// The serialized value, where it is small; see the format in `docs/internals/values.md`.
    #[prost(bytes = "bytes", tag = "1")]
    pub data: Bytes,
    /// Set where the value lies in shared memory instead.
    #[prost(message, optional, tag = "2")]
    pub shared: Option<SharedLocation>,
    /// The references inside the value, in the order in which the value names them.
    #[prost(message, optional, tag = "3")]
    pub contained: Option<References>,
    /// Whether the value is an exception, raised by whoever gets it.
    #[prost(bool, tag = "4")]
    pub is_error: bool,
    /// Set, with `is_error` and no data, where the engine itself reports the failure.
    #[prost(message, optional, boxed, tag = "5")]
    pub failure: Option<Box<Failure>>,
}

impl ObjectValue {
    /// A small value without references.
    pub fn inline(data: Bytes) -> Self {
        Self {
            data,
            ..Self::default()
        }
    }

    /// A failure that the engine reports.
    pub fn failed(failure: Failure) -> Self {
        Self {
            is_error: true,
            failure: Some(Box::new(failure)),
            ..Self::default()
        }
    }
}
