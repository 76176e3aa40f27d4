//! The nodes of the cluster: how they come and how they go.
//!
//! | state | what it means | where it is found |
//! | --- | --- | --- |
//! | `Alive` | gets what is to be placed | in `nodes` |
//! | `Suspect` | silent for a moment: gets nothing new | the same, `is_suspect` |
//! | `Draining` | it is to go: gets nothing new, and what waits there goes elsewhere | the same, `drain` |
//! | `Dead` | for ever | in `nodes` with `death`, until too many later ones are there; then in `departed` |

use std::collections::BTreeMap;

use bytes::Bytes;
use whipray_proto::link::{ControlSays, NodeNews, NodeState};
use whipray_proto::messages::cluster::{NodeEnd, NodeStatus};
use whipray_proto::messages::scaling::NodeWants;
use whipray_proto::{ActorId, DeathCause, DeathKind, NodeId, Resources, WorkerId, limits};

use super::draining::Drain;
use super::health::Pulse;
use super::{Control, Effect};
use crate::storage::Table;

/// One node, dead or not.
#[derive(Clone, Debug)]
pub struct Member {
    /// What it said last; `available` with what it has said since.
    pub status: NodeStatus,
    pub is_suspect: bool,
    pub drain: Option<Drain>,
    /// Orders to drain that it has not said to have heard.
    pub unheard_drains: u32,
    pub death: Option<DeathCause>,
    joined_us: u64,
    died_us: u64,
    pub pulse: Pulse,
    /// What actors were sent there that it has not spoken of since.
    pub promised: BTreeMap<ActorId, Resources>,
    /// What waits there, and what it has to do, once it has said so for the autoscaler.
    pub wants: Option<NodeWants>,
    /// It was told that it is dead.
    is_fenced: bool,
}

impl Member {
    pub fn state(&self) -> NodeState {
        if self.death.is_some() {
            NodeState::Dead
        } else if self.drain.is_some() {
            NodeState::Draining
        } else if self.is_suspect {
            NodeState::Suspect
        } else {
            NodeState::Alive
        }
    }

    pub fn is_dead(&self) -> bool {
        self.death.is_some()
    }

    /// Whether it is there, and not silent.
    pub fn is_heard(&self) -> bool {
        !self.is_dead() && !self.is_suspect
    }

    /// Whether it may get something new.
    pub fn is_usable(&self) -> bool {
        self.state() == NodeState::Alive
    }

    pub fn news(&self) -> NodeNews {
        let status = &self.status;
        NodeNews {
            node: status.node,
            state: self.state() as i32,
            endpoint: status.node_endpoint.clone(),
            ip: status.ip.clone(),
            total: status.total.clone(),
            available: status.available.clone(),
            labels: status.labels.clone(),
            cause: self.death.clone(),
        }
    }

    /// For people.
    pub fn shown(&self, now_us: u64) -> NodeStatus {
        let dead_since_us = match self.is_dead() {
            true => now_us.saturating_sub(self.died_us),
            false => 0,
        };
        NodeStatus {
            state: self.state() as i32,
            age_us: now_us.saturating_sub(self.joined_us),
            dead_since_us,
            ..self.status.clone()
        }
    }
}

impl Control {
    /// A daemon is there.
    pub(super) fn node_joined(&mut self, node: NodeId, status: NodeStatus) {
        if status.is_head {
            self.head = Some(node);
        }
        if let Some(member) = self.nodes.get_mut(&node) {
            member.status = status;
        } else {
            let member = Member {
                status,
                is_suspect: false,
                drain: None,
                unheard_drains: 0,
                death: None,
                joined_us: self.now_us,
                died_us: 0,
                pulse: self.watchfulness.pulse(),
                promised: BTreeMap::new(),
                wants: None,
                is_fenced: false,
            };
            self.nodes.insert(node, member);
        }
        self.keep_node(node);
        self.restart_watch();
        self.introduce(node);
        self.node_changed(node);
        self.watch_nodes();
        self.room_changed();
    }

    /// A node that joins a cluster hears who is there, and whose programs run.
    fn introduce(&mut self, node: NodeId) {
        let (is_on, with_decreases) = self.watch;
        if is_on || with_decreases {
            let watch = ControlSays::WatchResources {
                is_on,
                with_decreases,
            };
            self.say(node, watch);
        }
        self.tell_node_types(node);
        if Some(node) == self.head {
            return;
        }
        let alive = self.nodes.values().filter(|member| !member.is_dead());
        let news = alive.map(Member::news).collect();
        self.say(node, ControlSays::Nodes(news));
        let mut running: Vec<_> = self.jobs.values().filter(|job| !job.is_over).collect();
        running.sort_unstable_by_key(|job| job.description.job);
        let started: Vec<ControlSays> = running.into_iter().map(|job| job.started()).collect();
        for started in started {
            self.say(node, started);
        }
    }

    /// Whether a node was given up. What it says is of the past; it hears so once, and whenever it
    /// joins again.
    pub(super) fn turns_away(&mut self, node: NodeId, joins: bool) -> bool {
        let reason = match self.nodes.get_mut(&node) {
            Some(member) => {
                let Some(death) = &member.death else {
                    return false;
                };
                let was_fenced = std::mem::replace(&mut member.is_fenced, true);
                (joins || !was_fenced).then(|| death.detail.clone())
            }
            None if self.departed.contains(&node) => Some("it was given up long ago".to_owned()),
            None => return false,
        };
        if let Some(reason) = reason {
            self.fence(node, reason);
        }
        true
    }

    fn fence(&mut self, node: NodeId, reason: String) {
        let says = ControlSays::Fenced { reason };
        self.effects.push(Effect::Say { node, says });
    }

    /// A node is dead from now on. `what` it did, after its name: `was silent for 20 s`.
    pub fn node_lost(&mut self, node: NodeId, what: &str, end: NodeEnd) {
        let Some(member) = self.nodes.get_mut(&node).filter(|member| !member.is_dead()) else {
            return;
        };
        let ip = member.status.ip.clone();
        let cause = DeathCause {
            node,
            node_ip: ip.clone(),
            ..DeathCause::new(DeathKind::NodeDied, format!("node {node} at {ip} {what}"))
        };
        tracing::warn!(cause = cause.headline(), "node is dead");
        let status = &mut member.status;
        status.alive = false;
        status.available = Resources::none();
        status.death.clone_from(&cause.detail);
        status.end = end as i32;
        status.bundles = Vec::new();
        status.workers = 0;
        (status.store_used_bytes, status.store_objects) = (0, 0);
        (status.store_spilled_bytes, status.store_spilled_objects) = (0, 0);
        member.promised = BTreeMap::new();
        member.wants = None;
        member.death = Some(cause.clone());
        member.died_us = self.now_us;
        self.keep_node(node);
        self.fence(node, cause.detail.clone());
        self.node_changed(node);
        self.bury_node(node);
        self.restart_watch();
        self.watch_nodes();

        let at_home = self.homes.iter().filter(|(_, home)| **home == node);
        let mut gone: Vec<WorkerId> = at_home.map(|(process, _)| *process).collect();
        gone.sort_unstable();
        // None of them hears what becomes of the others.
        for process in &gone {
            self.homes.remove(process);
        }
        for process in gone {
            self.process_gone(process, &cause);
        }
        self.groups_lost_node(node);
        self.actors_lost_node(node, &cause, end == NodeEnd::DrainedForPreemption);
        self.reports_without(node);
        self.room_changed();
    }

    /// Only some of the dead can still be looked at.
    fn bury_node(&mut self, node: NodeId) {
        self.dead_nodes.push_back(node);
        if self.dead_nodes.len() > limits::DEAD_NODES_REMEMBERED
            && let Some(oldest) = self.dead_nodes.pop_front()
        {
            self.nodes.remove(&oldest);
            self.departed.insert(oldest);
            self.keep(Table::Nodes, node_key(oldest), None);
        }
    }

    fn keep_node(&mut self, node: NodeId) {
        let Some(member) = self.nodes.get(&node) else {
            return;
        };
        let value = prost::Message::encode_to_vec(&member.shown(self.now_us)).into();
        self.keep(Table::Nodes, node_key(node), Some(value));
    }

    /// All that are not dead, in the order of their ids.
    pub(super) fn alive_nodes(&self) -> Vec<NodeId> {
        let alive = self.nodes.iter().filter(|(_, member)| !member.is_dead());
        alive.map(|(node, _)| *node).collect()
    }

    /// Whether there is more than one node, dead ones aside.
    pub(super) fn has_several_nodes(&self) -> bool {
        let mut alive = self.nodes.values().filter(|member| !member.is_dead());
        alive.nth(1).is_some()
    }
}

fn node_key(node: NodeId) -> Bytes {
    Bytes::copy_from_slice(&node.to_array())
}
