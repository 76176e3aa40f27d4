//! Order, restarts and the end of actors.

use whipray_proto::messages::actor::{ActorState, ActorUpdate, CreationStage};
use whipray_proto::task::ActorSpec;

use whipray_proto::messages::execution::TaskReplied;

use super::*;

fn actor() -> ActorId {
    ActorId::from_array([5; 16])
}

fn update(state: ActorState, incarnation: u32, worker: Option<&str>) -> Message {
    ActorUpdate {
        actor: actor(),
        state: state as i32,
        incarnation,
        address: worker.map(address),
        cause: Some(DeathCause {
            kind: DeathKind::Exited as i32,
            exit_code: 1,
            ..DeathCause::default()
        }),
        class_name: "Counter".into(),
        ..ActorUpdate::default()
    }
    .into()
}

fn method(max_retries: i32) -> TaskTemplate {
    TaskTemplate {
        method: "add".into(),
        max_retries,
        ..template()
    }
}

fn created(owner: &mut TestOwner) -> Arc<ObjectCell> {
    let spec = ActorSpec {
        actor: actor(),
        ..ActorSpec::default()
    };
    let cell = owner.core.create_actor(1, spec, Vec::new(), false);
    owner.effects();
    cell
}

#[test]
fn calls_wait_for_the_actor_and_are_pushed_in_order() {
    let mut owner = TestOwner::new("owner");
    created(&mut owner);
    let calls: Vec<_> = (0..3)
        .map(|_| owner.call_actor(actor(), &method(0)))
        .collect();
    assert!(owner.pushes().is_empty());
    owner
        .core
        .on_node_message(update(ActorState::Alive, 0, Some("a0")), 0);
    let pushed: Vec<_> = owner.pushes().into_iter().map(|(_, task)| task).collect();
    assert_eq!(
        pushed,
        calls
            .iter()
            .map(|call| call.id().task())
            .collect::<Vec<_>>()
    );
}

#[test]
fn calls_out_of_order_overtake_one_whose_object_is_not_there() {
    let mut owner = TestOwner::new("owner");
    created(&mut owner);
    owner
        .core
        .on_node_message(update(ActorState::Alive, 0, Some("a0")), 0);
    let method = TaskTemplate {
        out_of_order: true,
        ..method(0)
    };
    let slow = owner.submit(&template());
    let call = owner.call(actor(), vec![CoreArgument::Object(slow.id())]);
    let first = owner.core.submit_actor(actor(), &method, call, 0).remove(0);
    let second = owner.call_actor(actor(), &method);
    assert_eq!(owner.core.actors.pending_calls(&actor()), 2);
    let pushed: Vec<_> = owner.pushes().into_iter().map(|(_, task)| task).collect();
    assert_eq!(pushed, [second.id().task()]);
    owner.grant(1, "w1");
    owner.answer("w1", slow.id(), "there");
    let pushed: Vec<_> = owner.pushes().into_iter().map(|(_, task)| task).collect();
    assert_eq!(pushed, [slow.id().task(), first.id().task()]);
}

#[test]
fn a_call_that_was_put_aside_is_cancelled_and_ends_with_its_actor() {
    for is_cancelled in [true, false] {
        let mut owner = TestOwner::new("owner");
        created(&mut owner);
        let method = TaskTemplate {
            out_of_order: true,
            ..method(0)
        };
        let slow = owner.submit(&template());
        let call = owner.call(actor(), vec![CoreArgument::Object(slow.id())]);
        let waiting = owner.core.submit_actor(actor(), &method, call, 0).remove(0);
        if is_cancelled {
            owner.core.cancel(waiting.id().task(), false, false, 0);
        } else {
            owner
                .core
                .on_node_message(update(ActorState::Dead, 0, None), 0);
        }
        assert!(waiting.value().unwrap().failure.is_some());
        assert_eq!(owner.core.actors.pending_calls(&actor()), 0);
    }
}

#[test]
fn a_call_whose_object_is_not_there_holds_back_those_behind_it() {
    let mut owner = TestOwner::new("owner");
    created(&mut owner);
    owner
        .core
        .on_node_message(update(ActorState::Alive, 0, Some("a0")), 0);
    let slow = owner.submit(&template());
    let call = owner.call(actor(), vec![CoreArgument::Object(slow.id())]);
    let first = owner
        .core
        .submit_actor(actor(), &method(0), call, 0)
        .remove(0);
    let second = owner.call_actor(actor(), &method(0));
    assert!(owner.pushes().is_empty());
    owner.grant(1, "w1");
    owner.answer("w1", slow.id(), "there");
    let pushed: Vec<_> = owner.pushes().into_iter().map(|(_, task)| task).collect();
    let wanted = [slow.id().task(), first.id().task(), second.id().task()];
    assert_eq!(pushed, wanted);
}

#[test]
fn a_restart_fails_the_call_under_way_and_keeps_the_queued_ones() {
    let mut owner = TestOwner::new("owner");
    created(&mut owner);
    owner
        .core
        .on_node_message(update(ActorState::Alive, 0, Some("a0")), 0);
    let under_way = owner.call_actor(actor(), &method(0));
    owner.core.on_peer_closed(&address("a0").worker);
    let queued = owner.call_actor(actor(), &method(0));
    owner.effects();
    owner
        .core
        .on_node_message(update(ActorState::Restarting, 1, None), 0);
    assert!(failure_message(&under_way).contains("exited with code 1"));
    owner
        .core
        .on_node_message(update(ActorState::Alive, 1, Some("a1")), 0);
    assert_eq!(owner.pushes(), [(address("a1").worker, queued.id().task())]);
}

#[test]
fn calls_with_retries_are_made_again_in_order_in_the_next_life() {
    let mut owner = TestOwner::new("owner");
    created(&mut owner);
    owner
        .core
        .on_node_message(update(ActorState::Alive, 0, Some("a0")), 0);
    let calls: Vec<_> = (0..2)
        .map(|_| owner.call_actor(actor(), &method(1)))
        .collect();
    owner.effects();
    owner.core.on_peer_closed(&address("a0").worker);
    owner
        .core
        .on_node_message(update(ActorState::Restarting, 1, None), 0);
    owner
        .core
        .on_node_message(update(ActorState::Alive, 1, Some("a1")), 0);
    let pushed: Vec<_> = owner.pushes().into_iter().map(|(_, task)| task).collect();
    assert_eq!(
        pushed,
        calls
            .iter()
            .map(|call| call.id().task())
            .collect::<Vec<_>>()
    );
    owner.core.on_peer_closed(&address("a1").worker);
    owner
        .core
        .on_node_message(update(ActorState::Restarting, 2, None), 0);
    assert!(calls.iter().all(|call| call.is_ready()), "no retry is left");
}

#[test]
fn a_dead_actor_fails_every_call_with_its_cause() {
    let mut owner = TestOwner::new("owner");
    created(&mut owner);
    let before = owner.call_actor(actor(), &method(-1));
    owner
        .core
        .on_node_message(update(ActorState::Dead, 0, None), 0);
    let after = owner.call_actor(actor(), &method(-1));
    for call in [before, after] {
        let message = failure_message(&call);
        assert!(
            message.contains("Counter") && message.contains("code 1"),
            "{message}"
        );
    }
}

/// A call that followed `kill` on the caller's side reached the actor before its end, and returned.
#[test]
fn a_call_after_a_kill_is_not_for_the_life_that_ends() {
    let mut owner = TestOwner::new("owner");
    created(&mut owner);
    owner
        .core
        .on_node_message(update(ActorState::Alive, 0, Some("a0")), 0);
    owner.core.kill_actor(actor(), true);
    let call = owner.call_actor(actor(), &method(0));
    assert!(owner.pushes().is_empty());
    owner
        .core
        .on_node_message(update(ActorState::Dead, 0, None), 0);
    assert!(failure_message(&call).contains("is dead"));
}

#[test]
fn the_last_handle_ends_the_actor_after_its_last_call() {
    let mut owner = TestOwner::new("owner");
    let handle = created(&mut owner);
    owner
        .core
        .on_node_message(update(ActorState::Alive, 0, Some("a0")), 0);
    let call = owner.call_actor(actor(), &method(0));
    owner.core.release(&handle.id());
    let told = owner.told_node();
    assert!(told.is_empty(), "a call is under way: {told:?}");
    owner.answer("a0", call.id(), "1");
    let told = owner.told_node();
    assert!(
        matches!(&told[..], [Message::ActorOutOfScope(_)]),
        "{told:?}"
    );
    owner.core.release(&call.id());
    owner.check_empty();
}

#[test]
fn a_constructor_waits_for_its_objects_and_keeps_them() {
    let mut owner = TestOwner::new("owner");
    let argument = owner.submit(&template());
    owner.effects();
    let spec = ActorSpec {
        actor: actor(),
        creation: whipray_proto::TaskSpec {
            task: TaskId::of(99, actor()),
            ..whipray_proto::TaskSpec::default()
        },
        ..ActorSpec::default()
    };
    let arguments = vec![CoreArgument::Object(argument.id())];
    let handle = owner.core.create_actor(1, spec, arguments, false);
    assert!(
        matches!(&owner.told_node()[..], [Message::CreateActor(create)]
        if create.stage() == CreationStage::Registered && create.request == 1)
    );
    owner.grant(1, "w1");
    owner.answer("w1", argument.id(), "there");
    assert!(
        owner
            .told_node()
            .iter()
            .any(|message| matches!(message, Message::CreateActor(create)
            if create.stage() == CreationStage::Complete
                && create.spec.creation.arguments[0].value.is_some()))
    );
    owner.core.release(&argument.id());
    assert_eq!(
        owner.core.objects.local_count(&argument.id()),
        1,
        "a restart needs it"
    );
    owner
        .core
        .on_node_message(update(ActorState::Dead, 0, None), 0);
    owner.core.release(&handle.id());
    owner.check_empty();
}

#[test]
fn a_handle_from_elsewhere_subscribes_once() {
    let mut owner = TestOwner::new("caller");
    owner.call_actor(actor(), &method(0));
    owner.call_actor(actor(), &method(0));
    let told = owner.told_node();
    assert!(
        matches!(&told[..], [Message::SubscribeActor(_)]),
        "{told:?}"
    );
}

/// The control was told that an actor is out of scope before it was told that it exists: the word
/// came to nothing, and the actor, created later, lived for ever with all that its constructor took.
#[test]
fn an_actor_that_nobody_holds_any_more_is_not_completed_later() {
    let mut owner = TestOwner::new("owner");
    let argument = owner.submit(&template());
    let spec = ActorSpec {
        actor: actor(),
        ..ActorSpec::default()
    };
    let arguments = vec![CoreArgument::Object(argument.id())];
    let handle = owner.core.create_actor(1, spec, arguments, false);
    owner.effects();
    owner.core.release(&handle.id());
    assert!(matches!(
        &owner.told_node()[..],
        [Message::ActorOutOfScope(_)]
    ));
    owner.grant(1, "w1");
    owner.answer("w1", argument.id(), "there");
    let told = owner.told_node();
    let is_created = told
        .iter()
        .any(|message| matches!(message, Message::CreateActor(_)));
    assert!(!is_created, "{told:?}");
    owner.core.release(&argument.id());
    owner.check_empty();
}

/// A call raised and was to be tried again: it queued behind a later call, which waited for its
/// result. Neither was ever pushed.
#[test]
fn a_call_that_is_tried_again_goes_before_those_that_wait_for_it() {
    let mut owner = TestOwner::new("owner");
    created(&mut owner);
    owner
        .core
        .on_node_message(update(ActorState::Alive, 0, Some("a0")), 0);
    let first = owner.call_actor(actor(), &method(1));
    let call = owner.call(actor(), vec![CoreArgument::Object(first.id())]);
    let second = owner
        .core
        .submit_actor(actor(), &method(0), call, 0)
        .remove(0);
    assert_eq!(owner.pushes().len(), 1);
    let task = first.id().task();
    owner.reply("a0", first.id(), TaskOutcome::RaisedRetryable, vec![], 1);
    assert_eq!(owner.pushes(), [(address("a0").worker, task)]);
    owner.answer("a0", first.id(), "at last");
    assert_eq!(owner.pushes(), [(address("a0").worker, second.id().task())]);
}

/// The result of one call was lost before another call of the same actor had read it: the call that
/// makes it again queued behind the one that waits for it.
#[test]
fn a_call_whose_argument_is_lost_lets_the_one_that_makes_it_go_first() {
    let mut owner = TestOwner::new("owner");
    created(&mut owner);
    owner
        .core
        .on_node_message(update(ActorState::Alive, 0, Some("a0")), 0);
    let first = owner.call_actor(actor(), &method(1));
    owner.reply(
        "a0",
        first.id(),
        TaskOutcome::Returned,
        vec![super::lineage_scenarios::shared(1)],
        1,
    );
    let call = owner.call(actor(), vec![CoreArgument::Object(first.id())]);
    let second = owner
        .core
        .submit_actor(actor(), &method(1), call, 0)
        .remove(0);
    owner.effects();
    let reply = TaskReply {
        task: second.id().task(),
        outcome: TaskOutcome::ArgumentsLost as i32,
        lost: vec![first.id()],
        ..TaskReply::default()
    };
    owner.peer(&address("a0"), TaskReplied { reply });
    assert_eq!(owner.pushes(), [(address("a0").worker, first.id().task())]);
    owner.answer("a0", first.id(), "again");
    assert_eq!(owner.pushes(), [(address("a0").worker, second.id().task())]);
}

/// The connection to an actor was lost, and both lived on: the node, asked to end the actor's process
/// as if it were leased, did nothing, and the calls under way never ended.
#[test]
fn an_actor_that_is_cut_off_is_called_again() {
    let mut owner = TestOwner::new("owner");
    created(&mut owner);
    owner
        .core
        .on_node_message(update(ActorState::Alive, 0, Some("a0")), 0);
    let once = owner.call_actor(actor(), &method(0));
    let again = owner.call_actor(actor(), &method(1));
    owner.effects();
    let worker = address("a0").worker;
    assert!(owner.core.on_peer_closed(&worker));
    let later = owner.call_actor(actor(), &method(0));
    assert!(owner.pushes().is_empty(), "the control's word is awaited");
    owner.core.give_up(worker, 0);
    assert!(failure_message(&once).contains("It lives on"));
    let tasks = [again.id().task(), later.id().task()];
    assert_eq!(owner.pushes(), tasks.map(|task| (worker, task)));
    owner.answer("a0", again.id(), "");
    owner.answer("a0", later.id(), "");
    assert!(again.is_ready() && later.is_ready());
}
