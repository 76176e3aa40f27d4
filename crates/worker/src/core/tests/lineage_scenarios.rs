//! Copies that are lost: what is made again, with what, and what is not.

use whipray_proto::messages::actor::CreateActor;
use whipray_proto::messages::execution::TaskReplied;
use whipray_proto::messages::object::SubscribeObject;
use whipray_proto::{SharedLocation, failure::FailureKind};

use super::*;

pub(super) fn shared(node: u8) -> ObjectValue {
    let location = SharedLocation {
        node: NodeId::from_array([node; 28]),
        size_bytes: 200_000,
        attempt: 0,
    };
    ObjectValue {
        shared: Some(location),
        ..ObjectValue::default()
    }
}

fn location(cell: &ObjectCell) -> SharedLocation {
    cell.location().expect("it is in shared memory")
}

fn failure_kind(cell: &ObjectCell) -> FailureKind {
    cell.value().unwrap().failure.unwrap().kind()
}

/// An owner with one worker, and a task of it whose result is in shared memory.
fn owner_with_result() -> (TestOwner, Arc<ObjectCell>) {
    let mut owner = TestOwner::new("owner");
    let result = owner.submit(&template());
    owner.grant(1, "w1");
    owner.effects();
    answer_shared(&mut owner, result.id());
    (owner, result)
}

fn answer_shared(owner: &mut TestOwner, object: ObjectId) {
    owner.reply("w1", object, TaskOutcome::Returned, vec![shared(1)], 10);
}

fn lose_copy(owner: &mut TestOwner, cell: &ObjectCell) {
    let location = location(cell);
    owner.core.on_lost(&cell.id(), &location, 0);
    owner.core.validate().unwrap();
}

fn pushed(owner: &mut TestOwner) -> Vec<TaskId> {
    owner.pushes().into_iter().map(|(_, task)| task).collect()
}

fn use_of(owner: &mut TestOwner, object: ObjectId) -> Arc<ObjectCell> {
    let result = owner.submit_with(&template(), vec![CoreArgument::Object(object)]);
    owner.effects();
    result
}

#[test]
fn a_lost_result_is_made_again() {
    let (mut owner, result) = owner_with_result();
    lose_copy(&mut owner, &result);
    assert!(!result.is_ready());
    assert_eq!(pushed(&mut owner), [result.id().task()]);
    answer_shared(&mut owner, result.id());
    assert_eq!(location(&result).attempt, 1, "it is told from the lost one");
    owner.core.release(&result.id());
    owner.check_empty();
    assert!(owner.core.lineage.is_empty());
}

#[test]
fn old_news_of_a_loss_are_ignored() {
    let (mut owner, result) = owner_with_result();
    let first = location(&result);
    lose_copy(&mut owner, &result);
    answer_shared(&mut owner, result.id());
    owner.effects();
    owner.core.on_lost(&result.id(), &first, 0);
    assert!(result.is_ready());
    assert!(owner.pushes().is_empty());
}

#[test]
fn retries_are_used_up_and_then_it_is_a_failure() {
    let (mut owner, result) = owner_with_result();
    for _ in 0..3 {
        lose_copy(&mut owner, &result);
        owner.effects();
        answer_shared(&mut owner, result.id());
    }
    lose_copy(&mut owner, &result);
    assert_eq!(
        failure_kind(&result),
        FailureKind::UnreconstructableAttempts
    );
    owner.core.release(&result.id());
    owner.check_empty();
}

/// The task of the result has no retries.
fn owner_with_result_for_good() -> (TestOwner, Arc<ObjectCell>) {
    let mut owner = TestOwner::new("owner");
    let template = TaskTemplate {
        max_retries: 0,
        ..template()
    };
    let result = owner.submit(&template);
    owner.grant(1, "w1");
    owner.effects();
    answer_shared(&mut owner, result.id());
    (owner, result)
}

#[test]
fn without_retries_nothing_is_kept() {
    let (mut owner, result) = owner_with_result_for_good();
    assert!(owner.core.lineage.is_empty());
    lose_copy(&mut owner, &result);
    assert_eq!(
        failure_kind(&result),
        FailureKind::UnreconstructableNoRetries
    );
}

/// The copy was there and could not be brought (a bucket did not answer): the store kept it, and
/// nobody came to free it, since for its owner there was no copy any more.
#[test]
fn a_copy_that_counts_as_lost_for_good_is_freed() {
    let (mut owner, result) = owner_with_result_for_good();
    lose_copy(&mut owner, &result);
    assert!(owner.told_node().iter().any(
        |message| matches!(message, Message::FreeObjects(free) if free.objects == [result.id()])
    ));
}

#[test]
fn small_results_are_not_kept() {
    let mut owner = TestOwner::new("owner");
    let result = owner.submit(&template());
    owner.grant(1, "w1");
    owner.effects();
    owner.answer("w1", result.id(), "small");
    assert!(owner.core.lineage.is_empty());
}

#[test]
fn an_argument_that_went_is_made_again_first() {
    let (mut owner, first) = owner_with_result();
    let second = use_of(&mut owner, first.id());
    owner.core.release(&first.id());
    answer_shared(&mut owner, second.id());
    assert!(
        owner.core.objects.cell(&first.id()).is_none(),
        "its value is freed"
    );
    assert_eq!(
        owner.core.lineage.len(),
        2,
        "its task is kept for the second one"
    );
    owner.effects();
    lose_copy(&mut owner, &second);
    assert_eq!(pushed(&mut owner), [first.id().task()]);
    answer_shared(&mut owner, first.id());
    assert_eq!(pushed(&mut owner), [second.id().task()]);
    answer_shared(&mut owner, second.id());
    assert!(second.is_ready());
    owner.core.release(&second.id());
    owner.check_empty();
    assert!(owner.core.lineage.is_empty());
}

#[test]
fn a_long_chain_is_made_again() {
    let (mut owner, first) = owner_with_result();
    let template = TaskTemplate {
        max_retries: -1,
        ..template()
    };
    let mut last = first;
    let mut tasks = vec![last.id().task()];
    for _ in 0..3_000 {
        let next = owner.submit_with(&template, vec![CoreArgument::Object(last.id())]);
        owner.effects();
        owner.core.release(&last.id());
        answer_shared(&mut owner, next.id());
        tasks.push(next.id().task());
        last = next;
    }
    lose_copy(&mut owner, &last);
    for task in tasks {
        assert_eq!(pushed(&mut owner), [task]);
        answer_shared(&mut owner, task.return_id(1));
    }
    assert!(last.is_ready());
    owner.core.release(&last.id());
    owner.check_empty();
    assert!(owner.core.lineage.is_empty());
}

/// What was put into shared memory.
fn put_shared(owner: &mut TestOwner) -> Arc<ObjectCell> {
    let id = TaskId::of(7, ActorId::none_of(JobId::from_number(1))).return_id(ObjectId::FIRST_PUT);
    let cell = Arc::new(ObjectCell::ready(id, shared(1)));
    owner.core.objects.insert_ours(cell.clone(), &[]);
    cell
}

#[test]
fn what_was_put_stays_for_tasks_that_may_run_again() {
    let (mut owner, _other) = owner_with_result();
    let put = put_shared(&mut owner).id();
    stays_for_a_chain(owner, put);
}

#[test]
fn a_result_without_retries_stays_for_tasks_that_may_run_again() {
    let (owner, result) = owner_with_result_for_good();
    stays_for_a_chain(owner, result.id());
}

/// The program lets go of an object once tasks use it: it goes with the last of them that may run
/// again, and not before.
fn stays_for_a_chain(mut owner: TestOwner, first: ObjectId) {
    let second = use_of(&mut owner, first);
    owner.core.release(&first);
    answer_shared(&mut owner, second.id());
    let third = use_of(&mut owner, second.id());
    owner.core.release(&second.id());
    answer_shared(&mut owner, third.id());
    owner.effects();
    assert!(owner.core.objects.cell(&first).is_some());
    lose_copy(&mut owner, &third);
    assert_eq!(pushed(&mut owner), [second.id().task()]);
    answer_shared(&mut owner, second.id());
    assert_eq!(pushed(&mut owner), [third.id().task()]);
    answer_shared(&mut owner, third.id());
    assert!(third.is_ready());
    owner.core.release(&third.id());
    assert!(owner.core.objects.cell(&first).is_none());
}

#[test]
fn what_was_put_stays_for_tasks_that_take_it_inside_of_a_value() {
    let (mut owner, _other) = owner_with_result();
    let put = put_shared(&mut owner).id();
    let data = Bytes::from_static(b"list");
    let contained = smallvec::smallvec![put];
    let argument = CoreArgument::Value { data, contained };
    let result = owner.submit_with(&template(), vec![argument]);
    owner.effects();
    owner.core.release(&put);
    answer_shared(&mut owner, result.id());
    assert!(owner.core.objects.cell(&put).is_some());
    owner.core.release(&result.id());
    assert!(owner.core.objects.cell(&put).is_none());
}

#[test]
fn what_was_put_cannot_be_made_again() {
    let mut owner = TestOwner::new("owner");
    let cell = put_shared(&mut owner);
    let id = cell.id();
    owner.grant(1, "w1");
    let result = use_of(&mut owner, id);
    owner.grant(1, "w1");
    owner.effects();
    lose_copy(&mut owner, &cell);
    assert_eq!(failure_kind(&cell), FailureKind::UnreconstructablePut);
    drop(result);
}

#[test]
fn an_executor_that_misses_an_argument_hands_the_task_back() {
    let (mut owner, first) = owner_with_result();
    let second = use_of(&mut owner, first.id());
    let reply = TaskReply {
        task: second.id().task(),
        outcome: TaskOutcome::ArgumentsLost as i32,
        lost: vec![first.id()],
        ..TaskReply::default()
    };
    owner.peer(&address("w1"), TaskReplied { reply });
    owner.core.validate().unwrap();
    assert_eq!(pushed(&mut owner), [first.id().task()]);
    answer_shared(&mut owner, first.id());
    assert_eq!(pushed(&mut owner), [second.id().task()]);
    owner.answer("w1", second.id(), "done");
    assert_eq!(text(&second), "done");
    for cell in [first, second] {
        owner.core.release(&cell.id());
    }
    owner.check_empty();
}

#[test]
fn a_borrower_reports_a_loss_and_gets_the_new_value() {
    let (mut owner, result) = owner_with_result();
    let mut borrower = TestOwner::new("b");
    let object = result.id();
    let cell = borrower.core.objects.refer(object, &owner.me()).clone();
    let add = whipray_proto::messages::object::AddBorrower {
        object,
        borrower: borrower.me(),
    };
    owner.peer(&borrower.me(), add);
    owner.peer(&borrower.me(), SubscribeObject { object, lost: None });
    carry(&mut owner, &mut borrower);
    let lost = location(&cell);
    borrower.core.report_lost(&object, &lost, "", 0);
    assert!(!cell.is_ready());
    carry(&mut borrower, &mut owner);
    assert!(!result.is_ready(), "it is made again");
    owner.effects();
    answer_shared(&mut owner, object);
    carry(&mut owner, &mut borrower);
    assert_eq!(location(&cell).attempt, 1);
}

/// The messages of one process to the other.
fn carry(from: &mut TestOwner, to: &mut TestOwner) {
    let sender = from.me();
    let endpoint = to.me().endpoint;
    for (target, message) in from.told_peers() {
        if target == endpoint {
            to.peer(&sender, message);
        }
    }
}

#[test]
fn a_dead_node_takes_its_copies_and_leases_along() {
    let mut owner = TestOwner::new("owner");
    let result = owner.submit(&template());
    owner.grant_of(0, 1, far_address("w1", 3));
    owner.effects();
    owner.reply(
        "w1",
        result.id(),
        TaskOutcome::Returned,
        vec![shared(3)],
        10,
    );
    let elsewhere = owner.submit(&template());
    owner.effects();
    owner.reply(
        "w1",
        elsewhere.id(),
        TaskOutcome::Returned,
        vec![shared(2)],
        10,
    );
    owner.effects();
    let cause = DeathCause::new(DeathKind::NodeDied, "");
    owner.core.on_node_died(&node(3), &cause, 0);
    owner.core.validate().unwrap();
    assert!(!result.is_ready());
    assert!(elsewhere.is_ready());
    assert!(owner.core.tasks.leases.is_empty());
    assert!(pushed(&mut owner).is_empty(), "its worker is gone, too");
    owner.grant(2, "w2");
    assert_eq!(pushed(&mut owner), [result.id().task()]);
}

#[test]
fn the_oldest_specs_are_forgotten_first() {
    let mut owner = TestOwner::new("owner");
    owner.core.lineage.limit_bytes = 20_000;
    let results: Vec<_> = (0..3)
        .map(|number| {
            let data = Bytes::from(vec![0; 9_000]);
            let contained = smallvec::SmallVec::new();
            let argument = CoreArgument::Value { data, contained };
            let result = owner.submit_with(&template(), vec![argument]);
            if number == 0 {
                owner.grant(1, "w1");
            }
            owner.effects();
            answer_shared(&mut owner, result.id());
            result
        })
        .collect();
    assert_eq!(owner.core.lineage.len(), 2);
    lose_copy(&mut owner, &results[0]);
    assert_eq!(
        failure_kind(&results[0]),
        FailureKind::UnreconstructableEvicted
    );
    lose_copy(&mut owner, &results[2]);
    assert!(!results[2].is_ready());
}

#[test]
fn a_method_is_called_again_only_while_its_actor_lives() {
    for is_dead in [false, true] {
        let mut owner = TestOwner::new("owner");
        let actor = ActorId::from_array([5; 16]);
        let template = TaskTemplate {
            method: "method".into(),
            max_retries: 1,
            ..template()
        };
        owner.core.actors.ensure(actor);
        owner
            .core
            .objects
            .refer(actor.handle_object(), &owner.core.me.clone());
        let alive = whipray_proto::messages::actor::ActorUpdate {
            actor,
            state: whipray_proto::messages::actor::ActorState::Alive as i32,
            address: Some(address("w1")),
            ..Default::default()
        };
        owner.core.on_node_message(alive.clone().into(), 0);
        let result = owner.call_actor(actor, &template);
        assert_eq!(pushed(&mut owner).len(), 1);
        answer_shared(&mut owner, result.id());
        owner.effects();
        if is_dead {
            let dead = whipray_proto::messages::actor::ActorUpdate {
                state: whipray_proto::messages::actor::ActorState::Dead as i32,
                ..alive
            };
            owner.core.on_node_message(dead.into(), 0);
        }
        lose_copy(&mut owner, &result);
        if is_dead {
            assert_eq!(
                failure_kind(&result),
                FailureKind::UnreconstructableNotFound
            );
        } else {
            assert_eq!(pushed(&mut owner), [result.id().task()]);
            answer_shared(&mut owner, result.id());
            assert!(result.is_ready());
        }
    }
}

/// Its constructor began without the value of the one that was lost while it waited for the other.
#[test]
fn an_actor_waits_again_for_an_argument_that_was_lost() {
    let mut owner = TestOwner::new("owner");
    let arguments = [0, 1].map(|_| owner.submit(&template()));
    let spec = whipray_proto::task::ActorSpec {
        actor: ActorId::from_array([5; 16]),
        ..Default::default()
    };
    let passed = arguments.iter().map(|it| CoreArgument::Object(it.id()));
    owner.core.create_actor(1, spec, passed.collect(), false);
    owner.grant(1, "w1");
    answer_shared(&mut owner, arguments[0].id());
    lose_copy(&mut owner, &arguments[0]);
    owner.effects();
    let completed = |owner: &mut TestOwner| -> Vec<CreateActor> {
        let told = owner.told_node().into_iter();
        told.filter_map(|message| match message {
            Message::CreateActor(create) => Some(*create),
            _ => None,
        })
        .collect()
    };
    answer_shared(&mut owner, arguments[1].id());
    assert_eq!(completed(&mut owner), []);
    answer_shared(&mut owner, arguments[0].id());
    let created = completed(&mut owner);
    assert_eq!(created.len(), 1);
    let arguments = &created[0].spec.creation.arguments;
    assert!(arguments.iter().all(|argument| argument.value.is_some()));
}
