//! References that travel: arguments, results, values inside values.

use whipray_proto::messages::execution::{PushTask, TaskReplied};
use whipray_proto::messages::lease::WorkerDied;
use whipray_proto::messages::object::{
    AddBorrower, Registrations, RemoveBorrower, SubscribeObject,
};

use super::*;

/// Delivers every message to a peer among the given ones, until none is left.
fn settle(owners: &mut [&mut TestOwner]) {
    loop {
        let mut mail = Vec::new();
        for owner in owners.iter_mut() {
            let from = owner.me();
            for (to, message) in owner.told_peers() {
                mail.push((from.clone(), to, message));
            }
        }
        if mail.is_empty() {
            return;
        }
        for (from, to, message) in mail {
            if let Some(owner) = owners.iter_mut().find(|owner| owner.me().endpoint == to) {
                owner.peer(&from, message);
            }
        }
    }
}

fn push(owner: &mut TestOwner, executor: &mut TestOwner, object: ObjectId) {
    let spec = owner.core.tasks.tasks[&object.task()].spec.clone();
    let me = owner.me();
    owner.effects();
    executor.peer(
        &me,
        PushTask {
            spec,
            assignment: None,
            lease: None,
        },
    );
}

/// Runs the next task of `executor`; `keeps` are the references that it keeps.
fn run(executor: &mut TestOwner, keeps: &[ObjectId], returns: Vec<(ObjectValue, Vec<ObjectId>)>) {
    let (queued, brought) = executor.core.execution.start(0).unwrap();
    for (object, owner) in &brought {
        executor.core.objects.refer(*object, owner);
    }
    for (object, _) in &brought {
        if !keeps.contains(object) {
            executor.core.release(object);
        }
    }
    let task = queued.push.spec.task;
    let returns = returns
        .into_iter()
        .map(|(value, contained)| (value, contained.into_iter().collect()))
        .collect();
    executor
        .core
        .finish_execution(task, TaskOutcome::Returned, returns, Vec::new(), 0);
}

fn argument_with(object: ObjectId) -> Vec<CoreArgument> {
    vec![CoreArgument::Value {
        data: Bytes::new(),
        contained: [object].into_iter().collect(),
    }]
}

#[test]
fn a_reference_that_the_executor_keeps_holds_the_object() {
    let mut owner = TestOwner::new("owner");
    let mut executor = TestOwner::new("w1");
    let object = owner.put("held", &[]);
    let result = owner.submit_with(&template(), argument_with(object));
    owner.core.release(&object);
    owner.grant(1, "w1");
    push(&mut owner, &mut executor, result.id());
    run(&mut executor, &[object], vec![(value(""), vec![])]);
    settle(&mut [&mut owner, &mut executor]);
    assert!(
        owner.core.objects.cell(&object).is_some(),
        "the executor keeps it"
    );
    executor.core.release(&object);
    settle(&mut [&mut owner, &mut executor]);
    assert!(owner.core.objects.cell(&object).is_none());
    owner.core.release(&result.id());
    owner.check_empty();
    executor.check_empty();
}

#[test]
fn a_reference_that_the_executor_drops_holds_nothing() {
    let mut owner = TestOwner::new("owner");
    let mut executor = TestOwner::new("w1");
    let object = owner.put("held", &[]);
    let result = owner.submit_with(&template(), argument_with(object));
    owner.core.release(&object);
    owner.grant(1, "w1");
    push(&mut owner, &mut executor, result.id());
    run(&mut executor, &[], vec![(value(""), vec![])]);
    settle(&mut [&mut owner, &mut executor]);
    assert!(owner.core.objects.cell(&object).is_none());
}

#[test]
fn a_returned_reference_is_the_callers_before_the_executor_lets_go() {
    let mut owner = TestOwner::new("owner");
    let mut executor = TestOwner::new("w1");
    let result = owner.submit(&template());
    owner.grant(1, "w1");
    push(&mut owner, &mut executor, result.id());
    let inner = executor.put("inner", &[]);
    run(&mut executor, &[], vec![(value("outer"), vec![inner])]);
    executor.core.release(&inner);
    settle(&mut [&mut owner, &mut executor]);
    assert!(
        executor.core.objects.cell(&inner).is_some(),
        "the caller has it in a result"
    );
    owner.core.release(&result.id());
    settle(&mut [&mut owner, &mut executor]);
    owner.check_empty();
    executor.check_empty();
}

#[test]
fn a_result_that_nobody_waits_for_lets_go_of_what_it_contains() {
    let mut owner = TestOwner::new("owner");
    let mut executor = TestOwner::new("w1");
    let result = owner.submit(&template());
    owner.grant(1, "w1");
    push(&mut owner, &mut executor, result.id());
    owner.core.release(&result.id());
    let inner = executor.put("inner", &[]);
    run(&mut executor, &[], vec![(value("outer"), vec![inner])]);
    executor.core.release(&inner);
    settle(&mut [&mut owner, &mut executor]);
    owner.check_empty();
    executor.check_empty();
}

fn by(registrar: &str) -> Registrations {
    Registrations {
        registrar: address(registrar).worker,
        count: 1,
        node: address(registrar).node,
    }
}

#[test]
fn a_goodbye_may_overtake_the_word_of_who_registered_the_borrower() {
    let mut owner = TestOwner::new("owner");
    let object = owner.put("x", &[]);
    let borrower = address("b");
    let remove = RemoveBorrower {
        object,
        borrower: borrower.worker,
        count: 0,
        by_others: vec![by("c")],
    };
    owner.peer(&borrower, remove);
    owner.core.release(&object);
    assert!(
        owner.core.objects.cell(&object).is_some(),
        "its registration is still under way"
    );
    owner.peer(&address("c"), AddBorrower { object, borrower });
    owner.check_empty();
}

#[test]
fn the_death_of_a_borrower_lets_go_of_what_it_held() {
    let mut owner = TestOwner::new("owner");
    let object = owner.put("x", &[]);
    let borrower = address("b");
    owner.peer(
        &address("c"),
        AddBorrower {
            object,
            borrower: borrower.clone(),
        },
    );
    assert!(
        owner
            .told_node()
            .iter()
            .any(|message| matches!(message, Message::WatchWorker(_))),
        "its death must be told to us"
    );
    owner.core.release(&object);
    assert!(owner.core.objects.cell(&object).is_some());
    let died = WorkerDied {
        worker: borrower.worker,
        cause: DeathCause::default(),
    };
    owner.core.on_node_message(died.into(), 0);
    owner.check_empty();
}

/// A borrower let go of an object and left; the node's news of its death came first. Its last word
/// then counted below zero in an account that nobody would ever settle, and the object stayed.
#[test]
fn the_last_word_of_a_dead_borrower_is_settled_too() {
    let mut owner = TestOwner::new("owner");
    let object = owner.put("x", &[]);
    let borrower = address("b");
    let died = || {
        Message::from(WorkerDied {
            worker: borrower.worker,
            cause: DeathCause::default(),
        })
    };
    let add = AddBorrower {
        object,
        borrower: borrower.clone(),
    };
    owner.peer(&address("c"), add);
    owner.core.on_node_message(died(), 0);
    owner.effects();
    let remove = RemoveBorrower {
        object,
        borrower: borrower.worker,
        count: 0,
        by_others: vec![by("c")],
    };
    owner.peer(&borrower, remove);
    let told = owner.told_node();
    let watches = |message: &Message| matches!(message, Message::WatchWorker(watch) if watch.worker == borrower.worker);
    assert!(told.iter().any(watches), "{told:?}");
    owner.core.on_node_message(died(), 0);
    owner.core.release(&object);
    owner.check_empty();
}

#[test]
fn the_death_of_an_owner_fails_what_borrowers_wait_for() {
    let mut borrower = TestOwner::new("b");
    let owner = address("owner");
    let object = TaskId::of(1, ActorId::none_of(JobId::from_number(1))).return_id(1);
    let cell = borrower.core.objects.refer(object, &owner).clone();
    borrower
        .core
        .objects
        .subscribe(&object, &mut borrower.core.effects);
    let died = WorkerDied {
        worker: owner.worker,
        cause: DeathCause::default(),
    };
    borrower.core.on_node_message(died.into(), 0);
    assert!(failure_message(&cell).contains("owned it is gone"));
}

#[test]
fn a_borrower_gets_the_value_when_it_is_there() {
    let mut owner = TestOwner::new("owner");
    let mut borrower = TestOwner::new("b");
    let result = owner.submit(&template());
    owner.grant(1, "w1");
    let address = owner.me();
    let cell = borrower.core.objects.refer(result.id(), &address).clone();
    borrower
        .core
        .objects
        .subscribe(&result.id(), &mut borrower.core.effects);
    settle(&mut [&mut owner, &mut borrower]);
    assert!(!cell.is_ready());
    owner.answer("w1", result.id(), "late");
    settle(&mut [&mut owner, &mut borrower]);
    assert_eq!(text(&cell), "late");
}

#[test]
fn an_object_that_the_owner_does_not_know_is_lost_and_not_waited_for() {
    let mut owner = TestOwner::new("owner");
    let object = TaskId::of(1, ActorId::none_of(JobId::from_number(1))).return_id(1);
    owner.peer(&address("b"), SubscribeObject { object, lost: None });
    let told = owner.told_peers();
    assert!(matches!(&told[..], [(_, Message::ObjectReady(ready))] if ready.value.is_error));
}

#[test]
fn values_inside_values_go_with_the_outer_one() {
    let mut owner = TestOwner::new("owner");
    let inner = owner.put("inner", &[]);
    let outer = owner.put("outer", &[inner]);
    owner.core.release(&inner);
    assert!(owner.core.objects.cell(&inner).is_some());
    owner.core.release(&outer);
    owner.check_empty();
}

#[test]
fn an_answer_that_comes_twice_is_taken_once() {
    let mut owner = TestOwner::new("owner");
    let result = owner.submit(&template());
    owner.grant(1, "w1");
    let reply = TaskReply {
        task: result.id().task(),
        returns: vec![value("1")],
        ..TaskReply::default()
    };
    for _ in 0..2 {
        owner.peer(
            &address("w1"),
            TaskReplied {
                reply: reply.clone(),
            },
        );
    }
    owner.core.release(&result.id());
    owner.check_empty();
}

/// A worker that gets a task of its own returned a reference to an object of its own: nobody held
/// the object while the answer was under way, so that its value was gone when it arrived.
#[test]
fn what_a_process_returns_to_itself_is_held_on_the_way() {
    let mut owner = TestOwner::new("owner");
    let me = owner.me();
    let result = owner.submit(&template());
    owner.grant(1, "owner");
    owner.effects();
    let task = result.id().task();
    let spec = owner.core.tasks.tasks[&task].spec.clone();
    let push = PushTask {
        spec,
        assignment: None,
        lease: None,
    };
    owner.peer(&me, push);
    owner.core.execution.start(0);
    let put = owner.put("x", &[]);
    let returns = vec![(value("box"), [put].into_iter().collect())];
    owner
        .core
        .finish_execution(task, TaskOutcome::Returned, returns, Vec::new(), 0);
    owner.core.release(&put);
    let told = owner.told_peers();
    assert!(owner.core.objects.cell(&put).is_some());
    for (_, message) in told {
        owner.peer(&me, message);
    }
    assert_eq!(owner.core.objects.local_count(&put), 1);
    assert_eq!(text(owner.core.objects.cell(&put).unwrap()), "x");
    owner.core.release(&result.id());
    owner.check_empty();
}

/// The answer of a worker that was taken for dead: the references in it were registered for us, and
/// stayed so for ever.
#[test]
fn references_in_an_answer_that_comes_too_late_are_let_go() {
    let mut owner = TestOwner::new("owner");
    let mut template = template();
    template.max_retries = 0;
    let result = owner.submit(&template);
    owner.grant(1, "w1");
    owner.effects();
    owner.lose(1);
    let inner = TaskId::of(50, ActorId::none_of(JobId::from_number(1))).return_id(1);
    let mut late = value("box");
    let mut contained = whipray_proto::References::default();
    contained.push(inner, &address("third"));
    late.contained = Some(contained);
    owner.effects();
    owner.reply("w1", result.id(), TaskOutcome::Returned, vec![late], 1);
    let told = owner.told_peers();
    assert!(
        matches!(&told[..], [(_, Message::RemoveBorrower(remove))] if remove.by_others == [by("w1")]),
        "{told:?}"
    );
    owner.core.release(&result.id());
    owner.check_empty();
}

/// An actor kept a reference that a call brought, and left it to the caller to register it. The
/// caller died before it read the answer: the actor took back more than was ever registered.
#[test]
fn what_a_dead_caller_was_to_register_is_settled() {
    let mut executor = TestOwner::new("executor");
    let (caller, third) = (address("caller"), address("third"));
    let inner = TaskId::of(50, ActorId::none_of(JobId::from_number(1))).return_id(1);
    let mut contained = whipray_proto::References::default();
    contained.push(inner, &third);
    let mut argument = value("box");
    argument.contained = Some(contained);
    let spec = whipray_proto::TaskSpec {
        task: TaskId::of(51, actor_of_tests()),
        arguments: vec![whipray_proto::Argument {
            value: Some(argument),
            ..whipray_proto::Argument::default()
        }],
        ..whipray_proto::TaskSpec::default()
    };
    let task = spec.task;
    let push = PushTask {
        spec,
        ..PushTask::default()
    };
    executor.peer(&caller, push);
    executor.core.execution.start(0);
    executor.core.objects.refer(inner, &third);
    executor
        .core
        .finish_execution(task, TaskOutcome::Returned, Vec::new(), Vec::new(), 0);
    executor.effects();
    executor.core.release(&inner);
    let told = executor.told_peers();
    let [(_, Message::RemoveBorrower(remove))] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!(
        (remove.count, &remove.by_others[..]),
        (0, &[by("caller")][..])
    );

    for is_caller_dead in [false, true] {
        let mut owner = TestOwner::new("third");
        let object = owner.put("x", &[]);
        let remove = RemoveBorrower {
            object,
            ..remove.clone()
        };
        owner.peer(&executor.me(), remove);
        owner.core.release(&object);
        assert!(owner.core.objects.cell(&object).is_some(), "below zero");
        let add = AddBorrower {
            object,
            borrower: executor.me(),
        };
        if is_caller_dead {
            owner.core.on_node_message(died(&caller), 0);
        } else {
            owner.peer(&caller, add);
        }
        owner.check_empty();
    }
}

fn died(who: &WorkerAddress) -> Message {
    let worker = who.worker;
    let cause = DeathCause::default();
    WorkerDied { worker, cause }.into()
}

/// A borrower let go of what a dead caller was to register, and got the same reference again from
/// somebody else: its new registration paid the old debt, and the object went while it was held.
#[test]
fn a_debt_is_not_paid_by_the_registration_of_another() {
    let mut owner = TestOwner::new("owner");
    let object = owner.put("x", &[]);
    let (borrower, caller, other) = (address("b"), address("caller"), address("other"));
    let remove = |registrar: &str| RemoveBorrower {
        object,
        borrower: borrower.worker,
        count: 0,
        by_others: vec![by(registrar)],
    };
    owner.peer(&borrower, remove("caller"));
    let add = AddBorrower {
        object,
        borrower: borrower.clone(),
    };
    owner.peer(&other, add.clone());
    owner.core.release(&object);
    owner.core.on_node_message(died(&caller), 0);
    assert!(owner.core.objects.cell(&object).is_some(), "it is borrowed");
    owner.peer(&borrower, remove("other"));
    owner.check_empty();
}

/// A process registered a borrower, and died before it sent the value with the reference.
#[test]
fn a_borrower_takes_back_what_never_reached_it() {
    let (mut owner, mut borrower) = (TestOwner::new("owner"), TestOwner::new("b"));
    let object = owner.put("x", &[]);
    let registrar = address("registrar");
    let add = AddBorrower {
        object,
        borrower: borrower.me(),
    };
    owner.peer(&registrar, add);
    owner.core.release(&object);
    owner.core.on_node_message(died(&registrar), 0);
    assert!(
        owner.core.objects.cell(&object).is_some(),
        "perhaps it is borrowed"
    );
    settle(&mut [&mut owner, &mut borrower]);
    owner.check_empty();
}

/// Whether a dead registrar had spoken is not known to the borrower: it registers itself.
#[test]
fn a_borrower_registers_itself_when_its_registrar_dies() {
    for has_spoken in [false, true] {
        let (mut owner, mut borrower) = (TestOwner::new("owner"), TestOwner::new("b"));
        let object = owner.put("x", &[]);
        let registrar = address("registrar");
        let mut contained = whipray_proto::References::default();
        contained.push(object, &owner.me());
        let mut outer = value("box");
        outer.contained = Some(contained);
        let result = borrower.submit(&template());
        borrower.grant(1, "registrar");
        borrower.effects();
        let returned = TaskOutcome::Returned;
        borrower.reply("registrar", result.id(), returned, vec![outer], 1);
        let watches = |message: &Message| matches!(message, Message::WatchWorker(watch) if watch.worker == registrar.worker);
        assert!(borrower.told_node().iter().any(watches));
        if has_spoken {
            let borrower = borrower.me();
            owner.peer(&registrar, AddBorrower { object, borrower });
        }
        for process in [&mut owner, &mut borrower] {
            process.core.on_node_message(died(&registrar), 0);
        }
        settle(&mut [&mut owner, &mut borrower]);
        owner.core.release(&object);
        assert!(owner.core.objects.cell(&object).is_some(), "it is borrowed");
        borrower.core.release(&result.id());
        settle(&mut [&mut owner, &mut borrower]);
        // The node says again that it is dead, because the owner asks.
        owner.core.on_node_message(died(&registrar), 0);
        owner.check_empty();
    }
}

fn actor_of_tests() -> ActorId {
    ActorId::none_of(JobId::from_number(1))
}

/// A borrower asked for a value, let go of the object, and got the value all the same: it freed the
/// memory as if the object were its own, and the owner's readers found nothing.
#[test]
fn a_borrower_that_let_go_does_not_free_what_comes_late() {
    let mut borrower = TestOwner::new("borrower");
    let owner = address("owner");
    let object = TaskId::of(50, actor_of_tests()).return_id(1);
    borrower.core.objects.refer(object, &owner);
    let mut effects = Vec::new();
    borrower.core.objects.subscribe(&object, &mut effects);
    borrower.core.release(&object);
    borrower.effects();
    let value = ObjectValue {
        shared: Some(whipray_proto::SharedLocation::default()),
        ..ObjectValue::default()
    };
    let ready = whipray_proto::messages::object::ObjectReady { object, value };
    borrower.peer(&owner, ready);
    assert!(borrower.told_node().is_empty());
    borrower.check_empty();
}
