use super::*;
use whipray_proto::messages::actor::CreateActor;
use whipray_proto::messages::cluster::{JobRequest, NodeStatus, StatusRequest};

#[test]
fn jobs_count_from_one() {
    let mut stage = Stage::new();
    assert_eq!(stage.driver().1.to_hex(), "01000000");
    assert_eq!(stage.driver().1.to_hex(), "02000000");
}

#[test]
fn workers_learn_what_a_job_is() {
    let mut stage = Stage::new();
    let (_, job) = stage.driver();
    let worker = WorkerId::random();
    stage.say(worker, JobRequest { request: 5, job });
    assert!(matches!(&stage.told(worker)[..], [Message::JobReply(reply)]
        if reply.request == 5
            && reply.job.as_ref().is_some_and(|known| known.entrypoint == "main.py")));
    stage.say(
        worker,
        JobRequest {
            request: 6,
            job: JobId::from_number(99),
        },
    );
    assert!(matches!(&stage.told(worker)[..], [Message::JobReply(reply)] if reply.job.is_none()));
}

#[test]
fn a_job_ends_with_its_driver() -> Result<(), Box<dyn std::error::Error>> {
    let mut stage = Stage::new();
    let (driver, job) = stage.driver();
    assert_eq!(stage.storage.read(Table::Jobs)?.len(), 1);
    stage.orders();
    stage.process_gone(driver);
    assert_eq!(stage.orders(), [ControlSays::JobEnded { job }]);
    stage.process_gone(driver);
    assert!(stage.orders().is_empty());
    assert!(stage.storage.read(Table::Jobs)?.is_empty());
    Ok(())
}

#[test]
fn a_job_is_remembered_for_its_detached_actors() {
    let mut stage = Stage::new();
    let (driver, job) = stage.driver();
    let detached = ActorSpec {
        detached: true,
        max_restarts: -1,
        ..spec(driver, job)
    };
    let actor = detached.actor;
    stage.say(
        driver,
        CreateActor {
            request: 1,
            spec: detached,
            get_if_exists: false,
            ..CreateActor::default()
        },
    );
    stage.process_gone(driver);
    let worker = WorkerId::random();
    let asks = |stage: &mut Stage| {
        stage.say(worker, JobRequest { request: 1, job });
        match &stage.told(worker)[..] {
            [Message::JobReply(reply)] => reply.job.is_some(),
            other => panic!("{other:?}"),
        }
    };
    assert!(asks(&mut stage));
    let kill = whipray_proto::messages::actor::KillActor {
        actor,
        no_restart: true,
    };
    stage.say(worker, kill);
    assert!(!asks(&mut stage));
}

#[test]
fn status_comes_from_the_node() {
    let mut stage = Stage::new();
    let (driver, _) = stage.driver();
    stage.orders();
    stage.say(driver, StatusRequest { request: 8 });
    let orders = stage.orders();
    let [ControlSays::Report { request }] = orders[..] else {
        panic!("{orders:?}")
    };
    let node = Box::new(NodeStatus {
        workers: 3,
        ..NodeStatus::default()
    });
    stage.on_node(NodeSays::Reported {
        request,
        node: node.clone(),
        demands: Vec::new(),
    });
    assert!(
        matches!(&stage.told(driver)[..], [Message::StatusReply(reply)]
        if reply.request == 8 && reply.nodes[0].workers == 3 && reply.jobs.len() == 1
            && reply.version == "1.0" && reply.cluster_address == "127.0.0.1:6379")
    );
    stage.on_node(NodeSays::Reported {
        request,
        node,
        demands: Vec::new(),
    });
    assert!(
        stage.told(driver).is_empty(),
        "each question is answered once"
    );
}

#[test]
fn jobs_that_are_over_are_still_told() {
    let mut stage = Stage::new();
    let (past, _) = stage.driver();
    stage.control.set_time(2_000_000);
    let (driver, job) = stage.driver();
    stage.control.set_time(5_000_000);
    stage.process_gone(past);
    stage.control.set_time(6_000_000);
    stage.orders();
    stage.say(driver, StatusRequest { request: 1 });
    let [ControlSays::Report { request }] = stage.orders()[..] else {
        panic!("nobody is asked")
    };
    stage.on_node(NodeSays::Reported {
        request,
        node: Box::default(),
        demands: Vec::new(),
    });
    let told = stage.told(driver);
    let [Message::StatusReply(reply)] = &told[..] else {
        panic!("{told:?}")
    };
    let jobs: Vec<_> = reply.jobs.iter().collect();
    assert_eq!(jobs.len(), 2);
    assert!(jobs[0].is_over && !jobs[1].is_over);
    assert_eq!(
        (jobs[0].age_us, jobs[0].over_since_us),
        (6_000_000, 1_000_000)
    );
    assert_eq!((jobs[1].age_us, jobs[1].over_since_us), (4_000_000, 0));
    assert_eq!(jobs[1].description.job, job);
}
