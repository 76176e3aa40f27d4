use super::*;
use whipray_proto::messages::lease::WatchWorker;
use whipray_proto::messages::object::{CreateObject, FreeObjects, PinObjects, SealObject};
use whipray_proto::messages::session::{Goodbye, ShutDown};
use whipray_proto::{ActorId, ObjectId, TaskId};

fn object(number: u64) -> ObjectId {
    TaskId::of(number, ActorId::none_of(JobId::from_number(1))).return_id(1)
}

fn refused(stage: &mut Stage, client: ClientId) -> bool {
    matches!(stage.received(client).first(), Some(Message::Refused(_))) && stage.is_closed(client)
}

#[test]
fn a_driver_is_welcome_once_control_gave_it_a_job() {
    let mut stage = Stage::new(cpus(1.0));
    let worker = WorkerId::random();
    let client = stage.hello(Role::Driver, worker, 1);
    assert!(
        matches!(stage.told().first(), Some(NodeSays::DriverJoined { driver, .. })
        if driver.worker == worker)
    );
    assert!(stage.effects.is_empty());
    let job = JobId::from_number(5);
    let description = Box::new(JobDescription {
        job,
        ..JobDescription::default()
    });
    stage.control(ControlSays::DriverAccepted {
        driver: worker,
        description,
    });
    assert!(
        matches!(stage.effects.first(), Some(Effect::Welcome { client: to, welcome })
        if *to == client && welcome.job == job)
    );
}

#[test]
fn bad_hellos_are_refused() {
    let mut stage = Stage::new(cpus(1.0));
    let stranger = stage.hello(Role::Worker, WorkerId::random(), 1);
    assert!(refused(&mut stage, stranger), "no such worker is expected");
    let nobody = stage.hello(Role::Unspecified, WorkerId::random(), 1);
    assert!(refused(&mut stage, nobody));
    let daemon = stage.hello(Role::Node, WorkerId::random(), 1);
    assert!(refused(&mut stage, daemon), "another daemon says no hello");
    let worker = WorkerId::random();
    stage.hello(Role::Tool, worker, 1);
    let twin = stage.hello(Role::Tool, worker, 1);
    assert!(refused(&mut stage, twin));
    let old = Hello {
        version: 0,
        role: Role::Tool as i32,
        ..Hello::default()
    };
    stage.node.on_hello(9999, old, stage.now);
    stage.settle();
    assert!(refused(&mut stage, 9999));
}

#[test]
fn what_is_not_a_clients_business_closes_its_connection() {
    let mut stage = Stage::new(cpus(1.0));
    let tool = stage.hello(Role::Tool, WorkerId::random(), 1);
    stage.say(tool, Message::Welcome(Default::default()));
    assert!(stage.is_closed(tool));
    stage.driver();
    let worker = stage.start_workers()[0];
    let client = stage.worker_clients[&worker];
    stage.say(client, ShutDown::default());
    assert!(stage.is_closed(client), "a worker does not end the cluster");
}

#[test]
fn tools_may_end_the_cluster() {
    let mut stage = Stage::new(cpus(1.0));
    let tool = stage.hello(Role::Tool, WorkerId::random(), 1);
    stage.say(
        tool,
        ShutDown {
            reason: "stop".to_owned(),
        },
    );
    assert!(stage.effects.contains(&Effect::ShutDown {
        reason: "stop".to_owned()
    }));
}

#[test]
fn a_driver_that_leaves_takes_its_leases_and_objects_with_it() {
    let mut stage = Stage::new(cpus(2.0));
    let (driver, job) = stage.driver();
    let (watcher, _) = stage.driver();
    let id = stage.node.clients[&driver].worker;
    let started = stage.start_workers();
    stage.target(driver, 1, job, 1);
    let leased = stage.granted(driver)[0].worker.worker;
    assert!(started.contains(&leased));
    stage.say(
        driver,
        CreateObject {
            request: 1,
            object: object(1),
            size_bytes: 100,
        },
    );
    stage.say(
        driver,
        SealObject {
            object: object(1),
            owner: id,
            unpin: true,
            owner_node: None,
        },
    );
    stage.say(
        watcher,
        WatchWorker {
            worker: id,
            node: None,
        },
    );
    stage.told();
    stage.say(
        driver,
        Goodbye {
            reason: "done".to_owned(),
        },
    );
    stage.gone(driver);
    assert!(stage.is_killed(leased));
    assert_eq!(stage.node.objects.usage().objects, 0);
    assert!(
        matches!(stage.told().last(), Some(NodeSays::ProcessGone { process, cause })
        if *process == id && cause.detail == "done")
    );
    assert!(matches!(
        stage.received(watcher).last(),
        Some(Message::WorkerDied(_))
    ));
    stage.exited(leased, 9);
    assert_eq!(stage.available_cpus(), 2.0);
}

#[test]
fn idle_workers_of_a_job_that_is_over_leave() {
    let mut stage = Stage::new(cpus(2.0));
    let (driver, job) = stage.driver();
    stage.start_workers();
    stage.target(driver, 1, job, 1);
    let granted = stage.granted(driver)[0].clone();
    stage.target(driver, 1, job, 0);
    stage.give_back(driver, granted.lease);
    stage.gone(driver);
    stage.control(ControlSays::JobEnded { job });
    assert!(stage.is_closed(stage.worker_clients[&granted.worker.worker]));
    assert_eq!(
        stage.node.pool.idle().len(),
        1,
        "the other one may serve the next job"
    );
}

/// A worker was through with its task and owned one that went on, which came to run in that very
/// worker, or in one that had a lease of it: nobody's end ended these, and they outlived their job.
#[test]
fn workers_that_have_leases_of_each_other_end_with_their_job() {
    let mut stage = Stage::new(cpus(3.0));
    let (driver, job) = stage.driver();
    let (other, _) = stage.driver();
    stage.start_workers();
    let lease = |stage: &mut Stage, owner| {
        stage.target(owner, 1, job, 1);
        stage.start_workers();
        let granted = stage.granted(owner).pop().unwrap();
        (stage.worker_clients[&granted.worker.worker], granted)
    };
    let (one, of_driver) = lease(&mut stage, driver);
    let (two, of_one) = lease(&mut stage, one);
    // As an actor that lives on has it.
    let (_, of_other) = lease(&mut stage, other);
    stage.target(driver, 1, job, 0);
    stage.give_back(driver, of_driver.lease);
    let (again, of_two) = lease(&mut stage, two);
    assert_eq!(again, one);
    stage.gone(driver);
    stage.control(ControlSays::JobEnded { job });
    let workers = [of_two, of_one, of_other].map(|granted| granted.worker.worker);
    let is_killed = workers.map(|worker| stage.is_killed(worker));
    assert_eq!(is_killed, [true, true, false]);
}

/// Only those that were idle when their job ended left; one that an actor gave back later stayed.
#[test]
fn a_worker_that_comes_back_after_its_job_is_asked_to_leave() {
    let mut stage = Stage::new(cpus(4.0));
    let (driver, job) = stage.driver();
    let (other, _) = stage.driver();
    stage.start_workers();
    stage.target(other, 1, job, 1);
    let granted = stage.granted(other)[0].clone();
    stage.gone(driver);
    stage.control(ControlSays::JobEnded { job });
    stage.target(other, 1, job, 0);
    stage.give_back(other, granted.lease);
    let worker = stage.worker_clients[&granted.worker.worker];
    assert!(!stage.is_closed(worker), "the actor may want it again");
    stage.wait(6 * SECOND);
    let clients = stage.worker_clients.clone().into_values();
    let asked = clients.filter(|client| {
        let received = stage.received(*client);
        let is_goodbye = |message: &Message| matches!(message, Message::Goodbye(_));
        received.iter().any(is_goodbye)
    });
    assert_eq!(asked.collect::<Vec<_>>(), [worker]);
}

#[test]
fn objects_go_round() {
    let mut stage = Stage::new(cpus(1.0));
    let (driver, _) = stage.driver();
    let (reader, _) = stage.driver();
    let id = stage.node.clients[&driver].worker;
    stage.say(
        driver,
        CreateObject {
            request: 1,
            object: object(1),
            size_bytes: 100,
        },
    );
    assert!(
        matches!(&stage.received(driver)[..], [Message::ObjectCreated(created)]
        if created.full.is_empty() && created.request == 1)
    );
    stage.say(
        driver,
        SealObject {
            object: object(1),
            owner: id,
            unpin: true,
            owner_node: None,
        },
    );
    stage.say(
        reader,
        PinObjects {
            request: 2,
            objects: vec![object(1), object(2)],
            ..PinObjects::default()
        },
    );
    assert!(
        matches!(&stage.received(reader)[..], [Message::ObjectsPinned(pinned)]
        if pinned.objects.len() == 1 && pinned.objects[0].size_bytes == 100)
    );
    stage.say(
        driver,
        FreeObjects {
            objects: vec![object(1)],
            node: None,
            owner: None,
        },
    );
    assert_eq!(stage.node.objects.usage().objects, 1, "it is still read");
    stage.gone(reader);
    assert_eq!(stage.node.objects.usage().objects, 0);
}

#[test]
fn what_does_not_fit_is_refused_with_sizes() {
    let mut stage = Stage::new(cpus(1.0));
    let (driver, _) = stage.driver();
    stage.say(
        driver,
        CreateObject {
            request: 1,
            object: object(1),
            size_bytes: 2 << 20,
        },
    );
    assert!(
        matches!(&stage.received(driver)[..], [Message::ObjectCreated(created)]
        if created.full.contains("2097152") && created.full.contains("1048576"))
    );
}

#[test]
fn an_object_whose_owner_is_gone_before_the_seal_does_not_stay() {
    let mut stage = Stage::new(cpus(1.0));
    let (writer, _) = stage.driver();
    stage.say(
        writer,
        CreateObject {
            request: 1,
            object: object(1),
            size_bytes: 100,
        },
    );
    let owner = WorkerId::random();
    stage.say(
        writer,
        SealObject {
            object: object(1),
            owner,
            unpin: true,
            owner_node: None,
        },
    );
    assert_eq!(stage.node.objects.usage().objects, 0);
}

#[test]
fn a_dead_workers_memory_is_not_reused_while_its_process_may_write() {
    let mut stage = Stage::new(cpus(1.0));
    stage.driver();
    let worker = stage.start_workers()[0];
    let client = stage.worker_clients[&worker];
    stage.say(
        client,
        CreateObject {
            request: 1,
            object: object(1),
            size_bytes: 100,
        },
    );
    stage.gone(client);
    assert_eq!(stage.node.objects.usage().objects, 1);
    stage.exited(worker, 9);
    assert_eq!(stage.node.objects.usage().objects, 0);
}
