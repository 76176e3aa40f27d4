//! What does not come, and what does not come back.

use super::*;

type Outcome = Result<(), ConfigError>;

fn fail_all(stage: &mut Stage) -> BTreeMap<String, usize> {
    let launches = std::mem::take(&mut stage.launches);
    let failures = launches.into_iter().map(|(launch, _)| LaunchFailure {
        launch,
        reason: "no capacity".to_owned(),
    });
    stage.list(failures.collect())
}

#[test]
fn a_failed_launch_is_tried_again_after_a_pause_that_grows() -> Outcome {
    let mut stage = Stage::new("max_workers: 8", CPU_TYPE)?;
    stage.view.wants = vec![want(cpus(4.0), 1)];
    assert_eq!(stage.look(), of([("cpu", 1)]));
    assert_eq!(fail_all(&mut stage), of([]));
    assert_eq!(stage.status.failures[0].reason, "no capacity");
    assert!(stage.status.types[0].obstacle.contains("no capacity"));
    assert_eq!(stage.pass(SECOND / 2), of([]));
    assert_eq!(stage.pass(SECOND / 2), of([("cpu", 1)]));
    assert_eq!(fail_all(&mut stage), of([]));
    assert_eq!(stage.pass(SECOND), of([]));
    assert_eq!(stage.pass(SECOND), of([("cpu", 1)]));
    // One that comes ends it.
    stage.join_all();
    assert_eq!(stage.status.types[0].obstacle, "");
    Ok(())
}

#[test]
fn another_type_helps_meanwhile() -> Outcome {
    let mut stage = Stage::new("max_workers: 8", BOTH_TYPES)?;
    stage.view.wants = vec![want(cpus(4.0), 1)];
    assert_eq!(stage.look(), of([("cpu", 1)]));
    assert_eq!(fail_all(&mut stage), of([("gpu", 1)]));
    Ok(())
}

#[test]
fn an_instance_that_does_not_join_is_ended_and_counts_as_failed() -> Outcome {
    let mut stage = Stage::new("max_workers: 8", CPU_TYPE)?;
    stage.view.wants = vec![want(cpus(4.0), 1)];
    stage.look();
    let (launch, name) = stage.launches.remove(0);
    stage.instances.push(Instance {
        id: "slow".to_owned(),
        node_type: name,
        launch: Some(launch),
    });
    assert_eq!(stage.pass(SECOND), of([]));
    stage.pass(60 * SECOND);
    assert_eq!(stage.instances, []);
    assert!(
        stage.status.failures[0]
            .reason
            .contains("slow did not join")
    );
    assert_eq!(stage.pass(SECOND), of([("cpu", 1)]));
    Ok(())
}

#[test]
fn an_instance_that_ends_before_it_joins_counts_as_failed() -> Outcome {
    let mut stage = Stage::new("max_workers: 8", CPU_TYPE)?;
    stage.view.wants = vec![want(cpus(4.0), 1)];
    stage.look();
    let (launch, name) = stage.launches.remove(0);
    stage.instances.push(Instance {
        id: "brief".to_owned(),
        node_type: name,
        launch: Some(launch),
    });
    stage.list(Vec::new());
    stage.instances.clear();
    assert_eq!(stage.list(Vec::new()), of([]));
    assert!(
        stage.status.failures[0]
            .reason
            .contains("brief ended before")
    );
    Ok(())
}

#[test]
fn a_launch_of_which_nothing_is_heard_is_given_up() -> Outcome {
    let mut stage = Stage::new("max_workers: 1", CPU_TYPE)?;
    stage.view.wants = vec![want(cpus(4.0), 1)];
    assert_eq!(stage.look(), of([("cpu", 1)]));
    assert_eq!(stage.pass(59 * SECOND), of([]));
    assert_eq!(stage.status.types[0].starting, 1);
    stage.pass(SECOND);
    assert_eq!(stage.status.types[0].starting, 0);
    assert!(stage.status.failures[0].reason.contains("did not say"));
    assert_eq!(stage.pass(SECOND), of([("cpu", 1)]));
    Ok(())
}

#[test]
fn a_node_that_joins_before_its_instance_is_listed_has_joined() -> Outcome {
    let mut stage = Stage::new("max_workers: 1", CPU_TYPE)?;
    stage.view.wants = vec![want(cpus(4.0), 1)];
    stage.look();
    stage.view.wants = vec![];
    let (launch, name) = stage.launches.remove(0);
    stage.join("cpu-1", &name);
    stage.look();
    stage.instances.push(Instance {
        id: "cpu-1".to_owned(),
        node_type: name,
        launch: Some(launch),
    });
    // Nothing changes in the cluster from here on, so that nothing is told of it.
    stage.list(Vec::new());
    assert_eq!(stage.status.types[0].starting, 0);
    stage.now += 61 * SECOND;
    stage.list(Vec::new());
    assert_eq!(stage.instances.len(), 1, "it is not taken for late");
    Ok(())
}

#[test]
fn a_node_that_is_killed_is_replaced_where_there_is_demand() -> Outcome {
    let mut stage = Stage::new("max_workers: 1", CPU_TYPE)?;
    stage.view.wants = vec![want(cpus(4.0), 1)];
    stage.look();
    stage.join_all();
    let killed = stage.instances.remove(0);
    // The provider notices first: there is room for one more, but control believes in the node.
    assert_eq!(stage.list(Vec::new()), of([]));
    stage.view.nodes.retain(|node| node.instance != killed.id);
    assert_eq!(stage.look(), of([("cpu", 1)]));
    Ok(())
}

#[test]
fn a_node_that_is_lost_may_come_back_for_a_while() -> Outcome {
    let mut stage = Stage::new("max_workers: 8", CPU_TYPE)?;
    stage.view.wants = vec![want(cpus(4.0), 1)];
    stage.look();
    stage.view.wants = vec![];
    stage.join_all();
    let lost = stage.view.nodes.pop();
    stage.pass(20 * SECOND);
    assert_eq!(stage.instances.len(), 1);
    stage.view.nodes.extend(lost.map(|node| ScalingNode {
        node: id(77),
        ..node
    }));
    stage.pass(20 * SECOND);
    stage.view.nodes.pop();
    stage.pass(SECOND);
    stage.pass(31 * SECOND);
    assert_eq!(stage.instances, [], "its instance is ended");
    Ok(())
}

#[test]
fn instances_of_types_that_are_not_there_are_ended() -> Outcome {
    let mut stage = Stage::new("max_workers: 8", CPU_TYPE)?;
    stage.instances.push(Instance {
        id: "old".to_owned(),
        node_type: "of yesterday".to_owned(),
        launch: None,
    });
    stage.list(Vec::new());
    assert_eq!(stage.instances, []);
    Ok(())
}
