//! Several nodes, the streams between them, and as much of control as tells each of the others.

use std::collections::VecDeque;

use whipray_proto::link::{NodeNews, NodeState};
use whipray_proto::{DeathCause, DeathKind, NodeId};

use super::*;

/// Nodes that speak to each other.
pub struct Cluster {
    pub nodes: Vec<Stage>,
    /// What is on its way, in order for each pair of nodes: from, to.
    streams: BTreeMap<(usize, usize), VecDeque<Message>>,
    /// All messages between nodes until now.
    pub said: Vec<(usize, usize, Message)>,
    states: Vec<NodeState>,
}

pub fn id(index: usize) -> NodeId {
    NodeId::from_array([index as u8 + 1; 28])
}

impl Cluster {
    /// Nodes with these resources that know of each other.
    pub fn new(resources: &[Resources]) -> Self {
        let labels = vec![BTreeMap::new(); resources.len()];
        Self::with_labels(resources, labels)
    }

    pub fn with_labels(resources: &[Resources], labels: Vec<BTreeMap<String, String>>) -> Self {
        let nodes = resources.iter().zip(labels).enumerate();
        let nodes: Vec<Stage> = nodes
            .map(|(index, (resources, labels))| {
                Stage::of(Config {
                    node: id(index),
                    node_ip: format!("10.0.0.{index}"),
                    resources: resources.clone(),
                    labels,
                    ..Config::default()
                })
            })
            .collect();
        let states = vec![NodeState::Alive; nodes.len()];
        let mut cluster = Self {
            nodes,
            streams: BTreeMap::new(),
            said: Vec::new(),
            states,
        };
        cluster.news();
        cluster
    }

    pub fn news_of(&self, index: usize) -> NodeNews {
        let node = &self.nodes[index].node;
        let cause = DeathCause::new(DeathKind::NodeDied, "it was silent for 20 s");
        let is_dead = self.states[index] == NodeState::Dead;
        NodeNews {
            node: id(index),
            state: self.states[index] as i32,
            endpoint: String::new(),
            ip: node.config.node_ip.clone(),
            total: node.ledger.total().clone(),
            available: node.ledger.available().clone(),
            labels: node.config.labels.clone(),
            cause: is_dead.then_some(cause),
        }
    }

    /// Control tells every node of all.
    pub fn news(&mut self) {
        let news: Vec<NodeNews> = (0..self.nodes.len()).map(|it| self.news_of(it)).collect();
        for index in 0..self.nodes.len() {
            if self.states[index] != NodeState::Dead {
                self.nodes[index].control(ControlSays::Nodes(news.clone()));
            }
        }
        self.collect();
    }

    /// Control holds a node for alive, or dead, or whatever, and says so.
    pub fn set_state(&mut self, index: usize, state: NodeState) {
        self.states[index] = state;
        if state == NodeState::Dead {
            self.streams
                .retain(|(from, to), _| *from != index && *to != index);
        }
        self.news();
    }

    /// Takes what nodes say to each other onto the way.
    pub fn collect(&mut self) {
        for from in 0..self.nodes.len() {
            let mut said = Vec::new();
            self.nodes[from].effects.retain(|effect| match effect {
                Effect::ToNode { node, message } => {
                    said.push((*node, message.clone()));
                    false
                }
                _ => true,
            });
            for (node, message) in said {
                let Some(to) = (0..self.nodes.len()).find(|to| id(*to) == node) else {
                    continue;
                };
                self.said.push((from, to, message.clone()));
                if self.states[from] != NodeState::Dead && self.states[to] != NodeState::Dead {
                    let stream = self.streams.entry((from, to)).or_default();
                    stream.push_back(message);
                }
            }
        }
    }

    /// The streams on which something is on its way.
    pub fn busy_streams(&self) -> Vec<(usize, usize)> {
        let busy = self.streams.iter().filter(|(_, stream)| !stream.is_empty());
        busy.map(|(ends, _)| *ends).collect()
    }

    /// The next message of a stream arrives.
    pub fn deliver(&mut self, from: usize, to: usize) {
        let message = self
            .streams
            .get_mut(&(from, to))
            .and_then(VecDeque::pop_front);
        if let Some(message) = message {
            let stage = &mut self.nodes[to];
            stage.node.on_node_message(id(from), message, stage.now);
            stage.settle();
            self.collect();
        }
    }

    /// All messages arrive, and those that they lead to; workers that are asked for start.
    pub fn run(&mut self) {
        loop {
            self.collect();
            let mut is_quiet = true;
            for stage in &mut self.nodes {
                is_quiet &= stage.start_workers().is_empty();
            }
            self.collect();
            for (from, to) in self.busy_streams() {
                is_quiet = false;
                self.deliver(from, to);
            }
            if is_quiet {
                return;
            }
        }
    }

    /// A driver at a node, whose job all nodes know.
    pub fn driver(&mut self, at: usize) -> (ClientId, JobId) {
        self.nodes[at].next_job = 1 + at as u32;
        let (client, job) = self.nodes[at].driver();
        let worker = self.nodes[at].node.clients[&client].worker;
        for index in 0..self.nodes.len() {
            let description = Box::new(JobDescription {
                job,
                log_to_driver: true,
                ..JobDescription::default()
            });
            let driver = whipray_proto::WorkerAddress {
                worker,
                node: id(at),
                ..whipray_proto::WorkerAddress::default()
            };
            self.nodes[index].control(ControlSays::JobStarted {
                description,
                driver,
            });
        }
        self.run();
        (client, job)
    }

    /// Workers of a node that are leased.
    pub fn leased(&self, at: usize) -> usize {
        self.nodes[at].node.leases.len()
    }
}
