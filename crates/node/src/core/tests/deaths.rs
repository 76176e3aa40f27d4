use super::*;
use whipray_proto::messages::lease::{KillWorker, WatchWorker};
use whipray_proto::{DeathCause, DeathKind};

fn leased(stage: &mut Stage) -> (ClientId, JobId, LeaseGranted) {
    let (driver, job) = stage.driver();
    stage.start_workers();
    stage.target(driver, 1, job, 1);
    let granted = stage.granted(driver)[0].clone();
    (driver, job, granted)
}

fn lost(stage: &mut Stage, driver: ClientId) -> Option<(LeaseId, DeathCause)> {
    stage
        .received(driver)
        .into_iter()
        .find_map(|message| match message {
            Message::LeaseLost(lost) => Some((lost.lease, lost.cause)),
            _ => None,
        })
}

#[test]
fn the_holder_hears_how_its_worker_died() {
    let mut stage = Stage::new(cpus(1.0));
    let (driver, _, granted) = leased(&mut stage);
    let worker = granted.worker.worker;
    stage.exited(worker, SEGFAULT);
    let (lease, cause) = lost(&mut stage, driver).unwrap_or_default();
    assert_eq!(lease, granted.lease);
    assert_eq!((cause.kind(), cause.signal), (DeathKind::Signalled, 11));
    assert_eq!((cause.worker, cause.pid), (worker, stage.pids[&worker]));
    assert_eq!(cause.stderr_tail, ["last words"]);
    stage.start_workers();
    assert_eq!(stage.granted(driver).len(), 1, "the target still stands");
}

#[test]
fn a_lost_connection_waits_for_the_exit_status() {
    let mut stage = Stage::new(cpus(1.0));
    let (driver, _, granted) = leased(&mut stage);
    let worker = granted.worker.worker;
    stage.gone(stage.worker_clients[&worker]);
    assert_eq!(lost(&mut stage, driver), None);
    stage.exited(worker, 3 << 8);
    let cause = lost(&mut stage, driver).unwrap_or_default().1;
    assert_eq!((cause.kind(), cause.exit_code), (DeathKind::Exited, 3));
}

#[test]
fn a_status_that_never_comes_is_not_waited_for_forever() {
    let mut stage = Stage::new(cpus(1.0));
    let (driver, _, granted) = leased(&mut stage);
    let worker = granted.worker.worker;
    stage.gone(stage.worker_clients[&worker]);
    stage.wait(6 * SECOND);
    assert!(stage.is_killed(worker));
    assert_eq!(
        lost(&mut stage, driver).unwrap_or_default().1.kind(),
        DeathKind::Unknown
    );
}

#[test]
fn a_forced_cancel_is_the_cause_that_is_told() {
    let mut stage = Stage::new(cpus(1.0));
    let (driver, _, granted) = leased(&mut stage);
    let (other, _) = stage.driver();
    let worker = granted.worker.worker;
    stage.say(
        other,
        KillWorker {
            worker,
            reason: "not mine".to_owned(),
        },
    );
    assert!(!stage.is_killed(worker));
    stage.say(
        driver,
        KillWorker {
            worker,
            reason: "cancelled".to_owned(),
        },
    );
    assert!(stage.is_killed(worker));
    stage.exited(worker, 9);
    let cause = lost(&mut stage, driver).unwrap_or_default().1;
    assert_eq!((cause.kind(), cause.signal), (DeathKind::Killed, 9));
    assert_eq!(cause.detail, "cancelled");
}

#[test]
fn memory_is_named_where_the_kernel_says_so() {
    let mut stage = Stage::new(cpus(1.0));
    let (driver, _, granted) = leased(&mut stage);
    let exit = Exit::Status {
        status: 9,
        is_out_of_memory: true,
    };
    let pid = stage.pids[&granted.worker.worker];
    stage.node.on_exited(pid, exit, Vec::new(), stage.now);
    stage.settle();
    assert_eq!(
        lost(&mut stage, driver).unwrap_or_default().1.kind(),
        DeathKind::OutOfMemory
    );
}

#[test]
fn workers_of_a_dead_owner_end_with_it() {
    let mut stage = Stage::new(cpus(2.0));
    let (driver, job, granted) = leased(&mut stage);
    let parent = granted.worker.worker;
    let parent_client = stage.worker_clients[&parent];
    stage.target(parent_client, 1, job, 1);
    let child = stage.granted(parent_client)[0].worker.worker;
    stage.exited(parent, SEGFAULT);
    assert!(lost(&mut stage, driver).is_some());
    assert!(stage.is_killed(child));
    stage.exited(child, 9);
    stage.target(driver, 1, job, 0);
    assert_eq!(stage.available_cpus(), 2.0);
}

#[test]
fn a_worker_is_killed_once_its_process_is_known() {
    let mut stage = Stage::new(cpus(1.0));
    let (worker, _) = {
        stage.driver();
        stage.asked.remove(0)
    };
    stage
        .node
        .end_worker(worker, DeathCause::new(DeathKind::Killed, ""));
    stage.settle();
    stage.spawn(worker);
    assert!(stage.is_killed(worker));
}

#[test]
fn watchers_hear_of_the_end_at_once_or_late() {
    let mut stage = Stage::new(cpus(1.0));
    let (driver, _, granted) = leased(&mut stage);
    let (watcher, _) = stage.driver();
    let worker = granted.worker.worker;
    stage.say(watcher, WatchWorker { worker, node: None });
    stage.say(watcher, WatchWorker { worker, node: None });
    assert!(stage.received(watcher).is_empty());
    stage.exited(worker, SEGFAULT);
    let died = stage.received(watcher);
    assert_eq!(died.len(), 1);
    let Message::WorkerDied(first) = &died[0] else {
        panic!("{died:?}")
    };
    assert_eq!(first.cause.signal, 11);
    stage.say(watcher, WatchWorker { worker, node: None });
    assert_eq!(stage.received(watcher), died, "the cause is remembered");
    stage.say(
        driver,
        WatchWorker {
            worker: WorkerId::random(),
            node: None,
        },
    );
    let unknown = stage.received(driver);
    assert!(
        unknown
            .iter()
            .any(|message| matches!(message, Message::WorkerDied(_)))
    );
}

#[test]
fn the_end_of_the_template_is_the_end_of_all_workers() {
    let mut stage = Stage::new(cpus(2.0));
    let (driver, _, granted) = leased(&mut stage);
    stage.template_gone();
    let (lease, cause) = lost(&mut stage, driver).unwrap_or_default();
    assert_eq!(lease, granted.lease);
    assert_eq!(cause.kind(), DeathKind::TemplateDied);
    stage.start_workers();
    assert_eq!(stage.granted(driver).len(), 1, "a new template serves on");
}

#[test]
fn workers_that_have_ended_are_told_to_those_who_ask() {
    let mut stage = Stage::new(cpus(1.0));
    let (driver, _, granted) = leased(&mut stage);
    let worker = granted.worker.worker;
    stage.exited(worker, 3 << 8);
    stage.wait(2 * SECOND);
    let inquiry = whipray_proto::messages::inquiry::Inquiry {
        request: 7,
        // Nobody that could answer: what the node knows is told at once.
        processes: vec![WorkerId::random()],
        with_node: true,
        with_ended_workers: true,
        ..Default::default()
    };
    stage.received(driver);
    stage.say(driver, inquiry);
    let answers = stage.received(driver);
    let answer = answers.into_iter().find_map(|message| match message {
        Message::InquiryAnswered(answer) => Some(answer),
        _ => None,
    });
    let ended = answer.unwrap_or_default().nodes.remove(0).ended;
    assert_eq!(ended.len(), 1, "drivers that have left are none");
    assert_eq!((ended[0].worker, ended[0].cause.exit_code), (worker, 3));
    assert_eq!(ended[0].age_us, 2 * SECOND);
}
