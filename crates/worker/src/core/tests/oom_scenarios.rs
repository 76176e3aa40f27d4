//! Tasks whose workers were ended for their memory.

use whipray_proto::failure::{FailureKind, MemoryVerdict};
use whipray_proto::limits;
use whipray_proto::messages::lease::LeaseLost;

use super::*;

const PAUSE: u64 = limits::OOM_RETRY_PAUSE.as_micros() as u64;

/// The memory monitor ended the worker of a lease.
fn lose_to_monitor(owner: &mut TestOwner, number: u64) {
    let lost = LeaseLost {
        lease: LeaseId { number },
        cause: DeathCause::of_memory(MemoryVerdict::default()),
    };
    owner.core.on_node_message(lost.into(), owner.now);
}

fn pushed(owner: &mut TestOwner, number: u64) -> Option<TaskId> {
    owner.grant(number, "w");
    owner.pushes().first().map(|(_, task)| *task)
}

fn wait(owner: &mut TestOwner, micros: u64) {
    owner.now += micros;
    owner.core.on_time(owner.now);
}

#[test]
fn it_runs_again_after_a_pause_that_grows_and_is_not_charged() {
    let mut owner = TestOwner::new("owner");
    let cell = owner.submit(&template());
    let task = cell.id().task();
    for turn in 0..5u32 {
        assert_eq!(pushed(&mut owner, u64::from(turn) + 1), Some(task));
        lose_to_monitor(&mut owner, u64::from(turn) + 1);
        assert_eq!(owner.core.deadline(), Some(owner.now + (PAUSE << turn)));
        wait(&mut owner, (PAUSE << turn) - 1);
        assert!(owner.told_node().is_empty(), "no lease before its time");
        wait(&mut owner, 1);
        owner.core.validate().unwrap();
    }
    assert_eq!(owner.core.tasks.tasks[&task].retries_left, 3);
    assert_eq!(pushed(&mut owner, 9), Some(task));
    owner.answer("w", cell.id(), "done");
    assert_eq!(text(&cell), "done");
}

#[test]
fn a_task_without_retries_fails_with_what_happened() {
    let mut owner = TestOwner::new("owner");
    let cell = owner.submit(&TaskTemplate {
        max_retries: 0,
        ..template()
    });
    pushed(&mut owner, 1);
    lose_to_monitor(&mut owner, 1);
    let failure = cell.value().unwrap().failure.unwrap();
    assert_eq!(failure.kind(), FailureKind::OutOfMemory);
    assert!(failure.message.contains("RAY_memory_usage_threshold"));
}

#[test]
fn retries_for_memory_may_have_an_end() {
    let mut owner = TestOwner::new("owner");
    owner.core.oom_retries.most = 1;
    let cell = owner.submit(&template());
    pushed(&mut owner, 1);
    lose_to_monitor(&mut owner, 1);
    wait(&mut owner, PAUSE);
    pushed(&mut owner, 2);
    lose_to_monitor(&mut owner, 2);
    assert!(failure_message(&cell).contains("tried again 1 times for want of memory"));
}

#[test]
fn a_task_that_waits_for_memory_can_be_cancelled() {
    let mut owner = TestOwner::new("owner");
    let cell = owner.submit(&template());
    pushed(&mut owner, 1);
    lose_to_monitor(&mut owner, 1);
    owner.core.cancel(cell.id().task(), false, true, owner.now);
    assert!(failure_message(&cell).contains("was cancelled"));
    wait(&mut owner, 2 * PAUSE);
    owner.core.release(&cell.id());
    owner.check_empty();
}
