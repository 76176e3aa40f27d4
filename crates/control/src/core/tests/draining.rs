//! Nodes that are to leave.

use super::*;
use whipray_proto::link::NodeState;
use whipray_proto::messages::actor::CreateActor;
use whipray_proto::messages::cluster::NodeEnd;
use whipray_proto::messages::draining::{DrainNode, DrainReason, NodeDrained};

struct Cluster {
    stage: Stage,
    driver: WorkerId,
    job: JobId,
}

impl Cluster {
    fn new() -> Self {
        let mut stage = Stage::empty();
        stage.join(0, 0.0);
        let (driver, job) = stage.driver();
        stage.join(1, 2.0);
        stage.join(2, 2.0);
        stage.said.clear();
        Self { stage, driver, job }
    }

    fn drain(&mut self, number: u8, reason: DrainReason, deadline_ms: u64) -> NodeDrained {
        let drain = DrainNode {
            request: 1,
            node: node(number),
            reason: reason as i32,
            reason_message: "the spot market".to_owned(),
            deadline_ms,
        };
        self.stage.say(self.driver, drain);
        let told = self.stage.told(self.driver).into_iter();
        let mut answers = told.filter_map(|message| match message {
            Message::NodeDrained(drained) => Some(drained),
            _ => None,
        });
        answers.next().unwrap_or_default()
    }

    /// The same, and the node says that it has heard of it.
    fn drain_and_hear(&mut self, number: u8, reason: DrainReason, deadline_ms: u64) {
        assert!(self.drain(number, reason, deadline_ms).is_accepted);
        self.stage.on_node_from(node(number), NodeSays::DrainHeard);
    }

    fn create(&mut self, max_restarts: i32) -> ActorId {
        let amounts = Resources::none().with(CPU, 1.0);
        let spec = ActorSpec {
            placement: amounts.clone(),
            resources: amounts,
            max_restarts,
            ..spec(self.driver, self.job)
        };
        let actor = spec.actor;
        let create = CreateActor {
            request: 0,
            spec,
            ..CreateActor::default()
        };
        self.stage.say(self.driver, create);
        actor
    }

    fn start(&mut self, number: u8, actor: ActorId) {
        let placed = NodeSays::ActorPlaced {
            actor,
            incarnation: 0,
            address: WorkerAddress {
                worker: WorkerId::random(),
                node: node(number),
                ..WorkerAddress::default()
            },
            pid: 7,
        };
        self.stage.on_node_from(node(number), placed);
    }

    fn placed_at(&mut self, number: u8) -> Vec<ActorId> {
        let orders = self.stage.orders_of(number).into_iter();
        let placed = orders.filter_map(|order| match order {
            ControlSays::PlaceActor { spec, .. } => Some(spec.actor),
            _ => None,
        });
        placed.collect()
    }

    fn end_of(&self, number: u8) -> NodeEnd {
        self.stage.control.nodes[&node(number)].status.end()
    }
}

#[test]
fn a_drained_node_gets_nothing_new_and_is_dead_when_it_is_empty() {
    let mut cluster = Cluster::new();
    let waits = cluster.create(0);
    assert_eq!(cluster.placed_at(1), [waits]);
    assert!(cluster.drain(1, DrainReason::Preemption, 0).is_accepted);
    let orders = cluster.stage.orders_of(1);
    assert!(
        matches!(&orders[..], [
        ControlSays::Drain { reason, deadline_us: 0, only_if_idle: false },
        ControlSays::RecallActor { .. },
    ] if reason == "the spot market"),
        "{orders:?}"
    );
    let recalled = NodeSays::ActorRecalled {
        actor: waits,
        incarnation: 0,
    };
    cluster.stage.on_node_from(node(1), recalled);
    let next = cluster.create(0);
    assert_eq!(cluster.placed_at(2), [waits, next]);
    cluster.stage.said.clear();
    cluster.stage.on_node_from(
        node(1),
        NodeSays::Drained {
            left_behind: String::new(),
        },
    );
    let news = cluster.stage.news_of(2);
    assert_eq!(news[0].state, NodeState::Dead as i32);
    let cause = news[0].cause.clone().unwrap_or_default();
    assert!(
        cause.detail.contains("was drained: the spot market"),
        "{}",
        cause.detail
    );
    assert!(matches!(
        &cluster.stage.orders_of(1)[..],
        [ControlSays::Fenced { .. }]
    ));
    assert_eq!(cluster.end_of(1), NodeEnd::DrainedForPreemption);
}

#[test]
fn what_still_runs_at_the_deadline_goes_on_elsewhere() {
    let mut cluster = Cluster::new();
    let actor = cluster.create(1);
    cluster.start(1, actor);
    cluster.drain_and_hear(1, DrainReason::Preemption, 3000);
    let orders = cluster.stage.orders_of(1);
    assert!(orders.contains(&ControlSays::Drain {
        reason: "the spot market".to_owned(),
        deadline_us: 3_000_000,
        only_if_idle: false,
    }));
    cluster.stage.pass(Duration::from_secs(2), &[1, 2]);
    assert_eq!(
        cluster.stage.control.nodes[&node(1)].state(),
        NodeState::Draining
    );
    // It ends what still runs before it says so, and until then nothing begins elsewhere.
    cluster.stage.pass(Duration::from_secs(2), &[1, 2]);
    let ended = NodeSays::ActorEnded {
        actor,
        incarnation: 0,
        cause: Box::new(DeathCause::new(DeathKind::NodeDied, "its node was drained")),
    };
    cluster.stage.on_node_from(node(1), ended);
    assert_eq!(cluster.placed_at(2), []);
    // It has a moment for that, and for its own word on what it leaves behind.
    cluster.stage.pass(Duration::from_secs(4), &[1, 2]);
    assert_eq!(cluster.placed_at(2), [actor]);
    let restarts = cluster.stage.control.actors[&actor].update().restarts_left;
    assert_eq!(restarts, 1, "it did not count");
}

/// It may not know that it is to go, and have actors that live.
#[test]
fn a_silent_node_is_not_given_up_because_its_time_to_drain_is_over() {
    let mut cluster = Cluster::new();
    let actor = cluster.create(1);
    cluster.start(1, actor);
    assert!(cluster.drain(1, DrainReason::Preemption, 3000).is_accepted);
    cluster.stage.pass(Duration::from_secs(15), &[2]);
    assert_eq!(cluster.placed_at(2), []);
    cluster.stage.pass(Duration::from_secs(10), &[2]);
    assert_eq!(cluster.placed_at(2), [actor]);
}

#[test]
fn a_node_that_is_heard_again_has_time_to_say_that_its_time_is_over() {
    let mut cluster = Cluster::new();
    let actor = cluster.create(1);
    cluster.start(1, actor);
    cluster.drain_and_hear(1, DrainReason::Preemption, 3000);
    cluster.stage.pass(Duration::from_secs(15), &[2]);
    // It has ended what it had meanwhile, and its words come now: until then nothing begins elsewhere.
    cluster.stage.pass(limits::DRAIN_LAST_WORD / 2, &[1, 2]);
    assert_eq!(cluster.placed_at(2), []);
    cluster.stage.pass(limits::DRAIN_LAST_WORD, &[1, 2]);
    assert_eq!(cluster.placed_at(2), [actor]);
}

/// The way to it was cut, and the way back was not.
#[test]
fn the_time_of_a_node_runs_from_when_it_has_heard_of_the_last_order() {
    let mut cluster = Cluster::new();
    let actor = cluster.create(1);
    cluster.start(1, actor);
    for _ in 0..2 {
        assert!(cluster.drain(1, DrainReason::Preemption, 3000).is_accepted);
    }
    cluster.stage.pass(Duration::from_secs(10), &[1, 2]);
    assert_eq!(cluster.placed_at(2), []);
    cluster.stage.on_node_from(node(1), NodeSays::DrainHeard);
    cluster.stage.pass(Duration::from_secs(10), &[1, 2]);
    assert_eq!(cluster.placed_at(2), [], "it goes by the first order");
    cluster.stage.on_node_from(node(1), NodeSays::DrainHeard);
    cluster.stage.pass(Duration::from_secs(6), &[1, 2]);
    assert_eq!(cluster.placed_at(2), []);
    cluster.stage.pass(Duration::from_secs(2), &[1, 2]);
    assert_eq!(cluster.placed_at(2), [actor]);
}

#[test]
fn what_a_drained_node_leaves_behind_is_part_of_why_it_is_dead() {
    let mut cluster = Cluster::new();
    assert!(cluster.drain(1, DrainReason::Preemption, 3000).is_accepted);
    let left_behind = "2 objects of 300 bytes have not moved yet".to_owned();
    cluster
        .stage
        .on_node_from(node(1), NodeSays::Drained { left_behind });
    let news = cluster.stage.news_of(2);
    let cause = news.iter().find_map(|news| news.cause.clone());
    let detail = cause.unwrap_or_default().detail;
    assert!(
        detail.ends_with("was drained: the spot market; 2 objects of 300 bytes have not moved yet"),
        "{detail}"
    );
}

#[test]
fn a_node_with_something_to_do_is_not_idle() {
    let mut cluster = Cluster::new();
    cluster.stage.has_left(2, 1.0);
    let answer = cluster.drain(2, DrainReason::Idle, 0);
    assert!(!answer.is_accepted);
    assert_eq!(answer.rejection, "the node is not idle: {CPU: 1} is in use");
    let actor = cluster.create(0);
    cluster.start(1, actor);
    let answer = cluster.drain(1, DrainReason::Idle, 0);
    assert!(
        answer.rejection.contains("1 actors are there"),
        "{}",
        answer.rejection
    );
    cluster.stage.has_left(2, 2.0);
    assert!(cluster.drain(2, DrainReason::Idle, 0).is_accepted);
    cluster.stage.on_node_from(
        node(2),
        NodeSays::Drained {
            left_behind: String::new(),
        },
    );
    assert_eq!(cluster.end_of(2), NodeEnd::DrainedIdle);
    assert!(
        cluster.drain(2, DrainReason::Idle, 0).is_accepted,
        "it is gone"
    );
}

#[test]
fn the_head_stays() {
    let mut cluster = Cluster::new();
    let answer = cluster.drain(0, DrainReason::Preemption, 0);
    assert!(answer.rejection.contains("holds the state of the cluster"));
}
