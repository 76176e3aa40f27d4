//! What a node says to control, as a message of a stream.

use crate::failure::DeathCause;
use crate::frame::ProtocolError;
use crate::ids::{ActorId, NodeId, PlacementGroupId, WorkerId};
use crate::link::NodeSays;
use crate::messages::cluster::{NodeStatus, PendingDemand};
use crate::messages::scaling::NodeWants;
use crate::messages::word::{ClientWord, DriverWord, LifeEndWord, LifeWord};
use crate::object::WorkerAddress;
use crate::resources::Resources;

const CODE: u16 = 13;

/// A node to the head. See [`NodeSays`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NodeSaid {
    #[prost(
        oneof = "NodeWord",
        tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18"
    )]
    pub word: Option<NodeWord>,
}

/// One of the things that a node says.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum NodeWord {
    #[prost(message, boxed, tag = "1")]
    Joined(Box<NodeStatus>),
    #[prost(message, boxed, tag = "2")]
    DriverJoined(Box<DriverWord>),
    #[prost(message, tag = "3")]
    ClientSaid(ClientWord),
    #[prost(message, boxed, tag = "4")]
    ProcessGone(Box<ProcessGone>),
    #[prost(message, tag = "5")]
    ActorPending(ActorPending),
    #[prost(message, boxed, tag = "6")]
    ActorPlaced(Box<ActorPlaced>),
    #[prost(message, boxed, tag = "7")]
    ActorEnded(Box<LifeEndWord>),
    #[prost(message, tag = "8")]
    BundlesPrepared(BundlesPrepared),
    #[prost(message, tag = "9")]
    ActorRecalled(LifeWord),
    #[prost(message, tag = "10")]
    Drained(Drained),
    #[prost(message, tag = "11")]
    Available(Resources),
    #[prost(message, tag = "12")]
    GroupWanted(PlacementGroupId),
    #[prost(message, boxed, tag = "13")]
    Reported(Box<Reported>),
    #[prost(string, tag = "14")]
    Leaves(String),
    #[prost(message, tag = "15")]
    NodeWanted(NodeId),
    #[prost(string, tag = "16")]
    NotIdle(String),
    #[prost(message, tag = "17")]
    Wants(NodeWants),
    #[prost(message, tag = "18")]
    DrainHeard(()),
}

/// See [`NodeSays::ProcessGone`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ProcessGone {
    #[prost(message, required, tag = "1")]
    pub process: WorkerId,
    #[prost(message, required, tag = "2")]
    pub cause: DeathCause,
}

/// See [`NodeSays::ActorPending`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ActorPending {
    #[prost(message, required, tag = "1")]
    pub actor: ActorId,
    #[prost(uint32, tag = "2")]
    pub incarnation: u32,
    #[prost(string, tag = "3")]
    pub reason: String,
}

/// See [`NodeSays::ActorPlaced`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ActorPlaced {
    #[prost(message, required, tag = "1")]
    pub actor: ActorId,
    #[prost(uint32, tag = "2")]
    pub incarnation: u32,
    #[prost(message, required, tag = "3")]
    pub address: WorkerAddress,
    #[prost(uint32, tag = "4")]
    pub pid: u32,
}

/// See [`NodeSays::BundlesPrepared`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BundlesPrepared {
    #[prost(message, required, tag = "1")]
    pub group: PlacementGroupId,
    #[prost(uint32, tag = "2")]
    pub attempt: u32,
    #[prost(bool, tag = "3")]
    pub is_granted: bool,
    #[prost(message, required, tag = "4")]
    pub available: Resources,
}

/// See [`NodeSays::Drained`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Drained {
    #[prost(string, tag = "1")]
    pub left_behind: String,
}

/// See [`NodeSays::Reported`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Reported {
    #[prost(uint64, tag = "1")]
    pub request: u64,
    #[prost(message, required, tag = "2")]
    pub node: NodeStatus,
    #[prost(message, repeated, tag = "3")]
    pub demands: Vec<PendingDemand>,
}

impl From<&NodeSays> for NodeSaid {
    fn from(says: &NodeSays) -> Self {
        let word = match says {
            NodeSays::Joined(status) => NodeWord::Joined(status.clone()),
            NodeSays::DriverJoined {
                driver,
                description,
            } => NodeWord::DriverJoined(Box::new(DriverWord {
                driver: driver.clone(),
                description: (**description).clone(),
            })),
            NodeSays::ClientSaid { client, message } => NodeWord::ClientSaid(ClientWord {
                client: *client,
                message: (&**message).into(),
            }),
            NodeSays::ProcessGone { process, cause } => {
                NodeWord::ProcessGone(Box::new(ProcessGone {
                    process: *process,
                    cause: (**cause).clone(),
                }))
            }
            NodeSays::ActorPending {
                actor,
                incarnation,
                reason,
            } => NodeWord::ActorPending(ActorPending {
                actor: *actor,
                incarnation: *incarnation,
                reason: reason.clone(),
            }),
            NodeSays::ActorPlaced {
                actor,
                incarnation,
                address,
                pid,
            } => NodeWord::ActorPlaced(Box::new(ActorPlaced {
                actor: *actor,
                incarnation: *incarnation,
                address: address.clone(),
                pid: *pid,
            })),
            NodeSays::ActorEnded {
                actor,
                incarnation,
                cause,
            } => NodeWord::ActorEnded(Box::new(LifeEndWord {
                actor: *actor,
                incarnation: *incarnation,
                cause: (**cause).clone(),
            })),
            NodeSays::BundlesPrepared {
                group,
                attempt,
                is_granted,
                available,
            } => NodeWord::BundlesPrepared(BundlesPrepared {
                group: *group,
                attempt: *attempt,
                is_granted: *is_granted,
                available: available.clone(),
            }),
            NodeSays::ActorRecalled { actor, incarnation } => NodeWord::ActorRecalled(LifeWord {
                actor: *actor,
                incarnation: *incarnation,
            }),
            NodeSays::Drained { left_behind } => NodeWord::Drained(Drained {
                left_behind: left_behind.clone(),
            }),
            NodeSays::Leaves { reason } => NodeWord::Leaves(reason.clone()),
            NodeSays::DrainHeard => NodeWord::DrainHeard(()),
            NodeSays::NotIdle { reason } => NodeWord::NotIdle(reason.clone()),
            NodeSays::Wants(wants) => NodeWord::Wants(wants.clone()),
            NodeSays::Available { available } => NodeWord::Available(available.clone()),
            NodeSays::GroupWanted { group } => NodeWord::GroupWanted(*group),
            NodeSays::NodeWanted { node } => NodeWord::NodeWanted(*node),
            NodeSays::Reported {
                request,
                node,
                demands,
            } => NodeWord::Reported(Box::new(Reported {
                request: *request,
                node: (**node).clone(),
                demands: demands.clone(),
            })),
        };
        Self { word: Some(word) }
    }
}

impl TryFrom<NodeSaid> for NodeSays {
    type Error = ProtocolError;

    fn try_from(said: NodeSaid) -> Result<Self, ProtocolError> {
        let word = said.word.ok_or_else(|| ProtocolError::Malformed {
            code: CODE,
            reason: "a word that this version does not know".to_owned(),
        })?;
        Ok(match word {
            NodeWord::Joined(status) => Self::Joined(status),
            NodeWord::DriverJoined(word) => Self::DriverJoined {
                driver: word.driver,
                description: Box::new(word.description),
            },
            NodeWord::ClientSaid(word) => Self::ClientSaid {
                client: word.client,
                message: Box::new(word.message.try_into()?),
            },
            NodeWord::ProcessGone(word) => Self::ProcessGone {
                process: word.process,
                cause: Box::new(word.cause),
            },
            NodeWord::ActorPending(word) => Self::ActorPending {
                actor: word.actor,
                incarnation: word.incarnation,
                reason: word.reason,
            },
            NodeWord::ActorPlaced(word) => Self::ActorPlaced {
                actor: word.actor,
                incarnation: word.incarnation,
                address: word.address,
                pid: word.pid,
            },
            NodeWord::ActorEnded(word) => Self::ActorEnded {
                actor: word.actor,
                incarnation: word.incarnation,
                cause: Box::new(word.cause),
            },
            NodeWord::BundlesPrepared(word) => Self::BundlesPrepared {
                group: word.group,
                attempt: word.attempt,
                is_granted: word.is_granted,
                available: word.available,
            },
            NodeWord::ActorRecalled(word) => Self::ActorRecalled {
                actor: word.actor,
                incarnation: word.incarnation,
            },
            NodeWord::Drained(Drained { left_behind }) => Self::Drained { left_behind },
            NodeWord::Leaves(reason) => Self::Leaves { reason },
            NodeWord::DrainHeard(()) => Self::DrainHeard,
            NodeWord::NotIdle(reason) => Self::NotIdle { reason },
            NodeWord::Wants(wants) => Self::Wants(wants),
            NodeWord::Available(available) => Self::Available { available },
            NodeWord::GroupWanted(group) => Self::GroupWanted { group },
            NodeWord::NodeWanted(node) => Self::NodeWanted { node },
            NodeWord::Reported(word) => Self::Reported {
                request: word.request,
                node: Box::new(word.node),
                demands: word.demands,
            },
        })
    }
}

#[cfg(test)]
#[path = "node_said_tests.rs"]
mod tests;
