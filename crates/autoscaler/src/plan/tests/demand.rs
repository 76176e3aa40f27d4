//! What waits, and the nodes that come for it.

use whipray_proto::SchedulingStrategy;
use whipray_proto::scheduling::{BundleSpec, LabelOperator, LabelSelector, LabelTerm};

use super::*;

type Outcome = Result<(), ConfigError>;

fn in_zone(zone: &str) -> LabelSelector {
    LabelSelector {
        terms: vec![LabelTerm {
            key: "zone".to_owned(),
            operator: LabelOperator::In as i32,
            values: vec![zone.to_owned()],
        }],
    }
}

fn bundle(resources: Resources) -> BundleSpec {
    BundleSpec {
        resources,
        selector: None,
    }
}

#[test]
fn nothing_is_started_for_what_there_is_room_for() -> Outcome {
    let mut stage = Stage::new("max_workers: 8", CPU_TYPE)?;
    stage.view.wants = vec![want(cpus(1.0), 1)];
    assert_eq!(stage.look(), of([]));
    stage.view.wants = vec![want(cpus(1.0), 2)];
    assert_eq!(stage.look(), of([("cpu", 1)]));
    // It is on its way: nothing more is missing.
    assert_eq!(stage.look(), of([]));
    assert_eq!(stage.list(Vec::new()), of([]));
    assert_eq!(stage.status.types[0].starting, 1);
    assert_eq!(stage.join_all(), of([]));
    assert_eq!(stage.status.types[0].starting, 0);
    Ok(())
}

#[test]
fn nodes_that_are_full_are_no_room() -> Outcome {
    let mut stage = Stage::new("max_workers: 8", CPU_TYPE)?;
    stage.view.wants = vec![want(cpus(4.0), 3)];
    assert_eq!(stage.look(), of([("cpu", 3)]));
    stage.view.wants = vec![];
    stage.join_all();
    for index in 0..3 {
        stage.occupy("cpu", index);
    }
    stage.pass(3 * SECOND);
    stage.view.wants = vec![want(cpus(2.0), 3)];
    assert_eq!(stage.look(), of([("cpu", 2)]));
    Ok(())
}

/// A node was started twice: it had come and was full, while what it had come for still seemed to wait.
#[test]
fn a_node_that_has_just_come_has_room_for_what_it_came_for() -> Outcome {
    let mut stage = Stage::new("max_workers: 8", CPU_TYPE)?;
    stage.view.wants = vec![want(cpus(4.0), 1)];
    assert_eq!(stage.look(), of([("cpu", 1)]));
    stage.join_all();
    stage.occupy("cpu", 0);
    assert_eq!(stage.look(), of([]));
    assert_eq!(stage.pass(2 * SECOND), of([]));
    // This one waits indeed.
    assert_eq!(stage.pass(SECOND), of([("cpu", 1)]));
    Ok(())
}

#[test]
fn nodes_that_get_nothing_new_are_no_room() -> Outcome {
    let mut stage = Stage::new("max_workers: 8", CPU_TYPE)?;
    stage.view.wants = vec![want(cpus(4.0), 1)];
    stage.look();
    stage.join_all();
    let node = stage.node("cpu", 0).node;
    stage.set_state(node, NodeState::Suspect);
    assert_eq!(stage.look(), of([("cpu", 1)]));
    Ok(())
}

#[test]
fn max_workers_holds_for_each_type_and_for_all() -> Outcome {
    let types = "
  cpu: {resources: {CPU: 4}, max_workers: 2}
  gpu: {resources: {CPU: 4, GPU: 2}, max_workers: 4}";
    let mut stage = Stage::new("max_workers: 3", types)?;
    stage.view.wants = vec![want(cpus(4.0), 20)];
    // Those with GPUs are for others, but better than nothing.
    assert_eq!(stage.look(), of([("cpu", 2), ("gpu", 1)]));
    stage.join_all();
    assert_eq!(stage.look(), of([]));
    assert!(stage.status.types[0].obstacle.contains("max_workers: 2"));
    assert!(stage.status.types[1].obstacle.contains("max_workers: 3"));
    Ok(())
}

#[test]
fn the_type_that_serves_is_taken_and_gpus_are_kept_for_who_asks() -> Outcome {
    let mut stage = Stage::new("max_workers: 8", BOTH_TYPES)?;
    stage.view.wants = vec![want(cpus(3.0), 1), want(gpus(1.0), 3)];
    // Three GPUs take two nodes, on which the CPUs find room, too.
    assert_eq!(stage.look(), of([("gpu", 2)]));
    let mut stage = Stage::new("max_workers: 8", BOTH_TYPES)?;
    stage.view.wants = vec![want(cpus(3.0), 1)];
    assert_eq!(stage.look(), of([("cpu", 1)]));
    Ok(())
}

#[test]
fn the_type_that_would_be_used_most_is_taken() -> Outcome {
    let types = "
  large: {resources: {CPU: 16}}
  small: {resources: {CPU: 2}}";
    let mut stage = Stage::new("max_workers: 20", types)?;
    stage.view.wants = vec![want(cpus(2.0), 1)];
    assert_eq!(stage.look(), of([("small", 1)]));
    let mut stage = Stage::new("max_workers: 20", types)?;
    stage.view.wants = vec![want(cpus(2.0), 8), want(cpus(3.0), 1)];
    let launched = stage.look();
    assert!(launched.contains_key("large"), "{launched:?}");
    Ok(())
}

#[test]
fn a_higher_priority_goes_before_a_better_fit() -> Outcome {
    let types = "
  large: {resources: {CPU: 16}, priority: 1}
  small: {resources: {CPU: 2}}";
    let mut stage = Stage::new("max_workers: 8", types)?;
    stage.view.wants = vec![want(cpus(2.0), 1)];
    assert_eq!(stage.look(), of([("large", 1)]));
    Ok(())
}

#[test]
fn shares_of_a_gpu_are_of_one_device() -> Outcome {
    let mut stage = Stage::new("max_workers: 8", BOTH_TYPES)?;
    stage.view.wants = vec![want(gpus(0.6), 4)];
    assert_eq!(stage.look(), of([("gpu", 2)]));
    Ok(())
}

#[test]
fn labels_choose_the_type_and_what_nobody_can_serve_starts_nothing() -> Outcome {
    let mut stage = Stage::new("max_workers: 8", BOTH_TYPES)?;
    let hard = |zone| {
        Some(Box::new(SchedulingStrategy {
            hard: Some(in_zone(zone)),
            ..SchedulingStrategy::default()
        }))
    };
    stage.view.wants = vec![Want {
        strategy: hard("a"),
        ..want(cpus(1.0), 1)
    }];
    assert_eq!(stage.look(), of([("gpu", 1)]));
    let mut stage = Stage::new("max_workers: 8", BOTH_TYPES)?;
    stage.view.wants = vec![
        Want {
            strategy: hard("b"),
            ..want(cpus(1.0), 1)
        },
        want(cpus(99.0), 1),
        want(gpus(1.5), 1),
        want(Resources::none().with("gold", 1.0), 1),
    ];
    assert_eq!(stage.look(), of([]));
    Ok(())
}

#[test]
fn least_numbers_come_at_once_and_again() -> Outcome {
    let types = "  cpu: {resources: {CPU: 4}, min_workers: 2}";
    let mut stage = Stage::new("max_workers: 8", types)?;
    assert_eq!(stage.launches.len(), 2);
    assert_eq!(stage.join_all(), of([]));
    // One is lost with its machine.
    let lost = stage.instances.remove(0);
    stage.view.nodes.retain(|node| node.instance != lost.id);
    assert_eq!(stage.pass(SECOND), of([("cpu", 1)]));
    Ok(())
}

#[test]
fn at_first_five_of_a_type_come_at_once_and_more_by_what_runs() -> Outcome {
    let mut stage = Stage::new("max_workers: 100\nupscaling_speed: 1.5", CPU_TYPE)?;
    stage.view.wants = vec![want(cpus(4.0), 90)];
    assert_eq!(stage.look(), of([("cpu", 5)]));
    assert_eq!(stage.look(), of([]));
    stage.view.wants = vec![want(cpus(4.0), 90)];
    // 1.5 times those that run; the new ones are empty and taken into account.
    assert_eq!(stage.join_all(), of([("cpu", 8)]));
    // Never more than ten launches at the same time.
    assert_eq!(stage.join_all(), of([("cpu", 10)]));
    Ok(())
}

#[test]
fn what_was_requested_is_made_room_for_whatever_is_in_use() -> Outcome {
    let mut stage = Stage::new("max_workers: 8", CPU_TYPE)?;
    stage.view.requested = vec![bundle(cpus(1.0)); 9];
    // One is for the head, which has one CPU: eight are left.
    assert_eq!(stage.look(), of([("cpu", 2)]));
    stage.join_all();
    stage.occupy("cpu", 0);
    assert_eq!(stage.look(), of([]), "the size counts, not what is free");
    stage.view.requested = vec![bundle(cpus(1.0)); 10];
    assert_eq!(stage.look(), of([("cpu", 1)]));
    Ok(())
}

#[test]
fn one_node_serves_a_request_and_those_that_wait() -> Outcome {
    let mut stage = Stage::new("max_workers: 8", CPU_TYPE)?;
    stage.view.requested = vec![bundle(cpus(4.0))];
    stage.view.wants = vec![want(cpus(4.0), 1)];
    assert_eq!(stage.look(), of([("cpu", 1)]));
    Ok(())
}

#[test]
fn requests_go_beyond_the_speed_of_demand() -> Outcome {
    let mut stage = Stage::new("max_workers: 100", CPU_TYPE)?;
    stage.view.requested = vec![bundle(cpus(4.0)); 8];
    assert_eq!(stage.look(), of([("cpu", 8)]));
    Ok(())
}
