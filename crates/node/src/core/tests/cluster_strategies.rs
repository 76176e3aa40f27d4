//! Which node serves what, where the demand says something about that.

use whipray_proto::link::NodeState;
use whipray_proto::messages::lease::IdleReturned;
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

pub fn at(node: NodeId, job: JobId) -> SchedulingClass {
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
    assert_eq!(cluster.nodes[0].received(driver), []);
    for (state, word) in [
        (NodeState::Suspect, "not been heard"),
        (NodeState::Draining, "to go"),
    ] {
        cluster.set_state(1, state);
        let demand = cluster.nodes[0].node.demands.values().next().unwrap();
        let reason = cluster.nodes[0].node.why_demand_waits(demand);
        assert!(reason.contains(word), "{reason}");
    }
    cluster.set_state(1, NodeState::Dead);
    let received = cluster.nodes[0].received(driver);
    let is_refused = |it: &Message| matches!(it, Message::LeaseRefused(it) if it.class == 1);
    assert!(received.iter().any(is_refused), "{received:?}");
    assert!(cluster.nodes[0].node.demands.is_empty());
}

/// With the last other node gone, its tasks were served here before they were judged.
#[test]
fn a_task_that_insists_on_the_only_other_node_never_runs_here() {
    let mut cluster = Cluster::new(&[cpus(2.0), cpus(1.0)]);
    let (driver, job) = cluster.driver(0);
    let (other, other_job) = cluster.driver(1);
    cluster.nodes[1].target(other, 1, other_job, 2);
    cluster.run();
    assert_eq!(cluster.leased(0), 1, "that comes back when its node dies");
    // An idle worker of the job is there for whoever may have it.
    cluster.nodes[0].target(driver, 2, job, 1);
    cluster.run();
    let lease = cluster.nodes[0].granted(driver)[0].lease;
    cluster.nodes[0].target(driver, 2, job, 0);
    cluster.nodes[0].give_back(driver, lease);
    cluster.nodes[0].want(driver, 1, at(id(1), job), 1);
    cluster.run();
    cluster.set_state(1, NodeState::Dead);
    let received = cluster.nodes[0].received(driver);
    let names: Vec<&str> = received.iter().map(Message::name).collect();
    assert!(names.contains(&"LeaseRefused"), "{names:?}");
    assert!(!names.contains(&"LeaseGranted"), "{names:?}");
}

#[test]
fn control_is_asked_for_a_node_of_which_nobody_has_told_yet() {
    let mut cluster = Cluster::new(&[cpus(2.0), cpus(1.0)]);
    let (driver, job) = cluster.driver(0);
    cluster.nodes[0].want(driver, 1, at(id(8), job), 1);
    cluster.nodes[0].want(driver, 2, at(id(9), job), 1);
    assert!(cluster.nodes[0].received(driver).is_empty());
    for node in [id(8), id(9)] {
        let asked = NodeSays::NodeWanted { node };
        assert!(
            cluster.nodes[0]
                .effects
                .contains(&Effect::TellControl(asked))
        );
    }
    let news = whipray_proto::link::NodeNews {
        node: id(8),
        ..cluster.news_of(1)
    };
    cluster.nodes[0].control(ControlSays::Nodes(vec![news]));
    let is_asked =
        |effect: &Effect| matches!(effect, Effect::ToNode { node, .. } if *node == id(8));
    assert!(cluster.nodes[0].effects.iter().any(is_asked));
    // However long the answer takes, as when the way from the head is cut.
    cluster.nodes[0].wait(10 * SECOND);
    assert!(cluster.nodes[0].received(driver).is_empty());
    cluster.nodes[0].control(ControlSays::NodeUnknown { node: id(9) });
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

// ---- leases that are idle

/// The rounds in which a driver was asked for idle leases since it was last looked.
fn rounds(cluster: &mut Cluster, at: usize, driver: ClientId) -> Vec<u64> {
    let received = cluster.nodes[at].received(driver);
    let round = |message: Message| match message {
        Message::ReclaimIdle(reclaim) => Some(reclaim.round),
        _ => None,
    };
    received.into_iter().filter_map(round).collect()
}

/// A driver whose leases are all idle gives them back, as it is asked to.
fn let_go(cluster: &mut Cluster, at: usize, driver: ClientId, class: u64, leases: &[LeaseId]) {
    let asked = rounds(cluster, at, driver);
    assert!(!asked.is_empty(), "nobody asked for what is idle");
    let job = JobId::from_number(1 + at as u32);
    let stage = &mut cluster.nodes[at];
    stage.target(driver, class, job, 0);
    for lease in leases {
        stage.give_back(driver, *lease);
    }
    for round in asked {
        cluster.nodes[at].say(driver, IdleReturned { round });
    }
    cluster.run();
}

/// Says of all that a driver has that it is busy.
fn keep(cluster: &mut Cluster, at: usize, driver: ClientId) {
    for round in rounds(cluster, at, driver) {
        cluster.nodes[at].say(driver, IdleReturned { round });
    }
    cluster.run();
}

fn fill(cluster: &mut Cluster, at: usize, driver: ClientId, job: JobId) -> Vec<LeaseId> {
    let all = cluster.nodes[at].available_cpus() as u32;
    let affinity = self::at(id(at), job);
    cluster.nodes[at].want(driver, 9, affinity, all);
    cluster.run();
    cluster.news();
    let granted = cluster.nodes[at].granted(driver);
    assert_eq!(granted.len(), all as usize);
    granted.iter().map(|granted| granted.lease).collect()
}

#[test]
fn a_task_begins_at_home_where_leases_are_but_idle() {
    let mut cluster = Cluster::new(&[cpus(1.0), cpus(4.0)]);
    let (driver, job) = cluster.driver(0);
    let (other, _) = cluster.nodes[0].driver();
    let idle = fill(&mut cluster, 0, driver, job);
    cluster.nodes[0].target(other, 1, job, 1);
    cluster.run();
    assert!(cluster.said.is_empty(), "{:?}", cluster.said);
    let_go(&mut cluster, 0, driver, 9, &idle);
    assert_eq!(places(&mut cluster, other), [id(0)]);
}

#[test]
fn a_task_goes_elsewhere_once_it_is_clear_that_leases_are_busy() {
    let mut cluster = Cluster::new(&[cpus(1.0), cpus(4.0)]);
    let (driver, job) = cluster.driver(0);
    fill(&mut cluster, 0, driver, job);
    cluster.nodes[0].target(driver, 1, job, 2);
    cluster.run();
    assert_eq!(cluster.leased(1), 0);
    keep(&mut cluster, 0, driver);
    assert_eq!(places(&mut cluster, driver), [id(1), id(1)]);
    // For a moment what was busy counts as busy.
    cluster.nodes[0].target(driver, 1, job, 3);
    assert_eq!(places(&mut cluster, driver), [id(1)]);
}

#[test]
fn who_does_not_say_whether_leases_are_idle_is_not_waited_for_long() {
    let mut cluster = Cluster::new(&[cpus(1.0), cpus(4.0)]);
    let (driver, job) = cluster.driver(0);
    fill(&mut cluster, 0, driver, job);
    cluster.nodes[0].target(driver, 1, job, 1);
    cluster.run();
    assert_eq!(cluster.leased(1), 0);
    cluster.nodes[0].wait(SECOND);
    assert_eq!(places(&mut cluster, driver), [id(1)]);
}

#[test]
fn what_is_spread_goes_to_each_node_though_leases_linger_there() {
    let mut cluster = Cluster::new(&[cpus(2.0), cpus(2.0), cpus(2.0)]);
    let (driver, job) = cluster.driver(0);
    let (other, other_job) = cluster.driver(2);
    let idle = fill(&mut cluster, 2, other, other_job);
    let strategy = SchedulingStrategy {
        spreads: true,
        ..SchedulingStrategy::default()
    };
    cluster.nodes[0].want(driver, 1, with(job, strategy), 3);
    cluster.run();
    let_go(&mut cluster, 2, other, 9, &idle);
    assert_eq!(places(&mut cluster, driver), [id(0), id(1), id(2)]);
}

#[test]
fn what_is_spread_does_not_wait_for_a_node_that_is_busy() {
    let mut cluster = Cluster::new(&[cpus(2.0), cpus(2.0), cpus(2.0)]);
    let (driver, job) = cluster.driver(0);
    let (other, other_job) = cluster.driver(2);
    fill(&mut cluster, 2, other, other_job);
    let strategy = SchedulingStrategy {
        spreads: true,
        ..SchedulingStrategy::default()
    };
    cluster.nodes[0].want(driver, 1, with(job, strategy), 4);
    cluster.run();
    keep(&mut cluster, 2, other);
    assert_eq!(places(&mut cluster, driver), [id(0), id(0), id(1), id(1)]);
}

#[test]
fn a_preferred_node_is_asked_first_though_it_looks_full() {
    let labels = |zone: &str| BTreeMap::from([("zone".to_owned(), zone.to_owned())]);
    let resources = [cpus(2.0), cpus(1.0)];
    let mut cluster = Cluster::with_labels(&resources, vec![labels("a"), labels("b")]);
    let (driver, job) = cluster.driver(0);
    let term = LabelTerm {
        key: "zone".to_owned(),
        values: vec!["b".to_owned()],
        ..LabelTerm::default()
    };
    let rather = SchedulingStrategy {
        soft: Some(LabelSelector { terms: vec![term] }),
        ..SchedulingStrategy::default()
    };
    // The lease that is idle there is the driver's own.
    cluster.nodes[0].want(driver, 9, at(id(1), job), 1);
    cluster.run();
    cluster.news();
    let idle = cluster.nodes[0].granted(driver)[0].lease;
    cluster.nodes[0].want(driver, 1, with(job, rather), 1);
    cluster.run();
    let_go(&mut cluster, 0, driver, 9, &[idle]);
    assert_eq!(places(&mut cluster, driver), [id(1)]);
}

#[test]
fn a_task_goes_to_its_arguments_though_leases_linger_there() {
    let mut cluster = Cluster::new(&[cpus(2.0), cpus(1.0)]);
    let (driver, job) = cluster.driver(0);
    let (other, other_job) = cluster.driver(1);
    let idle = fill(&mut cluster, 1, other, other_job);
    let near = SchedulingClass {
        resources: cpus(1.0),
        job,
        near: Some(id(1)),
        ..SchedulingClass::default()
    };
    cluster.nodes[0].want(driver, 1, near.clone(), 1);
    cluster.run();
    let_go(&mut cluster, 1, other, 9, &idle);
    assert_eq!(places(&mut cluster, driver), [id(1)]);
    // The second one finds it busy, and is served at home.
    cluster.nodes[0].want(driver, 1, near, 2);
    assert_eq!(places(&mut cluster, driver), [id(0)]);
}
