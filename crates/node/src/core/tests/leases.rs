use super::*;
use whipray_proto::messages::lease::{ReclaimIdle, WorkerBlocked, WorkerUnblocked};
use whipray_proto::resources::GPU;

#[test]
fn a_prestarted_worker_serves_the_first_lease() {
    let mut stage = Stage::new(cpus(2.0));
    let (driver, job) = stage.driver();
    let workers = stage.start_workers();
    assert_eq!(workers.len(), 2);
    stage.target(driver, 7, job, 1);
    let granted = stage.granted(driver);
    assert_eq!(granted.len(), 1);
    assert_eq!(granted[0].class, 7);
    assert!(workers.contains(&granted[0].worker.worker));
    assert_eq!(granted[0].assignment.resources, cpus(1.0));
    stage.target(driver, 7, job, 0);
    stage.give_back(driver, granted[0].lease);
    assert_eq!(stage.available_cpus(), 2.0);
}

#[test]
fn no_more_leases_than_resources_and_the_next_with_each_return() {
    let mut stage = Stage::new(cpus(2.0));
    let (driver, job) = stage.driver();
    stage.start_workers();
    stage.target(driver, 1, job, 5);
    let granted = stage.granted(driver);
    assert_eq!(granted.len(), 2);
    stage.give_back(driver, granted[0].lease);
    assert_eq!(
        stage.granted(driver).len(),
        1,
        "the target says that five are wanted in all"
    );
}

#[test]
fn the_last_word_on_a_target_counts() {
    let mut stage = Stage::new(cpus(4.0));
    let (driver, job) = stage.driver();
    stage.start_workers();
    stage.target(driver, 1, job, 4);
    assert_eq!(stage.granted(driver).len(), 2);
    assert_eq!(stage.asked.len(), 2, "two more are on their way");
    stage.target(driver, 1, job, 2);
    stage.start_workers();
    assert_eq!(stage.granted(driver).len(), 0, "nobody wants them any more");
    assert_eq!(stage.available_cpus(), 2.0);
}

#[test]
fn owners_take_turns() {
    let mut stage = Stage::new(cpus(2.0));
    let (first, first_job) = stage.driver();
    let (second, second_job) = stage.driver();
    stage.target(first, 1, first_job, 50);
    stage.target(second, 1, second_job, 50);
    stage.start_workers();
    let mut firsts = stage.granted(first);
    let mut seconds = stage.granted(second);
    assert_eq!(
        (firsts.len(), seconds.len()),
        (2, 0),
        "the first took all before the second came"
    );
    for _ in 0..6 {
        let Some(returned) = firsts
            .pop()
            .map(|granted| (first, granted))
            .or_else(|| seconds.pop().map(|granted| (second, granted)))
        else {
            break;
        };
        stage.give_back(returned.0, returned.1.lease);
        stage.start_workers();
        firsts.extend(stage.granted(first));
        seconds.extend(stage.granted(second));
    }
    assert_eq!(firsts.len() + seconds.len(), 2);
    assert!(!seconds.is_empty(), "the second had its turns");
}

#[test]
fn an_infeasible_class_is_told_what_is_missing() {
    let mut stage = Stage::new(cpus(2.0));
    let (driver, job) = stage.driver();
    stage.target_of(driver, 1, job, 3, cpus(50.0));
    let pending = stage.pending(driver);
    assert_eq!(pending.len(), 1);
    assert!(pending[0].infeasible);
    assert_eq!(
        pending[0].reason,
        "asks for 50 CPU and no node has more than 2"
    );
    stage.control(ControlSays::Report { request: 4 });
    let told = stage.told();
    let Some(NodeSays::Reported {
        request: 4,
        demands,
        ..
    }) = told.last()
    else {
        panic!()
    };
    assert_eq!((demands[0].count, demands[0].infeasible), (3, true));
    assert_eq!(demands[0].example, "f");
    stage.target_of(driver, 1, job, 0, cpus(50.0));
    stage.control(ControlSays::Report { request: 5 });
    let told = stage.told();
    assert!(matches!(told.last(), Some(NodeSays::Reported { demands, .. }) if demands.is_empty()));
}

#[test]
fn a_driver_hears_of_what_its_tasks_can_never_get() {
    let mut stage = Stage::new(cpus(1.0));
    let (driver, job) = stage.driver();
    stage.target(driver, 1, job, 1);
    stage.start_workers();
    let parent = stage.granted(driver)[0].worker.worker;
    let parent_client = stage.worker_clients[&parent];
    stage.target_of(parent_client, 1, job, 1, cpus(9.0));
    assert_eq!(stage.pending(parent_client).len(), 1);
    assert!(
        matches!(&stage.received(driver)[..], [Message::WarnDriver(warning)]
        if warning.text == "task f can never run: it asks for 9 CPU and no node has more than 1")
    );
}

#[test]
fn who_waits_for_long_hears_why_once() {
    let mut stage = Stage::new(cpus(1.0));
    let (holder, job) = stage.driver();
    let (waiter, waiter_job) = stage.driver();
    stage.start_workers();
    stage.target(holder, 1, job, 1);
    stage.target(waiter, 1, waiter_job, 1);
    stage.wait(9 * SECOND);
    assert!(stage.pending(waiter).is_empty());
    stage.wait(2 * SECOND);
    assert_eq!(
        stage.pending(waiter)[0].reason,
        "waits for 1 CPU (0 of 1 free)"
    );
    stage.wait(60 * SECOND);
    assert!(stage.pending(waiter).is_empty());
}

#[test]
fn holders_are_asked_for_idle_leases_while_others_wait() {
    let mut stage = Stage::new(cpus(1.0));
    let (holder, job) = stage.driver();
    let (waiter, waiter_job) = stage.driver();
    stage.start_workers();
    stage.target(holder, 1, job, 3);
    let granted = stage.granted(holder);
    stage.wait(SECOND);
    assert!(
        stage.received(holder).is_empty(),
        "its own class gives it nothing"
    );
    stage.target(waiter, 1, waiter_job, 1);
    let reclaim = Message::from(ReclaimIdle::default());
    assert_eq!(
        stage.received(holder),
        std::slice::from_ref(&reclaim),
        "asked at once"
    );
    stage.wait(SECOND);
    assert_eq!(stage.received(holder), [reclaim], "and again");
    stage.target(holder, 1, job, 0);
    stage.give_back(holder, granted[0].lease);
    stage.start_workers();
    assert_eq!(stage.granted(waiter).len(), 1);
    stage.wait(SECOND);
    assert!(stage.received(holder).is_empty(), "nobody waits any more");
}

/// Each owner that began to wait added a timer of its own, and each of these repeated: the longer
/// somebody waited, the more often the holders were asked, without end.
#[test]
fn holders_are_not_asked_more_often_the_more_wait() {
    let mut stage = Stage::new(cpus(1.0));
    let (holder, job) = stage.driver();
    stage.start_workers();
    stage.target(holder, 1, job, 1);
    for class in 2..22 {
        stage.target(holder, class, job, 1);
        stage.wait(SECOND / 200);
    }
    stage.received(holder);
    for _ in 0..100 {
        stage.wait(SECOND / 100);
    }
    let asked = stage.received(holder).len();
    assert!((5..=12).contains(&asked), "asked {asked} times in a second");
}

#[test]
fn leases_that_could_not_help_are_not_asked_for() {
    let mut stage = Stage::new(cpus(2.0).with(GPU, 1.0));
    let (driver, job) = stage.driver();
    let (other, other_job) = stage.driver();
    stage.start_workers();
    stage.target(driver, 1, job, 1);
    stage.target_of(other, 1, other_job, 2, Resources::none().with(GPU, 1.0));
    stage.received(driver);
    stage.wait(SECOND);
    assert!(stage.received(driver).is_empty(), "it holds CPUs only");
}

#[test]
fn a_blocked_worker_lends_its_cpu() {
    let mut stage = Stage::new(cpus(1.0));
    let (driver, job) = stage.driver();
    stage.target(driver, 1, job, 1);
    stage.start_workers();
    let parent = stage.granted(driver)[0].worker.worker;
    let parent_client = stage.worker_clients[&parent];
    stage.target(parent_client, 1, job, 1);
    assert!(stage.granted(parent_client).is_empty());
    stage.say(parent_client, WorkerBlocked {});
    stage.say(parent_client, WorkerBlocked {});
    stage.start_workers();
    let child = stage.granted(parent_client);
    assert_eq!(child.len(), 1, "the child runs on the CPU of its parent");
    stage.say(parent_client, WorkerUnblocked {});
    assert_eq!(stage.available_cpus(), -1.0, "both run for a while");
    stage.target(parent_client, 1, job, 0);
    stage.give_back(parent_client, child[0].lease);
    assert_eq!(stage.available_cpus(), 0.0);
    stage.say(parent_client, WorkerUnblocked {});
    assert_eq!(stage.available_cpus(), 0.0);
}

#[test]
fn gpus_are_assigned_by_index() {
    let mut stage = Stage::new(cpus(4.0).with(GPU, 2.0));
    let (driver, job) = stage.driver();
    stage.start_workers();
    stage.target_of(driver, 1, job, 3, cpus(1.0).with(GPU, 0.5));
    stage.start_workers();
    let gpus: Vec<Vec<u32>> = stage
        .granted(driver)
        .into_iter()
        .map(|granted| granted.assignment.gpus)
        .collect();
    assert_eq!(gpus, [vec![0], vec![0], vec![1]]);
}

#[test]
fn a_class_without_resources_does_not_fork_a_worker_for_each_task() {
    let mut stage = Stage::new(cpus(2.0));
    let (driver, job) = stage.driver();
    stage.target_of(driver, 1, job, 4000, Resources::none());
    assert!(
        stage.asked.len() <= 16,
        "{} workers on their way",
        stage.asked.len()
    );
}

#[test]
fn negative_amounts_give_nothing() {
    let mut stage = Stage::new(cpus(2.0));
    let (driver, job) = stage.driver();
    stage.start_workers();
    stage.target_of(driver, 1, job, 1, cpus(-5.0));
    assert_eq!(stage.granted(driver).len(), 1);
    assert_eq!(stage.available_cpus(), 2.0);
}

#[test]
fn only_the_holder_returns_a_lease() {
    let mut stage = Stage::new(cpus(2.0));
    let (driver, job) = stage.driver();
    let (other, _) = stage.driver();
    stage.start_workers();
    stage.target(driver, 1, job, 1);
    let lease = stage.granted(driver)[0].lease;
    stage.give_back(other, lease);
    assert_eq!(stage.available_cpus(), 1.0);
    stage.give_back(driver, LeaseId { number: 999 });
    stage.give_back(driver, lease);
    stage.give_back(driver, lease);
}
