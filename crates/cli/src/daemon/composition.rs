//! The one place where a node and the control of its cluster meet.

use whipray_control::ClusterControl;
use whipray_control::storage::Storage;
use whipray_proto::link::{ControlSays, NodeSays};

/// The control of the cluster, as the node's loop drives it.
pub struct Composed<S: Storage>(pub ClusterControl<S>);

impl<S: Storage> whipray_node::shell::Control for Composed<S> {
    fn on_node(&mut self, says: NodeSays) {
        self.0.on_node(says);
    }

    fn take_says(&mut self, says: &mut Vec<ControlSays>) {
        self.0.take_says(says);
    }
}
