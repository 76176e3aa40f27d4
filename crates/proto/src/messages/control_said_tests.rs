use super::*;
use crate::failure::{DeathCause, DeathKind};
use crate::ids::ActorId;
use crate::link::NodeState;
use crate::messages::Message;
use crate::messages::cluster::WarnDriver;
use crate::object::WorkerAddress;
use crate::resources::CPU;
use bytes::BytesMut;

/// The word that comes after this one; all of them in a row begin with `Report`.
fn next(says: &ControlSays) -> Option<ControlSays> {
    let actor = ActorId::new(JobId::from_number(3));
    let (incarnation, attempt) = (2, 4);
    let cause = || DeathCause::new(DeathKind::NodeDied, "a story");
    let node = NodeId::from_array([8; 28]);
    let client = WorkerId::from_array([9; 28]);
    let group = PlacementGroupId::new(JobId::from_number(3));
    let description = || {
        Box::new(JobDescription {
            entrypoint: "main.py".to_owned(),
            ..JobDescription::default()
        })
    };
    Some(match says {
        ControlSays::Report { .. } => ControlSays::Nodes(vec![NodeNews {
            node,
            state: NodeState::Dead as i32,
            endpoint: "tcp:10.0.0.1:7".to_owned(),
            ip: "10.0.0.1".to_owned(),
            total: Resources::none().with(CPU, 4.0),
            available: Resources::none().with(CPU, 1.0),
            labels: [("zone".to_owned(), "a".to_owned())].into(),
            cause: Some(cause()),
        }]),
        ControlSays::Nodes(_) => ControlSays::NodeUnknown { node },
        ControlSays::NodeUnknown { .. } => ControlSays::JobStarted {
            description: description(),
            driver: WorkerAddress {
                worker: client,
                node,
                ..WorkerAddress::default()
            },
        },
        ControlSays::JobStarted { .. } => ControlSays::RecallActor { actor, incarnation },
        ControlSays::RecallActor { .. } => ControlSays::GroupPlaced {
            group,
            nodes: vec![node, NodeId::nil()],
        },
        ControlSays::GroupPlaced { .. } => ControlSays::Drain {
            reason: "it is idle".to_owned(),
            deadline_us: 6,
            only_if_idle: true,
        },
        ControlSays::Drain { .. } => ControlSays::Fenced {
            reason: "silent".to_owned(),
        },
        ControlSays::Fenced { .. } => ControlSays::NodeTypes(vec![NodeType {
            name: "gpu".to_owned(),
            ..NodeType::default()
        }]),
        ControlSays::NodeTypes(_) => ControlSays::Ends {
            reason: "it was asked to".to_owned(),
        },
        ControlSays::Ends { .. } => ControlSays::Tell {
            client,
            message: Box::new(Message::from(WarnDriver {
                text: "beware".to_owned(),
                job: None,
            })),
        },
        ControlSays::Tell { .. } => ControlSays::DriverAccepted {
            driver: client,
            description: description(),
        },
        ControlSays::DriverAccepted { .. } => ControlSays::JobEnded {
            job: JobId::from_number(3),
        },
        ControlSays::JobEnded { .. } => ControlSays::PlaceActor {
            spec: Box::new(ActorSpec {
                actor,
                class_name: "Counter".to_owned(),
                ..ActorSpec::default()
            }),
            incarnation,
        },
        ControlSays::PlaceActor { .. } => ControlSays::StopActor { actor, incarnation },
        ControlSays::StopActor { .. } => ControlSays::KillActor {
            actor,
            incarnation,
            cause: Box::new(cause()),
        },
        ControlSays::KillActor { .. } => ControlSays::PrepareBundles {
            group,
            attempt,
            bundles: vec![
                (0, Resources::none().with(CPU, 1.0)),
                (3, Resources::none()),
            ],
        },
        ControlSays::PrepareBundles { .. } => ControlSays::CommitBundles { group, attempt },
        ControlSays::CommitBundles { .. } => ControlSays::ReturnBundles { group, attempt },
        ControlSays::ReturnBundles { .. } => ControlSays::RemoveGroup { group },
        ControlSays::RemoveGroup { .. } => ControlSays::WatchResources {
            is_on: true,
            with_decreases: true,
        },
        ControlSays::WatchResources { .. } => return None,
    })
}

#[test]
fn every_word_arrives_as_it_was_said() -> Result<(), ProtocolError> {
    let mut says = Some(ControlSays::Report { request: 7 });
    let mut count = 0;
    while let Some(said) = says {
        let mut frame = BytesMut::new();
        Message::from(said.clone()).encode_frame(&mut frame);
        let Message::ControlSaid(arrived) = Message::decode_frame(&frame)? else {
            return Err(ProtocolError::UnknownCode(CODE));
        };
        assert_eq!(ControlSays::try_from(arrived)?, said);
        says = next(&said);
        count += 1;
    }
    assert_eq!(count, 21);
    Ok(())
}

#[test]
fn golden_bytes() {
    let mut frame = BytesMut::new();
    Message::from(ControlSays::WatchResources {
        is_on: true,
        with_decreases: true,
    })
    .encode_frame(&mut frame);
    let expected = [7, 0, 0, 0, 14, 0, 0, 0, 138, 1, 4, 8, 1, 16, 1];
    assert_eq!(frame[..], expected);
}

#[test]
fn a_word_of_a_later_version_is_refused() {
    assert!(ControlSays::try_from(ControlSaid { word: None }).is_err());
}
