//! What control says to a node, as a message of a stream.

use crate::frame::ProtocolError;
use crate::ids::{JobId, NodeId, PlacementGroupId, WorkerId};
use crate::link::{ControlSays, NodeNews};
use crate::messages::scaling::NodeType;
use crate::messages::session::JobDescription;
use crate::messages::word::{AttemptWord, ClientWord, DriverWord, LifeEndWord, LifeWord};
use crate::resources::Resources;
use crate::task::ActorSpec;

const CODE: u16 = 14;

/// The head to a node. See [`ControlSays`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ControlSaid {
    #[prost(
        oneof = "ControlWord",
        tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21"
    )]
    pub word: Option<ControlWord>,
}

/// One of the things that control says.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum ControlWord {
    #[prost(message, tag = "1")]
    Nodes(Nodes),
    #[prost(message, boxed, tag = "2")]
    JobStarted(Box<DriverWord>),
    #[prost(message, tag = "3")]
    RecallActor(LifeWord),
    #[prost(message, tag = "4")]
    GroupPlaced(GroupPlaced),
    #[prost(message, tag = "5")]
    Drain(Drain),
    #[prost(string, tag = "6")]
    Fenced(String),
    #[prost(string, tag = "19")]
    Ends(String),
    #[prost(message, tag = "7")]
    Tell(ClientWord),
    #[prost(message, boxed, tag = "8")]
    DriverAccepted(Box<DriverAccepted>),
    #[prost(message, tag = "9")]
    JobEnded(JobId),
    #[prost(message, boxed, tag = "10")]
    PlaceActor(Box<PlaceActor>),
    #[prost(message, tag = "11")]
    StopActor(LifeWord),
    #[prost(message, boxed, tag = "12")]
    KillActor(Box<LifeEndWord>),
    #[prost(message, tag = "13")]
    PrepareBundles(PrepareBundles),
    #[prost(message, tag = "14")]
    CommitBundles(AttemptWord),
    #[prost(message, tag = "15")]
    ReturnBundles(AttemptWord),
    #[prost(message, tag = "16")]
    RemoveGroup(PlacementGroupId),
    #[prost(message, tag = "17")]
    WatchResources(WatchResources),
    #[prost(uint64, tag = "18")]
    Report(u64),
    #[prost(message, tag = "20")]
    NodeUnknown(NodeId),
    #[prost(message, tag = "21")]
    NodeTypes(NodeTypes),
}

/// See [`ControlSays::NodeTypes`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NodeTypes {
    #[prost(message, repeated, tag = "1")]
    pub types: Vec<NodeType>,
}

/// See [`ControlSays::Nodes`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Nodes {
    #[prost(message, repeated, tag = "1")]
    pub nodes: Vec<NodeNews>,
}

/// See [`ControlSays::GroupPlaced`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GroupPlaced {
    #[prost(message, required, tag = "1")]
    pub group: PlacementGroupId,
    #[prost(message, repeated, tag = "2")]
    pub nodes: Vec<NodeId>,
}

/// See [`ControlSays::Drain`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Drain {
    #[prost(string, tag = "1")]
    pub reason: String,
    #[prost(uint64, tag = "2")]
    pub deadline_us: u64,
    #[prost(bool, tag = "3")]
    pub only_if_idle: bool,
}

/// See [`ControlSays::DriverAccepted`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DriverAccepted {
    #[prost(message, required, tag = "1")]
    pub driver: WorkerId,
    #[prost(message, required, tag = "2")]
    pub description: JobDescription,
}

/// See [`ControlSays::PlaceActor`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PlaceActor {
    #[prost(message, required, tag = "1")]
    pub spec: ActorSpec,
    #[prost(uint32, tag = "2")]
    pub incarnation: u32,
}

/// See [`ControlSays::PrepareBundles`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PrepareBundles {
    #[prost(message, required, tag = "1")]
    pub group: PlacementGroupId,
    #[prost(uint32, tag = "2")]
    pub attempt: u32,
    #[prost(message, repeated, tag = "3")]
    pub bundles: Vec<WantedBundle>,
}

/// One bundle that is to be reserved.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct WantedBundle {
    #[prost(uint32, tag = "1")]
    pub index: u32,
    #[prost(message, required, tag = "2")]
    pub resources: Resources,
}

/// See [`ControlSays::WatchResources`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct WatchResources {
    #[prost(bool, tag = "1")]
    pub is_on: bool,
    #[prost(bool, tag = "2")]
    pub with_decreases: bool,
}

impl From<&ControlSays> for ControlSaid {
    fn from(says: &ControlSays) -> Self {
        let life = |actor, incarnation| LifeWord { actor, incarnation };
        let of_attempt = |group, attempt| AttemptWord { group, attempt };
        let word = match says {
            ControlSays::Nodes(nodes) => ControlWord::Nodes(Nodes {
                nodes: nodes.clone(),
            }),
            ControlSays::NodeUnknown { node } => ControlWord::NodeUnknown(*node),
            ControlSays::JobStarted {
                description,
                driver,
            } => ControlWord::JobStarted(Box::new(DriverWord {
                driver: driver.clone(),
                description: (**description).clone(),
            })),
            ControlSays::RecallActor { actor, incarnation } => {
                ControlWord::RecallActor(life(*actor, *incarnation))
            }
            ControlSays::GroupPlaced { group, nodes } => ControlWord::GroupPlaced(GroupPlaced {
                group: *group,
                nodes: nodes.clone(),
            }),
            ControlSays::Drain {
                reason,
                deadline_us,
                only_if_idle,
            } => ControlWord::Drain(Drain {
                reason: reason.clone(),
                deadline_us: *deadline_us,
                only_if_idle: *only_if_idle,
            }),
            ControlSays::NodeTypes(types) => ControlWord::NodeTypes(NodeTypes {
                types: types.clone(),
            }),
            ControlSays::Fenced { reason } => ControlWord::Fenced(reason.clone()),
            ControlSays::Ends { reason } => ControlWord::Ends(reason.clone()),
            ControlSays::Tell { client, message } => ControlWord::Tell(ClientWord {
                client: *client,
                message: (&**message).into(),
            }),
            ControlSays::DriverAccepted {
                driver,
                description,
            } => ControlWord::DriverAccepted(Box::new(DriverAccepted {
                driver: *driver,
                description: (**description).clone(),
            })),
            ControlSays::JobEnded { job } => ControlWord::JobEnded(*job),
            ControlSays::PlaceActor { spec, incarnation } => {
                ControlWord::PlaceActor(Box::new(PlaceActor {
                    spec: (**spec).clone(),
                    incarnation: *incarnation,
                }))
            }
            ControlSays::StopActor { actor, incarnation } => {
                ControlWord::StopActor(life(*actor, *incarnation))
            }
            ControlSays::KillActor {
                actor,
                incarnation,
                cause,
            } => ControlWord::KillActor(Box::new(LifeEndWord {
                actor: *actor,
                incarnation: *incarnation,
                cause: (**cause).clone(),
            })),
            ControlSays::PrepareBundles {
                group,
                attempt,
                bundles,
            } => {
                let bundles = bundles.iter().map(|(index, resources)| WantedBundle {
                    index: *index,
                    resources: resources.clone(),
                });
                ControlWord::PrepareBundles(PrepareBundles {
                    group: *group,
                    attempt: *attempt,
                    bundles: bundles.collect(),
                })
            }
            ControlSays::CommitBundles { group, attempt } => {
                ControlWord::CommitBundles(of_attempt(*group, *attempt))
            }
            ControlSays::ReturnBundles { group, attempt } => {
                ControlWord::ReturnBundles(of_attempt(*group, *attempt))
            }
            ControlSays::RemoveGroup { group } => ControlWord::RemoveGroup(*group),
            ControlSays::WatchResources {
                is_on,
                with_decreases,
            } => ControlWord::WatchResources(WatchResources {
                is_on: *is_on,
                with_decreases: *with_decreases,
            }),
            ControlSays::Report { request } => ControlWord::Report(*request),
        };
        Self { word: Some(word) }
    }
}

impl TryFrom<ControlSaid> for ControlSays {
    type Error = ProtocolError;

    fn try_from(said: ControlSaid) -> Result<Self, ProtocolError> {
        let word = said.word.ok_or_else(|| ProtocolError::Malformed {
            code: CODE,
            reason: "a word that this version does not know".to_owned(),
        })?;
        Ok(match word {
            ControlWord::Nodes(word) => Self::Nodes(word.nodes),
            ControlWord::NodeUnknown(node) => Self::NodeUnknown { node },
            ControlWord::JobStarted(word) => Self::JobStarted {
                description: Box::new(word.description),
                driver: word.driver,
            },
            ControlWord::RecallActor(LifeWord { actor, incarnation }) => {
                Self::RecallActor { actor, incarnation }
            }
            ControlWord::GroupPlaced(GroupPlaced { group, nodes }) => {
                Self::GroupPlaced { group, nodes }
            }
            ControlWord::Drain(Drain {
                reason,
                deadline_us,
                only_if_idle,
            }) => Self::Drain {
                reason,
                deadline_us,
                only_if_idle,
            },
            ControlWord::NodeTypes(word) => Self::NodeTypes(word.types),
            ControlWord::Fenced(reason) => Self::Fenced { reason },
            ControlWord::Ends(reason) => Self::Ends { reason },
            ControlWord::Tell(word) => Self::Tell {
                client: word.client,
                message: Box::new(word.message.try_into()?),
            },
            ControlWord::DriverAccepted(word) => Self::DriverAccepted {
                driver: word.driver,
                description: Box::new(word.description),
            },
            ControlWord::JobEnded(job) => Self::JobEnded { job },
            ControlWord::PlaceActor(word) => Self::PlaceActor {
                spec: Box::new(word.spec),
                incarnation: word.incarnation,
            },
            ControlWord::StopActor(LifeWord { actor, incarnation }) => {
                Self::StopActor { actor, incarnation }
            }
            ControlWord::KillActor(word) => Self::KillActor {
                actor: word.actor,
                incarnation: word.incarnation,
                cause: Box::new(word.cause),
            },
            ControlWord::PrepareBundles(word) => {
                let bundles = word.bundles.into_iter();
                Self::PrepareBundles {
                    group: word.group,
                    attempt: word.attempt,
                    bundles: bundles
                        .map(|bundle| (bundle.index, bundle.resources))
                        .collect(),
                }
            }
            ControlWord::CommitBundles(AttemptWord { group, attempt }) => {
                Self::CommitBundles { group, attempt }
            }
            ControlWord::ReturnBundles(AttemptWord { group, attempt }) => {
                Self::ReturnBundles { group, attempt }
            }
            ControlWord::RemoveGroup(group) => Self::RemoveGroup { group },
            ControlWord::WatchResources(WatchResources {
                is_on,
                with_decreases,
            }) => Self::WatchResources {
                is_on,
                with_decreases,
            },
            ControlWord::Report(request) => Self::Report { request },
        })
    }
}

#[cfg(test)]
#[path = "control_said_tests.rs"]
mod tests;
