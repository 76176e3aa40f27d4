//! Where the arguments of a task lie: near most of them it had better run.

use smallvec::SmallVec;
use whipray_proto::{Argument, NodeId, TaskId, limits};

use crate::core::Core;

impl Core {
    /// The arguments of a plain task are there, some of them in shared memory: where enough of them
    /// is on other nodes, its class is the one of the node that has most.
    pub(super) fn choose_class(&mut self, task: TaskId) -> u32 {
        let Some(entry) = self.tasks.tasks.get(&task) else {
            return 0;
        };
        let number = entry.class;
        let near = self.nearest(&entry.spec.arguments);
        let class = self.tasks.class_near(number, near);
        if let Some(entry) = self.tasks.tasks.get_mut(&task) {
            entry.class = class;
        }
        class
    }

    /// The node with most of the bytes of these arguments; `None` where that is our own, or where
    /// what is elsewhere is not worth a thought.
    fn nearest(&self, arguments: &[Argument]) -> Option<NodeId> {
        let me = self.me.node;
        let mut bytes: SmallVec<[(NodeId, u64); 4]> = SmallVec::new();
        bytes.push((me, 0));
        let mut elsewhere = 0;
        for argument in arguments {
            let Some(first) = argument.value.as_ref().and_then(|value| value.shared) else {
                continue;
            };
            let mut add = |node: NodeId| match bytes.iter_mut().find(|(it, _)| *it == node) {
                Some((_, sum)) => *sum += first.size_bytes,
                None => bytes.push((node, first.size_bytes)),
            };
            add(first.node);
            let mut is_here = first.node == me;
            if let Some(object) = &argument.object {
                for other in self.objects.further_copies(object) {
                    if *other != first.node {
                        add(*other);
                        is_here |= *other == me;
                    }
                }
            }
            if !is_here {
                elsewhere += first.size_bytes;
            }
        }
        if elsewhere < limits::LOCALITY_BYTES {
            return None;
        }
        // Of several with as much the first one: our own, then in the order of the arguments.
        let mut best = (me, 0);
        for (node, sum) in bytes {
            if sum > best.1 {
                best = (node, sum);
            }
        }
        (best.0 != me).then_some(best.0)
    }

    /// A task is about to be sent: what is said of the places of its arguments was said when they
    /// were there, and may be improved on.
    pub(super) fn place_arguments(&mut self, task: &TaskId, node: &NodeId) {
        let Some(entry) = self.tasks.tasks.get_mut(task) else {
            return;
        };
        for argument in &mut entry.spec.arguments {
            if let Some(object) = &argument.object
                && let Some(value) = &mut argument.value
                && let Some(location) = &mut value.shared
                && self.objects.is_ours(object)
                && let Some(better) = self.objects.place_for(object, node)
                && better.attempt == location.attempt
            {
                *location = better;
            }
        }
    }
}
