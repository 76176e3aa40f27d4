//! Processes of two nodes, which are only threads: calls by TCP, connections that are passed on,
//! objects that are fetched, and the end of a node.

#![allow(clippy::unwrap_used)]

mod harness;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use harness::{FakeCluster, FakeNode, echo, template};
use whipray_net::{Connection, Endpoint};
use whipray_proto::failure::FailureKind;
use whipray_proto::messages::lease::NodeDied;
use whipray_proto::messages::session::{PeerHello, Role};
use whipray_proto::{DeathCause, DeathKind, TaskId, WorkerAddress, WorkerId};
use whipray_worker::{ArgumentInput, NextWork, ObjectHandle, Runtime, WaitOutcome, Work};

const BOUND: Option<Duration> = Some(Duration::from_secs(60));

/// A driver on one node, a worker on another one.
struct TwoNodes {
    cluster: FakeCluster,
    home: FakeNode,
    away: FakeNode,
    driver: Arc<Runtime>,
    worker: Arc<Runtime>,
}

fn two_nodes() -> TwoNodes {
    let cluster = FakeCluster::default();
    let home = FakeNode::start_in(&cluster);
    let away = FakeNode::start_in(&cluster);
    let worker = away.connect(Role::Worker);
    let driver = home.connect(Role::Driver);
    TwoNodes {
        cluster,
        home,
        away,
        driver,
        worker,
    }
}

fn submit(driver: &Runtime, data: Bytes) -> ObjectHandle {
    let argument = ArgumentInput::Value {
        data,
        contained: Vec::new(),
    };
    driver
        .submit(&template(), TaskId::default(), vec![argument], Vec::new())
        .remove(0)
}

fn wait(driver: &Runtime, handles: &[&ObjectHandle]) {
    let outcome = driver.wait_all(handles, BOUND, None, &mut || false);
    assert_eq!(outcome, WaitOutcome::Ready);
}

#[test]
fn calls_cross_the_border_of_a_node() {
    let nodes = two_nodes();
    let serving = echo(&nodes.worker, None);
    // The first one is longer than what comes with a connection that is passed on.
    for size in (0..100).map(|number| number * 900).rev() {
        let data = Bytes::from(vec![7; size]);
        let handle = submit(&nodes.driver, data.clone());
        wait(&nodes.driver, &[&handle]);
        assert_eq!(handle.value().unwrap().data, data);
    }
    let many = (0..5_000).map(|_| submit(&nodes.driver, Bytes::new()));
    let many: Vec<ObjectHandle> = many.collect();
    wait(&nodes.driver, &many.iter().collect::<Vec<_>>());
    nodes.driver.disconnect();
    nodes.worker.disconnect();
    assert_eq!(serving.join().unwrap(), 5_100);
}

#[test]
fn a_value_is_fetched_and_freed_where_it_was() {
    let nodes = two_nodes();
    let serving = echo(&nodes.worker, Some(1 << 20));
    let handle = submit(&nodes.driver, Bytes::new());
    wait(&nodes.driver, &[&handle]);
    let location = handle.value().unwrap().shared.unwrap();
    assert_eq!(location.node, nodes.away.node);
    let mut views = nodes.driver.map_shared(&[&handle], &mut || false).unwrap();
    assert_eq!(views.remove(0).unwrap().as_slice().len(), 1 << 20);
    let object = handle.id();
    drop(handle);
    nodes.driver.flush();
    let until = Instant::now() + Duration::from_secs(60);
    let mut freed = Vec::new();
    while freed.len() < 2 && Instant::now() < until {
        std::thread::yield_now();
        let told = nodes.cluster.freed.lock().unwrap();
        let of_it = told.iter().filter(|free| free.objects == [object]);
        freed = of_it.map(|free| free.node).collect();
    }
    assert_eq!(freed, [None, Some(nodes.away.node)]);
    nodes.driver.disconnect();
    nodes.worker.disconnect();
    serving.join().unwrap();
}

/// A store without room for a copy was taken for one whose copy is lost: the task ran again, and a
/// value that was put was lost for good.
#[test]
fn a_full_store_is_no_loss() {
    let nodes = two_nodes();
    let serving = echo(&nodes.worker, Some(1 << 20));
    let handle = submit(&nodes.driver, Bytes::new());
    wait(&nodes.driver, &[&handle]);
    let location = handle.value().unwrap().shared;
    nodes.cluster.is_full.store(true, Ordering::SeqCst);
    let failure = match nodes.driver.map_shared(&[&handle], &mut || false) {
        Err(failure) => failure,
        Ok(_) => panic!("there was no room"),
    };
    assert_eq!(failure.kind(), FailureKind::ObjectStoreFull);
    assert_eq!(handle.value().unwrap().shared, location);
    // Whoever has let go of something may have been heard a moment later than this.
    let cluster = nodes.cluster.clone();
    let mut questions = 0;
    let mut interrupt = || {
        questions += 1;
        if questions > 3 {
            cluster.is_full.store(false, Ordering::SeqCst);
        }
        false
    };
    let views = nodes.driver.map_shared(&[&handle], &mut interrupt).unwrap();
    assert_eq!(views[0].as_ref().unwrap().as_slice().len(), 1 << 20);
    drop((views, handle));
    nodes.driver.disconnect();
    nodes.worker.disconnect();
    serving.join().unwrap();
}

#[test]
fn the_death_of_a_node_ends_what_runs_there_and_every_word_of_it() {
    let nodes = two_nodes();
    let handle = submit(&nodes.driver, Bytes::new());
    nodes.driver.flush();
    // The task has arrived, and nobody will answer it.
    while !matches!(
        nodes.worker.next_work(&mut || false),
        NextWork::Work(Work::Task(_))
    ) {}
    let cause = DeathCause::new(DeathKind::NodeDied, "its machine does not answer");
    let node = nodes.away.node;
    nodes.home.say(NodeDied { node, cause });
    wait(&nodes.driver, &[&handle]);
    let failure = handle.value().unwrap().failure.unwrap();
    assert_eq!(failure.kind(), FailureKind::NodeDied);
    // A process of that node is not listened to any more.
    let endpoint: Endpoint = nodes.driver.address().node_endpoint.parse().unwrap();
    let hello = |node| PeerHello {
        version: whipray_proto::PROTOCOL_VERSION,
        token: "secret".into(),
        from: WorkerAddress {
            worker: WorkerId::random(),
            node,
            ..WorkerAddress::default()
        },
        to: nodes.driver.address().worker,
    };
    let mut dead = Connection::connect(&endpoint).unwrap();
    dead.queue(&hello(node).into());
    assert!(dead.exchange(Duration::from_secs(60)).is_err());
    nodes.driver.disconnect();
    nodes.worker.disconnect();
}

#[test]
fn nobody_waits_for_a_machine_that_cannot_be_reached() {
    let nodes = two_nodes();
    for node_endpoint in ["", "tcp:127.0.0.1:1"] {
        let owner = WorkerAddress {
            worker: WorkerId::random(),
            node: nodes.away.node,
            node_endpoint: node_endpoint.into(),
            ..WorkerAddress::default()
        };
        let handle = nodes.driver.handle(TaskId::default().return_id(5), &owner);
        let soon = Some(Duration::from_millis(20));
        let outcome = nodes.driver.wait_all(&[&handle], soon, None, &mut || false);
        assert_eq!(outcome, WaitOutcome::TimedOut, "the node has not said why");
    }
    nodes.driver.disconnect();
    nodes.worker.disconnect();
}
