//! Which process, and on which node: what is needed to watch it.

use whipray_proto::{NodeId, WorkerAddress, WorkerId};

/// A driver or worker of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Party {
    pub worker: WorkerId,
    pub node: NodeId,
}

impl From<&WorkerAddress> for Party {
    fn from(address: &WorkerAddress) -> Self {
        Self {
            worker: address.worker,
            node: address.node,
        }
    }
}
