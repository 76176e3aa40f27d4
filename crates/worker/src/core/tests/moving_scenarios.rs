//! Copies that move to another node, since theirs is to go.

use whipray_proto::messages::moving::{CopyKept, CopyTaken};
use whipray_proto::messages::object::{CopyAdded, FreeObjects, SubscribeObject};
use whipray_proto::{DeathCause, DeathKind, SharedLocation};

use super::*;

fn at(number: u8) -> SharedLocation {
    SharedLocation {
        node: node(number),
        size_bytes: 2 << 20,
        attempt: 0,
    }
}

fn shared(number: u8) -> ObjectValue {
    ObjectValue {
        shared: Some(at(number)),
        ..ObjectValue::default()
    }
}

/// An owner on node 1 with the result of a task without retries that ran on node 2.
fn owner_with_far_result() -> (TestOwner, Arc<ObjectCell>) {
    let mut owner = TestOwner::new("owner");
    let template = TaskTemplate {
        max_retries: 0,
        ..template()
    };
    let result = owner.submit(&template);
    owner.grant_of(0, 1, far_address("w1", 2));
    owner.effects();
    let values = vec![shared(2)];
    owner.reply("w1", result.id(), TaskOutcome::Returned, values, 10);
    owner.effects();
    (owner, result)
}

/// A node says that it has taken over what node 2 has; whether the owner counts on that.
fn taken(owner: &mut TestOwner, object: ObjectId, by: u8) -> bool {
    let taken = CopyTaken {
        request: 5,
        object,
        owner: owner.core.me.worker,
        from: node(2),
        by: node(by),
    };
    owner.core.on_node_message(taken.into(), 0);
    owner.core.validate().unwrap();
    let mut kept = false;
    owner.core.effects.retain(|effect| match effect {
        Effect::ToNode(Message::CopyKept(answer)) => {
            let is_kept = answer.is_kept;
            let expected = CopyKept {
                request: Some(taken.request),
                object,
                owner: taken.owner,
                by: taken.by,
                is_kept,
            };
            assert_eq!(*answer, expected);
            kept = is_kept;
            false
        }
        _ => true,
    });
    kept
}

fn freed(owner: &mut TestOwner) -> Vec<Option<NodeId>> {
    let told = owner.told_node().into_iter();
    let freed = told.filter_map(|message| match message {
        Message::FreeObjects(FreeObjects { node, .. }) => Some(node),
        _ => None,
    });
    freed.collect()
}

fn die(owner: &mut TestOwner, number: u8) {
    let died = whipray_proto::messages::lease::NodeDied {
        node: node(number),
        cause: DeathCause::new(DeathKind::NodeDied, "it was drained"),
    };
    owner.core.on_node_message(died.into(), 0);
    owner.core.validate().unwrap();
}

#[test]
fn what_has_moved_is_not_lost_with_the_node_that_it_was_on() {
    let (mut owner, result) = owner_with_far_result();
    let object = result.id();
    assert!(taken(&mut owner, object, 3));
    assert_eq!(result.location(), Some(at(3)));
    let copies = owner.core.objects.nodes_of(&object);
    assert_eq!(copies, [node(3), node(2)], "the old one is there yet");
    die(&mut owner, 2);
    assert_eq!(result.location(), Some(at(3)));
    owner.core.release(&object);
    assert_eq!(freed(&mut owner), [Some(node(3))]);
    owner.check_empty();
}

#[test]
fn a_reader_that_was_told_of_the_old_place_hears_of_the_new_one() {
    let (mut owner, result) = owner_with_far_result();
    let object = result.id();
    let reader = far_address("reader", 9);
    assert!(taken(&mut owner, object, 1));
    die(&mut owner, 2);
    let lost = Some(at(2));
    owner.peer(&reader, SubscribeObject { object, lost });
    let told = owner.told_peers().into_iter();
    let mut places = told.filter_map(|(_, message)| match message {
        Message::ObjectReady(ready) => ready.value.shared,
        _ => None,
    });
    assert_eq!(places.next(), Some(at(1)));
}

#[test]
fn a_copy_that_a_reader_has_there_already_becomes_the_one_that_counts() {
    let (mut owner, result) = owner_with_far_result();
    let object = result.id();
    let location = at(3);
    owner.peer(&far_address("reader", 3), CopyAdded { object, location });
    assert!(taken(&mut owner, object, 3));
    assert!(taken(&mut owner, object, 3), "it may be asked again");
    let copies = owner.core.objects.nodes_of(&object);
    assert_eq!(copies, [node(3), node(2)]);
    die(&mut owner, 2);
    die(&mut owner, 3);
    assert!(result.value().unwrap().failure.is_some());
}

/// The messages of our effects that say so, in order.
fn kept_unasked(owner: &mut TestOwner) -> Vec<(ObjectId, NodeId)> {
    let told = owner.told_node().into_iter();
    let kept = told.filter_map(|message| match message {
        Message::CopyKept(kept) => {
            assert!(kept.is_kept && kept.request.is_none());
            assert_eq!(kept.owner, owner.core.me.worker);
            Some((kept.object, kept.by))
        }
        _ => None,
    });
    kept.collect()
}

#[test]
fn a_fetched_copy_is_kept_once_the_first_one_is_lost() {
    let (mut owner, result) = owner_with_far_result();
    let object = result.id();
    for number in [3, 4] {
        let location = at(number);
        let reader = far_address("reader", number);
        owner.peer(&reader, CopyAdded { object, location });
    }
    assert_eq!(kept_unasked(&mut owner), []);
    die(&mut owner, 2);
    assert_eq!(kept_unasked(&mut owner), [(object, node(4))]);
    die(&mut owner, 3);
    assert_eq!(kept_unasked(&mut owner), [], "it was one of many");
    assert_eq!(result.location(), Some(at(4)));
}

#[test]
fn a_copy_of_what_is_freed_goes_again() {
    let (mut owner, result) = owner_with_far_result();
    owner.core.release(&result.id());
    assert_eq!(freed(&mut owner), [Some(node(2))]);
    assert!(!taken(&mut owner, result.id(), 3));
    assert_eq!(freed(&mut owner), [Some(node(3))]);
}

#[test]
fn a_copy_of_what_counts_elsewhere_goes_again() {
    let (mut owner, result) = owner_with_far_result();
    let object = result.id();
    let location = at(4);
    owner.peer(&far_address("reader", 4), CopyAdded { object, location });
    owner.core.on_lost(&object, &at(2), 0);
    owner.effects();
    assert!(!taken(&mut owner, object, 3));
    assert_eq!(freed(&mut owner), [Some(node(3))]);
    assert_eq!(owner.core.objects.nodes_of(&object), [node(4)]);
}

/// What a task has sealed may move before its answer is read.
#[test]
fn a_copy_of_what_is_not_there_yet_is_not_counted_on_and_not_freed() {
    let mut owner = TestOwner::new("owner");
    let result = owner.submit(&template());
    owner.grant_of(0, 1, far_address("w1", 2));
    owner.effects();
    assert!(!taken(&mut owner, result.id(), 3));
    assert!(freed(&mut owner).is_empty());
    let values = vec![shared(2)];
    owner.reply("w1", result.id(), TaskOutcome::Returned, values, 10);
    assert!(taken(&mut owner, result.id(), 3));
}

#[test]
fn a_node_that_is_dead_takes_nothing() {
    let (mut owner, result) = owner_with_far_result();
    die(&mut owner, 3);
    assert!(!taken(&mut owner, result.id(), 3));
    assert_eq!(result.location(), Some(at(2)));
}
