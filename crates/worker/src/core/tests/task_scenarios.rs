//! Leases, pipelining, crashes, retries, cancelling.

use whipray_proto::Message;
use whipray_proto::task::TaskOutcome;

use super::*;

#[test]
fn a_task_asks_for_a_lease_and_is_pushed_to_it() {
    let mut owner = TestOwner::new("owner");
    let result = owner.submit(&template());
    let told = owner.told_node();
    assert!(matches!(&told[..], [Message::LeaseTarget(target)] if target.target == 1));
    owner.grant(1, "w1");
    assert_eq!(owner.pushes(), [(address("w1").worker, result.id().task())]);
    owner.answer("w1", result.id(), "done");
    assert_eq!(text(&result), "done");
    owner.core.release(&result.id());
    owner.check_empty();
}

#[test]
fn a_second_task_uses_the_lease_again_without_a_word_to_the_node() {
    let mut owner = TestOwner::new("owner");
    let template = template();
    let first = owner.submit(&template);
    owner.grant(1, "w1");
    owner.answer("w1", first.id(), "1");
    owner.effects();
    let second = owner.submit(&template);
    let effects = owner.effects();
    assert!(
        matches!(&effects[..], [Effect::Push { task, is_urgent: true, .. }] if *task == second.id().task()),
        "{effects:?}"
    );
}

#[test]
fn tasks_of_unknown_length_do_not_queue_behind_each_other() {
    let mut owner = TestOwner::new("owner");
    let template = template();
    owner.submit(&template);
    owner.submit(&template);
    owner.grant(1, "w1");
    assert_eq!(owner.pushes().len(), 1);
    owner.grant(2, "w2");
    assert_eq!(owner.pushes().len(), 1);
    owner.core.validate().unwrap();
}

#[test]
fn tasks_that_are_known_to_be_short_are_pipelined() {
    let mut owner = TestOwner::new("owner");
    let template = template();
    let first = owner.submit(&template);
    owner.grant(1, "w1");
    owner.answer("w1", first.id(), "1");
    owner.effects();
    for _ in 0..100 {
        owner.submit(&template);
    }
    assert_eq!(owner.pushes().len(), 100);
    owner.core.validate().unwrap();
}

#[test]
fn a_crash_charges_only_the_task_that_ran() {
    let mut owner = TestOwner::new("owner");
    let template = template();
    let warm = owner.submit(&template);
    owner.grant(1, "w1");
    owner.answer("w1", warm.id(), "");
    let tasks: Vec<_> = (0..3).map(|_| owner.submit(&template)).collect();
    owner.effects();
    owner.core.on_peer_closed(&address("w1").worker);
    owner.lose(1);
    let used = |owner: &TestOwner, cell: &ObjectCell| {
        owner.core.tasks.tasks[&cell.id().task()].retries_used
    };
    assert_eq!(
        tasks
            .iter()
            .map(|task| used(&owner, task))
            .collect::<Vec<_>>(),
        [1, 0, 0]
    );
    owner.core.validate().unwrap();
    owner.grant(2, "w2");
    assert_eq!(owner.pushes()[0].1, tasks[0].id().task());
}

/// The grant and the loss of a worker that was dead already came in one batch: the task was charged
/// with a crash before it had been sent, and failed where it had no retry.
#[test]
fn a_task_that_was_never_sent_is_not_charged() {
    let mut owner = TestOwner::new("owner");
    let mut template = template();
    template.max_retries = 0;
    let result = owner.submit(&template);
    owner.grant(1, "w1");
    owner.lose(1);
    assert!(!result.is_ready());
    owner.effects();
    owner.grant(2, "w2");
    assert_eq!(owner.pushes(), [(address("w2").worker, result.id().task())]);
    owner.lose(2);
    assert!(failure_message(&result).contains("signal 9"));
    owner.core.release(&result.id());
    owner.check_empty();
}

/// A worker ended a task and began the next, and its death took the answer along: the finished task
/// was charged each time, and the one that killed the worker never, until the innocent one failed.
#[test]
fn tasks_that_were_in_a_dead_worker_run_alone() {
    let mut owner = TestOwner::new("owner");
    let template = template();
    let warm = owner.submit(&template);
    owner.grant(1, "w1");
    owner.answer("w1", warm.id(), "");
    let tasks: Vec<_> = (0..2).map(|_| owner.submit(&template)).collect();
    assert_eq!(owner.pushes().len(), 3, "both wait in the same worker");
    owner.lose(1);
    owner.grant(2, "w2");
    assert_eq!(
        owner.pushes(),
        [(address("w2").worker, tasks[0].id().task())]
    );
    owner.answer("w2", tasks[0].id(), "innocent");
    assert_eq!(
        owner.pushes(),
        [(address("w2").worker, tasks[1].id().task())]
    );
    owner.lose(2);
    assert_eq!(
        owner.core.tasks.tasks[&tasks[1].id().task()].retries_used,
        1
    );
    assert!(tasks[0].is_ready());
}

/// What waits behind others may have begun when its worker dies, and is pushed again all the same.
#[test]
fn a_task_without_retries_waits_behind_nothing() {
    let mut owner = TestOwner::new("owner");
    let mut template = template();
    let warm = owner.submit(&template);
    owner.grant(1, "w1");
    owner.answer("w1", warm.id(), "");
    template.max_retries = 0;
    let tasks: Vec<_> = (0..2).map(|_| owner.submit(&template)).collect();
    assert_eq!(owner.pushes().len(), 2);
    owner.answer("w1", tasks[0].id(), "");
    assert_eq!(
        owner.pushes(),
        [(address("w1").worker, tasks[1].id().task())]
    );
}

/// A worker sealed its result in shared memory and died before it could answer. The task failed, or
/// its next try ended otherwise, and the sealed copy stayed in the store for as long as its owner.
#[test]
fn what_a_dead_worker_has_sealed_is_freed() {
    let mut owner = TestOwner::new("owner");
    let mut template = template();
    template.max_retries = 1;
    let result = owner.submit(&template);
    owner.grant(1, "w1");
    owner.effects();
    owner.lose(1);
    owner.grant(2, "w2");
    owner.effects();
    owner.answer("w2", result.id(), "small this time");
    let told = owner.told_node();
    let is_freed = told.iter().any(
        |message| matches!(message, Message::FreeObjects(free) if free.objects == [result.id()]),
    );
    assert!(is_freed, "{told:?}");
}

#[test]
fn retries_end_with_the_cause_of_the_last_death() {
    let mut owner = TestOwner::new("owner");
    let mut template = template();
    template.max_retries = 1;
    let result = owner.submit(&template);
    for lease in 1..=2 {
        owner.grant(lease, "w1");
        owner.effects();
        owner.lose(lease);
    }
    let message = failure_message(&result);
    assert!(message.contains("signal 9 (SIGKILL)"), "{message}");
    assert!(message.contains("1 used, 0 left"), "{message}");
}

#[test]
fn an_answer_that_a_death_overtook_is_ignored() {
    let mut owner = TestOwner::new("owner");
    let result = owner.submit(&template());
    owner.grant(1, "w1");
    owner.lose(1);
    owner.answer("w1", result.id(), "late");
    assert!(!result.is_ready());
    owner.grant(2, "w2");
    owner.answer("w2", result.id(), "again");
    assert_eq!(text(&result), "again");
    owner.core.validate().unwrap();
}

#[test]
fn a_task_waits_for_the_object_that_it_takes() {
    let mut owner = TestOwner::new("owner");
    let template = template();
    let first = owner.submit(&template);
    let second = owner.submit_with(&template, vec![CoreArgument::Object(first.id())]);
    owner.grant(1, "w1");
    assert_eq!(owner.pushes().len(), 1);
    // The first result stays, since the second task takes it, whatever its handles do.
    owner.core.release(&first.id());
    owner.answer("w1", first.id(), "one");
    assert_eq!(owner.pushes(), [(address("w1").worker, second.id().task())]);
    let spec = &owner.core.tasks.tasks[&second.id().task()].spec;
    assert_eq!(
        spec.arguments[0].value.as_ref().unwrap().data,
        "one".as_bytes()
    );
    owner.answer("w1", second.id(), "two");
    owner.core.release(&second.id());
    owner.check_empty();
}

#[test]
fn a_blocked_worker_hands_back_and_gets_nothing_until_it_answers() {
    let mut owner = TestOwner::new("owner");
    let template = template();
    let warm = owner.submit(&template);
    owner.grant(1, "w1");
    owner.answer("w1", warm.id(), "");
    let running = owner.submit(&template);
    let waiting = owner.submit(&template);
    owner.effects();
    owner.reply("w1", waiting.id(), TaskOutcome::HandedBack, Vec::new(), 0);
    assert!(owner.pushes().is_empty(), "the worker is blocked");
    owner.core.validate().unwrap();
    owner.grant(2, "w2");
    assert_eq!(
        owner.pushes(),
        [(address("w2").worker, waiting.id().task())]
    );
    owner.answer("w1", running.id(), "");
    let next = owner.submit(&template);
    assert_eq!(owner.pushes(), [(address("w1").worker, next.id().task())]);
}

#[test]
fn tasks_behind_a_long_one_are_asked_back_for_an_idle_worker() {
    let mut owner = TestOwner::new("owner");
    let template = template();
    let warm = owner.submit(&template);
    owner.grant(1, "w1");
    owner.answer("w1", warm.id(), "");
    for _ in 0..5 {
        owner.submit(&template);
    }
    owner.grant(2, "w2");
    owner.effects();
    owner.now += 2_500;
    owner.core.on_time(owner.now);
    let told = owner.told_peers();
    assert!(
        matches!(&told[..], [(to, Message::ReclaimTasks(reclaim))]
            if to == "unix:@w1" && reclaim.count == 2),
        "{told:?}"
    );
}

#[test]
fn an_idle_lease_goes_back_after_a_while_and_its_target_goes_first() {
    let mut owner = TestOwner::new("owner");
    let result = owner.submit(&template());
    owner.grant(1, "w1");
    owner.answer("w1", result.id(), "");
    owner.effects();
    owner.now = owner.core.deadline().unwrap();
    owner.core.on_time(owner.now);
    let told = owner.told_node();
    assert!(
        matches!(&told[..], [Message::LeaseTarget(target), Message::LeaseReturn(_)]
            if target.target == 0),
        "{told:?}"
    );
    assert_eq!(owner.core.deadline(), None);
}

#[test]
fn a_busy_lease_goes_back_after_its_turn_when_others_wait() {
    let mut owner = TestOwner::new("owner");
    let template = template();
    let running = owner.submit(&template);
    let waiting = owner.submit(&template);
    owner.grant(1, "w1");
    owner.effects();
    let reclaim = whipray_proto::messages::lease::ReclaimIdle::default();
    owner
        .core
        .on_node_message(reclaim.clone().into(), owner.now);
    assert!(owner.told_node().is_empty(), "its turn has just begun");
    owner.now += 600_000;
    owner.core.on_node_message(reclaim.into(), owner.now);
    assert!(owner.told_node().is_empty(), "its task still runs");
    owner.answer("w1", running.id(), "");
    let told = owner.told_node();
    assert!(
        matches!(&told[..], [Message::LeaseTarget(target), Message::LeaseReturn(_)]
            if target.target == 1),
        "{told:?}"
    );
    owner.grant(2, "w2");
    assert_eq!(
        owner.pushes(),
        [(address("w2").worker, waiting.id().task())]
    );
}

#[test]
fn whoever_asks_for_idle_leases_hears_when_they_are_back() {
    let mut owner = TestOwner::new("owner");
    let done = owner.submit(&template());
    owner.grant(1, "w1");
    owner.answer("w1", done.id(), "1");
    owner.effects();
    let reclaim = whipray_proto::messages::lease::ReclaimIdle { round: 7 };
    owner.core.on_node_message(reclaim.into(), owner.now);
    let told = owner.told_node();
    assert!(
        matches!(&told[..], [Message::LeaseTarget(_), Message::LeaseReturn(_), Message::IdleReturned(it)]
            if it.round == 7),
        "{told:?}"
    );
}

#[test]
fn cancelling_ends_a_task_wherever_it_is() {
    let mut owner = TestOwner::new("owner");
    let template = template();
    let running = owner.submit(&template);
    let queued = owner.submit(&template);
    let dependent = owner.submit_with(&template, vec![CoreArgument::Object(running.id())]);
    owner.grant(1, "w1");
    owner.effects();
    for cell in [&queued, &dependent] {
        owner.core.cancel(cell.id().task(), false, false, 0);
        assert!(failure_message(cell).contains("cancelled"));
    }
    owner.core.cancel(running.id().task(), false, false, 0);
    let told = owner.told_peers();
    assert!(
        matches!(&told[..], [(_, Message::CancelTask(_))]),
        "{told:?}"
    );
    owner.reply("w1", running.id(), TaskOutcome::Cancelled, Vec::new(), 0);
    assert!(running.is_ready());
    owner.core.validate().unwrap();
}

#[test]
fn a_forced_cancel_is_not_retried_when_the_worker_dies_of_it() {
    let mut owner = TestOwner::new("owner");
    let result = owner.submit(&template());
    owner.grant(1, "w1");
    owner.effects();
    owner.core.cancel(result.id().task(), true, false, 0);
    assert!(
        owner
            .told_node()
            .iter()
            .any(|message| matches!(message, Message::KillWorker(_)))
    );
    owner.lose(1);
    assert!(failure_message(&result).contains("cancelled"));
}

/// A forced cancel of a task that waited in a worker behind another one ended the worker, and with it
/// the other one, which had done nothing.
#[test]
fn a_forced_cancel_does_not_end_what_runs_before() {
    let mut owner = TestOwner::new("owner");
    let template = template();
    let warm = owner.submit(&template);
    owner.grant(1, "w1");
    owner.answer("w1", warm.id(), "");
    let tasks: Vec<_> = (0..2).map(|_| owner.submit(&template)).collect();
    owner.effects();
    let kills = |owner: &mut TestOwner| {
        let told = owner.told_node();
        told.iter()
            .any(|message| matches!(message, Message::KillWorker(_)))
    };
    owner.core.cancel(tasks[1].id().task(), true, false, 0);
    assert!(!kills(&mut owner));
    owner.answer("w1", tasks[0].id(), "innocent");
    assert!(kills(&mut owner), "its turn has come");
}

/// A task was cancelled while its worker handed it back: it was pushed again, and ran.
#[test]
fn a_cancelled_task_that_is_handed_back_does_not_run_again() {
    let mut owner = TestOwner::new("owner");
    let result = owner.submit(&template());
    owner.grant(1, "w1");
    owner.effects();
    owner.core.cancel(result.id().task(), false, false, 0);
    owner.effects();
    owner.reply("w1", result.id(), TaskOutcome::HandedBack, vec![], 0);
    assert!(owner.pushes().is_empty());
    assert!(failure_message(&result).contains("cancelled"));
    owner.core.release(&result.id());
    owner.check_empty();
}

#[test]
fn an_exception_is_retried_where_that_was_asked_for() {
    let mut owner = TestOwner::new("owner");
    let mut template = template();
    template.max_retries = 1;
    let result = owner.submit(&template);
    owner.grant(1, "w1");
    owner.effects();
    owner.reply(
        "w1",
        result.id(),
        TaskOutcome::RaisedRetryable,
        vec![value("e1")],
        1,
    );
    assert_eq!(owner.pushes().len(), 1);
    owner.reply(
        "w1",
        result.id(),
        TaskOutcome::RaisedRetryable,
        vec![value("e2")],
        1,
    );
    assert_eq!(text(&result), "e2");
}

#[test]
fn the_loss_of_the_node_fails_what_is_pending() {
    let mut owner = TestOwner::new("owner");
    let result = owner.submit(&template());
    owner.core.on_node_gone();
    assert!(failure_message(&result).contains("node daemon"));
}

/// A task that waited when its node was lost raised, and its caller on another node took that for the
/// result of the task.
#[test]
fn a_task_has_no_result_after_the_loss_of_its_node() {
    let mut executor = TestOwner::new("executor");
    let caller = far_address("caller", 2);
    let spec = whipray_proto::TaskSpec {
        task: TaskId::of(1, ActorId::none_of(JobId::from_number(1))),
        num_returns: 1,
        ..whipray_proto::TaskSpec::default()
    };
    let task = spec.task;
    let push = whipray_proto::messages::execution::PushTask {
        spec,
        ..Default::default()
    };
    executor.peer(&caller, push);
    executor.core.execution.start(0);
    executor.effects();
    executor.core.on_node_gone();
    let raised = vec![(value("the node is gone"), Default::default())];
    executor
        .core
        .finish_execution(task, TaskOutcome::Raised, raised, Vec::new(), 0);
    let effects = executor.effects();
    let is_told = |effect: &Effect| matches!(effect, Effect::ToPeer(..));
    assert!(!effects.iter().any(is_told), "{effects:?}");
    assert!(executor.core.execution.is_empty());
}

#[test]
fn what_is_called_after_the_loss_of_the_node_fails_and_reaches_nobody() {
    let mut owner = TestOwner::new("owner");
    owner.submit(&template());
    owner.grant(1, "w1");
    owner.core.on_node_gone();
    let result = owner.submit(&template());
    assert!(failure_message(&result).contains("node daemon"));
    for (_, task) in owner.pushes() {
        assert!(owner.core.take_push(&address("w1"), &task).is_none());
    }
}

#[test]
fn a_worker_that_served_its_calls_is_replaced() {
    let mut owner = TestOwner::new("owner");
    let mut template = template();
    template.max_calls = 1;
    let result = owner.submit(&template);
    owner.grant(1, "w1");
    owner.effects();
    owner.answer("w1", result.id(), "");
    let told = owner.told_node();
    assert!(
        told.iter()
            .any(|message| matches!(message, Message::LeaseReturn(back) if back.end_worker)),
        "{told:?}"
    );
}

/// The deadline of the patience with a busy worker lay in the past for as long as no idle worker
/// could take its tasks over: whoever waited for the deadline waited not at all, again and again.
#[test]
fn nothing_is_due_while_nobody_could_help_a_busy_worker() {
    let mut owner = TestOwner::new("owner");
    let first = owner.submit(&template());
    owner.grant(1, "w1");
    owner.answer("w1", first.id(), "known to be short");
    let cells: Vec<_> = (0..3).map(|_| owner.submit(&template())).collect();
    owner.effects();
    owner.now += 1_000_000;
    owner.core.on_time(owner.now);
    assert!(owner.told_peers().is_empty());
    assert_eq!(owner.core.deadline(), None);
    owner.grant(2, "w2");
    let due = owner.core.deadline();
    assert!(due.is_some_and(|due| due <= owner.now));
    owner.core.on_time(owner.now);
    let told = owner.told_peers();
    assert!(
        matches!(&told[..], [(_, Message::ReclaimTasks(_))]),
        "{told:?}"
    );
    drop(cells);
}

#[test]
fn an_idle_worker_agrees_to_leave_only_while_nobody_needs_it() {
    let goodbye = || Message::from(whipray_proto::messages::session::Goodbye::default());
    let mut worker = TestOwner::new("worker");
    worker.core.on_node_message(goodbye(), 0);
    assert!(matches!(&worker.told_node()[..], [Message::Goodbye(_)]));
    let put = worker.put("kept", &[]);
    worker.core.on_node_message(goodbye(), 0);
    assert!(worker.told_node().is_empty());
    worker.core.release(&put);
    worker.core.on_node_message(goodbye(), 0);
    assert!(matches!(&worker.told_node()[..], [Message::Goodbye(_)]));
}
