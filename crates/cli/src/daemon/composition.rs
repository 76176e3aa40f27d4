//! The one place where a node and the control of its cluster meet.

use whipray_control::ClusterControl;
use whipray_control::storage::RedbStorage;
use whipray_node::core::Micros;
use whipray_proto::NodeId;
use whipray_proto::link::{ControlSays, NodeSays};

/// The control of the cluster, as the loop of a node drives it.
pub enum Composed {
    /// This daemon is the head.
    Here(Box<ClusterControl<RedbStorage>>),
    /// Another one is; the loop speaks with it over streams.
    Elsewhere,
}

impl Composed {
    fn here(&mut self) -> Option<&mut ClusterControl<RedbStorage>> {
        match self {
            Self::Here(control) => Some(control),
            Self::Elsewhere => None,
        }
    }
}

impl whipray_node::shell::Control for Composed {
    fn on_node(&mut self, from: NodeId, says: NodeSays) {
        if let Some(control) = self.here() {
            control.on_node(from, says);
        }
    }

    fn on_heartbeat(&mut self, node: NodeId) {
        if let Some(control) = self.here() {
            control.on_heartbeat(node);
        }
    }

    fn on_stream_broken(&mut self, node: NodeId) {
        if let Some(control) = self.here() {
            control.on_stream_broken(node);
        }
    }

    fn on_stream_restored(&mut self, node: NodeId) {
        if let Some(control) = self.here() {
            control.on_stream_restored(node);
        }
    }

    fn next_deadline(&self) -> Option<Micros> {
        match self {
            Self::Here(control) => control.next_deadline(),
            Self::Elsewhere => None,
        }
    }

    fn on_time(&mut self) {
        if let Some(control) = self.here() {
            control.on_time();
        }
    }

    fn take_says(&mut self, says: &mut Vec<(NodeId, ControlSays)>) {
        if let Some(control) = self.here() {
            control.take_says(says);
        }
    }
}
