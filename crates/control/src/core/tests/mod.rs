//! Stories of a cluster: what is said to control, and what it says. [`Stage`] plays the nodes.

mod actors;
mod actors_over_nodes;
mod draining;
mod groups;
mod jobs;
mod key_values;
mod membership;
mod scaling;
mod traffic;

use std::time::Duration;

use whipray_proto::link::{ControlSays, NodeNews, NodeSays};
use whipray_proto::messages::cluster::NodeStatus;
use whipray_proto::messages::session::JobDescription;
use whipray_proto::object::WorkerAddress;
use whipray_proto::resources::CPU;
use whipray_proto::{
    ActorId, ActorSpec, DeathCause, DeathKind, JobId, Message, NodeId, Resources, WorkerId,
};

use super::*;
use crate::storage::{MemoryStorage, Storage};

/// A control, its storage, and what it said to which node.
pub struct Stage {
    pub control: Control,
    pub storage: MemoryStorage,
    pub said: Vec<(NodeId, ControlSays)>,
    pub now_us: u64,
}

/// The node with this number; number zero is the head's.
pub fn node(number: u8) -> NodeId {
    NodeId::from_array([number; 28])
}

impl Stage {
    /// A cluster of the head alone.
    pub fn new() -> Self {
        let mut stage = Self::empty();
        let status = NodeStatus {
            node: node(0),
            alive: true,
            is_head: true,
            ..NodeStatus::default()
        };
        stage.on_node(NodeSays::Joined(Box::new(status)));
        stage.said.clear();
        stage
    }

    /// A cluster without any node.
    pub fn empty() -> Self {
        Self {
            control: Control::new("1.0", "127.0.0.1:6379"),
            storage: MemoryStorage::default(),
            said: Vec::new(),
            now_us: 0,
        }
    }

    /// The head's node says something.
    pub fn on_node(&mut self, says: NodeSays) {
        self.on_node_from(node(0), says);
    }

    pub fn on_node_from(&mut self, from: NodeId, says: NodeSays) {
        self.control.on_node(from, says);
        self.take_in();
    }

    /// Takes in what control said, and checks it.
    pub fn take_in(&mut self) {
        let mut effects = Vec::new();
        self.control.take_effects(&mut effects);
        for effect in effects {
            match effect {
                Effect::Say { node, says } => self.said.push((node, says)),
                Effect::Keep(write) => self.storage.write(write),
            }
        }
        self.control.validate().unwrap();
    }

    /// A node with so many CPUs joins.
    pub fn join(&mut self, number: u8, cpus: f64) -> NodeId {
        let total = Resources::none().with(CPU, cpus);
        self.join_with(number, total)
    }

    pub fn join_with(&mut self, number: u8, total: Resources) -> NodeId {
        let status = NodeStatus {
            node: node(number),
            alive: true,
            is_head: number == 0,
            ip: format!("10.0.0.{number}"),
            available: total.clone(),
            total,
            ..NodeStatus::default()
        };
        self.on_node_from(node(number), NodeSays::Joined(Box::new(status)));
        node(number)
    }

    /// A node says what it has left.
    pub fn has_left(&mut self, number: u8, cpus: f64) {
        let available = Resources::none().with(CPU, cpus);
        self.on_node_from(node(number), NodeSays::Available { available });
    }

    /// So much time passes, in which these nodes are heard.
    pub fn pass(&mut self, time: Duration, heard: &[u8]) {
        let until_us = self.now_us + time.as_micros() as u64;
        while self.now_us < until_us {
            self.now_us = (self.now_us + 100_000).min(until_us);
            self.control.set_time(self.now_us);
            for number in heard {
                self.control.on_heartbeat(node(*number));
            }
            if self
                .control
                .next_deadline()
                .is_some_and(|deadline| deadline <= self.now_us)
            {
                self.control.on_time();
            }
            self.take_in();
        }
    }

    /// Takes what a node was told, but for what is only passed on to clients.
    pub fn orders_of(&mut self, number: u8) -> Vec<ControlSays> {
        let mut orders = Vec::new();
        self.said.retain(|(to, said)| {
            let is_order = *to == node(number) && !matches!(said, ControlSays::Tell { .. });
            if is_order {
                orders.push(said.clone());
            }
            !is_order
        });
        orders
    }

    /// Takes what a node was told of the others.
    pub fn news_of(&mut self, number: u8) -> Vec<NodeNews> {
        let orders = self.orders_of(number).into_iter();
        let news = orders.filter_map(|order| match order {
            ControlSays::Nodes(news) => Some(news),
            _ => None,
        });
        news.flatten().collect()
    }

    pub fn say(&mut self, client: WorkerId, message: impl Into<Message>) {
        let message = Box::new(message.into());
        self.on_node(NodeSays::ClientSaid { client, message });
    }

    pub fn driver(&mut self) -> (WorkerId, JobId) {
        self.driver_at(0)
    }

    /// A driver on this node.
    pub fn driver_at(&mut self, number: u8) -> (WorkerId, JobId) {
        let driver = WorkerId::random();
        let says = NodeSays::DriverJoined {
            driver: WorkerAddress {
                worker: driver,
                node: node(number),
                ..WorkerAddress::default()
            },
            description: Box::new(JobDescription {
                entrypoint: "main.py".to_owned(),
                ..JobDescription::default()
            }),
        };
        self.on_node_from(node(number), says);
        let accepted = self.said.iter().rev().find_map(|(_, said)| match said {
            ControlSays::DriverAccepted {
                driver: to,
                description,
            } if *to == driver => Some(description.job),
            _ => None,
        });
        (driver, accepted.unwrap_or_default())
    }

    pub fn process_gone(&mut self, process: WorkerId) {
        let cause = Box::new(DeathCause::new(DeathKind::Unknown, "it left"));
        self.on_node(NodeSays::ProcessGone { process, cause });
    }

    /// Takes what a client was told since it was last asked.
    pub fn told(&mut self, client: WorkerId) -> Vec<Message> {
        let mut told = Vec::new();
        self.said.retain(|(_, said)| match said {
            ControlSays::Tell {
                client: to,
                message,
            } if *to == client => {
                told.push((**message).clone());
                false
            }
            _ => true,
        });
        told
    }

    /// Takes what nodes were told, but for what is only passed on to clients.
    pub fn orders(&mut self) -> Vec<ControlSays> {
        let orders = self.addressed_orders().into_iter();
        orders.map(|(_, said)| said).collect()
    }

    /// The same with the nodes.
    pub fn addressed_orders(&mut self) -> Vec<(NodeId, ControlSays)> {
        let (orders, rest) = std::mem::take(&mut self.said)
            .into_iter()
            .partition(|(_, said)| !matches!(said, ControlSays::Tell { .. }));
        self.said = rest;
        orders
    }
}

pub fn spec(owner: WorkerId, job: JobId) -> ActorSpec {
    ActorSpec {
        actor: ActorId::new(job),
        job,
        class_name: "Counter".to_owned(),
        owner: WorkerAddress {
            worker: owner,
            ..WorkerAddress::default()
        },
        ..ActorSpec::default()
    }
}
