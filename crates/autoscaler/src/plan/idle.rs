//! Nodes that have nothing to do: since when, and which of them go.

use std::collections::{BTreeMap, BTreeSet};

use whipray_proto::NodeId;
use whipray_proto::link::NodeState;
use whipray_proto::messages::scaling::ScalingView;

use super::fleet::is_usable;
use super::{Effect, Micros, Scaler, micros};

/// A drain that was asked for.
#[derive(Clone, Copy, Debug)]
struct Drain {
    request: u64,
    /// Control has said that the node is draining.
    is_seen: bool,
}

/// What is known of idleness.
#[derive(Debug, Default)]
pub struct Idle {
    since: BTreeMap<NodeId, Micros>,
    drains: BTreeMap<NodeId, Drain>,
    last_request: u64,
    /// Nodes that were drained and are not there any more.
    gone: Vec<NodeId>,
}

impl Idle {
    pub fn on_view(&mut self, view: &ScalingView, now: Micros) {
        let mut since = std::mem::take(&mut self.since);
        let idle = view.nodes.iter().filter(|node| node.busy.is_empty());
        for node in idle {
            let known = since.remove(&node.node);
            self.since.insert(node.node, known.unwrap_or(now));
        }
        let mut refused = Vec::new();
        for (node, drain) in &mut self.drains {
            let mut nodes = view.nodes.iter();
            match nodes.find(|it| it.node == *node).map(|it| it.state) {
                None => {
                    self.gone.push(*node);
                    refused.push(*node);
                }
                Some(state) if state == NodeState::Draining as i32 => drain.is_seen = true,
                // It had got something to do.
                Some(_) if drain.is_seen => refused.push(*node),
                Some(_) => {}
            }
        }
        for node in refused {
            self.drains.remove(&node);
            self.restart(node, now);
        }
    }

    pub fn on_answer(&mut self, request: u64, is_accepted: bool, now: Micros) {
        let mut drains = self.drains.iter();
        let drained = drains.find(|(_, drain)| drain.request == request);
        if let Some((node, _)) = drained
            && !is_accepted
        {
            let node = *node;
            self.drains.remove(&node);
            self.restart(node, now);
        }
    }

    /// What a node has done counts from now on anew.
    fn restart(&mut self, node: NodeId, now: Micros) {
        if let Some(since) = self.since.get_mut(&node) {
            *since = now;
        }
    }

    pub fn take_gone(&mut self) -> Vec<NodeId> {
        std::mem::take(&mut self.gone)
    }

    pub fn is_draining(&self, node: NodeId) -> bool {
        self.drains.contains_key(&node)
    }

    fn drain(&mut self, node: NodeId) -> u64 {
        self.last_request += 1;
        let request = self.last_request;
        self.drains.insert(
            node,
            Drain {
                request,
                is_seen: false,
            },
        );
        request
    }
}

impl Scaler {
    /// Drains the nodes that have had nothing to do for too long: neither those that are needed
    /// soon, nor below the least number of their type.
    pub(super) fn drain_idle(
        &mut self,
        view: &ScalingView,
        protected: &BTreeSet<NodeId>,
        now: Micros,
    ) {
        let mut left: Vec<u32> = vec![0; self.config.types.len()];
        let mut idle: Vec<(Micros, NodeId, usize)> = Vec::new();
        for node in &view.nodes {
            let Some(kind) = self.fleet.kind_of(&node.instance) else {
                continue;
            };
            if !is_usable(node.state) || self.idle.is_draining(node.node) {
                continue;
            }
            left[kind] += 1;
            let since = self.idle.since.get(&node.node).copied();
            if let Some(since) = since.filter(|_| !protected.contains(&node.node)) {
                idle.push((since, node.node, kind));
            }
        }
        // Those that are idle for longest go first.
        idle.sort_unstable();
        for (since, node, kind) in idle {
            let node_type = &self.config.types[kind];
            let timeout = node_type.idle_timeout.unwrap_or(self.config.idle_timeout);
            if now < since.saturating_add(micros(timeout)) || left[kind] <= node_type.min_workers {
                continue;
            }
            left[kind] -= 1;
            let seconds = timeout.as_secs_f64();
            let reason = format!("it was idle for longer than {seconds} s");
            tracing::info!(%node, node_type = node_type.name, "node is idle, and is to go");
            let request = self.idle.drain(node);
            self.effects.push(Effect::Drain {
                request,
                node,
                reason,
            });
        }
    }
}
