use super::*;
use whipray_proto::failure::{Failure, FailureKind};
use whipray_proto::messages::actor::{
    ActorExiting, ActorOutOfScope, ActorStarted, ActorState, ActorUpdate, CreateActor,
    CreationStage, GetNamedActor, KillActor, ListNamedActors, SubscribeActor,
};

fn create(stage: &mut Stage, spec: &ActorSpec) {
    let create = CreateActor {
        request: 1,
        spec: spec.clone(),
        get_if_exists: false,
        ..CreateActor::default()
    };
    stage.say(spec.owner.worker, create);
}

/// The node has found a process.
fn place(stage: &mut Stage, actor: ActorId, incarnation: u32) -> WorkerId {
    let worker = WorkerId::random();
    let address = WorkerAddress {
        worker,
        node: NodeId::default(),
        endpoint: "unix:@w".to_owned(),
        node_endpoint: String::new(),
    };
    stage.on_node(NodeSays::ActorPlaced {
        actor,
        incarnation,
        address,
        pid: 7,
    });
    worker
}

/// An actor that is alive, and its worker.
fn alive(stage: &mut Stage, spec: &ActorSpec) -> WorkerId {
    create(stage, spec);
    start(stage, spec.actor, 0)
}

fn start(stage: &mut Stage, actor: ActorId, incarnation: u32) -> WorkerId {
    let worker = place(stage, actor, incarnation);
    stage.say(
        worker,
        ActorStarted {
            actor,
            incarnation,
            ..ActorStarted::default()
        },
    );
    worker
}

fn crash(stage: &mut Stage, actor: ActorId, incarnation: u32) {
    let cause = Box::new(DeathCause {
        signal: 11,
        pid: 7,
        ..DeathCause::new(DeathKind::Signalled, "")
    });
    stage.on_node(NodeSays::ActorEnded {
        actor,
        incarnation,
        cause,
    });
}

/// The last update that a client was told.
fn last_update(stage: &mut Stage, client: WorkerId) -> ActorUpdate {
    let updates = stage
        .told(client)
        .into_iter()
        .filter_map(|message| match message {
            Message::ActorUpdate(update) => Some(*update),
            _ => None,
        });
    updates.last().unwrap_or_default()
}

fn death(stage: &mut Stage, client: WorkerId) -> DeathCause {
    let update = last_update(stage, client);
    assert_eq!(update.state(), ActorState::Dead);
    update.cause.unwrap_or_default()
}

#[test]
fn an_actor_comes_to_life() {
    let mut stage = Stage::new();
    let (driver, job) = stage.driver();
    let spec = spec(driver, job);
    create(&mut stage, &spec);
    assert!(
        matches!(&stage.told(driver)[..], [Message::ActorCreated(created)]
        if created.request == 1 && created.error.is_empty())
    );
    assert!(
        matches!(stage.orders().last(), Some(ControlSays::PlaceActor { spec: placed, .. })
        if **placed == spec)
    );
    let worker = start(&mut stage, spec.actor, 0);
    let update = last_update(&mut stage, driver);
    assert_eq!(update.state(), ActorState::Alive);
    assert_eq!(update.address.map(|address| address.worker), Some(worker));
}

#[test]
fn a_constructor_that_raises_is_the_cause_of_death() {
    let mut stage = Stage::new();
    let (driver, job) = stage.driver();
    let mut spec = spec(driver, job);
    spec.max_restarts = 3;
    create(&mut stage, &spec);
    let worker = place(&mut stage, spec.actor, 0);
    stage.orders();
    let exception = Bytes::from_static(b"pickled");
    let failure = Failure {
        exception,
        ..Failure::new(FailureKind::ActorDied, "", "it raised")
    };
    stage.say(
        worker,
        ActorStarted {
            actor: spec.actor,
            incarnation: 0,
            failure: Some(failure),
            ..ActorStarted::default()
        },
    );
    let update = last_update(&mut stage, driver);
    assert_eq!(update.state(), ActorState::Dead);
    assert_eq!(&update.exception[..], b"pickled");
    let cause = update.cause.unwrap_or_default();
    assert_eq!((cause.kind(), cause.pid), (DeathKind::ConstructorFailed, 7));
    assert!(matches!(
        stage.orders()[..],
        [ControlSays::KillActor { .. }]
    ));
    crash(&mut stage, spec.actor, 0);
    assert!(stage.orders().is_empty(), "it is not tried again");
}

#[test]
fn a_crash_restarts_as_often_as_allowed() {
    let mut stage = Stage::new();
    let (driver, job) = stage.driver();
    let mut spec = spec(driver, job);
    spec.max_restarts = 1;
    alive(&mut stage, &spec);
    stage.orders();
    crash(&mut stage, spec.actor, 0);
    let update = last_update(&mut stage, driver);
    assert_eq!(
        (update.state(), update.incarnation),
        (ActorState::Restarting, 1)
    );
    assert_eq!(update.restarts_left, 0);
    assert_eq!(update.cause.map(|cause| cause.signal), Some(11));
    assert!(matches!(
        stage.orders()[..],
        [ControlSays::PlaceActor { incarnation: 1, .. }]
    ));
    crash(&mut stage, spec.actor, 0);
    assert!(stage.orders().is_empty(), "that life is over already");
    start(&mut stage, spec.actor, 1);
    assert_eq!(last_update(&mut stage, driver).state(), ActorState::Alive);
    crash(&mut stage, spec.actor, 1);
    assert_eq!(death(&mut stage, driver).kind(), DeathKind::Signalled);
}

#[test]
fn restarts_without_end_have_no_end() {
    let mut stage = Stage::new();
    let (driver, job) = stage.driver();
    let mut spec = spec(driver, job);
    spec.max_restarts = -1;
    alive(&mut stage, &spec);
    for incarnation in 0..20 {
        crash(&mut stage, spec.actor, incarnation);
        assert_eq!(last_update(&mut stage, driver).restarts_left, -1);
        start(&mut stage, spec.actor, incarnation + 1);
    }
}

#[test]
fn a_kill_is_final_at_once_and_frees_the_name() {
    let mut stage = Stage::new();
    let (driver, job) = stage.driver();
    let mut spec = spec(driver, job);
    spec.name = "bob".to_owned();
    spec.max_restarts = 5;
    alive(&mut stage, &spec);
    stage.orders();
    stage.say(
        driver,
        KillActor {
            actor: spec.actor,
            no_restart: true,
        },
    );
    let cause = death(&mut stage, driver);
    assert_eq!((cause.kind(), cause.pid), (DeathKind::Killed, 7));
    assert!(
        matches!(&stage.orders()[..], [ControlSays::KillActor { cause, .. }]
        if cause.kind() == DeathKind::Killed)
    );
    stage.say(
        driver,
        KillActor {
            actor: spec.actor,
            no_restart: true,
        },
    );
    assert!(stage.orders().is_empty(), "once is enough");
    let again = ActorSpec {
        actor: ActorId::new(job),
        ..spec.clone()
    };
    create(&mut stage, &again);
    assert!(
        matches!(&stage.told(driver)[..], [Message::ActorCreated(created)]
        if created.error.is_empty())
    );
}

#[test]
fn a_kill_that_allows_a_restart_counts_as_a_crash() {
    let mut stage = Stage::new();
    let (driver, job) = stage.driver();
    let mut spec = spec(driver, job);
    spec.max_restarts = 1;
    alive(&mut stage, &spec);
    stage.orders();
    stage.say(
        driver,
        KillActor {
            actor: spec.actor,
            no_restart: false,
        },
    );
    assert!(matches!(
        stage.orders()[..],
        [ControlSays::KillActor { .. }]
    ));
    crash(&mut stage, spec.actor, 0);
    assert_eq!(
        last_update(&mut stage, driver).state(),
        ActorState::Restarting
    );
    stage.say(
        driver,
        KillActor {
            actor: spec.actor,
            no_restart: false,
        },
    );
    assert!(
        !stage
            .orders()
            .iter()
            .any(|order| matches!(order, ControlSays::KillActor { .. }))
    );
}

#[test]
fn an_actor_that_leaves_by_itself_is_not_restarted() {
    let mut stage = Stage::new();
    let (driver, job) = stage.driver();
    let mut spec = spec(driver, job);
    spec.max_restarts = -1;
    let worker = alive(&mut stage, &spec);
    let cause = DeathCause::new(DeathKind::ActorExit, "exit_actor()");
    let exiting = ActorExiting {
        actor: spec.actor,
        cause,
    };
    stage.say(WorkerId::random(), exiting.clone());
    stage.say(worker, exiting);
    crash(&mut stage, spec.actor, 0);
    let cause = death(&mut stage, driver);
    assert_eq!((cause.kind(), cause.pid), (DeathKind::ActorExit, 7));
    assert_eq!(cause.detail, "exit_actor()");
}

#[test]
fn an_actor_out_of_scope_is_asked_to_finish_first() {
    let mut stage = Stage::new();
    let (driver, job) = stage.driver();
    let mut spec = spec(driver, job);
    spec.max_restarts = 2;
    let worker = alive(&mut stage, &spec);
    stage.orders();
    stage.say(driver, ActorOutOfScope { actor: spec.actor });
    assert!(matches!(
        stage.orders()[..],
        [ControlSays::StopActor { incarnation: 0, .. }]
    ));
    let cause = DeathCause::new(DeathKind::ActorExit, "");
    stage.say(
        worker,
        ActorExiting {
            actor: spec.actor,
            cause,
        },
    );
    crash(&mut stage, spec.actor, 0);
    assert_eq!(death(&mut stage, driver).kind(), DeathKind::OutOfScope);
}

#[test]
fn an_actor_out_of_scope_that_has_no_process_is_dropped() {
    let mut stage = Stage::new();
    let (driver, job) = stage.driver();
    let spec = spec(driver, job);
    create(&mut stage, &spec);
    stage.orders();
    stage.say(driver, ActorOutOfScope { actor: spec.actor });
    assert_eq!(death(&mut stage, driver).kind(), DeathKind::OutOfScope);
    assert!(matches!(
        stage.orders()[..],
        [ControlSays::KillActor { .. }]
    ));
}

#[test]
fn actors_end_with_their_owner_but_for_detached_ones() {
    let mut stage = Stage::new();
    let (driver, job) = stage.driver();
    let parent_spec = ActorSpec {
        detached: true,
        ..spec(driver, job)
    };
    let parent = alive(&mut stage, &parent_spec);
    let child = spec(parent, job);
    let detached = ActorSpec {
        detached: true,
        ..spec(parent, job)
    };
    alive(&mut stage, &child);
    alive(&mut stage, &detached);
    stage.say(
        driver,
        SubscribeActor {
            actor: child.actor,
            owner: None,
        },
    );
    stage.orders();
    stage.process_gone(parent);
    assert_eq!(death(&mut stage, driver).kind(), DeathKind::OwnerDied);
    assert!(
        matches!(&stage.orders()[..], [ControlSays::KillActor { actor, .. }]
        if *actor == child.actor)
    );
    stage.process_gone(driver);
    let orders = stage.orders();
    assert!(
        !orders
            .iter()
            .any(|order| matches!(order, ControlSays::KillActor { .. }))
    );
}

#[test]
fn a_taken_name_is_an_error_or_the_actor_that_has_it() {
    let mut stage = Stage::new();
    let (driver, job) = stage.driver();
    let named = |namespace: &str| ActorSpec {
        name: "bob".to_owned(),
        namespace: namespace.to_owned(),
        ..spec(driver, job)
    };
    let first = named("a");
    alive(&mut stage, &first);
    stage.told(driver);
    create(&mut stage, &named("a"));
    assert!(
        matches!(&stage.told(driver)[..], [Message::ActorCreated(created)]
        if created.error.contains("bob") && created.existing.is_none())
    );
    stage.say(
        driver,
        CreateActor {
            request: 2,
            spec: named("a"),
            get_if_exists: true,
            ..CreateActor::default()
        },
    );
    assert!(
        matches!(&stage.told(driver)[..], [Message::ActorCreated(created)]
        if created.existing.as_ref() == Some(&first))
    );
    create(&mut stage, &named("b"));
    assert!(
        matches!(&stage.told(driver)[..], [Message::ActorCreated(created)]
        if created.error.is_empty()),
        "namespaces are apart"
    );

    let get = |name: &str| GetNamedActor {
        request: 3,
        name: name.to_owned(),
        namespace: "a".to_owned(),
    };
    stage.say(driver, get("bob"));
    assert!(
        matches!(&stage.told(driver)[..], [Message::NamedActor(found)]
        if found.spec.as_ref() == Some(&first))
    );
    for nobody in ["", "alice"] {
        stage.say(driver, get(nobody));
        assert!(
            matches!(&stage.told(driver)[..], [Message::NamedActor(found)]
            if found.spec.is_none())
        );
    }
    let all = ListNamedActors {
        request: 4,
        all_namespaces: true,
        ..ListNamedActors::default()
    };
    stage.say(driver, all);
    assert!(
        matches!(&stage.told(driver)[..], [Message::NamedActors(list)]
        if list.names == ["bob", "bob"] && list.namespaces == ["a", "b"])
    );
}

#[test]
fn whoever_subscribes_late_hears_the_present_state() {
    let mut stage = Stage::new();
    let (driver, job) = stage.driver();
    let spec = spec(driver, job);
    alive(&mut stage, &spec);
    let borrower = WorkerId::random();
    stage.say(
        borrower,
        SubscribeActor {
            actor: spec.actor,
            owner: None,
        },
    );
    assert_eq!(last_update(&mut stage, borrower).state(), ActorState::Alive);
    crash(&mut stage, spec.actor, 0);
    assert_eq!(last_update(&mut stage, borrower).state(), ActorState::Dead);
    stage.say(
        borrower,
        SubscribeActor {
            actor: spec.actor,
            owner: None,
        },
    );
    assert_eq!(
        death(&mut stage, borrower).signal,
        11,
        "the dead are remembered"
    );
    stage.say(
        borrower,
        SubscribeActor {
            actor: ActorId::new(job),
            owner: None,
        },
    );
    assert_eq!(death(&mut stage, borrower).kind(), DeathKind::Unknown);
}

#[test]
fn why_an_actor_waits_is_told_to_its_owner_and_its_driver() {
    let mut stage = Stage::new();
    let (driver, job) = stage.driver();
    let spec = spec(driver, job);
    create(&mut stage, &spec);
    stage.told(driver);
    let reason = "asks for 3 GPU and no node has any".to_owned();
    stage.on_node(NodeSays::ActorPending {
        actor: spec.actor,
        incarnation: 0,
        reason,
    });
    let told = stage.told(driver);
    assert!(
        told.iter()
            .any(|message| matches!(message, Message::WarnDriver(warning)
        if warning.text.contains("Counter") && warning.text.contains("3 GPU")))
    );
    assert!(
        told.iter()
            .any(|message| matches!(message, Message::ActorUpdate(update)
        if update.pending_reason.contains("3 GPU")))
    );
}

#[test]
fn the_life_of_an_actor_is_kept() -> Result<(), Box<dyn std::error::Error>> {
    let mut stage = Stage::new();
    let (driver, job) = stage.driver();
    let mut spec = spec(driver, job);
    spec.max_restarts = 1;
    alive(&mut stage, &spec);
    crash(&mut stage, spec.actor, 0);
    let records = stage.storage.read(Table::Actors)?;
    assert_eq!(records.len(), 1);
    let record: ActorRecord = prost::Message::decode(records[0].1.clone())?;
    assert_eq!(
        (record.incarnation, record.state),
        (1, ActorState::Restarting as i32)
    );
    assert_eq!(record.spec, spec);
    Ok(())
}

#[test]
fn an_actor_whose_constructor_waits_has_its_name_and_no_process() {
    let mut stage = Stage::new();
    let (driver, job) = stage.driver();
    let whole = ActorSpec {
        name: "bob".to_owned(),
        ..spec(driver, job)
    };
    let say = |stage: &mut Stage, stage_of_creation: CreationStage| {
        let create = CreateActor {
            request: 1,
            spec: whole.clone(),
            stage: stage_of_creation as i32,
            ..CreateActor::default()
        };
        stage.say(driver, create);
    };
    let is_placed = |stage: &mut Stage| {
        let orders = stage.orders();
        orders
            .iter()
            .any(|said| matches!(said, ControlSays::PlaceActor { .. }))
    };
    say(&mut stage, CreationStage::Complete);
    assert!(!is_placed(&mut stage), "it was never registered");
    say(&mut stage, CreationStage::Registered);
    assert!(
        matches!(&stage.told(driver)[..], [Message::ActorCreated(created)]
        if created.error.is_empty())
    );
    assert!(!is_placed(&mut stage));
    say(&mut stage, CreationStage::Complete);
    assert!(is_placed(&mut stage));
    say(&mut stage, CreationStage::Complete);
    assert!(!is_placed(&mut stage), "once is enough");
}

/// The handle of an actor was faster than the word of its owner: whoever got it heard that there is
/// no such actor, and its calls failed.
#[test]
fn whoever_asks_too_early_hears_of_the_actor_once_it_is_created() {
    let mut stage = Stage::new();
    let (driver, job) = stage.driver();
    let spec = spec(driver, job);
    let early = WorkerId::random();
    let ask = SubscribeActor {
        actor: spec.actor,
        owner: Some(driver),
    };
    stage.say(early, ask.clone());
    assert!(stage.told(early).is_empty());
    create(&mut stage, &spec);
    assert_eq!(last_update(&mut stage, early).state(), ActorState::Pending);
    start(&mut stage, spec.actor, 0);
    assert_eq!(last_update(&mut stage, early).state(), ActorState::Alive);

    let never = SubscribeActor {
        actor: ActorId::new(job),
        owner: Some(driver),
    };
    stage.say(early, never.clone());
    assert!(stage.told(early).is_empty());
    stage.process_gone(driver);
    let told = stage.told(early);
    assert!(
        told.iter()
            .any(|message| matches!(message, Message::ActorUpdate(update)
            if update.actor == never.actor && update.state() == ActorState::Dead)),
        "{told:?}"
    );
    stage.say(early, never);
    assert_eq!(death(&mut stage, early).kind(), DeathKind::Unknown);
}

/// The owner of a detached actor was gone before the objects of its constructor were there: nobody
/// could complete it, and it waited for ever, with its name.
#[test]
fn a_detached_actor_that_was_never_completed_ends_with_its_owner() {
    let mut stage = Stage::new();
    let (driver, job) = stage.driver();
    for is_completed in [false, true] {
        let owner = WorkerId::random();
        let detached = ActorSpec {
            detached: true,
            ..spec(owner, job)
        };
        let mut stages = vec![CreationStage::Registered];
        stages.extend(is_completed.then_some(CreationStage::Complete));
        for stage_of_creation in stages {
            let create = CreateActor {
                spec: detached.clone(),
                stage: stage_of_creation as i32,
                ..CreateActor::default()
            };
            stage.say(owner, create);
        }
        let ask = SubscribeActor {
            actor: detached.actor,
            owner: None,
        };
        stage.process_gone(owner);
        stage.say(driver, ask);
        let is_dead = last_update(&mut stage, driver).state() == ActorState::Dead;
        assert_eq!(is_dead, !is_completed);
    }
}
