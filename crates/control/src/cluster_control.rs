//! The state machine and its storage.

use std::time::Instant;

use whipray_proto::NodeId;
use whipray_proto::link::{ControlSays, NodeSays};

use crate::core::{Control, Effect};
use crate::storage::Storage;

/// The control of a cluster: what it decides is written before it is said.
pub struct ClusterControl<S: Storage> {
    control: Control,
    storage: S,
    effects: Vec<Effect>,
    started: Instant,
}

impl<S: Storage> ClusterControl<S> {
    pub fn new(control: Control, storage: S) -> Self {
        Self {
            control,
            storage,
            effects: Vec::new(),
            started: Instant::now(),
        }
    }

    /// Takes in what a node says.
    pub fn on_node(&mut self, from: NodeId, says: NodeSays) {
        self.control.set_time(self.now_us());
        self.control.on_node(from, says);
    }

    /// A node is alive.
    pub fn on_heartbeat(&mut self, node: NodeId) {
        self.control.set_time(self.now_us());
        self.control.on_heartbeat(node);
    }

    /// All connections of the stream of a node have ended.
    pub fn on_stream_broken(&mut self, node: NodeId) {
        self.control.set_time(self.now_us());
        self.control.on_stream_broken(node);
    }

    /// The stream of a node has a connection again.
    pub fn on_stream_restored(&mut self, node: NodeId) {
        self.control.set_time(self.now_us());
        self.control.on_stream_restored(node);
    }

    /// How many microseconds from now [`on_time`](Self::on_time) is due; `None`: never, as it is.
    pub fn next_deadline(&self) -> Option<u64> {
        let deadline = self.control.next_deadline()?;
        Some(deadline.saturating_sub(self.now_us()))
    }

    /// Does what is due by now.
    pub fn on_time(&mut self) {
        self.control.set_time(self.now_us());
        self.control.on_time();
    }

    /// Stores what is to be kept, and appends what control says to `says`, each with the node that
    /// it says it to.
    pub fn take_says(&mut self, says: &mut Vec<(NodeId, ControlSays)>) {
        self.control.take_effects(&mut self.effects);
        for effect in self.effects.drain(..) {
            match effect {
                Effect::Say { node, says: said } => says.push((node, said)),
                Effect::Keep(write) => self.storage.write(write),
            }
        }
    }

    fn now_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }
}
