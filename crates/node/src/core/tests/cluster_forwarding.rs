//! Leases of workers on other nodes.

use whipray_proto::link::NodeState;
use whipray_proto::messages::lease::{KillWorker, LeaseLost};

use super::cluster::{Cluster, id};
use super::*;
use crate::core::leases::Waiter;

fn lost(stage: &mut Stage, by: ClientId) -> Vec<LeaseLost> {
    let of = |message| match message {
        Message::LeaseLost(lost) => Some(lost),
        _ => None,
    };
    stage.received(by).into_iter().filter_map(of).collect()
}

#[test]
fn what_does_not_fit_here_is_asked_for_elsewhere() {
    let mut cluster = Cluster::new(&[cpus(1.0), cpus(2.0)]);
    let (driver, job) = cluster.driver(0);
    cluster.nodes[0].target(driver, 7, job, 3);
    cluster.run();
    let granted = cluster.nodes[0].granted(driver);
    let mut leases: Vec<u64> = granted.iter().map(|it| it.lease.number).collect();
    leases.sort_unstable();
    leases.dedup();
    assert_eq!(leases.len(), 3, "each has a number of its own");
    assert!(granted.iter().all(|it| it.class == 7));
    let elsewhere = granted.iter().filter(|it| it.worker.node == id(1));
    assert_eq!(elsewhere.count(), 2);
    assert_eq!(cluster.nodes[1].available_cpus(), 0.0);
}

#[test]
fn no_more_is_asked_for_than_fits() {
    let mut cluster = Cluster::new(&[cpus(1.0), cpus(2.0), cpus(4.0)]);
    let (driver, job) = cluster.driver(0);
    cluster.nodes[0].target(driver, 1, job, 100);
    cluster.run();
    assert_eq!(cluster.nodes[0].granted(driver).len(), 7);
    assert_eq!((cluster.leased(1), cluster.leased(2)), (2, 4));
    let waiter = Waiter::Class {
        owner: driver,
        class: 1,
    };
    assert_eq!(cluster.nodes[0].node.demands[&waiter].asked(), 0);
    // Another one gets room: it hears of those that wait.
    let (other, other_job) = cluster.driver(1);
    cluster.nodes[1].target(other, 1, other_job, 1);
    cluster.run();
    assert!(cluster.nodes[1].granted(other).is_empty());
}

#[test]
fn a_return_lowers_the_target_first_and_is_not_answered_by_a_new_grant() {
    let mut cluster = Cluster::new(&[cpus(0.0), cpus(2.0)]);
    let (driver, job) = cluster.driver(0);
    cluster.nodes[0].target(driver, 1, job, 2);
    cluster.run();
    let granted = cluster.nodes[0].granted(driver);
    cluster.said.clear();
    cluster.nodes[0].target(driver, 1, job, 1);
    cluster.nodes[0].give_back(driver, granted[0].lease);
    cluster.run();
    let said: Vec<&str> = cluster.said.iter().map(|(.., it)| it.name()).collect();
    assert_eq!(said, ["LeaseTarget", "LeaseReturn"]);
    assert_eq!(cluster.leased(1), 1);
    assert!(cluster.nodes[0].granted(driver).is_empty());
    // Twice is once.
    cluster.nodes[0].give_back(driver, granted[0].lease);
    cluster.run();
    assert_eq!(cluster.leased(1), 1);
}

#[test]
fn a_lease_that_is_returned_while_more_is_wanted_comes_again_from_there() {
    let mut cluster = Cluster::new(&[cpus(0.0), cpus(1.0)]);
    let (driver, job) = cluster.driver(0);
    cluster.nodes[0].target(driver, 1, job, 3);
    cluster.run();
    let granted = cluster.nodes[0].granted(driver);
    assert_eq!(granted.len(), 1);
    cluster.nodes[0].give_back(driver, granted[0].lease);
    cluster.run();
    assert_eq!(cluster.nodes[0].granted(driver).len(), 1);
}

#[test]
fn a_worker_of_another_node_is_killed_and_its_end_is_told() {
    let mut cluster = Cluster::new(&[cpus(0.0), cpus(1.0)]);
    let (driver, job) = cluster.driver(0);
    cluster.nodes[0].target(driver, 1, job, 1);
    cluster.run();
    let granted = cluster.nodes[0].granted(driver).remove(0);
    let worker = granted.worker.worker;
    let (stranger, _) = cluster.nodes[0].driver();
    for client in [stranger, driver] {
        assert!(
            !cluster.nodes[1].is_killed(worker),
            "it is not the stranger's"
        );
        let reason = "cancelled".to_owned();
        cluster.nodes[0].say(client, KillWorker { worker, reason });
        cluster.run();
    }
    assert!(cluster.nodes[1].is_killed(worker));
    cluster.nodes[1].exited(worker, 9);
    cluster.run();
    let received = cluster.nodes[0].received(driver);
    let is_lost = |it: &Message| matches!(it, Message::LeaseLost(lost) if lost.lease == granted.lease && lost.cause.node == id(1));
    assert!(received.iter().any(is_lost), "{received:?}");
    let is_new = |it: &Message| matches!(it, Message::LeaseGranted(_));
    assert!(received.iter().any(is_new), "the next worker comes");
}

#[test]
fn the_leases_of_an_owner_that_is_gone_end_on_all_nodes() {
    let mut cluster = Cluster::new(&[cpus(0.0), cpus(1.0)]);
    let (driver, job) = cluster.driver(0);
    cluster.nodes[0].target(driver, 1, job, 5);
    cluster.run();
    let worker = cluster.nodes[0].granted(driver)[0].worker.worker;
    cluster.nodes[0].gone(driver);
    cluster.run();
    assert!(cluster.nodes[1].is_killed(worker));
    cluster.nodes[1].exited(worker, 9);
    cluster.run();
    assert_eq!(cluster.leased(1), 0, "no other worker came in its place");
    assert!(cluster.nodes[0].node.demands.is_empty());
    assert!(cluster.nodes[1].node.demands.is_empty());
    assert!(cluster.nodes[0].node.forwarding.leases.is_empty());
}

#[test]
fn what_is_asked_for_in_vain_is_served_by_whoever_has_room_first() {
    let mut cluster = Cluster::new(&[cpus(1.0), cpus(1.0), cpus(1.0)]);
    let (first, first_job) = cluster.driver(0);
    let (second, second_job) = cluster.driver(2);
    // Both believe that the one in the middle is free.
    cluster.nodes[0].target(first, 1, first_job, 2);
    cluster.nodes[2].target(second, 1, second_job, 2);
    cluster.collect();
    cluster.run();
    let of_first = cluster.nodes[0].granted(first);
    let of_second = cluster.nodes[2].granted(second);
    assert_eq!(of_first.len() + of_second.len(), 3);
    let (winner, loser) = match of_first.len() {
        2 => ((0, first, first_job, of_first), (2, second)),
        _ => ((2, second, second_job, of_second), (0, first)),
    };
    cluster.news();
    cluster.run();
    // The winner's own node has room: the loser is served there, and waits nowhere any more.
    let (at, client, job, granted) = winner;
    let own = granted.iter().find(|it| it.worker.node == id(at)).unwrap();
    cluster.nodes[at].target(client, 1, job, 1);
    cluster.nodes[at].give_back(client, own.lease);
    cluster.run();
    cluster.news();
    cluster.run();
    let (at_loser, loser) = loser;
    let granted = cluster.nodes[at_loser].granted(loser);
    assert_eq!(granted.len(), 1);
    assert_eq!(granted[0].worker.node, id(at));
    let middle = &cluster.nodes[1].node;
    let asks = middle.demands.values().filter(|it| it.is_hungry()).count();
    assert_eq!(asks, 0);
}

#[test]
fn own_room_comes_before_what_is_asked_for_elsewhere_in_vain() {
    let mut cluster = Cluster::new(&[cpus(1.0), cpus(1.0)]);
    let (driver, job) = cluster.driver(0);
    let (other, other_job) = cluster.driver(1);
    cluster.nodes[1].target(other, 1, other_job, 1);
    cluster.nodes[0].target(driver, 1, job, 2);
    cluster.run();
    cluster.news();
    let granted = cluster.nodes[0].granted(driver);
    assert_eq!(granted.len(), 1);
    // A second class waits; what the first gives back is its.
    cluster.nodes[0].target(driver, 2, job, 1);
    cluster.nodes[0].target(driver, 1, job, 0);
    cluster.nodes[0].give_back(driver, granted[0].lease);
    cluster.run();
    assert_eq!(cluster.nodes[0].granted(driver).len(), 1);
    assert!(cluster.nodes[0].node.waiting.is_empty());
}

#[test]
fn others_are_asked_for_idle_leases_through_their_homes() {
    let mut cluster = Cluster::new(&[cpus(0.0), cpus(1.0)]);
    let (driver, job) = cluster.driver(0);
    let (other, other_job) = cluster.driver(1);
    cluster.nodes[0].target(driver, 1, job, 1);
    cluster.run();
    let granted = cluster.nodes[0].granted(driver);
    cluster.nodes[1].target(other, 1, other_job, 1);
    cluster.run();
    let received = cluster.nodes[0].received(driver);
    let is_reclaim = |it: &Message| matches!(it, Message::ReclaimIdle(_));
    assert!(received.iter().any(is_reclaim), "{received:?}");
    cluster.nodes[0].target(driver, 1, job, 0);
    cluster.nodes[0].give_back(driver, granted[0].lease);
    cluster.run();
    assert_eq!(cluster.nodes[1].granted(other).len(), 1);
}

#[test]
fn a_grant_that_nobody_wants_any_more_goes_back_at_once() {
    let mut cluster = Cluster::new(&[cpus(0.0), cpus(1.0)]);
    let (driver, job) = cluster.driver(0);
    cluster.nodes[0].target(driver, 1, job, 1);
    cluster.collect();
    cluster.deliver(0, 1);
    cluster.nodes[0].target(driver, 1, job, 0);
    cluster.run();
    assert!(cluster.nodes[0].granted(driver).is_empty());
    assert_eq!(cluster.leased(1), 0);
    assert_eq!(cluster.nodes[1].available_cpus(), 1.0);
    assert!(cluster.nodes[1].node.demands.is_empty());
}

#[test]
fn a_node_that_is_silent_for_a_moment_keeps_its_leases_and_gets_nothing_new() {
    let mut cluster = Cluster::new(&[cpus(0.0), cpus(1.0)]);
    let (driver, job) = cluster.driver(0);
    cluster.nodes[0].target(driver, 1, job, 2);
    cluster.run();
    let granted = cluster.nodes[0].granted(driver);
    assert_eq!(granted.len(), 1);
    cluster.set_state(1, NodeState::Suspect);
    cluster.run();
    let waiter = Waiter::Class {
        owner: driver,
        class: 1,
    };
    let demand = &cluster.nodes[0].node.demands[&waiter];
    assert_eq!((demand.asked(), demand.obtained()), (0, 1));
    assert!(lost(&mut cluster.nodes[0], driver).is_empty());
    cluster.set_state(1, NodeState::Alive);
    cluster.run();
    let demand = &cluster.nodes[0].node.demands[&waiter];
    assert_eq!((demand.asked(), demand.obtained()), (1, 1));
}

#[test]
fn what_no_node_has_is_infeasible_until_one_comes_that_has_it() {
    let mut cluster = Cluster::new(&[cpus(1.0), cpus(2.0), cpus(8.0)]);
    cluster.set_state(2, NodeState::Dead);
    let (driver, job) = cluster.driver(0);
    cluster.nodes[0].target_of(driver, 1, job, 1, cpus(4.0));
    cluster.run();
    let pending = cluster.nodes[0].pending(driver);
    assert!(pending[0].infeasible);
    assert_eq!(
        pending[0].reason,
        "asks for 4 CPU and no node has more than 2"
    );
    // It fits elsewhere alone: that is no reason to complain.
    cluster.nodes[0].target_of(driver, 2, job, 1, cpus(2.0));
    cluster.run();
    let received = cluster.nodes[0].received(driver);
    assert!(
        matches!(received.as_slice(), [Message::LeaseGranted(_)]),
        "{received:?}"
    );
    let news = whipray_proto::link::NodeNews {
        node: id(8),
        total: cpus(16.0),
        available: cpus(16.0),
        ..cluster.news_of(1)
    };
    cluster.nodes[0].control(ControlSays::Nodes(vec![news]));
    let is_asked = |effect: &Effect| matches!(effect, Effect::ToNode { node, message: Message::LeaseTarget(_) } if *node == id(8));
    assert!(cluster.nodes[0].effects.iter().any(is_asked));
}

#[test]
fn what_comes_back_from_another_node_is_free_there_before_it_says_so() {
    let mut cluster = Cluster::new(&[cpus(0.0), cpus(1.0)]);
    let (driver, job) = cluster.driver(0);
    for round in 1..4 {
        cluster.nodes[0].target(driver, round, job, 1);
        cluster.run();
        let granted = cluster.nodes[0].granted(driver);
        assert_eq!(granted.len(), 1, "round {round}");
        cluster.nodes[0].target(driver, round, job, 0);
        cluster.nodes[0].give_back(driver, granted[0].lease);
        cluster.run();
    }
}

#[test]
fn an_actor_without_room_is_known_to_wait_at_once() {
    let mut cluster = Cluster::new(&[cpus(1.0), cpus(1.0)]);
    let (driver, job) = cluster.driver(1);
    cluster.nodes[1].target(driver, 1, job, 1);
    cluster.run();
    let actor = ActorId::new(job);
    let spec = Box::new(whipray_proto::ActorSpec {
        actor,
        job,
        resources: cpus(1.0),
        ..whipray_proto::ActorSpec::default()
    });
    cluster.nodes[1].told();
    cluster.nodes[1].control(ControlSays::PlaceActor {
        spec,
        incarnation: 0,
    });
    let waits = |says: &NodeSays| matches!(says, NodeSays::ActorPending { reason, .. } if reason.is_empty());
    assert!(cluster.nodes[1].told().iter().any(waits));
}
