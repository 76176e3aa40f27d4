//! Stories of a cluster: what is said to control, and what it says. [`Stage`] plays the node.

mod actors;
mod groups;
mod jobs;
mod key_values;

use whipray_proto::link::{ControlSays, NodeSays};
use whipray_proto::messages::session::JobDescription;
use whipray_proto::object::WorkerAddress;
use whipray_proto::{ActorId, ActorSpec, DeathCause, DeathKind, JobId, Message, NodeId, WorkerId};

use super::*;
use crate::storage::{MemoryStorage, Storage};

/// A control, its storage, and what it said to its node.
pub struct Stage {
    pub control: Control,
    pub storage: MemoryStorage,
    pub said: Vec<ControlSays>,
}

impl Stage {
    pub fn new() -> Self {
        Self {
            control: Control::new("1.0", "127.0.0.1:6379"),
            storage: MemoryStorage::default(),
            said: Vec::new(),
        }
    }

    pub fn on_node(&mut self, says: NodeSays) {
        self.control.on_node(says);
        self.take_in();
    }

    /// Takes in what control said, and checks it.
    pub fn take_in(&mut self) {
        let mut effects = Vec::new();
        self.control.take_effects(&mut effects);
        for effect in effects {
            match effect {
                Effect::Say(said) => self.said.push(said),
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
        let accepted = self.said.iter().rev().find_map(|said| match said {
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
        self.said.retain(|said| match said {
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

    /// Takes what the node was told, but for what is only passed on to clients.
    pub fn orders(&mut self) -> Vec<ControlSays> {
        let (orders, rest) = std::mem::take(&mut self.said)
            .into_iter()
            .partition(|said| !matches!(said, ControlSays::Tell { .. }));
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
