use super::*;
use whipray_proto::messages::actor::ActorExiting;
use whipray_proto::{ActorId, ActorSpec, DeathCause, DeathKind};

fn spec(job: JobId, resources: Resources, placement: Resources) -> ActorSpec {
    ActorSpec {
        actor: ActorId::new(job),
        job,
        resources,
        placement,
        ..ActorSpec::default()
    }
}

fn place(stage: &mut Stage, spec: &ActorSpec) {
    stage.control(ControlSays::PlaceActor {
        spec: Box::new(spec.clone()),
        incarnation: 0,
    });
}

/// The worker that an actor was given, as control hears it.
fn placed(stage: &mut Stage, wanted: ActorId) -> Option<WorkerId> {
    stage.told().into_iter().find_map(|says| match says {
        NodeSays::ActorPlaced { actor, address, .. } if actor == wanted => Some(address.worker),
        _ => None,
    })
}

#[test]
fn an_actor_gets_a_worker_and_its_description() {
    let mut stage = Stage::new(cpus(1.0));
    let (_, job) = stage.driver();
    stage.start_workers();
    let spec = spec(job, Resources::none(), cpus(1.0));
    place(&mut stage, &spec);
    let worker = placed(&mut stage, spec.actor).unwrap_or_default();
    let received = stage.received(stage.worker_clients[&worker]);
    assert!(matches!(&received[..], [Message::StartActor(start)]
        if start.spec == spec && start.incarnation == 0));
    assert_eq!(
        stage.available_cpus(),
        1.0,
        "it was placed by a CPU, and holds none"
    );
}

#[test]
fn fifty_actors_are_asked_for_at_once() {
    let mut stage = Stage::new(cpus(1.0));
    let (_, job) = stage.driver();
    for _ in 0..50 {
        place(&mut stage, &spec(job, Resources::none(), cpus(1.0)));
    }
    assert_eq!(stage.asked.len(), 50);
    stage.start_workers();
    let told = stage.told();
    let placed = told
        .iter()
        .filter(|says| matches!(says, NodeSays::ActorPlaced { .. }));
    assert_eq!(placed.count(), 50);
}

#[test]
fn an_actor_holds_its_resources_for_life() {
    let mut stage = Stage::new(cpus(2.0));
    let (driver, job) = stage.driver();
    let spec = spec(job, cpus(2.0), cpus(2.0));
    place(&mut stage, &spec);
    stage.start_workers();
    let worker = placed(&mut stage, spec.actor).unwrap_or_default();
    stage.target(driver, 1, job, 1);
    assert!(stage.granted(driver).is_empty());
    stage.exited(worker, SEGFAULT);
    stage.start_workers();
    assert!(
        stage
            .told()
            .iter()
            .any(|says| matches!(says, NodeSays::ActorEnded { cause, .. }
        if cause.kind() == DeathKind::Signalled))
    );
    assert_eq!(stage.granted(driver).len(), 1);
}

#[test]
fn an_actor_that_fits_nowhere_says_why_and_can_be_dropped() {
    let mut stage = Stage::new(cpus(1.0));
    let (_, job) = stage.driver();
    let spec = spec(job, Resources::none(), cpus(3.0));
    place(&mut stage, &spec);
    assert!(
        stage
            .told()
            .iter()
            .any(|says| matches!(says, NodeSays::ActorPending { reason, .. }
        if reason.contains("3 CPU")))
    );
    stage.control(ControlSays::StopActor {
        actor: spec.actor,
        incarnation: 0,
    });
    assert!(stage.node.placements.is_empty());
}

#[test]
fn an_actor_that_waits_for_a_worker_is_dropped_with_its_resources() {
    let mut stage = Stage::new(cpus(1.0));
    let (_, job) = stage.driver();
    let spec = spec(job, cpus(1.0), cpus(1.0));
    place(&mut stage, &spec);
    assert_eq!(stage.available_cpus(), 0.0);
    let cause = Box::new(DeathCause::new(DeathKind::Killed, ""));
    stage.control(ControlSays::KillActor {
        actor: spec.actor,
        incarnation: 1,
        cause,
    });
    assert_eq!(stage.available_cpus(), 0.0, "that is another life");
    let cause = Box::new(DeathCause::new(DeathKind::Killed, ""));
    stage.control(ControlSays::KillActor {
        actor: spec.actor,
        incarnation: 0,
        cause,
    });
    assert_eq!(stage.available_cpus(), 1.0);
    stage.start_workers();
    assert_eq!(stage.node.pool.idle().len(), 1);
}

#[test]
fn a_killed_actor_ends_by_the_reason_that_was_given() {
    let mut stage = Stage::new(cpus(1.0));
    let (_, job) = stage.driver();
    stage.start_workers();
    let spec = spec(job, Resources::none(), cpus(1.0));
    place(&mut stage, &spec);
    let worker = placed(&mut stage, spec.actor).unwrap_or_default();
    let cause = Box::new(DeathCause::new(DeathKind::Killed, "by kill()"));
    stage.control(ControlSays::KillActor {
        actor: spec.actor,
        incarnation: 0,
        cause,
    });
    assert!(stage.is_killed(worker));
    stage.exited(worker, 9);
    let told = stage.told();
    assert!(
        told.iter()
            .any(|says| matches!(says, NodeSays::ActorEnded { cause, .. }
        if cause.kind() == DeathKind::Killed && cause.detail == "by kill()"))
    );
}

#[test]
fn a_stop_is_passed_on_and_the_last_word_comes_back() {
    let mut stage = Stage::new(cpus(1.0));
    let (_, job) = stage.driver();
    stage.start_workers();
    let spec = spec(job, Resources::none(), cpus(1.0));
    place(&mut stage, &spec);
    let worker = placed(&mut stage, spec.actor).unwrap_or_default();
    let client = stage.worker_clients[&worker];
    stage.received(client);
    stage.control(ControlSays::StopActor {
        actor: spec.actor,
        incarnation: 0,
    });
    assert!(matches!(
        &stage.received(client)[..],
        [Message::StopActor(_)]
    ));
    let exiting = ActorExiting {
        actor: spec.actor,
        ..ActorExiting::default()
    };
    stage.say(client, exiting);
    stage.exited(worker, 0);
    let told = stage.told();
    let said = told
        .iter()
        .position(|says| matches!(says, NodeSays::ClientSaid { .. }));
    let ended = told
        .iter()
        .position(|says| matches!(says, NodeSays::ActorEnded { .. }));
    assert!(said < ended && said.is_some());
}

#[test]
fn an_actor_for_which_no_worker_starts_is_given_up() {
    let mut stage = Stage::new(cpus(1.0));
    let (_, job) = stage.driver();
    let spec = spec(job, cpus(1.0), cpus(1.0));
    place(&mut stage, &spec);
    for _ in 0..3 {
        let (worker, _) = stage.asked.remove(0);
        stage.spawn(worker);
        stage.exited(worker, 1 << 8);
    }
    assert!(
        stage
            .told()
            .iter()
            .any(|says| matches!(says, NodeSays::ActorEnded { cause, .. }
        if cause.kind() == DeathKind::StartFailed))
    );
    assert_eq!(stage.available_cpus(), 1.0);
}

/// The template died once, and took three workers along that were on their way: that was taken for
/// three failures in a row, and an actor that waited for one of them was given up.
#[test]
fn the_end_of_a_template_is_one_failure() {
    let mut stage = Stage::new(cpus(4.0));
    let (driver, job) = stage.driver();
    stage.target_of(driver, 1, job, 2, cpus(1.0));
    let spec = spec(job, cpus(1.0), cpus(1.0));
    place(&mut stage, &spec);
    assert!(stage.asked.len() >= 3);
    stage.template_gone();
    let told = stage.told();
    assert!(
        !told
            .iter()
            .any(|says| matches!(says, NodeSays::ActorEnded { .. })),
        "{told:?}"
    );
    stage.start_workers();
    assert!(placed(&mut stage, spec.actor).is_some());
}
