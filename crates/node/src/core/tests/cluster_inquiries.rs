//! Questions to the processes of all nodes.

use whipray_proto::link::NodeState;
use whipray_proto::messages::inquiry::{
    CycleFound, Inquiry, InquiryAnswered, ProcessReport, ProcessReported,
};

use super::cluster::{Cluster, id};
use super::*;

/// Two nodes with a driver each, and the process of the second one.
fn cluster() -> (Cluster, [ClientId; 2], WorkerId) {
    let mut cluster = Cluster::new(&[cpus(0.0), cpus(0.0)]);
    let drivers = [cluster.driver(0).0, cluster.driver(1).0];
    for (node, driver) in drivers.iter().enumerate() {
        cluster.nodes[node].received(*driver);
    }
    let far = cluster.nodes[1].node.clients[&drivers[1]].worker;
    (cluster, drivers, far)
}

fn ask(cluster: &mut Cluster, driver: ClientId, processes: Vec<WorkerId>) {
    let inquiry = Inquiry {
        request: 7,
        processes,
        with_node: true,
        is_for_all: true,
        ..Inquiry::default()
    };
    cluster.nodes[0].say(driver, inquiry);
    cluster.run();
}

/// All processes of a node answer what they are asked.
fn answer(cluster: &mut Cluster, node: usize) {
    let clients: Vec<ClientId> = cluster.nodes[node].node.clients.keys().copied().collect();
    for client in clients {
        for message in cluster.nodes[node].received(client) {
            if let Message::ReportRequest(asked) = message {
                let reported = ProcessReported {
                    request: asked.request,
                    report: ProcessReport::default(),
                };
                cluster.nodes[node].say(client, reported);
            }
        }
    }
    cluster.run();
}

fn answered(cluster: &mut Cluster, driver: ClientId) -> Option<InquiryAnswered> {
    let received = cluster.nodes[0].received(driver).into_iter();
    let mut answers = received.filter_map(|message| match message {
        Message::InquiryAnswered(answer) => Some(answer),
        _ => None,
    });
    answers.next()
}

#[test]
fn processes_of_all_nodes_are_asked() {
    let (mut cluster, drivers, far) = cluster();
    ask(&mut cluster, drivers[0], Vec::new());
    answer(&mut cluster, 1);
    answer(&mut cluster, 0);
    let answer = answered(&mut cluster, drivers[0]).unwrap();
    assert_eq!(answer.request, 7);
    let of_far = answer.processes.iter().find(|it| it.worker == far);
    assert_eq!(of_far.map(|it| it.node), Some(id(1)));
    let of_own = answer.processes.iter().filter(|it| it.node == id(0));
    assert!(of_own.count() >= 1);
    let nodes: Vec<_> = answer.nodes.iter().map(|node| node.node).collect();
    assert_eq!(nodes, [id(0), id(1)]);
    assert!(answer.silent.is_empty());
}

#[test]
fn a_process_that_is_named_is_found_on_its_node() {
    let (mut cluster, drivers, far) = cluster();
    let nobody = WorkerId::random();
    ask(&mut cluster, drivers[0], vec![far, nobody]);
    answer(&mut cluster, 1);
    let answer = answered(&mut cluster, drivers[0]).unwrap();
    assert_eq!(answer.processes.len(), 1);
    let silent: Vec<WorkerId> = answer.silent.iter().map(|it| it.worker).collect();
    assert_eq!(silent, [nobody]);
}

#[test]
fn who_does_not_answer_is_named() {
    let (mut cluster, drivers, far) = cluster();
    ask(&mut cluster, drivers[0], vec![far]);
    cluster.nodes[1].wait(2 * SECOND);
    cluster.run();
    let answer = answered(&mut cluster, drivers[0]).unwrap();
    assert_eq!(answer.silent.len(), 1);
    assert_eq!((answer.silent[0].worker, answer.silent[0].pid), (far, 1));
    // The whole node is silent.
    ask(&mut cluster, drivers[0], vec![far]);
    cluster.nodes[0].wait(3 * SECOND);
    let answer = answered(&mut cluster, drivers[0]).unwrap();
    assert!(answer.silent[0].name.starts_with("the daemon of node"));
    // It is dead: nobody waits for it.
    ask(&mut cluster, drivers[0], vec![far]);
    cluster.set_state(1, NodeState::Dead);
    assert!(answered(&mut cluster, drivers[0]).is_some());
}

#[test]
fn a_cycle_is_told_once_to_the_driver_wherever_it_is_found() {
    let (mut cluster, drivers, _) = cluster();
    let job = cluster.nodes[0].node.jobs.keys().copied();
    let job = job.min_by_key(|job| job.to_array()).unwrap();
    let cycle = CycleFound {
        job,
        signature: 5,
        members: vec!["f waits for g".to_owned()],
    };
    cluster.nodes[1].say(drivers[1], cycle.clone());
    cluster.run();
    cluster.nodes[0].say(drivers[0], cycle);
    cluster.run();
    let received = cluster.nodes[0].received(drivers[0]);
    let warnings = received.iter().filter(|it| it.name() == "WarnDriver");
    assert_eq!(warnings.count(), 1);
}
