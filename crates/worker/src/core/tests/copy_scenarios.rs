//! Copies of one object on several nodes: who is told of which, what is freed, what a loss means.

use whipray_proto::messages::actor::{ActorState, ActorUpdate};
use whipray_proto::messages::execution::TaskReplied;
use whipray_proto::messages::object::{CopyAdded, FreeObjects, SubscribeObject};
use whipray_proto::{DeathCause, DeathKind, SharedLocation, failure::FailureKind};

use super::*;

fn at(number: u8, attempt: u32) -> SharedLocation {
    SharedLocation {
        node: node(number),
        size_bytes: 2 << 20,
        attempt,
    }
}

fn shared(number: u8) -> ObjectValue {
    ObjectValue {
        shared: Some(at(number, 0)),
        ..ObjectValue::default()
    }
}

/// An owner on node 1 with the result of a task that ran on node 2.
fn owner_with_far_result() -> (TestOwner, Arc<ObjectCell>) {
    let mut owner = TestOwner::new("owner");
    let result = owner.submit(&template());
    owner.grant_of(0, 1, far_address("w1", 2));
    owner.effects();
    owner.reply(
        "w1",
        result.id(),
        TaskOutcome::Returned,
        vec![shared(2)],
        10,
    );
    owner.effects();
    (owner, result)
}

/// An owner of two results of one task on node 2, which ran again on `second` since the first one was
/// lost.
fn owner_with_two_results_made_again(second: u8) -> (TestOwner, Vec<Arc<ObjectCell>>) {
    let mut owner = TestOwner::new("owner");
    let template = TaskTemplate {
        num_returns: 2,
        ..template()
    };
    let call = owner.call(ActorId::none_of(JobId::from_number(1)), Vec::new());
    let cells = owner.core.submit(&template, call, 0);
    owner.grant_of(0, 1, far_address("w1", 2));
    owner.effects();
    let object = cells[0].id();
    let both = |number| vec![shared(number), shared(number)];
    owner.reply("w1", object, TaskOutcome::Returned, both(2), 10);
    owner.core.on_lost(&object, &at(2, 0), 0);
    owner.effects();
    owner.reply("w1", object, TaskOutcome::Returned, both(second), 10);
    owner.core.validate().unwrap();
    (owner, cells.into_iter().collect())
}

fn put(owner: &mut TestOwner, number: u8) -> Arc<ObjectCell> {
    owner.next += 1;
    let task = TaskId::of(owner.next, ActorId::none_of(JobId::from_number(1)));
    let cell = Arc::new(ObjectCell::ready(
        task.return_id(ObjectId::FIRST_PUT),
        shared(number),
    ));
    owner.core.objects.insert_ours(cell.clone(), &[]);
    cell
}

fn add_copy(owner: &mut TestOwner, object: ObjectId, location: SharedLocation) {
    owner.peer(&far_address("reader", 9), CopyAdded { object, location });
    owner.core.validate().unwrap();
}

fn freed(owner: &mut TestOwner) -> Vec<(Option<NodeId>, Vec<ObjectId>)> {
    owner
        .told_node()
        .into_iter()
        .filter_map(|message| match message {
            Message::FreeObjects(FreeObjects { objects, node, .. }) => Some((node, objects)),
            _ => None,
        })
        .collect()
}

/// The node that a reader is sent to.
fn told(owner: &mut TestOwner, object: ObjectId, reader: &WorkerAddress) -> NodeId {
    owner.peer(reader, SubscribeObject { object, lost: None });
    let told = owner.told_peers();
    let ready = told.into_iter().find_map(|(_, message)| match message {
        Message::ObjectReady(ready) => ready.value.shared,
        _ => None,
    });
    ready.unwrap().node
}

fn die(owner: &mut TestOwner, number: u8) {
    let died = whipray_proto::messages::lease::NodeDied {
        node: node(number),
        cause: DeathCause::new(DeathKind::NodeDied, "it burnt"),
    };
    owner.core.on_node_message(died.into(), 0);
    owner.core.validate().unwrap();
}

#[test]
fn all_copies_are_freed_one_message_for_each_node() {
    let (mut owner, result) = owner_with_far_result();
    let other = put(&mut owner, 1);
    add_copy(&mut owner, result.id(), at(1, 0));
    add_copy(&mut owner, result.id(), at(3, 0));
    add_copy(&mut owner, other.id(), at(3, 0));
    owner.core.release(&result.id());
    owner.core.release(&other.id());
    let mut both = vec![result.id(), other.id()];
    both.sort_unstable();
    let freed = freed(&mut owner);
    assert_eq!(freed.len(), 3, "{freed:?}");
    assert!(freed.contains(&(None, vec![result.id(), other.id()])));
    assert!(freed.contains(&(Some(node(2)), vec![result.id()])));
    assert!(freed.contains(&(Some(node(3)), both)));
    owner.check_empty();
}

#[test]
fn a_copy_of_what_is_gone_is_freed_where_it_is() {
    let (mut owner, result) = owner_with_far_result();
    owner.core.release(&result.id());
    owner.effects();
    add_copy(&mut owner, result.id(), at(4, 0));
    assert_eq!(freed(&mut owner), [(Some(node(4)), vec![result.id()])]);
}

#[test]
fn readers_are_spread_over_the_copies() {
    let (mut owner, result) = owner_with_far_result();
    add_copy(&mut owner, result.id(), at(3, 0));
    let reader = far_address("b", 9);
    let first = told(&mut owner, result.id(), &reader);
    let second = told(&mut owner, result.id(), &reader);
    let mut nodes = [first, second];
    nodes.sort_unstable();
    assert_eq!(nodes, [node(2), node(3)]);
    // Its own store has one, or fetches it again from the first one.
    let local = far_address("c", 3);
    for _ in 0..3 {
        assert_eq!(told(&mut owner, result.id(), &local), node(2));
    }
}

#[test]
fn a_lost_copy_is_replaced_by_another_one() {
    let (mut owner, result) = owner_with_far_result();
    let object = result.id();
    add_copy(&mut owner, object, at(3, 0));
    owner.core.on_lost(&object, &at(2, 0), 0);
    owner.core.validate().unwrap();
    assert_eq!(result.location(), Some(at(3, 0)));
    assert_eq!(freed(&mut owner), [(Some(node(2)), vec![object])]);
    // Old news, and news of what never was.
    owner.core.on_lost(&object, &at(2, 0), 0);
    owner.core.on_lost(&object, &at(3, 7), 0);
    assert!(result.is_ready());
    owner.core.on_lost(&object, &at(3, 0), 0);
    assert!(!result.is_ready(), "that was the last one");
}

#[test]
fn a_lost_further_copy_is_only_forgotten() {
    let (mut owner, result) = owner_with_far_result();
    let object = result.id();
    add_copy(&mut owner, object, at(3, 0));
    let lost = Some(at(3, 0));
    owner.peer(&far_address("b", 9), SubscribeObject { object, lost });
    assert_eq!(result.location(), Some(at(2, 0)));
    owner.effects();
    owner.core.release(&object);
    assert_eq!(freed(&mut owner), [(Some(node(2)), vec![object])]);
}

#[test]
fn what_was_put_survives_its_node_where_it_has_another_copy() {
    let mut owner = TestOwner::new("owner");
    let (kept, gone) = (put(&mut owner, 2), put(&mut owner, 2));
    add_copy(&mut owner, kept.id(), at(1, 0));
    die(&mut owner, 2);
    assert_eq!(kept.location(), Some(at(1, 0)));
    let failure = gone.value().unwrap().failure.unwrap();
    assert_eq!(failure.kind(), FailureKind::UnreconstructablePut);
    assert!(failure.message.contains("it burnt"), "{}", failure.message);
    assert!(freed(&mut owner).is_empty(), "nobody is there to free it");
    add_copy(&mut owner, kept.id(), at(2, 0));
    assert_eq!(owner.core.objects.nodes_of(&kept.id()), [node(1)]);
}

#[test]
fn a_task_is_sent_to_where_its_argument_is_now() {
    let (mut owner, first) = owner_with_far_result();
    add_copy(&mut owner, first.id(), at(3, 0));
    let second = owner.submit_with(&template(), vec![CoreArgument::Object(first.id())]);
    die(&mut owner, 2);
    let to = far_address("w3", 5);
    let (spec, _) = owner.core.take_push(&to, &second.id().task()).unwrap();
    let value = spec.arguments[0].value.as_ref().unwrap();
    assert_eq!(value.shared, Some(at(3, 0)));
}

#[test]
fn a_copy_that_we_fetched_of_anothers_object_is_told_to_its_owner() {
    let mut reader = TestOwner::new("reader");
    let owner = far_address("owner", 2);
    let object = TaskId::of(1, ActorId::none_of(JobId::from_number(1))).return_id(1);
    reader.core.on_fetched(object, &owner, &at(2, 4));
    let location = at(1, 4);
    assert_eq!(
        reader.told_peers(),
        [(owner.endpoint, CopyAdded { object, location }.into())]
    );
}

#[test]
fn what_an_earlier_try_left_on_another_node_is_freed() {
    let mut owner = TestOwner::new("owner");
    let result = owner.submit(&template());
    owner.grant_of(0, 1, far_address("w1", 2));
    owner.effects();
    owner.lose(1);
    owner.grant_of(0, 2, far_address("w2", 3));
    owner.effects();
    owner.reply(
        "w2",
        result.id(),
        TaskOutcome::Returned,
        vec![shared(3)],
        10,
    );
    let freed = freed(&mut owner);
    assert!(
        freed.contains(&(Some(node(2)), vec![result.id()])),
        "{freed:?}"
    );
    assert_eq!(owner.core.objects.nodes_of(&result.id()), [node(3)]);
    owner.core.release(&result.id());
    owner.check_empty();
}

/// A reader fetched what a try had made before it raised, and the copy stayed.
#[test]
fn a_copy_of_what_is_made_again_is_freed_when_that_is_through() {
    let mut owner = TestOwner::new("owner");
    let result = owner.submit(&template());
    owner.grant_of(0, 1, far_address("w1", 2));
    owner.effects();
    owner.lose(1);
    owner.grant_of(0, 2, far_address("w2", 2));
    owner.effects();
    add_copy(&mut owner, result.id(), at(4, 0));
    assert_eq!(freed(&mut owner), [], "the task may run there");
    owner.reply(
        "w2",
        result.id(),
        TaskOutcome::Returned,
        vec![shared(2)],
        10,
    );
    let freed = freed(&mut owner);
    assert!(
        freed.contains(&(Some(node(4)), vec![result.id()])),
        "{freed:?}"
    );
    owner.core.release(&result.id());
    owner.check_empty();
}

/// A cancel reached the worker when the result was sealed: nobody freed it there.
#[test]
fn what_a_cancelled_task_left_on_another_node_is_freed() {
    let mut owner = TestOwner::new("owner");
    let result = owner.submit(&template());
    owner.grant_of(0, 1, far_address("w1", 2));
    owner.effects();
    owner.core.cancel(result.id().task(), false, true, 5);
    let reply = TaskReply {
        task: result.id().task(),
        outcome: TaskOutcome::Cancelled as i32,
        duration_us: 10,
        ..TaskReply::default()
    };
    owner.peer(&far_address("w1", 2), TaskReplied { reply });
    let freed = freed(&mut owner);
    assert!(
        freed.contains(&(Some(node(2)), vec![result.id()])),
        "{freed:?}"
    );
    owner.core.release(&result.id());
    owner.check_empty();
}

/// An actor sealed the result of a call, and died before it could answer.
#[test]
fn what_a_call_that_failed_left_on_another_node_is_freed() {
    let mut owner = TestOwner::new("owner");
    let actor = ActorId::from_array([5; 16]);
    let template = TaskTemplate {
        method: "method".into(),
        max_retries: 0,
        ..template()
    };
    owner.core.actors.ensure(actor);
    let me = owner.me();
    owner.core.objects.refer(actor.handle_object(), &me);
    let alive = ActorUpdate {
        actor,
        state: ActorState::Alive as i32,
        address: Some(far_address("actor", 2)),
        ..ActorUpdate::default()
    };
    owner.core.on_node_message(alive.into(), 0);
    let result = owner.call_actor(actor, &template);
    owner.effects();
    let dead = ActorUpdate {
        actor,
        state: ActorState::Dead as i32,
        cause: Some(DeathCause::new(DeathKind::Exited, "")),
        ..ActorUpdate::default()
    };
    owner.core.on_node_message(dead.into(), 5);
    let freed = freed(&mut owner);
    assert!(
        freed.contains(&(Some(node(2)), vec![result.id()])),
        "{freed:?}"
    );
}

/// Both results are made again where one is lost; the other one stays where it was.
#[test]
fn a_result_that_was_not_lost_is_not_freed_when_its_task_runs_again() {
    let (mut owner, cells) = owner_with_two_results_made_again(3);
    let object = cells[0].id();
    assert_eq!(cells[0].location(), Some(at(3, 1)));
    assert_eq!(cells[1].location(), Some(at(2, 0)));
    let freed = freed(&mut owner);
    assert!(freed.contains(&(Some(node(2)), vec![object])), "{freed:?}");
    assert!(
        freed.contains(&(Some(node(3)), vec![cells[1].id()])),
        "{freed:?}"
    );
}

/// The same where the second try ran on the owner's node: nothing of the first one is there.
#[test]
fn a_second_result_here_goes_where_the_first_one_is_elsewhere() {
    let (mut owner, cells) = owner_with_two_results_made_again(1);
    assert_eq!(cells[1].location(), Some(at(2, 0)));
    let freed = freed(&mut owner);
    assert!(freed.contains(&(None, vec![cells[1].id()])), "{freed:?}");
}

fn targets(owner: &mut TestOwner) -> Vec<(u64, Option<NodeId>)> {
    owner
        .told_node()
        .into_iter()
        .filter_map(|message| match message {
            Message::LeaseTarget(target) => Some((target.class, target.definition.near)),
            _ => None,
        })
        .collect()
}

#[test]
fn a_task_runs_near_most_of_its_arguments() {
    let (mut owner, first) = owner_with_far_result();
    let (second, third) = (put(&mut owner, 3), put(&mut owner, 3));
    let arguments = |cells: &[&Arc<ObjectCell>]| {
        let objects = cells.iter().map(|cell| CoreArgument::Object(cell.id()));
        objects.collect::<Vec<_>>()
    };
    let template = template();
    owner.submit_with(&template, arguments(&[&first, &second, &third]));
    // What is idle elsewhere is given back first.
    assert_eq!(targets(&mut owner), [(0, None), (1, Some(node(3)))]);
    owner.submit_with(&template, arguments(&[&first]));
    assert_eq!(targets(&mut owner), [(2, Some(node(2)))]);
    let here = put(&mut owner, 1);
    owner.grant_of(0, 9, address("local"));
    owner.submit_with(&template, arguments(&[&here]));
    assert_eq!(
        owner.pushes().len(),
        1,
        "in the class of those without arguments"
    );
    let spread = TaskTemplate {
        class: SchedulingClass {
            strategy: Some(Box::new(whipray_proto::scheduling::SchedulingStrategy {
                spreads: true,
                ..Default::default()
            })),
            ..template.class.clone()
        },
        ..super::template()
    };
    owner.submit_with(&spread, arguments(&[&first]));
    assert_eq!(targets(&mut owner), [(3, None)]);
}

#[test]
fn what_becomes_ready_later_counts_as_well() {
    let mut owner = TestOwner::new("owner");
    let first = owner.submit(&template());
    owner.submit_with(&template(), vec![CoreArgument::Object(first.id())]);
    owner.grant_of(0, 1, far_address("w1", 2));
    owner.effects();
    owner.reply("w1", first.id(), TaskOutcome::Returned, vec![shared(2)], 10);
    let told = owner.told_node();
    assert!(
        matches!(
            told.as_slice(),
            [
                Message::LeaseTarget(before),
                Message::LeaseReturn(_),
                Message::LeaseTarget(wanted),
            ] if before.class == 0 && before.target == 0
                && wanted.class == 1 && wanted.definition.near == Some(node(2))
        ),
        "what is idle there makes room first: {told:?}"
    );
}

#[test]
fn idle_leases_here_stay_when_another_class_wants_some() {
    let mut owner = TestOwner::new("owner");
    let first = owner.submit(&template());
    owner.grant(1, "w1");
    owner.effects();
    owner.answer("w1", first.id(), "small");
    owner.effects();
    let other = TaskTemplate {
        class: SchedulingClass {
            environment: [("A".to_owned(), "1".to_owned())].into(),
            ..template().class
        },
        ..template()
    };
    owner.submit(&other);
    assert_eq!(targets(&mut owner), [(1, None)]);
}
