//! Nodes that are to go, what control hears of room, and drivers of other nodes.

use whipray_proto::link::NodeState;
use whipray_proto::messages::cluster::LogLines;
use whipray_proto::{ActorSpec, limits};

use super::cluster::{Cluster, id};
use super::cluster_strategies::at;
use super::*;

fn drain(cluster: &mut Cluster, node: usize, deadline_us: u64) {
    cluster.nodes[node].control(ControlSays::Drain {
        reason: "the machine is needed elsewhere".to_owned(),
        deadline_us,
        only_if_idle: false,
    });
    cluster.set_state(node, NodeState::Draining);
    cluster.run();
}

fn is_drained(cluster: &mut Cluster, node: usize) -> bool {
    let told = cluster.nodes[node].told();
    let is_drained = |says: &NodeSays| matches!(says, NodeSays::Drained { .. });
    told.iter().any(is_drained)
}

#[test]
fn a_node_that_is_to_go_serves_nobody_and_its_owners_are_served_elsewhere() {
    let mut cluster = Cluster::new(&[cpus(2.0), cpus(2.0)]);
    let (driver, job) = cluster.driver(0);
    cluster.nodes[0].target(driver, 1, job, 1);
    cluster.run();
    let granted = cluster.nodes[0].granted(driver);
    drain(&mut cluster, 0, 60 * SECOND);
    let received = cluster.nodes[0].received(driver);
    let is_reclaim = |it: &Message| matches!(it, Message::ReclaimIdle(_));
    assert!(received.iter().any(is_reclaim), "{received:?}");
    cluster.nodes[0].target(driver, 1, job, 2);
    cluster.run();
    let next = cluster.nodes[0].granted(driver);
    assert_eq!(next.len(), 1);
    assert_eq!(next[0].worker.node, id(1));
    assert!(!is_drained(&mut cluster, 0), "a lease is left");
    cluster.nodes[0].target(driver, 1, job, 1);
    cluster.nodes[0].give_back(driver, granted[0].lease);
    cluster.run();
    assert!(is_drained(&mut cluster, 0));
    cluster.nodes[0].wait(60 * SECOND);
    assert!(!is_drained(&mut cluster, 0), "that is said once");
}

#[test]
fn what_is_asked_for_on_a_node_that_is_to_go_is_asked_for_elsewhere() {
    let mut cluster = Cluster::new(&[cpus(0.0), cpus(2.0), cpus(2.0)]);
    let (driver, job) = cluster.driver(0);
    cluster.nodes[0].target(driver, 1, job, 1);
    cluster.collect();
    drain(&mut cluster, 1, 60 * SECOND);
    let granted = cluster.nodes[0].granted(driver);
    assert_eq!(granted.len(), 1);
    assert_eq!(granted[0].worker.node, id(2));
    assert!(is_drained(&mut cluster, 1));
}

/// What runs here may wait for it, and no other node can ever serve it.
#[test]
fn what_insists_on_its_own_node_is_served_there_until_the_deadline() {
    let mut cluster = Cluster::new(&[cpus(2.0), cpus(2.0)]);
    let (driver, job) = cluster.driver(0);
    let (other, other_job) = cluster.driver(1);
    cluster.nodes[0].target(driver, 1, job, 1);
    cluster.run();
    let first = cluster.nodes[0].granted(driver).remove(0);
    drain(&mut cluster, 0, 10 * SECOND);
    cluster.nodes[0].want(driver, 2, at(id(0), job), 1);
    cluster.nodes[1].want(other, 2, at(id(0), other_job), 1);
    cluster.run();
    let second = cluster.nodes[0].granted(driver).remove(0);
    assert_eq!(second.worker.node, id(0));
    assert!(cluster.nodes[1].granted(other).is_empty());
    cluster.nodes[0].want(driver, 2, at(id(0), job), 0);
    for lease in [first.lease, second.lease] {
        assert!(!is_drained(&mut cluster, 0));
        cluster.nodes[0].give_back(driver, lease);
    }
    assert!(is_drained(&mut cluster, 0));
}

#[test]
fn what_runs_on_after_the_deadline_is_ended_first() {
    let mut cluster = Cluster::new(&[cpus(2.0), cpus(2.0)]);
    let (driver, job) = cluster.driver(0);
    cluster.nodes[0].target(driver, 1, job, 1);
    cluster.run();
    drain(&mut cluster, 0, 10 * SECOND);
    assert!(!is_drained(&mut cluster, 0));
    cluster.nodes[0].wait(10 * SECOND);
    // Control begins it elsewhere at the word, so it must not run here any more.
    assert!(!is_drained(&mut cluster, 0));
    let worker = cluster.nodes[0].granted(driver)[0].worker.worker;
    assert!(cluster.nodes[0].is_killed(worker));
    cluster.nodes[0].exited(worker, 9);
    assert!(is_drained(&mut cluster, 0));
}

#[test]
fn a_node_that_the_cluster_gave_up_ends_its_workers() {
    let mut cluster = Cluster::new(&[cpus(2.0), cpus(2.0)]);
    let (driver, job) = cluster.driver(0);
    cluster.nodes[0].target(driver, 1, job, 1);
    cluster.run();
    let worker = cluster.nodes[0].granted(driver)[0].worker.worker;
    let reason = "it was silent".to_owned();
    cluster.nodes[0].control(ControlSays::Fenced {
        reason: reason.clone(),
    });
    assert!(cluster.nodes[0].is_killed(worker));
    assert!(cluster.nodes[0].effects.contains(&Effect::Fence { reason }));
    cluster.nodes[0].exited(worker, 9);
    assert!(cluster.nodes[0].asked.is_empty(), "nobody comes after it");
}

#[test]
fn an_actor_is_recalled_only_while_it_has_no_process() {
    let mut stage = Stage::new(cpus(1.0));
    let (_, job) = stage.driver();
    stage.start_workers();
    let actor = |number: u8| {
        let mut bytes = [number; 16];
        bytes[12..].copy_from_slice(&job.to_array());
        whipray_proto::ActorId::from_array(bytes)
    };
    for number in [1, 2] {
        let spec = Box::new(ActorSpec {
            actor: actor(number),
            job,
            resources: cpus(1.0),
            ..ActorSpec::default()
        });
        stage.control(ControlSays::PlaceActor {
            spec,
            incarnation: 0,
        });
    }
    stage.start_workers();
    stage.told();
    for number in [1, 2] {
        stage.control(ControlSays::RecallActor {
            actor: actor(number),
            incarnation: 0,
        });
    }
    let recalled = NodeSays::ActorRecalled {
        actor: actor(2),
        incarnation: 0,
    };
    assert_eq!(stage.told(), [recalled]);
}

#[test]
fn control_hears_of_each_change_but_not_all_the_time() {
    let mut cluster = Cluster::new(&[cpus(4.0), cpus(1.0)]);
    let (driver, job) = cluster.driver(0);
    cluster.nodes[0].wait(SECOND);
    let told = |stage: &mut Stage| -> Vec<f64> {
        let of = |says| match says {
            NodeSays::Available { available, .. } => Some(available.amount(CPU)),
            _ => None,
        };
        stage.told().into_iter().filter_map(of).collect()
    };
    told(&mut cluster.nodes[0]);
    for target in 1..4 {
        cluster.nodes[0].target(driver, 1, job, target);
    }
    assert_eq!(told(&mut cluster.nodes[0]), [3.0]);
    cluster.nodes[0].wait(crate::core::timers::micros(limits::VIEW_INTERVAL));
    assert_eq!(told(&mut cluster.nodes[0]), [1.0]);
    cluster.nodes[0].wait(SECOND);
    assert!(told(&mut cluster.nodes[0]).is_empty());
}

#[test]
fn a_driver_on_another_node_gets_the_lines_of_its_workers() {
    let mut cluster = Cluster::new(&[cpus(0.0), cpus(1.0)]);
    let (driver, job) = cluster.driver(0);
    cluster.nodes[0].target(driver, 1, job, 1);
    cluster.run();
    let worker = cluster.nodes[0].granted(driver)[0].worker.worker;
    let Audience::Driver { client, job: of } = cluster.nodes[1].node.audience(worker) else {
        panic!("the driver is on another node");
    };
    assert_eq!(of, job);
    assert_eq!(cluster.nodes[1].node.node_of(client), Some(id(0)));
    let lines = LogLines {
        job,
        worker,
        lines: vec!["hello".to_owned()],
        ..LogLines::default()
    };
    let stage = &mut cluster.nodes[0];
    stage
        .node
        .on_node_message(id(1), lines.clone().into(), stage.now);
    stage.settle();
    assert!(stage.received(driver).contains(&lines.into()));
    cluster.nodes[1].control(ControlSays::JobEnded { job });
    assert_eq!(cluster.nodes[1].node.audience(worker), Audience::Nobody);
}
