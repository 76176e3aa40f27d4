//! Ends of nodes and their processes, as other nodes hear of them.

use whipray_proto::link::NodeState;
use whipray_proto::messages::lease::WatchWorker;
use whipray_proto::messages::object::{
    CreateObject, FreeObjects, PinObjects, SealObject, UnpinObjects,
};
use whipray_proto::{ActorId, DeathKind, ObjectId, TaskId};

use super::cluster::{Cluster, id};
use super::*;

fn object(number: u64) -> ObjectId {
    TaskId::of(number, ActorId::none_of(JobId::from_number(1))).return_id(1)
}

fn deaths(stage: &mut Stage, of: ClientId) -> Vec<(WorkerId, DeathKind)> {
    let death = |message| match message {
        Message::WorkerDied(died) => Some((died.worker, died.cause.kind())),
        _ => None,
    };
    stage.received(of).into_iter().filter_map(death).collect()
}

fn watch(cluster: &mut Cluster, client: ClientId, worker: WorkerId, node: usize) {
    let node = Some(id(node));
    cluster.nodes[0].say(client, WatchWorker { worker, node });
    cluster.run();
}

/// Seals an object at the second node for an owner of the first one.
fn seal(cluster: &mut Cluster, writer: ClientId, owner: WorkerId, number: u64) {
    let stage = &mut cluster.nodes[1];
    let create = CreateObject {
        request: number,
        object: object(number),
        size_bytes: 1000,
    };
    stage.say(writer, create);
    let seal = SealObject {
        object: object(number),
        owner,
        unpin: true,
        owner_node: Some(id(0)),
    };
    stage.say(writer, seal);
    cluster.run();
}

fn objects(cluster: &Cluster) -> u64 {
    cluster.nodes[1].node.status().store_objects
}

#[test]
fn a_node_that_is_dead_takes_leases_watched_processes_and_itself() {
    let mut cluster = Cluster::new(&[cpus(0.0), cpus(1.0)]);
    let (driver, job) = cluster.driver(0);
    cluster.nodes[0].target(driver, 1, job, 1);
    cluster.run();
    let granted = cluster.nodes[0].granted(driver).remove(0);
    let worker = granted.worker.worker;
    watch(&mut cluster, driver, worker, 1);
    cluster.set_state(1, NodeState::Dead);
    let received = cluster.nodes[0].received(driver);
    let names: Vec<&str> = received.iter().map(Message::name).collect();
    assert_eq!(
        names,
        ["LeaseLost", "WorkerDied", "NodeDied", "LeasePending"]
    );
    for message in &received {
        let cause = match message {
            Message::LeaseLost(lost) => &lost.cause,
            Message::WorkerDied(died) => &died.cause,
            Message::NodeDied(died) => &died.cause,
            _ => continue,
        };
        assert_eq!(cause.kind(), DeathKind::NodeDied);
        assert_eq!((cause.node, cause.node_ip.as_str()), (id(1), "10.0.0.1"));
        assert_eq!(cause.detail, "it was silent for 20 s");
    }
    // Whoever asks later hears it at once, also of processes of which nobody knew here.
    let other = WorkerId::random();
    watch(&mut cluster, driver, other, 1);
    assert_eq!(
        deaths(&mut cluster.nodes[0], driver),
        [(other, DeathKind::NodeDied)]
    );
    // And what comes of it is of the past.
    let stage = &mut cluster.nodes[0];
    stage.node.on_node_message(id(1), granted.into(), stage.now);
    stage.settle();
    assert!(stage.received(driver).is_empty());
}

#[test]
fn a_node_that_is_dead_wants_nothing_any_more() {
    let mut cluster = Cluster::new(&[cpus(0.0), cpus(1.0)]);
    let (driver, job) = cluster.driver(0);
    cluster.nodes[0].target(driver, 1, job, 5);
    cluster.run();
    let worker = cluster.nodes[0].granted(driver)[0].worker.worker;
    cluster.set_state(0, NodeState::Dead);
    assert!(cluster.nodes[1].is_killed(worker));
    cluster.nodes[1].exited(worker, 9);
    assert!(cluster.nodes[1].node.demands.is_empty());
    assert_eq!(cluster.nodes[1].available_cpus(), 1.0);
}

#[test]
fn a_process_of_another_node_is_watched_through_its_node_once() {
    let mut cluster = Cluster::new(&[cpus(1.0), cpus(1.0)]);
    let (driver, _) = cluster.driver(0);
    let (second, _) = cluster.nodes[0].driver();
    let (there, _) = cluster.driver(1);
    let process = cluster.nodes[1].node.clients[&there].worker;
    cluster.said.clear();
    watch(&mut cluster, driver, process, 1);
    watch(&mut cluster, second, process, 1);
    assert_eq!(cluster.said.len(), 1);
    cluster.nodes[1].gone(there);
    cluster.run();
    for client in [driver, second] {
        let told = deaths(&mut cluster.nodes[0], client);
        assert_eq!(told, [(process, DeathKind::Unknown)]);
    }
    watch(&mut cluster, driver, process, 1);
    assert_eq!(
        deaths(&mut cluster.nodes[0], driver).len(),
        1,
        "it is known"
    );
}

#[test]
fn a_node_of_which_nobody_told_is_waited_for_and_given_up_at_last() {
    let mut cluster = Cluster::new(&[cpus(1.0), cpus(1.0)]);
    let (driver, _) = cluster.driver(0);
    let (late, never) = (WorkerId::random(), WorkerId::random());
    watch(&mut cluster, driver, late, 8);
    watch(&mut cluster, driver, never, 9);
    let news = whipray_proto::link::NodeNews {
        node: id(8),
        ..cluster.news_of(1)
    };
    cluster.nodes[0].control(ControlSays::Nodes(vec![news]));
    let is_asked = |effect: &Effect| matches!(effect, Effect::ToNode { node, message: Message::WatchWorker(it) } if *node == id(8) && it.worker == late);
    assert!(cluster.nodes[0].effects.iter().any(is_asked));
    cluster.nodes[0].wait(11 * SECOND);
    let told = deaths(&mut cluster.nodes[0], driver);
    assert_eq!(told, [(never, DeathKind::Unknown)]);
}

#[test]
fn an_object_goes_when_its_owner_on_another_node_is_gone() {
    let mut cluster = Cluster::new(&[cpus(1.0), cpus(1.0)]);
    let (driver, _) = cluster.driver(0);
    let (second, _) = cluster.nodes[0].driver();
    let (writer, _) = cluster.driver(1);
    let owner = cluster.nodes[0].node.clients[&driver].worker;
    let other = cluster.nodes[0].node.clients[&second].worker;
    seal(&mut cluster, writer, owner, 1);
    seal(&mut cluster, writer, owner, 2);
    seal(&mut cluster, writer, other, 3);
    assert_eq!(objects(&cluster), 3);
    cluster.nodes[0].gone(driver);
    cluster.run();
    assert_eq!(objects(&cluster), 1);
    // One that is sealed too late is nobody's.
    seal(&mut cluster, writer, owner, 4);
    assert_eq!(objects(&cluster), 1);
    cluster.set_state(0, NodeState::Dead);
    assert_eq!(objects(&cluster), 0);
    seal(&mut cluster, writer, other, 5);
    assert_eq!(objects(&cluster), 0);
}

#[test]
fn a_fetched_copy_goes_when_its_owner_on_another_node_is_gone() {
    let mut cluster = Cluster::new(&[cpus(1.0), cpus(1.0)]);
    let (driver, _) = cluster.driver(0);
    let (reader, _) = cluster.driver(1);
    let owner = cluster.nodes[0].node.clients[&driver].worker;
    let pin = |number| PinObjects {
        request: number,
        objects: vec![object(number)],
        locations: vec![id(0)],
        owners: vec![owner],
        sizes: vec![1000],
        owner_nodes: vec![id(0)],
    };
    let stage = &mut cluster.nodes[1];
    stage.node.set_endpoint(id(0), "tcp:10.0.0.0:1".to_owned());
    for number in 0..2 {
        stage.say(reader, pin(number));
        stage.node.on_pulled(number, Ok(()), stage.now);
        stage.settle();
    }
    let read = vec![object(0), object(1)];
    stage.say(reader, UnpinObjects { objects: read });
    cluster.run();
    assert_eq!(objects(&cluster), 2);
    cluster.nodes[0].gone(driver);
    cluster.run();
    assert_eq!(objects(&cluster), 0);
    // What nobody will ever free is not fetched.
    cluster.nodes[1].effects.clear();
    cluster.nodes[1].say(reader, pin(2));
    let pulls = cluster.nodes[1].effects.iter();
    let begun = pulls.filter(|effect| matches!(effect, Effect::Pull { .. }));
    assert_eq!(begun.count(), 0);
}

#[test]
fn an_owner_frees_copies_on_other_nodes_through_its_own() {
    let mut cluster = Cluster::new(&[cpus(1.0), cpus(1.0)]);
    let (driver, _) = cluster.driver(0);
    let (second, _) = cluster.nodes[0].driver();
    let (writer, _) = cluster.driver(1);
    let owner = cluster.nodes[0].node.clients[&driver].worker;
    seal(&mut cluster, writer, owner, 1);
    for (client, left) in [(second, 1), (driver, 0)] {
        let free = FreeObjects {
            objects: vec![object(1)],
            node: Some(id(1)),
            owner: None,
        };
        cluster.nodes[0].say(client, free);
        cluster.run();
        assert_eq!(objects(&cluster), left);
    }
    let pin = PinObjects {
        request: 9,
        objects: vec![object(1)],
        ..PinObjects::default()
    };
    cluster.nodes[1].say(writer, pin);
    let received = cluster.nodes[1].received(writer);
    let is_gone = |it: &Message| matches!(it, Message::ObjectsPinned(it) if it.objects.is_empty());
    assert!(received.iter().any(is_gone), "{received:?}");
}
