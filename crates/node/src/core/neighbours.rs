//! The other nodes of the cluster, as control tells of them.
//!
//! Each of them is also a client of this node: what it asks for here is served like anybody's, and
//! what is sent to it travels on the stream of the two daemons.

use std::collections::VecDeque;

use rustc_hash::{FxHashMap, FxHashSet};
use whipray_proto::link::{NodeNews, NodeState};
use whipray_proto::messages::lease::NodeDied;
use whipray_proto::messages::session::Role;
use whipray_proto::{DeathCause, DeathKind, NodeId, Resources, WorkerId, limits};
use whipray_sched::policy::NodeView;

use super::clients::Client;
use super::timers::Micros;
use super::{ClientId, Config, Node};

/// Numbers of clients from here on stand for other nodes.
const FIRST: ClientId = 1 << 63;

/// One other node that is not dead.
#[derive(Debug)]
struct Neighbour {
    client: ClientId,
    state: NodeState,
    ip: String,
    /// What it has and what is free; none where it spoke before control did.
    view: Option<NodeView>,
}

/// All that is known of other nodes.
#[derive(Debug, Default)]
pub struct Neighbours {
    nodes: FxHashMap<NodeId, Neighbour>,
    by_client: FxHashMap<ClientId, NodeId>,
    /// Those that may be asked for something, this node itself at their head.
    open: Vec<NodeView>,
    known: u64,
    /// Where the last lease went that was to be spread: a new demand begins with the node after it.
    pub last_spread: NodeId,
    dead: FxHashMap<NodeId, DeathCause>,
    dead_order: VecDeque<NodeId>,
}

impl Neighbours {
    /// Whether there is no other node.
    pub fn is_alone(&self) -> bool {
        self.nodes.is_empty()
    }

    pub fn client_of(&self, node: NodeId) -> Option<ClientId> {
        self.nodes.get(&node).map(|neighbour| neighbour.client)
    }

    pub fn node_of(&self, client: ClientId) -> Option<NodeId> {
        self.by_client.get(&client).copied()
    }

    /// Whether it is there, and gets something new.
    pub fn is_open(&self, node: NodeId) -> bool {
        self.state_of(node) == Some(NodeState::Alive)
    }

    /// Where another node stands, as far as has been told.
    pub fn state_of(&self, node: NodeId) -> Option<NodeState> {
        Some(self.nodes.get(&node)?.state)
    }

    /// Whether it has been silent for a moment.
    pub fn is_suspect(&self, node: NodeId) -> bool {
        self.state_of(node) == Some(NodeState::Suspect)
    }

    pub fn is_known(&self, node: NodeId) -> bool {
        self.nodes.contains_key(&node)
    }

    /// Why a node is dead.
    pub fn death_of(&self, node: NodeId) -> Option<&DeathCause> {
        self.dead.get(&node)
    }

    /// Those that may be asked for something; this node itself is the first.
    pub fn open(&self) -> &[NodeView] {
        &self.open
    }

    /// Those besides this node that may be asked for something.
    pub fn open_others(&self) -> &[NodeView] {
        self.open.get(1..).unwrap_or_default()
    }

    /// All that are not dead.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> {
        self.nodes.keys().copied()
    }

    /// What is free on this node itself, for decisions.
    pub fn set_own(&mut self, available: &Resources) {
        if let Some(own) = self.open.first_mut()
            && own.available != *available
        {
            own.available.clone_from(available);
        }
    }

    /// Every node that is not dead, also one that gets nothing new for now: for the question
    /// whether something can ever be served.
    pub fn all(&self) -> Vec<NodeView> {
        let own = self.open.first().cloned();
        let others = self.nodes.values().filter_map(|it| it.view.clone());
        own.into_iter().chain(others).collect()
    }

    /// So many leases more, or less, are asked for on a node than before: until it says what is
    /// free, that much counts as taken.
    pub fn take(&mut self, node: NodeId, resources: &Resources, count: i64) {
        if count == 0 {
            return;
        }
        let open = self.open.iter_mut().skip(1).find(|it| it.node == node);
        let known = self.nodes.get_mut(&node).and_then(|it| it.view.as_mut());
        for view in open.into_iter().chain(known) {
            for (name, units) in &resources.amounts {
                *view.available.amounts.entry(name.clone()).or_insert(0) -= count * units;
            }
        }
    }

    fn refill_open(&mut self, config: &Config, available: &Resources) {
        if self.nodes.is_empty() {
            return self.open.clear();
        }
        let own = self.open.first().cloned().unwrap_or_else(|| NodeView {
            node: config.node,
            total: config.resources.clone(),
            available: available.clone(),
            labels: config.labels.clone(),
        });
        let alive = |neighbour: &&Neighbour| neighbour.state == NodeState::Alive;
        let others = self.nodes.values().filter(alive);
        let mut others: Vec<NodeView> = others.filter_map(|it| it.view.clone()).collect();
        others.sort_unstable_by_key(|view| view.node);
        self.open = std::iter::once(own).chain(others).collect();
    }

    fn bury(&mut self, node: NodeId, cause: DeathCause) {
        if self.dead.insert(node, cause).is_none() {
            self.dead_order.push_back(node);
        }
        if self.dead_order.len() > limits::DEATHS_REMEMBERED
            && let Some(oldest) = self.dead_order.pop_front()
        {
            self.dead.remove(&oldest);
        }
    }
}

impl Node {
    /// The node whose daemon a client is; `None` for processes of this node.
    pub fn node_of(&self, client: ClientId) -> Option<NodeId> {
        self.neighbours.node_of(client)
    }

    /// Control tells of nodes.
    pub(super) fn on_nodes(&mut self, news: Vec<NodeNews>, now: Micros) {
        let mut has_changed = false;
        let mut heard = Vec::new();
        for news in news {
            if news.node == self.config.node || self.neighbours.death_of(news.node).is_some() {
                continue;
            }
            if news.state() == NodeState::Dead {
                self.neighbour_died(news, now);
                has_changed = true;
            } else {
                heard.push(news.node);
                has_changed |= self.neighbour_news(news);
            }
        }
        self.neighbours
            .refill_open(&self.config, self.ledger.available());
        self.on_views(&heard, now);
        if has_changed {
            self.judge_again(now);
        }
        if self.draining.is_some() {
            self.look_at_takers(now);
        }
        self.schedule(now);
    }

    /// Takes in what is said of a node that is there. Returns whether more than what is free differs.
    fn neighbour_news(&mut self, news: NodeNews) -> bool {
        let node = news.node;
        self.ensure_neighbour(node);
        let state = news.state();
        self.set_endpoint(node, news.endpoint);
        let Some(neighbour) = self.neighbours.nodes.get_mut(&node) else {
            return false;
        };
        let before = neighbour.view.take();
        let is_same = neighbour.state == state
            && before.is_some_and(|it| it.total == news.total && it.labels == news.labels);
        neighbour.state = state;
        neighbour.ip = news.ip;
        neighbour.view = Some(NodeView {
            node,
            total: news.total,
            available: news.available,
            labels: news.labels,
        });
        if !is_same {
            self.forgive(node);
        }
        !is_same
    }

    /// The client that stands for a node; one that nobody told of yet is taken in. `None` for one
    /// that is dead.
    pub(super) fn ensure_neighbour(&mut self, node: NodeId) -> Option<ClientId> {
        if let Some(client) = self.neighbours.client_of(node) {
            return Some(client);
        }
        if node == self.config.node || self.neighbours.death_of(node).is_some() {
            return None;
        }
        let client = FIRST + self.neighbours.known;
        self.neighbours.known += 1;
        let neighbour = Neighbour {
            client,
            state: NodeState::Alive,
            ip: String::new(),
            view: None,
        };
        self.neighbours.nodes.insert(node, neighbour);
        self.neighbours.by_client.insert(client, node);
        let entry = Client {
            worker: WorkerId::from_array(node.to_array()),
            role: Role::Node,
            pid: 0,
            endpoint: String::new(),
            goodbye: None,
            watches: FxHashSet::default(),
        };
        self.clients.insert(client, entry);
        self.neighbours
            .refill_open(&self.config, self.ledger.available());
        self.ask_for_watched(node);
        Some(client)
    }

    /// A node is gone for ever: so are its processes, what they held here, and all copies there.
    fn neighbour_died(&mut self, news: NodeNews, now: Micros) {
        let node = news.node;
        let known = self.neighbours.nodes.remove(&node);
        let mut cause = news
            .cause
            .unwrap_or_else(|| DeathCause::new(DeathKind::NodeDied, "the cluster gave it up"));
        cause.node = node;
        if cause.node_ip.is_empty() {
            let ip = known.as_ref().map(|known| known.ip.clone());
            cause.node_ip = ip.filter(|ip| !ip.is_empty()).unwrap_or(news.ip);
        }
        tracing::warn!(%node, ip = cause.node_ip, cause = cause.describe(), "another node is gone");
        self.neighbours.bury(node, cause.clone());
        self.neighbours
            .refill_open(&self.config, self.ledger.available());
        self.leases_lost_with(node, &cause, now);
        self.watched_died_with(node, &cause, now);
        self.pulls_source_gone(node, now);
        self.takes_without(node, now);
        self.moves_without(node, now);
        self.forget_inquiries_to(node);
        let died = NodeDied { node, cause };
        let is_process = |client: &Client| matches!(client.role, Role::Driver | Role::Worker);
        let processes = self.clients.iter().filter(|(_, it)| is_process(it));
        let mut processes: Vec<ClientId> = processes.map(|(client, _)| *client).collect();
        processes.sort_unstable();
        for client in processes {
            self.send(client, died.clone());
        }
        if let Some(known) = known {
            self.remove_client(known.client, now);
            self.neighbours.by_client.remove(&known.client);
        }
    }
}
