//! The nodes of the cluster.

use whipray_proto::NodeId;

use super::Control;

impl Control {
    /// A node is alive.
    pub fn on_heartbeat(&mut self, _node: NodeId) {}

    /// All connections of the stream of a node have ended.
    pub fn on_stream_broken(&mut self, _node: NodeId) {}

    /// The stream of a node has a connection again.
    pub fn on_stream_restored(&mut self, _node: NodeId) {}

    /// When [`on_time`](Self::on_time) is due; `None`: never, as it is.
    pub fn next_deadline(&self) -> Option<u64> {
        None
    }

    /// Does what is due by now.
    pub fn on_time(&mut self) {}
}
