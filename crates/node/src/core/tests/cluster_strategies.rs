//! Which node serves what, where the demand says something about that.

use whipray_proto::link::NodeState;
use whipray_proto::scheduling::{InGroup, LabelSelector, LabelTerm, NodeAffinity};
use whipray_proto::{NodeId, PlacementGroupId, SchedulingStrategy};

use super::cluster::{Cluster, id};
use super::*;

fn with(job: JobId, strategy: SchedulingStrategy) -> SchedulingClass {
    SchedulingClass {
        resources: cpus(1.0),
        job,
        strategy: Some(Box::new(strategy)),
        ..SchedulingClass::default()
    }
}

fn at(node: NodeId, job: JobId) -> SchedulingClass {
    let affinity = NodeAffinity {
        node,
        ..NodeAffinity::default()
    };
    with(
        job,
        SchedulingStrategy {
            affinity: Some(affinity),
            ..SchedulingStrategy::default()
        },
    )
}

fn inside(group: PlacementGroupId, bundle: Option<u32>, job: JobId) -> SchedulingClass {
    let group = InGroup {
        group,
        bundle,
        captures: false,
    };
    with(
        job,
        SchedulingStrategy {
            group: Some(group),
            ..SchedulingStrategy::default()
        },
    )
}

/// Bundles of one CPU each, by the nodes where they lie; all nodes know.
fn place(cluster: &mut Cluster, group: PlacementGroupId, places: &[usize]) {
    for index in 0..cluster.nodes.len() {
        let own = (0u32..).zip(places).filter(|(_, place)| **place == index);
        let bundles = own.map(|(bundle, _)| (bundle, cpus(1.0))).collect();
        let stage = &mut cluster.nodes[index];
        stage.control(ControlSays::PrepareBundles {
            group,
            attempt: 1,
            bundles,
        });
        stage.control(ControlSays::CommitBundles { group, attempt: 1 });
    }
    let nodes: Vec<NodeId> = places.iter().map(|place| id(*place)).collect();
    cluster.nodes[0].control(ControlSays::GroupPlaced { group, nodes });
    cluster.run();
}

fn places(cluster: &mut Cluster, driver: ClientId) -> Vec<NodeId> {
    cluster.run();
    let granted = cluster.nodes[0].granted(driver);
    let mut places: Vec<NodeId> = granted.iter().map(|it| it.worker.node).collect();
    places.sort_unstable();
    places
}

#[test]
fn spread_leases_lie_on_all_nodes() {
    let mut cluster = Cluster::new(&[cpus(4.0), cpus(4.0), cpus(4.0)]);
    let (driver, job) = cluster.driver(0);
    let strategy = SchedulingStrategy {
        spreads: true,
        ..SchedulingStrategy::default()
    };
    cluster.nodes[0].want(driver, 1, with(job, strategy), 6);
    let places = places(&mut cluster, driver);
    assert_eq!(places, [id(0), id(0), id(1), id(1), id(2), id(2)]);
}

#[test]
fn a_task_goes_where_its_arguments_are_if_there_is_room() {
    let mut cluster = Cluster::new(&[cpus(2.0), cpus(1.0)]);
    let (driver, job) = cluster.driver(0);
    let near = SchedulingClass {
        resources: cpus(1.0),
        job,
        near: Some(id(1)),
        ..SchedulingClass::default()
    };
    cluster.nodes[0].want(driver, 1, near, 2);
    assert_eq!(places(&mut cluster, driver), [id(0), id(1)]);
}

/// A node says what is free while the worker of a lease is starting: that lease is counted off
/// already, and nothing changes there when it is granted.
#[test]
fn what_another_node_has_counted_off_is_not_counted_off_twice() {
    let mut cluster = Cluster::new(&[cpus(2.0), cpus(2.0)]);
    let (driver, job) = cluster.driver(0);
    cluster.nodes[0].want(driver, 1, at(id(1), job), 1);
    cluster.collect();
    cluster.deliver(0, 1);
    cluster.news();
    assert_eq!(places(&mut cluster, driver), [id(1)]);
    let near = SchedulingClass {
        resources: cpus(1.0),
        job,
        near: Some(id(1)),
        ..SchedulingClass::default()
    };
    cluster.nodes[0].want(driver, 2, near, 1);
    assert_eq!(places(&mut cluster, driver), [id(1)]);
}

#[test]
fn a_task_that_insists_on_another_node_waits_there() {
    let mut cluster = Cluster::new(&[cpus(2.0), cpus(1.0)]);
    let (driver, job) = cluster.driver(0);
    let (other, other_job) = cluster.driver(1);
    cluster.nodes[1].target(other, 1, other_job, 1);
    cluster.run();
    cluster.news();
    let busy = cluster.nodes[1].granted(other);
    cluster.nodes[0].want(driver, 1, at(id(1), job), 1);
    assert!(places(&mut cluster, driver).is_empty());
    cluster.nodes[1].target(other, 1, other_job, 0);
    cluster.nodes[1].give_back(other, busy[0].lease);
    assert_eq!(places(&mut cluster, driver), [id(1)]);
}

#[test]
fn a_task_that_insists_on_a_node_fails_when_that_is_dead_and_not_before() {
    let mut cluster = Cluster::new(&[cpus(2.0), cpus(1.0)]);
    let (driver, job) = cluster.driver(0);
    cluster.set_state(1, NodeState::Suspect);
    cluster.nodes[0].want(driver, 1, at(id(1), job), 1);
    cluster.run();
    assert!(cluster.nodes[0].received(driver).is_empty());
    cluster.set_state(1, NodeState::Dead);
    let received = cluster.nodes[0].received(driver);
    let is_refused = |it: &Message| matches!(it, Message::LeaseRefused(it) if it.class == 1);
    assert!(received.iter().any(is_refused), "{received:?}");
    assert!(cluster.nodes[0].node.demands.is_empty());
}

#[test]
fn a_node_of_which_nobody_has_told_yet_is_waited_for_a_moment() {
    let mut cluster = Cluster::new(&[cpus(2.0), cpus(1.0)]);
    let (driver, job) = cluster.driver(0);
    cluster.nodes[0].want(driver, 1, at(id(8), job), 1);
    cluster.nodes[0].want(driver, 2, at(id(9), job), 1);
    assert!(cluster.nodes[0].received(driver).is_empty());
    let news = whipray_proto::link::NodeNews {
        node: id(8),
        ..cluster.news_of(1)
    };
    cluster.nodes[0].control(ControlSays::Nodes(vec![news]));
    let is_asked =
        |effect: &Effect| matches!(effect, Effect::ToNode { node, .. } if *node == id(8));
    assert!(cluster.nodes[0].effects.iter().any(is_asked));
    cluster.nodes[0].wait(2 * SECOND);
    let received = cluster.nodes[0].received(driver);
    let is_refused = |it: &Message| matches!(it, Message::LeaseRefused(it) if it.class == 2);
    assert!(received.iter().any(is_refused), "{received:?}");
}

#[test]
fn labels_choose_the_node() {
    let labels = |zone: &str| BTreeMap::from([("zone".to_owned(), zone.to_owned())]);
    let resources = [cpus(2.0), cpus(2.0)];
    let mut cluster = Cluster::with_labels(&resources, vec![labels("a"), labels("b")]);
    let (driver, job) = cluster.driver(0);
    let term = LabelTerm {
        key: "zone".to_owned(),
        values: vec!["b".to_owned()],
        ..LabelTerm::default()
    };
    let strategy = SchedulingStrategy {
        hard: Some(LabelSelector { terms: vec![term] }),
        ..SchedulingStrategy::default()
    };
    cluster.nodes[0].want(driver, 1, with(job, strategy), 3);
    assert_eq!(places(&mut cluster, driver), [id(1), id(1)]);
}

#[test]
fn a_bundle_of_another_node_serves() {
    let mut cluster = Cluster::new(&[cpus(4.0), cpus(4.0)]);
    let (driver, job) = cluster.driver(0);
    let group = PlacementGroupId::new(job);
    cluster.nodes[0].want(driver, 1, inside(group, Some(1), job), 3);
    let asked = NodeSays::GroupWanted { group };
    assert!(cluster.nodes[0].told().contains(&asked));
    place(&mut cluster, group, &[0, 1]);
    assert_eq!(places(&mut cluster, driver), [id(1)]);
}

#[test]
fn any_bundle_serves_and_what_is_too_much_goes_back() {
    let mut cluster = Cluster::new(&[cpus(4.0), cpus(4.0), cpus(4.0)]);
    let (driver, job) = cluster.driver(0);
    let group = PlacementGroupId::new(job);
    place(&mut cluster, group, &[0, 1, 2]);
    cluster.nodes[0].want(driver, 1, inside(group, None, job), 2);
    assert_eq!(places(&mut cluster, driver).len(), 2);
    let leased: usize = (0..3).map(|node| cluster.leased(node)).sum();
    assert_eq!(leased, 2);
    // The third one is free for whoever comes next.
    cluster.nodes[0].want(driver, 1, inside(group, None, job), 3);
    assert_eq!(places(&mut cluster, driver).len(), 1);
}

#[test]
fn a_group_that_is_removed_fails_those_who_wait_on_other_nodes() {
    let mut cluster = Cluster::new(&[cpus(4.0), cpus(4.0)]);
    let (driver, job) = cluster.driver(0);
    let group = PlacementGroupId::new(job);
    place(&mut cluster, group, &[1]);
    cluster.nodes[0].want(driver, 1, inside(group, Some(0), job), 2);
    cluster.run();
    cluster.nodes[0].received(driver);
    for index in 0..2 {
        cluster.nodes[index].control(ControlSays::RemoveGroup { group });
    }
    cluster.run();
    let received = cluster.nodes[0].received(driver);
    let is_refused = |it: &Message| matches!(it, Message::LeaseRefused(_));
    assert!(received.iter().any(is_refused), "{received:?}");
    let worker = cluster.nodes[1].pids.keys().copied();
    assert!(worker.into_iter().any(|it| cluster.nodes[1].is_killed(it)));
}
