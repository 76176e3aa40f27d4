//! Processes on other nodes: whom we watch where, and what the death of their node means.

use whipray_proto::failure::FailureKind;
use whipray_proto::messages::actor::{ActorState, ActorUpdate};
use whipray_proto::messages::lease::{NodeDied, WorkerDied};
use whipray_proto::messages::object::{
    AddBorrower, ObjectReady, Registrations, RemoveBorrower, SubscribeObject,
};

use super::*;

fn die(owner: &mut TestOwner, number: u8) {
    let died = NodeDied {
        node: node(number),
        cause: DeathCause::new(DeathKind::NodeDied, "its machine does not answer"),
    };
    owner.core.on_node_message(died.into(), 0);
    owner.core.validate().unwrap();
}

fn watched(owner: &mut TestOwner) -> Vec<(WorkerId, Option<NodeId>)> {
    let told = owner.told_node().into_iter();
    told.filter_map(|message| match message {
        Message::WatchWorker(watch) => Some((watch.worker, watch.node)),
        _ => None,
    })
    .collect()
}

fn object(number: u64) -> ObjectId {
    TaskId::of(number, ActorId::none_of(JobId::from_number(1))).return_id(1)
}

#[test]
fn a_watch_names_the_node() {
    let mut owner = TestOwner::new("owner");
    let ours = owner.put("x", &[]);
    let (near, far) = (address("near"), far_address("far", 2));
    for borrower in [near.clone(), far.clone()] {
        owner.peer(
            &borrower.clone(),
            AddBorrower {
                object: ours,
                borrower,
            },
        );
    }
    let theirs = object(1);
    owner.core.objects.refer(theirs, &far_address("other", 3));
    owner
        .core
        .objects
        .subscribe(&theirs, &mut owner.core.effects);
    let other = far_address("other", 3);
    assert_eq!(
        watched(&mut owner),
        [
            (near.worker, None),
            (far.worker, Some(node(2))),
            (other.worker, Some(node(3)))
        ]
    );
}

/// A borrower lets go before the word of its registrar has come, which runs on another node: asked
/// for it there, our node would say that it knows no such process, and the word would count for ever.
#[test]
fn a_registrar_is_watched_on_its_own_node() {
    let mut owner = TestOwner::new("owner");
    let ours = owner.put("x", &[]);
    let (borrower, registrar) = (far_address("b", 2), far_address("c", 3));
    let mut there = TestOwner::new("b");
    there.core.objects.refer(ours, &owner.me());
    let one = 1;
    let taken = Registrations {
        registrar: registrar.worker,
        count: one,
        node: registrar.node,
    };
    let remove = RemoveBorrower {
        object: ours,
        borrower: borrower.worker,
        count: 0,
        by_others: vec![taken],
    };
    owner.peer(&borrower, remove);
    assert_eq!(
        watched(&mut owner),
        [
            (borrower.worker, Some(node(2))),
            (registrar.worker, Some(node(3)))
        ]
    );
    owner.core.release(&ours);
    let add = AddBorrower {
        object: ours,
        borrower,
    };
    owner.peer(&registrar, add);
    owner.check_empty();
}

/// The connection to the owner of an awaited value was lost, and with it the question or the answer:
/// nobody asked again, and the reader waited for ever.
#[test]
fn an_owner_that_lives_on_is_asked_again_after_the_connection_to_it_was_lost() {
    let mut borrower = TestOwner::new("b");
    let owner = far_address("owner", 2);
    let (wanted, known) = (object(1), object(2));
    let cell = borrower.core.objects.refer(wanted, &owner).clone();
    borrower.core.objects.refer(known, &owner);
    let core = &mut borrower.core;
    core.objects.subscribe(&wanted, &mut core.effects);
    let asked = || (owner.endpoint.clone(), subscribe(wanted));
    assert_eq!(borrower.told_peers(), [asked()]);
    for _ in 0..2 {
        assert!(borrower.core.on_peer_closed(&owner.worker));
        assert!(borrower.core.is_awaited(&owner.worker));
        assert_eq!(borrower.told_peers(), [], "it may be dead");
        borrower.core.give_up(owner.worker, 0);
        assert!(!borrower.core.is_awaited(&owner.worker));
        assert_eq!(borrower.told_peers(), [asked()]);
    }
    for _ in 0..2 {
        let object = wanted;
        let value = value("there");
        borrower.peer(&owner, ObjectReady { object, value });
    }
    assert_eq!(text(&cell), "there");
    assert!(!borrower.core.on_peer_closed(&owner.worker));
    for object in [wanted, known] {
        borrower.core.release(&object);
    }
    borrower.check_empty();
}

fn subscribe(object: ObjectId) -> Message {
    SubscribeObject { object, lost: None }.into()
}

#[test]
fn the_death_of_an_owner_ends_the_wait_for_the_word_on_it() {
    let mut borrower = TestOwner::new("b");
    let owner = far_address("owner", 2);
    let cell = borrower.core.objects.refer(object(1), &owner).clone();
    let core = &mut borrower.core;
    core.objects.subscribe(&object(1), &mut core.effects);
    assert!(borrower.core.on_peer_closed(&owner.worker));
    die(&mut borrower, 2);
    assert!(!borrower.core.is_awaited(&owner.worker));
    assert!(cell.is_ready());
}

#[test]
fn a_dead_node_takes_borrowers_and_owners_along_once() {
    let mut owner = TestOwner::new("owner");
    let ours = owner.put("x", &[]);
    let (borrower, other) = (far_address("b", 2), far_address("o", 2));
    let add = AddBorrower {
        object: ours,
        borrower: borrower.clone(),
    };
    owner.peer(&borrower, add);
    let theirs = object(1);
    let cell = owner.core.objects.refer(theirs, &other).clone();
    owner
        .core
        .objects
        .subscribe(&theirs, &mut owner.core.effects);
    owner.core.release(&ours);
    die(&mut owner, 2);
    assert!(owner.core.objects.cell(&ours).is_none(), "nobody has it");
    assert_eq!(
        cell.value().unwrap().failure.unwrap().kind(),
        FailureKind::OwnerDied
    );
    assert!(failure_message(&cell).contains("its machine does not answer"));
    for worker in [borrower.worker, other.worker] {
        let cause = DeathCause::default();
        let died = WorkerDied { worker, cause };
        owner.core.on_node_message(died.into(), 0);
    }
    die(&mut owner, 2);
    owner.core.release(&theirs);
    owner.check_empty();
}

#[test]
fn a_task_without_retries_fails_with_the_death_of_the_node() {
    let mut owner = TestOwner::new("owner");
    let template = TaskTemplate {
        max_retries: 0,
        ..template()
    };
    let result = owner.submit(&template);
    owner.grant_of(0, 1, far_address("w1", 2));
    owner.effects();
    die(&mut owner, 2);
    let failure = result.value().unwrap().failure.unwrap();
    assert_eq!(failure.kind(), FailureKind::NodeDied);
    owner.core.release(&result.id());
    owner.check_empty();
}

#[test]
fn a_worker_of_a_dead_node_is_not_taken() {
    let mut owner = TestOwner::new("owner");
    owner.submit(&template());
    die(&mut owner, 2);
    owner.effects();
    owner.grant_of(0, 1, far_address("w1", 2));
    assert!(owner.core.tasks.leases.is_empty());
    let told = owner.told_node();
    assert!(matches!(told[..], [Message::LeaseReturn(_)]), "{told:?}");
}

#[test]
fn calls_of_an_actor_of_a_dead_node_wait_for_the_word_on_it() {
    let mut owner = TestOwner::new("owner");
    let actor = ActorId::from_array([5; 16]);
    let template = TaskTemplate {
        method: "method".into(),
        max_retries: 1,
        ..template()
    };
    owner.core.actors.ensure(actor);
    let me = owner.me();
    owner.core.objects.refer(actor.handle_object(), &me);
    let (old, new) = (far_address("old", 2), far_address("new", 3));
    let alive = |address: &WorkerAddress, incarnation| ActorUpdate {
        actor,
        incarnation,
        state: ActorState::Alive as i32,
        address: Some(address.clone()),
        ..ActorUpdate::default()
    };
    owner.core.on_node_message(alive(&old, 0).into(), 0);
    let result = owner.call_actor(actor, &template);
    assert_eq!(owner.pushes().len(), 1);
    die(&mut owner, 2);
    assert!(
        !owner.core.is_awaited(&old.worker),
        "only the control knows"
    );
    assert!(owner.core.address_of(&old.worker).is_none());
    // News that are older than the death.
    owner.core.on_node_message(alive(&old, 0).into(), 0);
    let later = owner.call_actor(actor, &template);
    assert!(owner.pushes().is_empty());
    owner.core.on_node_message(alive(&new, 1).into(), 0);
    let pushes = owner.pushes();
    assert_eq!(
        pushes,
        [
            (new.worker, result.id().task()),
            (new.worker, later.id().task())
        ]
    );
}
