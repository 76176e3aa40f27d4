//! Parts of what nodes and control say that travel in both directions, or in several words.

use bytes::{Bytes, BytesMut};

use crate::failure::DeathCause;
use crate::frame::ProtocolError;
use crate::ids::{ActorId, PlacementGroupId, WorkerId};
use crate::link::{ControlSays, NodeSays};
use crate::messages::Message;
use crate::messages::control_said::ControlSaid;
use crate::messages::node_said::NodeSaid;
use crate::messages::session::JobDescription;
use crate::object::WorkerAddress;

/// A message of a client, or to one, as it would lie in a frame.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Carried {
    #[prost(uint32, tag = "1")]
    pub code: u32,
    #[prost(bytes = "bytes", tag = "2")]
    pub body: Bytes,
}

impl From<&Message> for Carried {
    fn from(message: &Message) -> Self {
        let mut body = BytesMut::with_capacity(message.body_len());
        message.encode_body(&mut body);
        Self {
            code: u32::from(message.code()),
            body: body.freeze(),
        }
    }
}

impl TryFrom<Carried> for Message {
    type Error = ProtocolError;

    fn try_from(carried: Carried) -> Result<Self, ProtocolError> {
        let code = u16::try_from(carried.code).map_err(|_| ProtocolError::Malformed {
            code: 0,
            reason: format!("{} is the code of no message", carried.code),
        })?;
        Self::decode(code, carried.body)
    }
}

/// What a client says, or is told.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ClientWord {
    #[prost(message, required, tag = "1")]
    pub client: WorkerId,
    #[prost(message, required, tag = "2")]
    pub message: Carried,
}

/// A driver and its job.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DriverWord {
    #[prost(message, required, tag = "1")]
    pub driver: WorkerAddress,
    #[prost(message, required, tag = "2")]
    pub description: JobDescription,
}

/// One life of an actor.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct LifeWord {
    #[prost(message, required, tag = "1")]
    pub actor: ActorId,
    #[prost(uint32, tag = "2")]
    pub incarnation: u32,
}

/// The end of one life of an actor.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct LifeEndWord {
    #[prost(message, required, tag = "1")]
    pub actor: ActorId,
    #[prost(uint32, tag = "2")]
    pub incarnation: u32,
    #[prost(message, required, tag = "3")]
    pub cause: DeathCause,
}

/// One attempt to place a group.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AttemptWord {
    #[prost(message, required, tag = "1")]
    pub group: PlacementGroupId,
    #[prost(uint32, tag = "2")]
    pub attempt: u32,
}

impl From<NodeSays> for Message {
    fn from(says: NodeSays) -> Self {
        Self::NodeSaid(NodeSaid::from(&says))
    }
}

impl From<ControlSays> for Message {
    fn from(says: ControlSays) -> Self {
        Self::ControlSaid(ControlSaid::from(&says))
    }
}
