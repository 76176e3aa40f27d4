use whipray_proto::failure::FailureKind;
use whipray_proto::messages::lease::LeaseRefused;
use whipray_proto::resources::GPU;
use whipray_proto::scheduling::{
    InGroup, LabelOperator, LabelSelector, LabelTerm, NodeAffinity, SchedulingStrategy,
};
use whipray_proto::{ActorSpec, DeathKind};

use super::*;

fn group(number: u32) -> PlacementGroupId {
    let mut bytes = [number as u8; 18];
    bytes[14..].copy_from_slice(&JobId::from_number(1).to_array());
    PlacementGroupId::from_array(bytes)
}

fn inside(group: PlacementGroupId, bundle: Option<u32>) -> Option<Box<SchedulingStrategy>> {
    Some(Box::new(SchedulingStrategy {
        group: Some(InGroup {
            group,
            bundle,
            captures: false,
        }),
        ..SchedulingStrategy::default()
    }))
}

fn class(
    resources: Resources,
    job: JobId,
    strategy: Option<Box<SchedulingStrategy>>,
) -> SchedulingClass {
    SchedulingClass {
        resources,
        job,
        strategy,
        ..SchedulingClass::default()
    }
}

fn prepare(stage: &mut Stage, group: PlacementGroupId, bundles: &[Resources]) -> bool {
    let bundles = (0u32..).zip(bundles.iter().cloned()).collect();
    stage.control(ControlSays::PrepareBundles {
        group,
        attempt: 1,
        bundles,
    });
    let told = stage.told();
    let granted = told.iter().find_map(|says| match says {
        NodeSays::BundlesPrepared { is_granted, .. } => Some(*is_granted),
        _ => None,
    });
    granted.unwrap()
}

fn create(stage: &mut Stage, group: PlacementGroupId, bundles: &[Resources]) {
    assert!(prepare(stage, group, bundles));
    stage.control(ControlSays::CommitBundles { group, attempt: 1 });
}

fn remove(stage: &mut Stage, group: PlacementGroupId) {
    stage.control(ControlSays::RemoveGroup { group });
}

fn refused(stage: &mut Stage, by: ClientId) -> Vec<LeaseRefused> {
    let is_refusal = |message| match message {
        Message::LeaseRefused(refused) => Some(refused),
        _ => None,
    };
    let received = stage.received(by).into_iter();
    received.filter_map(is_refusal).collect()
}

#[test]
fn bundles_are_set_aside_all_or_none() {
    let mut stage = Stage::new(cpus(4.0));
    assert!(!prepare(&mut stage, group(1), &[cpus(3.0), cpus(2.0)]));
    assert_eq!(stage.available_cpus(), 4.0);
    create(&mut stage, group(1), &[cpus(1.0), cpus(2.0)]);
    assert_eq!(stage.available_cpus(), 1.0);
    remove(&mut stage, group(1));
    assert_eq!(stage.available_cpus(), 4.0);
}

#[test]
fn bundles_that_are_only_prepared_serve_nobody_and_can_be_returned() {
    let mut stage = Stage::new(cpus(4.0));
    let (driver, job) = stage.driver();
    stage.start_workers();
    assert!(prepare(&mut stage, group(1), &[cpus(2.0)]));
    let inside = class(cpus(1.0), job, inside(group(1), None));
    stage.want(driver, 1, inside, 1);
    assert!(stage.granted(driver).is_empty());
    stage.control(ControlSays::ReturnBundles {
        group: group(1),
        attempt: 1,
    });
    assert_eq!(stage.available_cpus(), 4.0);
}

#[test]
fn members_use_nothing_but_their_bundle() {
    let mut stage = Stage::new(cpus(4.0));
    let (driver, job) = stage.driver();
    stage.start_workers();
    create(&mut stage, group(1), &[cpus(1.0), cpus(2.0)]);
    let second = class(cpus(1.0), job, inside(group(1), Some(1)));
    stage.want(driver, 1, second, 5);
    let granted = stage.granted(driver);
    assert_eq!(granted.len(), 2, "the bundle has two");
    let bundle = granted[0].assignment.bundle.unwrap();
    assert_eq!((bundle.group, bundle.index), (group(1), 1));
    let any = class(cpus(1.0), job, inside(group(1), None));
    stage.want(driver, 2, any, 5);
    stage.start_workers();
    let granted = stage.granted(driver);
    assert_eq!(granted.len(), 1);
    assert_eq!(granted[0].assignment.bundle.unwrap().index, 0);
    assert_eq!(
        stage.available_cpus(),
        1.0,
        "the rest of the node is as it was"
    );
}

#[test]
fn members_that_come_before_their_group_wait_for_it() {
    let mut stage = Stage::new(cpus(4.0));
    let (driver, job) = stage.driver();
    stage.start_workers();
    let early = class(cpus(1.0), job, inside(group(1), None));
    stage.want(driver, 1, early, 1);
    let wanted = NodeSays::GroupWanted { group: group(1) };
    assert!(stage.told().contains(&wanted));
    create(&mut stage, group(1), &[cpus(1.0)]);
    assert_eq!(stage.granted(driver).len(), 1);
}

#[test]
fn removal_ends_members_and_turns_those_away_who_wait() {
    let mut stage = Stage::new(cpus(4.0));
    let (driver, job) = stage.driver();
    let workers = stage.start_workers();
    create(&mut stage, group(1), &[cpus(1.0)]);
    let member = class(cpus(1.0), job, inside(group(1), None));
    stage.want(driver, 1, member, 3);
    let granted = stage.granted(driver);
    assert_eq!(granted.len(), 1);
    let actor = ActorId::new(job);
    let spec = ActorSpec {
        actor,
        job,
        resources: cpus(1.0),
        strategy: inside(group(1), Some(0)),
        ..ActorSpec::default()
    };
    stage.control(ControlSays::PlaceActor {
        spec: Box::new(spec),
        incarnation: 0,
    });
    stage.told();
    remove(&mut stage, group(1));
    let refused = refused(&mut stage, driver);
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].failure.kind(), FailureKind::TaskGroupRemoved);
    let told = stage.told();
    let ended = told.iter().find_map(|says| match says {
        NodeSays::ActorEnded { cause, .. } => Some(cause.kind()),
        _ => None,
    });
    assert_eq!(ended, Some(DeathKind::Unschedulable));
    let worker = granted[0].worker.worker;
    assert!(workers.contains(&worker) && stage.is_killed(worker));
    assert_eq!(
        stage.available_cpus(),
        3.0,
        "what it holds comes back with it"
    );
    stage.exited(worker, 9);
    let lost = stage.received(driver);
    assert!(lost.iter().any(|message| matches!(message,
        Message::LeaseLost(lost) if lost.cause.kind() == DeathKind::PlacementGroupRemoved)));
    assert_eq!(stage.available_cpus(), 4.0);
}

#[test]
fn a_blocked_member_lends_the_cpus_of_its_bundle_to_members_alone() {
    let mut stage = Stage::new(cpus(2.0));
    let (driver, job) = stage.driver();
    stage.start_workers();
    create(&mut stage, group(1), &[cpus(1.0)]);
    let member = class(cpus(1.0), job, inside(group(1), None));
    stage.want(driver, 1, member, 1);
    let worker = stage.granted(driver)[0].worker.worker;
    let client = stage.worker_clients[&worker];
    let child = class(cpus(1.0), job, inside(group(1), None));
    stage.want(client, 7, child, 1);
    stage.say(client, whipray_proto::messages::lease::WorkerBlocked {});
    assert_eq!(stage.available_cpus(), 1.0);
    stage.start_workers();
    assert_eq!(stage.granted(client).len(), 1);
    remove(&mut stage, group(1));
    stage.exited(worker, 9);
    for worker in stage.pids.clone().into_keys() {
        if stage.is_killed(worker) && stage.node.pool.get(worker).is_some() {
            stage.exited(worker, 9);
        }
    }
    assert_eq!(stage.available_cpus(), 2.0);
}

#[test]
fn gpus_of_a_bundle_are_the_same_for_all_its_members() {
    let mut stage = Stage::new(cpus(4.0).with(GPU, 2.0));
    let (driver, job) = stage.driver();
    stage.start_workers();
    let half = Resources::none().with(GPU, 0.5);
    create(&mut stage, group(1), std::slice::from_ref(&half));
    let whole = class(Resources::none().with(GPU, 1.0), job, None);
    stage.want(driver, 1, whole, 2);
    let granted = stage.granted(driver);
    assert_eq!(granted.len(), 1);
    assert_eq!(
        granted[0].assignment.gpus,
        [1],
        "the other one has a share set aside"
    );
    let member = class(half, job, inside(group(1), None));
    stage.want(driver, 2, member, 1);
    stage.start_workers();
    assert_eq!(stage.granted(driver)[0].assignment.gpus, [0]);
}

#[test]
fn growth_is_told_while_it_is_watched() {
    let mut stage = Stage::new(cpus(2.0));
    let (driver, job) = stage.driver();
    stage.start_workers();
    stage.target(driver, 1, job, 2);
    let granted = stage.granted(driver);
    stage.control(ControlSays::WatchResources {
        is_on: true,
        with_decreases: false,
    });
    let told = |stage: &mut Stage| -> Vec<f64> {
        let of = |says| match says {
            NodeSays::Available { available, .. } => Some(available.amount(CPU)),
            _ => None,
        };
        stage.told().into_iter().filter_map(of).collect()
    };
    assert_eq!(told(&mut stage), [0.0]);
    stage.target(driver, 1, job, 1);
    stage.give_back(driver, granted[0].lease);
    assert_eq!(told(&mut stage), [1.0]);
    stage.control(ControlSays::WatchResources {
        is_on: false,
        with_decreases: false,
    });
    stage.target(driver, 1, job, 0);
    stage.give_back(driver, granted[1].lease);
    assert!(told(&mut stage).is_empty());
}

#[test]
fn idle_leases_come_back_for_a_group_that_waits() {
    let mut stage = Stage::new(cpus(2.0));
    let (driver, job) = stage.driver();
    stage.start_workers();
    stage.target(driver, 1, job, 1);
    stage.granted(driver);
    stage.control(ControlSays::WatchResources {
        is_on: true,
        with_decreases: false,
    });
    let received = stage.received(driver);
    assert!(
        received
            .iter()
            .any(|message| matches!(message, Message::ReclaimIdle(_)))
    );
}

#[test]
fn a_node_that_is_not_there_is_an_error_and_a_missing_label_is_not() {
    let mut stage = Stage::new(cpus(2.0));
    let (driver, job) = stage.driver();
    stage.start_workers();
    let affinity = |node, is_soft| {
        Some(Box::new(SchedulingStrategy {
            affinity: Some(NodeAffinity {
                node,
                is_soft,
                ..NodeAffinity::default()
            }),
            ..SchedulingStrategy::default()
        }))
    };
    let elsewhere = NodeId::from_array([7; 28]);
    stage.want(
        driver,
        1,
        class(cpus(1.0), job, affinity(elsewhere, false)),
        1,
    );
    let refused = refused(&mut stage, driver);
    assert_eq!(refused[0].failure.kind(), FailureKind::Unschedulable);
    stage.want(
        driver,
        2,
        class(cpus(1.0), job, affinity(elsewhere, true)),
        1,
    );
    assert_eq!(stage.granted(driver).len(), 1);
    let here = stage.node.config.node;
    stage.want(driver, 3, class(cpus(1.0), job, affinity(here, false)), 1);
    assert_eq!(stage.granted(driver).len(), 1);
    let labelled = SchedulingStrategy {
        selectors: vec![LabelSelector {
            terms: vec![LabelTerm {
                key: "zone".to_owned(),
                operator: LabelOperator::In as i32,
                values: vec!["a".to_owned()],
            }],
        }],
        ..SchedulingStrategy::default()
    };
    stage.want(
        driver,
        4,
        class(cpus(1.0), job, Some(Box::new(labelled))),
        1,
    );
    let pending = stage.pending(driver);
    assert_eq!(
        pending[0].reason,
        "asks for a node with zone in (a), and there is none"
    );
}

#[test]
fn an_actor_without_a_place_ends() {
    let mut stage = Stage::new(cpus(2.0));
    let (_, job) = stage.driver();
    let actor = ActorId::new(job);
    let strategy = SchedulingStrategy {
        affinity: Some(NodeAffinity {
            node: NodeId::from_array([7; 28]),
            ..NodeAffinity::default()
        }),
        ..SchedulingStrategy::default()
    };
    let spec = ActorSpec {
        actor,
        job,
        strategy: Some(Box::new(strategy)),
        ..ActorSpec::default()
    };
    stage.told();
    stage.control(ControlSays::PlaceActor {
        spec: Box::new(spec),
        incarnation: 0,
    });
    let told = stage.told();
    assert!(
        matches!(told.last(), Some(NodeSays::ActorEnded { cause, .. })
        if cause.kind() == DeathKind::Unschedulable)
    );
}
