//! What the autoscaler hears of a node.

use whipray_proto::messages::scaling::{NodeType, NodeWants};
use whipray_proto::resources::GPU;
use whipray_proto::{ActorId, ActorSpec};

use super::*;

fn gpu_type() -> NodeType {
    NodeType {
        name: "gpu".to_owned(),
        resources: Resources::none().with(GPU, 2.0),
        ..NodeType::default()
    }
}

fn scaled() -> Stage {
    let mut stage = Stage::new(cpus(1.0));
    stage.control(ControlSays::NodeTypes(vec![gpu_type()]));
    stage
}

/// Takes what was said last within a second.
fn wants(stage: &mut Stage) -> Option<NodeWants> {
    for _ in 0..10 {
        stage.wait(SECOND / 10);
    }
    let told = stage.told().into_iter();
    told.filter_map(|says| match says {
        NodeSays::Wants(wants) => Some(wants),
        _ => None,
    })
    .last()
}

#[test]
fn a_node_that_nobody_asks_says_nothing() {
    let mut stage = Stage::new(cpus(1.0));
    let (driver, job) = stage.driver();
    stage.target(driver, 1, job, 5);
    assert_eq!(wants(&mut stage), None);
}

#[test]
fn what_waits_is_said_by_kind_and_only_when_it_changes() {
    let mut stage = scaled();
    let (driver, job) = stage.driver();
    stage.target(driver, 1, job, 3);
    stage.target_of(driver, 2, job, 2, Resources::none().with(GPU, 1.0));
    stage.start_workers();
    let said = wants(&mut stage).unwrap_or_default();
    let counts: Vec<(f64, u32)> = said
        .wants
        .iter()
        .map(|it| (it.resources.amount(GPU), it.count))
        .collect();
    // One of the three has the CPU.
    assert_eq!(counts, [(0.0, 2), (1.0, 2)]);
    assert!(said.busy.contains("1 leases"), "{}", said.busy);
    assert_eq!(wants(&mut stage), None);
    stage.target(driver, 1, job, 1);
    stage.target_of(driver, 2, job, 0, Resources::none().with(GPU, 1.0));
    assert_eq!(wants(&mut stage).unwrap_or_default().wants, []);
}

#[test]
fn what_is_over_soon_is_not_said() {
    let mut stage = scaled();
    let (driver, job) = stage.driver();
    wants(&mut stage);
    stage.target(driver, 1, job, 3);
    stage.start_workers();
    stage.wait(SECOND / 5);
    stage.target(driver, 1, job, 1);
    let said = wants(&mut stage).unwrap_or_default();
    assert_eq!(said.wants, []);
}

#[test]
fn what_a_node_that_may_come_can_serve_is_not_infeasible() {
    let mut stage = scaled();
    let (driver, job) = stage.driver();
    stage.target_of(driver, 1, job, 1, Resources::none().with(GPU, 1.0));
    assert_eq!(stage.pending(driver), []);
    stage.told();
    stage.control(ControlSays::Report { request: 1 });
    let told = stage.told();
    let [NodeSays::Reported { demands, .. }] = &told[..] else {
        panic!("{told:?}");
    };
    assert!(!demands[0].infeasible);
    assert!(
        demands[0].reason.contains("a node of type gpu"),
        "{demands:?}"
    );
    stage.target_of(driver, 2, job, 1, Resources::none().with(GPU, 3.0));
    let pending = stage.pending(driver);
    assert!(pending[0].infeasible, "{pending:?}");
}

#[test]
fn a_node_is_idle_once_workers_that_may_own_something_have_left() {
    let mut stage = scaled();
    assert_eq!(wants(&mut stage), Some(NodeWants::default()));
    let (driver, job) = stage.driver();
    stage.target(driver, 1, job, 1);
    let [worker] = stage.start_workers()[..] else {
        panic!("one worker");
    };
    let granted = stage.granted(driver);
    assert!(!wants(&mut stage).unwrap_or_default().busy.is_empty());
    stage.target(driver, 1, job, 0);
    stage.give_back(driver, granted[0].lease);
    stage.gone(driver);
    let said = wants(&mut stage).unwrap_or_default();
    assert!(said.busy.contains("1 idle workers"), "{}", said.busy);
    wants(&mut stage);
    let client = stage.worker_clients[&worker];
    let is_asked = |it: &Message| matches!(it, Message::Goodbye(_));
    assert!(stage.received(client).iter().any(is_asked));
    stage.gone(client);
    stage.exited(worker, 0);
    assert_eq!(wants(&mut stage), Some(NodeWants::default()));
}

/// An actor that waited at a lone head was called away to a node that had come for it only after ten
/// seconds: control did not know that it waits.
#[test]
fn an_actor_that_finds_no_room_is_said_to_wait_where_nodes_may_come() {
    let mut stage = scaled();
    let (driver, job) = stage.driver();
    stage.target(driver, 1, job, 1);
    stage.start_workers();
    stage.told();
    let spec = ActorSpec {
        actor: ActorId::new(job),
        job,
        resources: cpus(1.0),
        placement: cpus(1.0),
        ..ActorSpec::default()
    };
    stage.control(ControlSays::PlaceActor {
        spec: Box::new(spec),
        incarnation: 0,
    });
    let told = stage.told();
    let is_pending = |it: &NodeSays| matches!(it, NodeSays::ActorPending { .. });
    assert!(told.iter().any(is_pending), "{told:?}");
}

fn drain_if_idle(stage: &mut Stage) {
    stage.control(ControlSays::Drain {
        reason: "it was idle".to_owned(),
        deadline_us: 0,
        only_if_idle: true,
    });
}

#[test]
fn a_node_with_something_to_do_is_not_drained_as_idle() {
    let mut stage = scaled();
    let (driver, job) = stage.driver();
    drain_if_idle(&mut stage);
    let told = stage.told();
    let refusals = told
        .iter()
        .filter(|it| matches!(it, NodeSays::NotIdle { .. }));
    assert_eq!(refusals.count(), 1, "{told:?}");
    // It goes on.
    stage.target(driver, 1, job, 1);
    stage.start_workers();
    assert_eq!(stage.granted(driver).len(), 1);
}

#[test]
fn a_node_without_anything_is_drained_at_once() {
    let mut stage = scaled();
    drain_if_idle(&mut stage);
    let is_drained = |it: &NodeSays| matches!(it, NodeSays::Drained { .. });
    assert!(stage.told().iter().any(is_drained));
}
