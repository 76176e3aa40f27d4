//! Nodes that are gone for ever: nothing more is taken from them, and nothing is sent there.

use std::collections::VecDeque;

use whipray_proto::{NodeId, limits};

/// The dead nodes that this process heard of last.
#[derive(Default)]
pub struct DeadNodes {
    nodes: VecDeque<NodeId>,
}

impl DeadNodes {
    pub fn contains(&self, node: &NodeId) -> bool {
        // Few nodes die, so that this is nearly always empty.
        self.nodes.contains(node)
    }

    /// Notes a death; whether it is news. The oldest ones are forgotten.
    pub fn insert(&mut self, node: NodeId) -> bool {
        if self.contains(&node) {
            return false;
        }
        if self.nodes.len() >= limits::DEAD_NODES_REMEMBERED {
            self.nodes.pop_front();
        }
        self.nodes.push_back(node);
        true
    }
}
