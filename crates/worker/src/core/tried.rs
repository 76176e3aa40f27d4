//! Where earlier tries of tasks may have left results, beside the node of their owner.
//!
//! A try that met a death may have sealed results before. On one node the next try writes over them;
//! on another one they would stay for as long as their owner lives.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use whipray_proto::{NodeId, TaskId};

/// Nodes with such leftovers, by the task that is under way again.
#[derive(Default)]
pub struct Tried {
    nodes: FxHashMap<TaskId, SmallVec<[NodeId; 1]>>,
}

impl Tried {
    pub fn note(&mut self, task: TaskId, node: NodeId) {
        let nodes = self.nodes.entry(task).or_default();
        if !nodes.contains(&node) {
            nodes.push(node);
        }
    }

    /// The nodes where a task was tried before.
    pub fn nodes(&self, task: &TaskId) -> SmallVec<[NodeId; 1]> {
        match self.nodes.is_empty() {
            true => SmallVec::new(),
            false => self.nodes.get(task).cloned().unwrap_or_default(),
        }
    }

    /// The same of a task that is through.
    pub fn take(&mut self, task: &TaskId) -> SmallVec<[NodeId; 1]> {
        match self.nodes.is_empty() {
            true => SmallVec::new(),
            false => self.nodes.remove(task).unwrap_or_default(),
        }
    }

    /// A node is gone, with all that was left there.
    pub fn on_node_died(&mut self, node: &NodeId) {
        self.nodes.retain(|_, nodes| {
            nodes.retain(|other| other != node);
            !nodes.is_empty()
        });
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
}
