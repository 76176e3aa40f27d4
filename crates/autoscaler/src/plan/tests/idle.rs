//! Nodes that have nothing to do.

use whipray_proto::scheduling::BundleSpec;

use super::*;

type Outcome = Result<(), ConfigError>;

/// A cluster with so many nodes of one type that have nothing to do, with a timeout of a minute.
fn idle_nodes(count: u32, types: &str) -> Result<Stage, ConfigError> {
    let mut stage = Stage::new("max_workers: 8\nidle_timeout_minutes: 1", types)?;
    stage.view.wants = vec![want(cpus(4.0), count)];
    stage.look();
    stage.view.wants = vec![];
    stage.join_all();
    Ok(stage)
}

#[test]
fn what_is_idle_for_too_long_goes_and_its_instance_is_ended() -> Outcome {
    let mut stage = idle_nodes(2, CPU_TYPE)?;
    stage.occupy("cpu", 1);
    let idle = stage.node("cpu", 0).node;
    stage.pass(59 * SECOND);
    assert_eq!(stage.drains, []);
    stage.pass(SECOND);
    assert_eq!(stage.drain_all(), [idle]);
    assert_eq!(stage.instances.len(), 1, "{:?}", stage.instances);
    Ok(())
}

#[test]
fn the_clock_begins_anew_with_each_thing_to_do() -> Outcome {
    let mut stage = idle_nodes(1, CPU_TYPE)?;
    stage.pass(50 * SECOND);
    stage.node("cpu", 0).busy = "objects".to_owned();
    stage.look();
    stage.node("cpu", 0).busy.clear();
    stage.pass(50 * SECOND);
    assert_eq!(stage.drains, []);
    stage.pass(60 * SECOND);
    assert_eq!(stage.drains.len(), 1);
    Ok(())
}

#[test]
fn the_least_number_stays() -> Outcome {
    let mut stage = idle_nodes(3, "  cpu: {resources: {CPU: 4}, min_workers: 2}")?;
    assert_eq!(stage.instances.len(), 3);
    stage.pass(100 * SECOND);
    assert_eq!(stage.drain_all().len(), 1);
    stage.pass(100 * SECOND);
    assert_eq!(stage.drains, []);
    Ok(())
}

#[test]
fn the_head_and_nodes_that_nobody_started_stay() -> Outcome {
    let mut stage = Stage::new("max_workers: 8\nidle_timeout_minutes: 1", CPU_TYPE)?;
    stage.view.nodes[0].busy.clear();
    stage.view.nodes.push(ScalingNode {
        node: id(9),
        total: cpus(4.0),
        available: cpus(4.0),
        ..ScalingNode::default()
    });
    stage.look();
    stage.pass(1000 * SECOND);
    assert_eq!(stage.drains, []);
    Ok(())
}

#[test]
fn what_was_requested_keeps_nodes_until_it_is_taken_back() -> Outcome {
    let mut stage = idle_nodes(3, CPU_TYPE)?;
    let bundle = BundleSpec {
        resources: cpus(4.0),
        selector: None,
    };
    stage.view.requested = vec![bundle; 2];
    stage.look();
    stage.pass(100 * SECOND);
    assert_eq!(stage.drain_all().len(), 1);
    stage.view.requested = vec![];
    stage.pass(100 * SECOND);
    assert_eq!(stage.drain_all().len(), 2);
    assert_eq!(stage.instances, []);
    Ok(())
}

#[test]
fn what_waits_keeps_the_node_that_it_is_for() -> Outcome {
    let mut stage = idle_nodes(1, CPU_TYPE)?;
    stage.view.wants = vec![want(cpus(3.0), 1)];
    stage.look();
    stage.pass(100 * SECOND);
    assert_eq!(stage.drains, []);
    Ok(())
}

#[test]
fn a_type_may_have_a_timeout_of_its_own() -> Outcome {
    let mut stage = idle_nodes(1, "  cpu: {resources: {CPU: 4}, idle_timeout_s: 5}")?;
    stage.pass(5 * SECOND);
    assert_eq!(stage.drains.len(), 1);
    Ok(())
}

#[test]
fn a_drain_that_is_refused_is_tried_again_later() -> Outcome {
    let mut stage = idle_nodes(1, CPU_TYPE)?;
    stage.pass(60 * SECOND);
    let (request, _) = stage.drains.remove(0);
    stage.scaler.on_drain_answered(request, false, stage.now);
    stage.pass(30 * SECOND);
    assert_eq!(stage.drains, []);
    stage.pass(30 * SECOND);
    assert_eq!(stage.drains.len(), 1);
    Ok(())
}

#[test]
fn a_node_that_got_work_while_it_was_drained_stays() -> Outcome {
    let mut stage = idle_nodes(1, CPU_TYPE)?;
    stage.pass(60 * SECOND);
    let (request, node) = stage.drains.remove(0);
    stage.scaler.on_drain_answered(request, true, stage.now);
    stage.set_state(node, NodeState::Draining);
    stage.look();
    stage.set_state(node, NodeState::Alive);
    stage.occupy("cpu", 0);
    stage.look();
    assert_eq!(stage.instances.len(), 1);
    // Later it is idle again, and goes.
    stage.node("cpu", 0).busy.clear();
    stage.look();
    stage.pass(60 * SECOND);
    assert_eq!(stage.drain_all(), [node]);
    assert_eq!(stage.instances, []);
    Ok(())
}

#[test]
fn a_node_that_is_to_go_is_no_room_for_what_comes() -> Outcome {
    let mut stage = idle_nodes(1, CPU_TYPE)?;
    stage.pass(60 * SECOND);
    assert_eq!(stage.drains.len(), 1);
    stage.view.wants = vec![want(cpus(4.0), 1)];
    assert_eq!(stage.look(), of([("cpu", 1)]));
    Ok(())
}
