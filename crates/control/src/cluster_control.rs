//! The state machine and its storage.

use std::time::Instant;

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
    pub fn on_node(&mut self, says: NodeSays) {
        self.control
            .set_time(self.started.elapsed().as_micros() as u64);
        self.control.on_node(says);
    }

    /// Stores what is to be kept, and appends what control says to `says`.
    pub fn take_says(&mut self, says: &mut Vec<ControlSays>) {
        self.control.take_effects(&mut self.effects);
        for effect in self.effects.drain(..) {
            match effect {
                Effect::Say(said) => says.push(said),
                Effect::Keep(write) => self.storage.write(write),
            }
        }
    }
}
