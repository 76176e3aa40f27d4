//! Every message, with its code on the wire. A code is never used again for something else.
//!
//! Messages are grouped by who speaks to whom: [`session`] (anyone to a node: hello, bye),
//! [`lease`] (owner and node), [`object`] (client and store; borrower and owner), [`execution`]
//! (owner and executor), [`actor`] (owner, node and control), [`placement`] (placement
//! groups: client and control), [`membership`] (daemons to each other), [`node_said`] and [`control_said`] (node and
//! control), [`draining`] (client and control: nodes that are to go), [`cluster`] (queries,
//! key-value, logs), [`inquiry`] and [`metrics`] (what processes know and count, asked through the node),
//! [`transfer`] (objects from one node to another), [`moving`] (objects of a node that is to go),
//! [`scaling`] (control and the autoscaler).

pub mod actor;
pub mod cluster;
pub mod control_said;
pub mod draining;
pub mod execution;
pub mod inquiry;
pub mod lease;
pub mod membership;
pub mod metrics;
pub mod moving;
pub mod node_said;
pub mod object;
pub mod placement;
pub mod scaling;
pub mod session;
pub mod transfer;
pub mod word;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message as _;

use crate::frame::{FrameHeader, HEADER_BYTES, ProtocolError};

/// How a message lies in [`Message`]: as it is, or in a box.
macro_rules! placed {
    ($body:ty) => { $body };
    ($body:ty, $place:ident) => { $place<$body> };
}

macro_rules! messages {
    ($($code:literal => $module:ident :: $name:ident $(in $place:ident)?,)*) => {
        /// Any message. The largest ones are boxed, since all of them are moved about as often as the
        /// small ones that a call is made of.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Message {
            $($name(placed!($module::$name $(, $place)?)),)*
        }

        impl Message {
            /// The code of the message on the wire.
            pub fn code(&self) -> u16 {
                match self {
                    $(Self::$name(_) => $code,)*
                }
            }

            /// The name of the message, for logs.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => stringify!($name),)*
                }
            }

            fn body_len(&self) -> usize {
                match self {
                    $(Self::$name(body) => body.encoded_len(),)*
                }
            }

            fn encode_body(&self, buffer: &mut BytesMut) {
                match self {
                    $(Self::$name(body) => body.encode_raw(buffer),)*
                }
            }

            /// The message with this code and body.
            ///
            /// # Errors
            /// An unknown code, or a body that is not such a message.
            pub fn decode(code: u16, body: Bytes) -> Result<Self, ProtocolError> {
                let malformed = |error: prost::DecodeError| ProtocolError::Malformed {
                    code,
                    reason: error.to_string(),
                };
                match code {
                    $($code => prost::Message::decode(body).map(Self::$name).map_err(malformed),)*
                    unknown => Err(ProtocolError::UnknownCode(unknown)),
                }
            }
        }

        $(impl From<$module::$name> for Message {
            fn from(body: $module::$name) -> Self {
                Self::$name(body.into())
            }
        })*
    };
}

messages! {
    1 => session::Hello in Box,
    2 => session::Welcome,
    3 => session::Refused,
    4 => session::PeerHello,
    5 => session::Goodbye,
    6 => session::ShutDown,
    7 => membership::StreamHello,
    8 => membership::StreamWelcome,
    9 => membership::StreamAck,
    10 => membership::HeartbeatHello,
    11 => membership::Heartbeat,
    12 => membership::PassedPeer,
    13 => node_said::NodeSaid,
    14 => control_said::ControlSaid,
    15 => session::NodeEnds,

    16 => lease::LeaseTarget,
    17 => lease::LeaseGranted,
    18 => lease::LeaseReturn,
    19 => lease::LeaseLost,
    20 => lease::ReclaimIdle,
    21 => lease::LeasePending,
    22 => lease::WorkerBlocked,
    23 => lease::WorkerUnblocked,
    24 => lease::KillWorker,
    25 => lease::WatchWorker,
    26 => lease::WorkerDied,
    27 => lease::LeaseRefused,
    28 => lease::NodeDied,
    29 => lease::IdleReturned,

    48 => object::CreateObject,
    49 => object::ObjectCreated,
    50 => object::SealObject,
    51 => object::FreeObjects,
    52 => object::PinObjects,
    53 => object::ObjectsPinned,
    54 => object::UnpinObjects,
    55 => object::SubscribeObject,
    56 => object::ObjectReady,
    57 => object::AddBorrower,
    58 => object::RemoveBorrower,
    59 => object::ReleaseMappings,
    60 => object::ConfirmBorrower,
    61 => object::CopyAdded,

    80 => execution::PushTask in Box,
    81 => execution::TaskReplied,
    82 => execution::CancelTask,
    83 => execution::ReclaimTasks,
    84 => execution::StreamItem,
    85 => execution::StreamTaken,

    96 => actor::CreateActor in Box,
    97 => actor::ActorCreated in Box,
    98 => actor::StartActor in Box,
    99 => actor::ActorStarted,
    100 => actor::ActorUpdate in Box,
    101 => actor::SubscribeActor,
    102 => actor::GetNamedActor,
    103 => actor::NamedActor in Box,
    104 => actor::ListNamedActors,
    105 => actor::NamedActors,
    106 => actor::KillActor,
    107 => actor::ActorOutOfScope,
    108 => actor::ActorExiting,
    109 => actor::StopActor,

    112 => placement::CreateGroup,
    113 => placement::GroupCreated,
    114 => placement::RemoveGroup,
    115 => placement::SubscribeGroup,
    116 => placement::GroupUpdate,
    117 => placement::GroupsRequest,
    118 => placement::Groups,

    128 => cluster::KeyValueRequest,
    129 => cluster::KeyValueReply,
    130 => cluster::StatusRequest,
    131 => cluster::StatusReply,
    132 => cluster::LogLines,
    133 => cluster::FlushLogs,
    134 => cluster::LogsFlushed,
    135 => cluster::WarnDriver,
    136 => cluster::JobRequest,
    137 => cluster::JobReply,
    138 => draining::DrainNode,
    139 => draining::NodeDrained,
    140 => scaling::ScalingStatus,
    141 => scaling::ScalingView,
    142 => scaling::RequestResources,

    160 => inquiry::Inquiry,
    161 => inquiry::ReportRequest,
    162 => inquiry::ProcessReported in Box,
    163 => inquiry::InquiryAnswered,
    164 => inquiry::CycleFound,

    176 => metrics::MetricsRequest,
    177 => metrics::MetricsReported,

    192 => transfer::TransferHello,
    193 => transfer::FetchObject,
    194 => transfer::FetchStarted,
    195 => transfer::FetchFailed,
    196 => transfer::FetchElsewhere,
    197 => transfer::FetchWaits,
    198 => transfer::FetchEnded,

    208 => moving::TakeObjects,
    209 => moving::ObjectsTaken,
    210 => moving::CopyTaken,
    211 => moving::CopyKept,
}

impl Message {
    /// Appends the message with its frame header to `buffer`.
    pub fn encode_frame(&self, buffer: &mut BytesMut) {
        let length = self.body_len();
        buffer.reserve(HEADER_BYTES + length);
        buffer.put_slice(
            &FrameHeader {
                length,
                code: self.code(),
            }
            .to_array(),
        );
        self.encode_body(buffer);
    }

    /// The message in a frame that a test or a log has as a whole.
    ///
    /// # Errors
    /// A frame that is not complete, or not a message.
    pub fn decode_frame(frame: &[u8]) -> Result<Self, ProtocolError> {
        let header = FrameHeader::parse(frame, usize::MAX)?.ok_or(ProtocolError::Malformed {
            code: 0,
            reason: "frame is shorter than its header".to_owned(),
        })?;
        let body = frame
            .get(HEADER_BYTES..HEADER_BYTES + header.length)
            .ok_or(ProtocolError::Malformed {
                code: header.code,
                reason: "frame is shorter than its header says".to_owned(),
            })?;
        Self::decode(header.code, Bytes::copy_from_slice(body))
    }
}

#[cfg(test)]
mod tests {
    use super::Message;

    #[test]
    fn a_message_is_cheap_to_move() {
        // Box what is larger, unless calls or leases are made of it.
        assert!(size_of::<Message>() <= 232, "{}", size_of::<Message>());
    }
}
