//! What the autoscaler and control tell each other.

use super::*;
use whipray_proto::PlacementGroupId;
use whipray_proto::link::NodeState;
use whipray_proto::messages::actor::CreateActor;
use whipray_proto::messages::cluster::WarnDriver;
use whipray_proto::messages::draining::{DrainNode, DrainReason, NodeDrained};
use whipray_proto::messages::placement::CreateGroup;
use whipray_proto::messages::scaling::{
    NodeType, NodeWants, RequestResources, ScalingStatus, ScalingView, Want,
};
use whipray_proto::scheduling::{BundleSpec, GroupSpec};

fn gpus(amount: f64) -> Resources {
    Resources::none().with("GPU", amount)
}

fn status() -> ScalingStatus {
    ScalingStatus {
        types: vec![NodeType {
            name: "gpu".to_owned(),
            resources: gpus(2.0),
            max_nodes: 4,
            ..NodeType::default()
        }],
        ..ScalingStatus::default()
    }
}

/// A head, a node with two CPUs, a driver and an autoscaler.
struct Scaled {
    stage: Stage,
    scaler: WorkerId,
    driver: WorkerId,
    job: JobId,
}

impl Scaled {
    fn new() -> Self {
        let mut stage = Stage::empty();
        stage.join(0, 0.0);
        let (driver, job) = stage.driver();
        stage.join(1, 2.0);
        stage.said.clear();
        let scaler = WorkerId::random();
        stage.say(scaler, status());
        Self {
            stage,
            scaler,
            driver,
            job,
        }
    }

    /// Takes the latest view that the autoscaler was told of within a second.
    fn view(&mut self) -> Option<ScalingView> {
        self.stage.pass(Duration::from_secs(1), &[0, 1]);
        let told = self.stage.told(self.scaler).into_iter();
        let views = told.filter_map(|message| match message {
            Message::ScalingView(view) => Some(view),
            _ => None,
        });
        views.last()
    }

    fn say_wants(&mut self, number: u8, wants: Vec<Want>, busy: &str) {
        let busy = busy.to_owned();
        let wants = NodeSays::Wants(NodeWants { wants, busy });
        self.stage.on_node_from(node(number), wants);
    }

    fn warnings(&mut self) -> Vec<String> {
        let told = self.stage.told(self.driver).into_iter();
        told.filter_map(|message| match message {
            Message::WarnDriver(WarnDriver { text, .. }) => Some(text),
            _ => None,
        })
        .collect()
    }

    fn create_actor(&mut self, resources: Resources) {
        let spec = ActorSpec {
            placement: resources.clone(),
            resources,
            ..spec(self.driver, self.job)
        };
        let create = CreateActor {
            spec,
            ..CreateActor::default()
        };
        self.stage.say(self.driver, create);
    }

    fn create_group(&mut self, resources: Resources) {
        let bundle = BundleSpec {
            resources,
            selector: None,
        };
        let spec = GroupSpec {
            group: PlacementGroupId::new(self.job),
            job: self.job,
            bundles: vec![bundle],
            ..GroupSpec::default()
        };
        self.stage
            .say(self.driver, CreateGroup { request: 0, spec });
    }

    fn drain_idle(&mut self, number: u8) -> Option<NodeDrained> {
        let drain = DrainNode {
            request: 7,
            node: node(number),
            reason: DrainReason::Idle as i32,
            ..DrainNode::default()
        };
        self.stage.say(self.scaler, drain);
        let told = self.stage.told(self.scaler).into_iter();
        told.filter_map(|message| match message {
            Message::NodeDrained(drained) => Some(drained),
            _ => None,
        })
        .last()
    }
}

#[test]
fn nodes_hear_which_nodes_may_come_also_those_that_join_later() {
    let mut scaled = Scaled::new();
    let hears = |orders: Vec<ControlSays>| {
        let is_news = |it: &ControlSays| *it == ControlSays::NodeTypes(status().types);
        orders.iter().any(is_news)
    };
    assert!(hears(scaled.stage.orders_of(0)));
    assert!(hears(scaled.stage.orders_of(1)));
    scaled.stage.join(2, 1.0);
    assert!(hears(scaled.stage.orders_of(2)));
    // With nobody to start nodes nothing can be waited for.
    scaled.stage.process_gone(scaled.scaler);
    let orders = scaled.stage.orders_of(1);
    assert!(orders.contains(&ControlSays::NodeTypes(Vec::new())));
}

#[test]
fn the_autoscaler_hears_of_what_waits_and_only_of_changes() {
    let mut scaled = Scaled::new();
    let want = |count| Want {
        resources: gpus(1.0),
        strategy: None,
        count,
    };
    scaled.say_wants(0, vec![want(2)], "1 drivers");
    scaled.say_wants(1, vec![want(1)], "");
    let view = scaled.view().unwrap_or_default();
    assert_eq!(view.wants, [want(3)], "what is the same is one");
    let busy: Vec<&str> = view.nodes.iter().map(|it| it.busy.as_str()).collect();
    assert_eq!(busy, ["1 drivers", ""]);
    assert_eq!(scaled.view(), None);
    scaled.stage.has_left(1, 1.0);
    let view = scaled.view().unwrap_or_default();
    assert_eq!(view.nodes[1].available.amount(CPU), 1.0);
    let bundle = BundleSpec {
        resources: gpus(1.0),
        selector: None,
    };
    let bundles = vec![bundle];
    let request = RequestResources {
        bundles: bundles.clone(),
    };
    scaled.stage.say(scaled.driver, request);
    assert_eq!(scaled.view().unwrap_or_default().requested, bundles);
}

#[test]
fn what_only_a_node_that_may_come_can_have_waits_without_a_warning() {
    let mut scaled = Scaled::new();
    scaled.create_actor(gpus(1.0));
    scaled.create_group(gpus(2.0));
    assert_eq!(scaled.warnings(), [] as [String; 0]);
    let view = scaled.view().unwrap_or_default();
    assert_eq!(view.wants.len(), 1);
    assert_eq!(view.groups.len(), 1);
    assert!(view.groups[0].nodes.iter().all(NodeId::is_nil));
    scaled.create_actor(gpus(3.0));
    scaled.create_group(gpus(3.0));
    assert_eq!(scaled.warnings().len(), 2);
}

#[test]
fn a_node_that_says_what_it_does_is_not_drained_as_idle() {
    let mut scaled = Scaled::new();
    scaled.say_wants(1, Vec::new(), "objects");
    let answer = scaled.drain_idle(1).unwrap_or_default();
    assert!(!answer.is_accepted);
    assert!(answer.rejection.contains("objects"), "{answer:?}");
    scaled.say_wants(1, Vec::new(), "");
    assert!(scaled.drain_idle(1).unwrap_or_default().is_accepted);
    let orders = scaled.stage.orders_of(1);
    let is_asked = |it: &ControlSays| {
        matches!(
            it,
            ControlSays::Drain {
                only_if_idle: true,
                ..
            }
        )
    };
    assert!(orders.iter().any(is_asked), "{orders:?}");
    // It has got something to do since.
    let reason = "1 leases".to_owned();
    scaled
        .stage
        .on_node_from(node(1), NodeSays::NotIdle { reason });
    let state = scaled.stage.control.nodes[&node(1)].state();
    assert_eq!(state, NodeState::Alive);
    scaled.create_actor(Resources::none().with(CPU, 1.0));
    let orders = scaled.stage.orders_of(1);
    let is_placed = |it: &ControlSays| matches!(it, ControlSays::PlaceActor { .. });
    assert!(
        orders.iter().any(is_placed),
        "it gets something new: {orders:?}"
    );
}
