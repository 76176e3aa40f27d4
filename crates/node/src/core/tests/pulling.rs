//! Objects that are on other nodes.

use whipray_proto::messages::object::{CreateObject, ObjectsPinned, PinObjects, SealObject};
use whipray_proto::{ActorId, NodeId, ObjectId, TaskId};
use whipray_store::core::{Pull, PullRoom};

use super::*;

fn object(number: u64) -> ObjectId {
    TaskId::of(number, ActorId::none_of(JobId::from_number(1))).return_id(1)
}

fn node(number: u8) -> NodeId {
    NodeId::from_array([number; 28])
}

/// A node that knows node 1, with a driver.
fn stage() -> (Stage, ClientId) {
    let mut stage = Stage::new(cpus(1.0));
    stage
        .node
        .set_endpoint(node(1), "tcp:10.0.0.1:1".to_owned());
    let (driver, _) = stage.driver();
    stage.effects.clear();
    (stage, driver)
}

fn pin(stage: &mut Stage, client: ClientId, request: u64, objects: &[(u64, NodeId)]) {
    let count = objects.len();
    stage.say(
        client,
        PinObjects {
            request,
            objects: objects.iter().map(|(number, _)| object(*number)).collect(),
            locations: objects.iter().map(|(_, node)| *node).collect(),
            owners: vec![WorkerId::from_array([9; 28]); count],
            sizes: vec![1000; count],
            owner_nodes: vec![node(1); count],
        },
    );
}

fn answer(stage: &mut Stage, client: ClientId) -> Option<ObjectsPinned> {
    let answers = stage
        .received(client)
        .into_iter()
        .filter_map(|it| match it {
            Message::ObjectsPinned(pinned) => Some(pinned),
            _ => None,
        });
    answers.last()
}

#[test]
fn an_object_of_another_node_is_fetched_and_told_as_a_new_copy() {
    let (mut stage, driver) = stage();
    pin(
        &mut stage,
        driver,
        3,
        &[(1, node(1)), (2, NodeId::default())],
    );
    let pull = Pull {
        pull: 0,
        object: object(1),
        from: node(1),
        size_bytes: 1000,
        room: PullRoom::Arena {
            offset: 0,
            cold_bytes: 0,
        },
    };
    let endpoint = "tcp:10.0.0.1:1".to_owned();
    assert!(stage.effects.contains(&Effect::Pull { pull, endpoint }));
    assert_eq!(answer(&mut stage, driver), None);
    stage.node.on_pulled(0, Ok(()), stage.now);
    stage.settle();
    let pinned = answer(&mut stage, driver).unwrap();
    assert_eq!(
        (pinned.request, pinned.objects.len(), pinned.lost.len()),
        (3, 1, 0)
    );
    assert!(pinned.objects[0].is_new_copy);
}

#[test]
fn a_node_that_is_not_there_has_nothing() {
    let (mut stage, driver) = stage();
    pin(&mut stage, driver, 1, &[(1, node(7))]);
    let pinned = answer(&mut stage, driver).unwrap();
    assert!(pinned.lost[0].reason.contains("not part of the cluster"));
    pin(&mut stage, driver, 2, &[(1, node(1))]);
    stage.node.pulls_source_gone(node(1), stage.now);
    stage.settle();
    let pinned = answer(&mut stage, driver).unwrap();
    assert_eq!((pinned.request, pinned.lost.len()), (2, 1));
    assert!(!pinned.lost[0].is_full);
    let pulls = stage.effects.iter();
    let ended = pulls.filter(|effect| matches!(effect, Effect::CancelPull { .. }));
    assert_eq!(ended.count(), 1);
    stage.node.on_pulled(1, Err(String::new()), stage.now);
    stage.settle();
    assert_eq!(stage.node.objects.usage().used_bytes, 0);
}

#[test]
fn what_has_no_room_is_not_lost() {
    let (mut stage, driver) = stage();
    let owners = vec![WorkerId::from_array([9; 28])];
    stage.say(
        driver,
        PinObjects {
            request: 1,
            objects: vec![object(1)],
            locations: vec![node(1)],
            owners,
            sizes: vec![2 << 20],
            owner_nodes: vec![node(1)],
        },
    );
    assert!(answer(&mut stage, driver).unwrap().lost[0].is_full);
}

#[test]
fn lists_that_do_not_belong_together_break_nothing() {
    let (mut stage, driver) = stage();
    stage.say(
        driver,
        PinObjects {
            request: 1,
            objects: vec![object(1), object(2)],
            locations: vec![node(1)],
            owners: Vec::new(),
            sizes: vec![u64::MAX; 5],
            owner_nodes: vec![node(2)],
        },
    );
    let pinned = answer(&mut stage, driver).unwrap();
    assert_eq!((pinned.objects.len(), pinned.lost.len()), (0, 0));
}

#[test]
fn other_nodes_get_what_is_here() {
    let (mut stage, driver) = stage();
    stage.say(
        driver,
        CreateObject {
            request: 1,
            object: object(1),
            size_bytes: 100,
        },
    );
    let owner = stage.node.clients[&driver].worker;
    // It may be asked for before the seal has been read.
    stage.node.on_object_wanted(7, object(1), stage.now);
    stage.node.on_object_wanted(8, object(2), stage.now);
    stage.settle();
    let answered = |stage: &Stage, wanted: u64| {
        let mut answers = stage.effects.iter().filter_map(|effect| match effect {
            Effect::Serve { ask, outcome } if *ask == wanted => Some(outcome.is_ok()),
            _ => None,
        });
        answers.next()
    };
    assert_eq!(
        (answered(&stage, 7), answered(&stage, 8)),
        (None, Some(false))
    );
    stage.say(
        driver,
        SealObject {
            object: object(1),
            owner,
            unpin: true,
            owner_node: None,
        },
    );
    assert_eq!(answered(&stage, 7), Some(true));
    stage.gone(driver);
    assert_eq!(stage.node.objects.usage().objects, 1, "it is being sent");
    stage.node.on_object_sent(object(1), stage.now);
    stage.settle();
    assert_eq!(stage.node.objects.usage().objects, 0);
}
