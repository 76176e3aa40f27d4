//! Stories of a cluster: what is said to control, and what it says. [`Stage`] plays the nodes.

mod actors;
mod groups;
mod jobs;
mod key_values;

use whipray_proto::link::{ControlSays, NodeSays};
use whipray_proto::messages::cluster::NodeStatus;
use whipray_proto::messages::session::JobDescription;
use whipray_proto::object::WorkerAddress;
use whipray_proto::{ActorId, ActorSpec, DeathCause, DeathKind, JobId, Message, NodeId, WorkerId};

use super::*;
use crate::storage::{MemoryStorage, Storage};

/// A control, its storage, and what it said to which node.
pub struct Stage {
    pub control: Control,
    pub storage: MemoryStorage,
    pub said: Vec<(NodeId, ControlSays)>,
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

    pub fn say(&mut self, client: WorkerId, message: impl Into<Message>) {
        let message = Box::new(message.into());
        self.on_node(NodeSays::ClientSaid { client, message });
    }

    pub fn driver(&mut self) -> (WorkerId, JobId) {
        let driver = WorkerId::random();
        self.on_node(NodeSays::DriverJoined {
            driver: WorkerAddress {
                worker: driver,
                ..WorkerAddress::default()
            },
            description: Box::new(JobDescription {
                entrypoint: "main.py".to_owned(),
                ..JobDescription::default()
            }),
        });
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
