use super::*;
use crate::failure::DeathKind;
use crate::ids::{JobId, NodeId};
use crate::messages::Message;
use crate::messages::actor::{ActorOutOfScope, KillActor};
use crate::messages::session::JobDescription;
use crate::resources::CPU;
use bytes::BytesMut;

/// The word that comes after this one; all of them in a row begin with `Joined`.
fn next(says: &NodeSays) -> Option<NodeSays> {
    let actor = ActorId::new(JobId::from_number(3));
    let cause = || Box::new(DeathCause::new(DeathKind::Signalled, "a story"));
    let address = || WorkerAddress {
        worker: WorkerId::from_array([7; 28]),
        node: NodeId::from_array([8; 28]),
        endpoint: "unix:@x".to_owned(),
        node_endpoint: "tcp:10.0.0.1:7".to_owned(),
    };
    let node = || NodeStatus {
        node: NodeId::from_array([8; 28]),
        alive: true,
        total: Resources::none().with(CPU, 4.0),
        ..NodeStatus::default()
    };
    let client = WorkerId::from_array([9; 28]);
    let group = PlacementGroupId::new(JobId::from_number(3));
    Some(match says {
        NodeSays::Joined(_) => NodeSays::DriverJoined {
            driver: address(),
            description: Box::new(JobDescription {
                entrypoint: "main.py".to_owned(),
                ..JobDescription::default()
            }),
        },
        NodeSays::DriverJoined { .. } => NodeSays::ClientSaid {
            client,
            message: Box::new(
                KillActor {
                    actor,
                    no_restart: true,
                }
                .into(),
            ),
        },
        NodeSays::ClientSaid { .. } => NodeSays::ProcessGone {
            process: client,
            cause: cause(),
        },
        NodeSays::ProcessGone { .. } => NodeSays::ActorPending {
            actor,
            incarnation: 2,
            reason: "waits".to_owned(),
        },
        NodeSays::ActorPending { .. } => NodeSays::ActorPlaced {
            actor,
            incarnation: 2,
            address: address(),
            pid: 11,
        },
        NodeSays::ActorPlaced { .. } => NodeSays::ActorEnded {
            actor,
            incarnation: 2,
            cause: cause(),
        },
        NodeSays::ActorEnded { .. } => NodeSays::BundlesPrepared {
            group,
            attempt: 4,
            is_granted: true,
            available: Resources::none().with(CPU, 1.0),
        },
        NodeSays::BundlesPrepared { .. } => NodeSays::ActorRecalled {
            actor,
            incarnation: 2,
        },
        NodeSays::ActorRecalled { .. } => NodeSays::Drained {
            left_behind: "1 object".to_owned(),
        },
        NodeSays::Drained { .. } => NodeSays::Leaves {
            reason: "it was asked to".to_owned(),
        },
        NodeSays::Leaves { .. } => NodeSays::Available {
            available: Resources::none().with(CPU, 0.5),
        },
        NodeSays::Available { .. } => NodeSays::GroupWanted { group },
        NodeSays::GroupWanted { .. } => NodeSays::NodeWanted {
            node: NodeId::from_array([8; 28]),
        },
        NodeSays::NodeWanted { .. } => NodeSays::Reported {
            request: 5,
            node: Box::new(node()),
            demands: vec![PendingDemand {
                count: 2,
                ..PendingDemand::default()
            }],
        },
        NodeSays::Reported { .. } => NodeSays::NotIdle {
            reason: "2 leases".to_owned(),
        },
        NodeSays::NotIdle { .. } => NodeSays::Wants(NodeWants {
            busy: "1 lease".to_owned(),
            ..NodeWants::default()
        }),
        NodeSays::Wants(_) => NodeSays::DrainHeard,
        NodeSays::DrainHeard => return None,
    })
}

#[test]
fn every_word_arrives_as_it_was_said() -> Result<(), ProtocolError> {
    let mut says = Some(NodeSays::Joined(Box::default()));
    let mut count = 0;
    while let Some(said) = says {
        let mut frame = BytesMut::new();
        Message::from(said.clone()).encode_frame(&mut frame);
        let Message::NodeSaid(arrived) = Message::decode_frame(&frame)? else {
            return Err(ProtocolError::UnknownCode(CODE));
        };
        assert_eq!(NodeSays::try_from(arrived)?, said);
        says = next(&said);
        count += 1;
    }
    assert_eq!(count, 18);
    Ok(())
}

#[test]
fn golden_bytes() {
    let message = Box::new(Message::from(ActorOutOfScope::default()));
    let client = WorkerId::from_array([0; 28]);
    let mut frame = BytesMut::new();
    Message::from(NodeSays::ClientSaid { client, message }).encode_frame(&mut frame);
    // Word 3: the client's empty id, then a message with code 107 and an empty id of an actor.
    let expected = [
        12, 0, 0, 0, 13, 0, 0, 0, 26, 10, 10, 0, 18, 6, 8, 107, 18, 2, 10, 0,
    ];
    assert_eq!(frame[..], expected);
}

#[test]
fn what_makes_no_sense_is_refused() {
    assert!(NodeSays::try_from(NodeSaid { word: None }).is_err());
    for code in [70_000, 999] {
        let message = crate::messages::word::Carried {
            code,
            ..Default::default()
        };
        let client = WorkerId::default();
        let word = Some(NodeWord::ClientSaid(ClientWord { client, message }));
        assert!(NodeSays::try_from(NodeSaid { word }).is_err());
    }
}
