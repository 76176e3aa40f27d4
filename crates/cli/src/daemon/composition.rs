//! The one place where a node and the control of its cluster meet.

use whipray_control::ClusterControl;
use whipray_control::storage::Storage;
use whipray_node::core::Micros;
use whipray_proto::NodeId;
use whipray_proto::link::{ControlSays, NodeSays};

/// The control of the cluster, as the node's loop drives it.
pub struct Composed<S: Storage>(pub ClusterControl<S>);

impl<S: Storage> whipray_node::shell::Control for Composed<S> {
    fn on_node(&mut self, from: NodeId, says: NodeSays) {
        self.0.on_node(from, says);
    }

    fn on_heartbeat(&mut self, node: NodeId) {
        self.0.on_heartbeat(node);
    }

    fn on_stream_broken(&mut self, node: NodeId) {
        self.0.on_stream_broken(node);
    }

    fn on_stream_restored(&mut self, node: NodeId) {
        self.0.on_stream_restored(node);
    }

    fn next_deadline(&self) -> Option<Micros> {
        self.0.next_deadline()
    }

    fn on_time(&mut self) {
        self.0.on_time();
    }

    fn take_says(&mut self, says: &mut Vec<(NodeId, ControlSays)>) {
        self.0.take_says(says);
    }
}
