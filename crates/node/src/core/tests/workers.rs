use super::*;
use whipray_proto::messages::session::Goodbye;

fn environment(name: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(name.to_owned(), "1".to_owned())])
}

fn target_in(
    stage: &mut Stage,
    owner: ClientId,
    job: JobId,
    environment: BTreeMap<String, String>,
) {
    let definition = SchedulingClass {
        resources: cpus(1.0),
        job,
        environment,
        strategy: None,
        near: None,
    };
    stage.say(
        owner,
        LeaseTarget {
            class: 9,
            definition,
            target: 1,
            example: String::new(),
            says_if_busy: false,
        },
    );
}

#[test]
fn a_worker_serves_one_job_only() {
    let mut stage = Stage::new(cpus(1.0));
    let (first, first_job) = stage.driver();
    let (second, second_job) = stage.driver();
    stage.start_workers();
    stage.target(first, 1, first_job, 1);
    let granted = stage.granted(first);
    let worker = granted[0].worker.worker;
    stage.target(first, 1, first_job, 0);
    stage.give_back(first, granted[0].lease);
    stage.target(second, 1, second_job, 1);
    stage.start_workers();
    let of_second = stage.granted(second);
    assert_ne!(of_second[0].worker.worker, worker);
    stage.target(second, 1, second_job, 0);
    stage.give_back(second, of_second[0].lease);
    stage.target(first, 1, first_job, 1);
    assert_eq!(
        stage.granted(first)[0].worker.worker,
        worker,
        "it is the job's own"
    );
}

#[test]
fn a_worker_has_the_environment_that_its_class_asks_for() {
    let mut stage = Stage::new(cpus(2.0));
    let (driver, job) = stage.driver();
    stage.start_workers();
    target_in(&mut stage, driver, job, environment("A"));
    assert!(
        stage.granted(driver).is_empty(),
        "the generic workers have it not"
    );
    assert_eq!(*stage.asked[0].1, environment("A"));
    let started = stage.start_workers();
    assert_eq!(stage.granted(driver)[0].worker.worker, started[0]);
}

#[test]
fn a_worker_that_was_wanted_by_nobody_any_more_serves_the_next() {
    let mut stage = Stage::new(cpus(1.0));
    let (driver, job) = stage.driver();
    stage.target(driver, 1, job, 1);
    stage.target(driver, 1, job, 0);
    let started = stage.start_workers();
    stage.target(driver, 1, job, 1);
    assert!(started.contains(&stage.granted(driver)[0].worker.worker));
}

#[test]
fn hello_may_come_before_the_template_says_that_it_forked() {
    let mut stage = Stage::new(cpus(1.0));
    let (driver, job) = stage.driver();
    stage.target(driver, 1, job, 1);
    let (worker, _) = stage.asked.remove(0);
    stage.hello(Role::Worker, worker, 55);
    assert_eq!(stage.granted(driver).len(), 1);
    stage.node.on_spawned(worker, 55);
    stage.settle();
    stage.pids.insert(worker, 55);
    stage.exited(worker, SEGFAULT);
    assert!(matches!(
        stage.received(driver).first(),
        Some(Message::LeaseLost(_))
    ));
}

#[test]
fn workers_that_do_not_start_are_reported_and_tried_again() {
    let mut stage = Stage::new(cpus(1.0));
    let (driver, job) = stage.driver();
    stage.target(driver, 1, job, 1);
    for _ in 0..3 {
        assert!(stage.pending(driver).is_empty());
        let (worker, _) = stage.asked.remove(0);
        stage.spawn(worker);
        stage.exited(worker, 1 << 8);
    }
    let pending = stage.pending(driver);
    assert_eq!(pending.len(), 1);
    assert!(!pending[0].infeasible);
    assert!(
        pending[0].reason.contains("exited with code 1"),
        "{}",
        pending[0].reason
    );
    assert!(pending[0].reason.contains("last words"));
    assert!(stage.asked.is_empty(), "a pause comes first");
    stage.wait(2 * SECOND);
    stage.start_workers();
    assert_eq!(stage.granted(driver).len(), 1);
}

#[test]
fn a_worker_that_never_says_hello_is_given_up() {
    let mut stage = Stage::new(cpus(1.0));
    let (driver, job) = stage.driver();
    stage.target(driver, 1, job, 1);
    let (worker, _) = stage.asked.remove(0);
    stage.spawn(worker);
    stage.wait(61 * SECOND);
    assert!(stage.is_killed(worker));
    stage.exited(worker, 9);
    assert_eq!(stage.asked.len(), 1, "another one is tried");
}

#[test]
fn too_many_idle_workers_are_asked_to_leave_after_a_while() {
    let mut stage = Stage::new(cpus(2.0));
    let (driver, job) = stage.driver();
    stage.target_of(driver, 1, job, 4, cpus(0.5));
    stage.start_workers();
    stage.start_workers();
    let granted = stage.granted(driver);
    assert_eq!(granted.len(), 4);
    stage.target_of(driver, 1, job, 0, cpus(0.5));
    for lease in granted {
        stage.give_back(driver, lease.lease);
    }
    stage.wait(4 * SECOND);
    let goodbye = Message::from(Goodbye {
        reason: "idle".to_owned(),
    });
    let asked = |stage: &mut Stage| -> Vec<WorkerId> {
        let clients = stage.worker_clients.clone();
        let asked = clients
            .into_iter()
            .filter(|(_, client)| stage.received(*client).contains(&goodbye));
        asked.map(|(worker, _)| worker).collect()
    };
    assert!(asked(&mut stage).is_empty());
    stage.wait(2 * SECOND);
    let leaving = asked(&mut stage);
    assert_eq!(leaving.len(), 2);
    let client = stage.worker_clients[&leaving[0]];
    stage.say(client, goodbye.clone());
    assert!(
        stage.is_closed(client),
        "it leaves when its connection ends"
    );
    stage.gone(client);
    stage.exited(leaving[0], 0);
    assert_eq!(stage.node.pool.idle().len(), 3);
    stage.wait(6 * SECOND);
    assert_eq!(
        asked(&mut stage),
        [leaving[1]],
        "the one that stayed is asked again"
    );
}

/// Only the return of a lease that made one idle worker too many looked at idle workers: those that
/// were too many from their start on stayed for ever.
#[test]
fn workers_that_nobody_took_are_asked_to_leave_too() {
    let mut stage = Stage::new(cpus(1.0));
    let (driver, job) = stage.driver();
    stage.target_of(driver, 1, job, 3, cpus(0.25));
    stage.target_of(driver, 1, job, 0, cpus(0.25));
    let started = stage.start_workers();
    assert!(started.len() > 1);
    stage.wait(6 * SECOND);
    let is_asked = |worker: &WorkerId, stage: &mut Stage| {
        let client = stage.worker_clients[worker];
        let received = stage.received(client);
        received
            .iter()
            .any(|message| matches!(message, Message::Goodbye(_)))
    };
    let asked = started.iter().filter(|worker| is_asked(worker, &mut stage));
    assert_eq!(asked.count(), started.len() - 1);
}

/// A worker agreed to leave while the node gave it to an owner: it must not go with a task.
#[test]
fn an_idle_worker_that_was_leased_meanwhile_stays() {
    let mut stage = Stage::new(cpus(1.0));
    let (driver, job) = stage.driver();
    let worker = stage.start_workers()[0];
    stage.target(driver, 1, job, 1);
    assert_eq!(stage.granted(driver)[0].worker.worker, worker);
    let client = stage.worker_clients[&worker];
    let idle = Goodbye {
        reason: "idle".to_owned(),
    };
    stage.say(client, idle);
    assert!(!stage.is_closed(client));
    stage.target(driver, 1, job, 0);
    stage.give_back(driver, LeaseId { number: 1 });
    assert!(stage.node.pool.idle().contains(&worker));
}

#[test]
fn a_worker_that_says_goodbye_gets_nothing_more() {
    let mut stage = Stage::new(cpus(1.0));
    let (driver, job) = stage.driver();
    let leaving = stage.start_workers()[0];
    stage.say(stage.worker_clients[&leaving], Goodbye::default());
    stage.target(driver, 1, job, 1);
    let started = stage.start_workers();
    assert_eq!(stage.granted(driver)[0].worker.worker, started[0]);
    assert_ne!(started[0], leaving);
}

#[test]
fn a_worker_whose_owner_is_done_with_it_leaves_in_order() {
    let mut stage = Stage::new(cpus(1.0));
    let (driver, job) = stage.driver();
    stage.start_workers();
    stage.target(driver, 1, job, 1);
    let granted = stage.granted(driver)[0].clone();
    stage.target(driver, 1, job, 0);
    stage.say(
        driver,
        LeaseReturn {
            lease: granted.lease,
            end_worker: true,
        },
    );
    let client = stage.worker_clients[&granted.worker.worker];
    assert!(stage.is_closed(client));
    stage.gone(client);
    stage.wait(6 * SECOND);
    assert!(
        stage.is_killed(granted.worker.worker),
        "it did not go by itself"
    );
    assert!(
        stage.received(driver).is_empty(),
        "the lease had ended before"
    );
}
