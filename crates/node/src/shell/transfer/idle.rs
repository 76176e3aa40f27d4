//! Connections to other nodes that wait for the next object.

use std::sync::Mutex;
use std::time::Instant;

use rustc_hash::FxHashMap;
use whipray_net::BulkConnection;
use whipray_proto::{NodeId, limits};

use super::lock;

/// The most that are kept for one node.
const PER_NODE: usize = 8;

#[derive(Default)]
pub struct IdleConnections {
    nodes: Mutex<FxHashMap<NodeId, Vec<(Instant, BulkConnection)>>>,
}

impl IdleConnections {
    /// The connection to a node that was used last.
    pub fn take(&self, node: NodeId) -> Option<BulkConnection> {
        let (since, connection) = lock(&self.nodes).get_mut(&node)?.pop()?;
        (since.elapsed() < limits::TRANSFER_LINGER).then_some(connection)
    }

    /// Keeps a connection on which nothing is under way.
    pub fn put(&self, node: NodeId, connection: BulkConnection) {
        let mut nodes = lock(&self.nodes);
        for idle in nodes.values_mut() {
            idle.retain(|(since, _)| since.elapsed() < limits::TRANSFER_LINGER);
        }
        nodes.retain(|_, idle| !idle.is_empty());
        let idle = nodes.entry(node).or_default();
        if idle.len() < PER_NODE {
            idle.push((Instant::now(), connection));
        }
    }

    pub fn forget(&self, node: NodeId) {
        lock(&self.nodes).remove(&node);
    }
}
