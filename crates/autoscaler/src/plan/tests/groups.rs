//! Placement groups: all of their nodes come, or none.

use whipray_proto::messages::scaling::WaitingGroup;
use whipray_proto::scheduling::{BundleSpec, GroupSpec, GroupStrategy};

use super::*;

type Outcome = Result<(), ConfigError>;

fn group(strategy: GroupStrategy, bundles: &[Resources]) -> WaitingGroup {
    let bundles = bundles.iter().map(|resources| BundleSpec {
        resources: resources.clone(),
        selector: None,
    });
    WaitingGroup {
        spec: GroupSpec {
            strategy: strategy as i32,
            bundles: bundles.collect(),
            ..GroupSpec::default()
        },
        nodes: Vec::new(),
    }
}

#[test]
fn bundles_on_nodes_of_their_own_take_as_many_nodes() -> Outcome {
    let mut stage = Stage::new("max_workers: 8", CPU_TYPE)?;
    stage.view.groups = vec![group(
        GroupStrategy::StrictSpread,
        &[cpus(1.0), cpus(1.0), cpus(1.0)],
    )];
    // One of them lies on the head.
    assert_eq!(stage.look(), of([("cpu", 2)]));
    assert_eq!(stage.join_all(), of([]));
    Ok(())
}

#[test]
fn bundles_of_one_node_take_a_node_that_holds_all() -> Outcome {
    let types = "
  small: {resources: {CPU: 2}}
  large: {resources: {CPU: 8}}";
    let mut stage = Stage::new("max_workers: 8", types)?;
    stage.view.groups = vec![group(GroupStrategy::StrictPack, &[cpus(2.0), cpus(2.0)])];
    assert_eq!(stage.look(), of([("large", 1)]));
    let mut stage = Stage::new("max_workers: 8", types)?;
    stage.view.groups = vec![group(GroupStrategy::StrictPack, &[cpus(6.0), cpus(6.0)])];
    assert_eq!(stage.look(), of([]), "no node would hold it");
    Ok(())
}

#[test]
fn bundles_on_few_nodes_are_packed() -> Outcome {
    let mut stage = Stage::new("max_workers: 8", CPU_TYPE)?;
    stage.view.groups = vec![group(GroupStrategy::Pack, &vec![cpus(2.0); 4])];
    assert_eq!(stage.look(), of([("cpu", 2)]));
    Ok(())
}

#[test]
fn a_group_that_cannot_have_all_gets_nothing() -> Outcome {
    let mut stage = Stage::new("max_workers: 2", CPU_TYPE)?;
    stage.view.groups = vec![group(GroupStrategy::StrictSpread, &vec![cpus(2.0); 3])];
    assert_eq!(stage.look(), of([]));
    // Others are not held up by it.
    stage
        .view
        .groups
        .push(group(GroupStrategy::Pack, &[cpus(4.0), cpus(4.0)]));
    assert_eq!(stage.look(), of([("cpu", 2)]));
    Ok(())
}

#[test]
fn what_lies_already_stays_where_it_is() -> Outcome {
    let mut stage = Stage::new("max_workers: 8", CPU_TYPE)?;
    stage.view.wants = vec![want(cpus(4.0), 1)];
    stage.look();
    stage.view.wants = vec![];
    stage.join_all();
    let there = stage.node("cpu", 0).node;
    let mut waiting = group(GroupStrategy::StrictSpread, &[cpus(2.0), cpus(2.0)]);
    waiting.nodes = vec![there, NodeId::nil()];
    stage.view.groups = vec![waiting];
    // The node has room for the second bundle, which may not lie there.
    assert_eq!(stage.look(), of([("cpu", 1)]));
    Ok(())
}

#[test]
fn a_gang_comes_at_once_however_large() -> Outcome {
    let mut stage = Stage::new("max_workers: 20", CPU_TYPE)?;
    stage.view.groups = vec![group(GroupStrategy::StrictSpread, &vec![cpus(4.0); 8])];
    assert_eq!(stage.look(), of([("cpu", 8)]));
    Ok(())
}

#[test]
fn gpu_bundles_and_others_share_nodes() -> Outcome {
    let mut stage = Stage::new("max_workers: 8", BOTH_TYPES)?;
    let both = gpus(1.0).with(CPU, 1.0);
    stage.view.groups = vec![group(GroupStrategy::Pack, &[both.clone(), both, cpus(2.0)])];
    assert_eq!(stage.look(), of([("gpu", 1)]));
    Ok(())
}
