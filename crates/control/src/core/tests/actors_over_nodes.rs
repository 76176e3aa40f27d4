//! Actors where there is more than one node.

use super::*;
use whipray_proto::SchedulingStrategy;
use whipray_proto::messages::actor::{ActorState, ActorUpdate, CreateActor};
use whipray_proto::messages::cluster::NodeEnd;
use whipray_proto::messages::placement::CreateGroup;
use whipray_proto::scheduling::{BundleSpec, GroupSpec, GroupStrategy, InGroup, NodeAffinity};

fn cpus(amount: f64) -> Resources {
    Resources::none().with(CPU, amount)
}

/// A head without CPUs, and nodes with these.
struct Cluster {
    stage: Stage,
    driver: WorkerId,
    job: JobId,
}

impl Cluster {
    fn new(head: f64, sizes: &[f64]) -> Self {
        let mut stage = Stage::empty();
        stage.join(0, head);
        let (driver, job) = stage.driver();
        for (number, size) in (1u8..).zip(sizes) {
            stage.join(number, *size);
        }
        stage.said.clear();
        Self { stage, driver, job }
    }

    fn spec(&self, resources: Resources) -> ActorSpec {
        ActorSpec {
            placement: resources.clone(),
            resources,
            ..spec(self.driver, self.job)
        }
    }

    fn create(&mut self, spec: &ActorSpec) -> ActorId {
        let create = CreateActor {
            request: 0,
            spec: spec.clone(),
            ..CreateActor::default()
        };
        self.stage.say(self.driver, create);
        spec.actor
    }

    fn create_with(&mut self, amount: f64) -> ActorId {
        let spec = self.spec(cpus(amount));
        self.create(&spec)
    }

    /// Takes the nodes that were asked for processes, with the actors.
    fn asked(&mut self) -> Vec<(u8, ActorId)> {
        let orders = self.stage.addressed_orders().into_iter();
        let asked = orders.filter_map(|(node, order)| match order {
            ControlSays::PlaceActor { spec, .. } => Some((node.to_array()[0], spec.actor)),
            _ => None,
        });
        asked.collect()
    }

    fn recalled(&mut self) -> Vec<(u8, ActorId)> {
        let orders = self.stage.addressed_orders().into_iter();
        let recalled = orders.filter_map(|(node, order)| match order {
            ControlSays::RecallActor { actor, .. } => Some((node.to_array()[0], actor)),
            _ => None,
        });
        recalled.collect()
    }

    fn let_go(&mut self, number: u8, actor: ActorId) {
        let recalled = NodeSays::ActorRecalled {
            actor,
            incarnation: 0,
        };
        self.stage.on_node_from(node(number), recalled);
    }

    fn start(&mut self, number: u8, actor: ActorId, incarnation: u32) -> WorkerId {
        let worker = WorkerId::random();
        let placed = NodeSays::ActorPlaced {
            actor,
            incarnation,
            address: WorkerAddress {
                worker,
                node: node(number),
                ..WorkerAddress::default()
            },
            pid: 7,
        };
        self.stage.on_node_from(node(number), placed);
        worker
    }

    fn lose(&mut self, number: u8, end: NodeEnd) {
        self.stage
            .control
            .node_lost(node(number), "burned down", end);
        self.stage.take_in();
    }

    fn update(&mut self) -> ActorUpdate {
        let told = self.stage.told(self.driver).into_iter();
        let updates = told.filter_map(|message| match message {
            Message::ActorUpdate(update) => Some(*update),
            _ => None,
        });
        updates.last().unwrap_or_default()
    }
}

#[test]
fn an_actor_starts_with_its_owner_and_elsewhere_when_that_is_full() {
    let mut cluster = Cluster::new(4.0, &[4.0]);
    let actors: Vec<ActorId> = (0..4).map(|_| cluster.create_with(2.0)).collect();
    let nodes: Vec<u8> = cluster.asked().iter().map(|(node, _)| *node).collect();
    assert_eq!(nodes, [0, 1, 0, 1], "what was sent there counts as taken");
    let fifth = cluster.create_with(2.0);
    let asked = cluster.asked();
    assert_eq!(asked.len(), 1, "it waits in the line of a node");
    // The other node has room first.
    cluster.start(1, actors[1], 0);
    cluster.stage.has_left(1, 4.0);
    assert_eq!(cluster.recalled(), [(0, fifth)]);
    cluster.stage.has_left(1, 4.0);
    assert!(cluster.recalled().is_empty(), "once is enough");
    cluster.let_go(0, fifth);
    assert_eq!(cluster.asked(), [(1, fifth)]);
    cluster.start(1, fifth, 0);
}

#[test]
fn what_holds_nothing_goes_round() {
    let mut cluster = Cluster::new(4.0, &[4.0, 4.0]);
    for _ in 0..6 {
        let mut spec = cluster.spec(cpus(0.0));
        spec.placement = cpus(1.0);
        cluster.create(&spec);
    }
    let mut nodes: Vec<u8> = cluster.asked().iter().map(|(node, _)| *node).collect();
    nodes.sort_unstable();
    assert_eq!(nodes, [0, 0, 1, 1, 2, 2]);
}

#[test]
fn what_no_node_could_have_waits_for_one_that_can() {
    let mut cluster = Cluster::new(1.0, &[2.0]);
    let actor = cluster.create_with(16.0);
    assert!(cluster.asked().is_empty());
    let told = cluster.stage.told(cluster.driver);
    assert!(
        told.iter()
            .any(|message| matches!(message, Message::WarnDriver(warning)
        if warning.text.contains("asks for 16 CPU"))),
        "{told:?}"
    );
    cluster.stage.has_left(1, 1.0);
    cluster.stage.has_left(1, 2.0);
    assert!(cluster.stage.told(cluster.driver).is_empty(), "nothing new");
    cluster.stage.join(2, 32.0);
    assert_eq!(cluster.asked(), [(2, actor)]);
    assert_eq!(cluster.update().pending_reason, "");
}

#[test]
fn what_a_head_alone_could_not_have_goes_to_the_first_node_that_can() {
    let mut cluster = Cluster::new(1.0, &[]);
    let actor = cluster.create_with(2.0);
    assert_eq!(cluster.asked(), [(0, actor)]);
    let pending = NodeSays::ActorPending {
        actor,
        incarnation: 0,
        reason: "asks for 2 CPU and no node has more than 1".to_owned(),
    };
    cluster.stage.on_node(pending);
    cluster.stage.join(1, 2.0);
    assert_eq!(cluster.recalled(), [(0, actor)]);
    cluster.let_go(0, actor);
    assert_eq!(cluster.asked(), [(1, actor)]);
}

#[test]
fn what_a_node_has_no_room_for_after_all_goes_where_there_is_some() {
    let mut cluster = Cluster::new(2.0, &[2.0]);
    let actor = cluster.create_with(2.0);
    assert_eq!(cluster.asked(), [(0, actor)]);
    cluster.stage.has_left(0, 0.0);
    cluster.stage.on_node(NodeSays::ActorPending {
        actor,
        incarnation: 0,
        reason: String::new(),
    });
    assert_eq!(cluster.recalled(), [(0, actor)]);
    let told = cluster.stage.told(cluster.driver);
    let warns = |it: &&Message| matches!(it, Message::WarnDriver(_));
    assert!(!told.iter().any(|it| warns(&it)), "it only has to wait");
    cluster.let_go(0, actor);
    assert_eq!(cluster.asked(), [(1, actor)]);
}

#[test]
fn silent_nodes_get_nothing_new() {
    let mut cluster = Cluster::new(0.0, &[4.0, 4.0]);
    cluster.stage.pass(Duration::from_secs(4), &[2]);
    let actor = cluster.create_with(1.0);
    assert_eq!(cluster.asked(), [(2, actor)]);
    cluster.stage.pass(Duration::from_secs(4), &[]);
    let waits = cluster.create_with(1.0);
    assert!(cluster.asked().is_empty());
    cluster.stage.pass(Duration::from_secs(1), &[1]);
    assert_eq!(cluster.asked(), [(1, waits)]);
}

#[test]
fn actors_of_a_dead_node_restart_elsewhere_or_die_of_it() {
    let mut cluster = Cluster::new(0.0, &[4.0, 2.0]);
    let mut lasting = cluster.spec(cpus(1.0));
    lasting.max_restarts = 1;
    let (lasting, mortal) = (cluster.create(&lasting), cluster.create_with(1.0));
    let waiting = cluster.spec(cpus(2.0));
    let asked = cluster.asked();
    assert_eq!(asked, [(1, lasting), (1, mortal)]);
    cluster.start(1, lasting, 0);
    cluster.start(1, mortal, 0);
    cluster.stage.has_left(1, 0.0);
    cluster.stage.has_left(2, 0.0);
    let waiting = cluster.create(&waiting);
    assert_eq!(cluster.asked(), [(1, waiting)]);
    cluster.stage.told(cluster.driver);
    cluster.lose(1, NodeEnd::Unexpected);
    let asked = cluster.asked();
    assert!(
        asked.contains(&(2, lasting)) && asked.contains(&(2, waiting)),
        "{asked:?}"
    );
    assert_eq!(asked.len(), 2);
    let died = cluster
        .stage
        .told(cluster.driver)
        .into_iter()
        .find_map(|told| match told {
            Message::ActorUpdate(update) if update.actor == mortal => Some(update),
            _ => None,
        });
    let died = died.unwrap_or_default();
    assert_eq!(died.state, ActorState::Dead as i32);
    let cause = died.cause.unwrap_or_default();
    assert_eq!((cause.kind(), cause.pid), (DeathKind::NodeDied, 7));
    assert!(
        cause.headline().contains("10.0.0.1 burned down"),
        "{}",
        cause.headline()
    );
    // The same once more: its restarts are used up, and the one that waited has lost nothing.
    cluster.stage.join(3, 4.0);
    cluster.start(2, lasting, 1);
    cluster.start(2, waiting, 0);
    cluster.lose(2, NodeEnd::Unexpected);
    assert!(cluster.asked().is_empty());
}

#[test]
fn restarts_do_not_count_where_the_machine_was_taken_away() {
    let mut cluster = Cluster::new(0.0, &[2.0, 2.0, 2.0, 2.0]);
    let mut spec = cluster.spec(cpus(1.0));
    spec.max_restarts = 1;
    let actor = cluster.create(&spec);
    cluster.asked();
    for (number, end) in [
        (1u8, NodeEnd::DrainedForPreemption),
        (2, NodeEnd::Unexpected),
        (3, NodeEnd::DrainedForPreemption),
    ] {
        cluster.start(number, actor, u32::from(number) - 1);
        cluster.lose(number, end);
        assert_eq!(cluster.asked(), [(number + 1, actor)]);
    }
    cluster.start(4, actor, 3);
    let status = cluster.stage.control.actors[&actor].status(0);
    assert_eq!((status.restarts, status.restarts_by_drains), (3, 2));
    cluster.lose(4, NodeEnd::Unexpected);
    assert_eq!(cluster.update().state, ActorState::Dead as i32);
}

#[test]
fn restarts_by_drains_are_counted_also_where_there_is_no_end_of_them() {
    let mut cluster = Cluster::new(0.0, &[2.0, 2.0]);
    let mut spec = cluster.spec(cpus(1.0));
    spec.max_restarts = -1;
    let actor = cluster.create(&spec);
    cluster.start(1, actor, 0);
    cluster.lose(1, NodeEnd::DrainedForPreemption);
    let status = cluster.stage.control.actors[&actor].status(0);
    assert_eq!((status.restarts, status.restarts_by_drains), (1, 1));
}

#[test]
fn who_insists_on_a_dead_node_cannot_be_scheduled() {
    let mut cluster = Cluster::new(1.0, &[2.0, 2.0]);
    let mut spec = cluster.spec(cpus(1.0));
    let affinity = |is_soft| {
        let affinity = NodeAffinity {
            node: node(1),
            is_soft,
            ..NodeAffinity::default()
        };
        Some(Box::new(SchedulingStrategy {
            affinity: Some(affinity),
            ..SchedulingStrategy::default()
        }))
    };
    spec.strategy = affinity(false);
    spec.max_restarts = -1;
    let actor = cluster.create(&spec);
    assert_eq!(cluster.asked(), [(1, actor)]);
    cluster.start(1, actor, 0);
    cluster.lose(1, NodeEnd::Unexpected);
    let update = cluster.update();
    assert_eq!(update.state, ActorState::Dead as i32);
    assert_eq!(
        update.cause.unwrap_or_default().kind(),
        DeathKind::Unschedulable
    );
    let mut soft = cluster.spec(cpus(1.0));
    soft.strategy = affinity(true);
    cluster.create(&soft);
    assert_eq!(cluster.asked().len(), 1);
}

#[test]
fn an_actor_goes_where_its_bundle_is() {
    let mut cluster = Cluster::new(0.0, &[2.0, 2.0]);
    let group = GroupSpec {
        group: whipray_proto::PlacementGroupId::new(cluster.job),
        strategy: GroupStrategy::StrictSpread as i32,
        bundles: vec![
            BundleSpec {
                resources: cpus(1.0),
                selector: None,
            };
            2
        ],
        job: cluster.job,
        ..GroupSpec::default()
    };
    let id = group.group;
    let in_group = |bundle| {
        let group = InGroup {
            group: id,
            bundle,
            captures: false,
        };
        Some(Box::new(SchedulingStrategy {
            group: Some(group),
            ..SchedulingStrategy::default()
        }))
    };
    let mut early = cluster.spec(cpus(1.0));
    early.strategy = in_group(Some(1));
    let early = cluster.create(&early);
    assert!(cluster.asked().is_empty(), "the group may come");
    assert!(
        cluster
            .update()
            .pending_reason
            .contains("which is not created")
    );
    // A node wants to know as well.
    cluster.stage.on_node(NodeSays::GroupWanted { group: id });
    let create = CreateGroup {
        request: 0,
        spec: group,
    };
    cluster.stage.say(cluster.driver, create);
    cluster.stage.orders();
    for number in [1, 2] {
        let prepared = NodeSays::BundlesPrepared {
            group: id,
            attempt: 1,
            is_granted: true,
            available: cpus(1.0),
        };
        cluster.stage.on_node_from(node(number), prepared);
    }
    let orders = cluster.stage.addressed_orders();
    let nodes = cluster.stage.control.groups[&id].nodes.clone();
    let places: Vec<NodeId> = nodes.into_iter().flatten().collect();
    let placed = ControlSays::GroupPlaced {
        group: id,
        nodes: places.clone(),
    };
    assert!(orders.contains(&(node(0), placed)), "{orders:?}");
    assert!(orders.iter().any(|(to, order)| *to == places[1]
        && matches!(order, ControlSays::PlaceActor { spec, .. } if spec.actor == early)));
    // Where any bundle will do, those with room are taken.
    let mut any = cluster.spec(cpus(1.0));
    any.strategy = in_group(None);
    let any = cluster.create(&any);
    assert_eq!(cluster.asked(), [(places[0].to_array()[0], any)]);
    // Whoever asks late hears at once.
    cluster
        .stage
        .on_node_from(places[0], NodeSays::GroupWanted { group: id });
    assert!(matches!(&cluster.stage.addressed_orders()[..],
        [(to, ControlSays::GroupPlaced { .. })] if *to == places[0]));
    cluster.lose(places[1].to_array()[0], NodeEnd::Unexpected);
    let orders = cluster.stage.addressed_orders();
    assert!(
        orders.iter().any(|(to, order)| *to == node(0)
            && matches!(order, ControlSays::GroupPlaced { nodes, .. } if nodes[1].is_nil())),
        "{orders:?}"
    );
    let remove = whipray_proto::messages::placement::RemoveGroup { group: id };
    cluster.stage.told(cluster.driver);
    cluster.stage.say(cluster.driver, remove);
    let orders = cluster.stage.addressed_orders();
    let removed = ControlSays::RemoveGroup { group: id };
    for to in [node(0), places[0]] {
        assert!(orders.contains(&(to, removed.clone())));
    }
    // The one that waited for its bundle to come back waits no more.
    let update = cluster.update();
    assert_eq!(
        (update.actor, update.state),
        (early, ActorState::Dead as i32)
    );
}

/// A node that was alone got an actor before the bundles of its group had room. They came to lie on
/// the next node, and the actor waited for them at the first one for ever.
#[test]
fn an_actor_that_waits_follows_its_group_to_another_node() {
    let mut cluster = Cluster::new(1.0, &[]);
    let id = whipray_proto::PlacementGroupId::new(cluster.job);
    let bundle = BundleSpec {
        resources: cpus(1.0),
        selector: None,
    };
    let group = GroupSpec {
        group: id,
        bundles: vec![bundle],
        job: cluster.job,
        ..GroupSpec::default()
    };
    let create = CreateGroup {
        request: 0,
        spec: group,
    };
    cluster.stage.say(cluster.driver, create);
    let answer = |number: u8, attempt, is_granted| {
        let prepared = NodeSays::BundlesPrepared {
            group: id,
            attempt,
            is_granted,
            available: cpus(0.0),
        };
        (node(number), prepared)
    };
    let (from, refusal) = answer(0, 1, false);
    cluster.stage.on_node_from(from, refusal);
    let mut spec = cluster.spec(cpus(1.0));
    spec.strategy = Some(Box::new(SchedulingStrategy {
        group: Some(InGroup {
            group: id,
            bundle: None,
            captures: false,
        }),
        ..SchedulingStrategy::default()
    }));
    let actor = cluster.create(&spec);
    assert_eq!(cluster.asked(), [(0, actor)]);
    cluster.stage.join(1, 1.0);
    let attempt = cluster.stage.control.groups[&id].attempt;
    let (from, grant) = answer(1, attempt, true);
    cluster.stage.on_node_from(from, grant);
    assert_eq!(cluster.stage.control.groups[&id].nodes, [Some(node(1))]);
    assert_eq!(cluster.recalled(), [(0, actor)]);
    cluster.stage.control.place_waiting_actors();
    cluster.stage.take_in();
    assert_eq!(cluster.recalled(), [], "it was called back");
    cluster.let_go(0, actor);
    assert_eq!(cluster.asked(), [(1, actor)]);
    cluster.stage.control.place_waiting_actors();
    cluster.stage.take_in();
    assert_eq!(cluster.recalled(), [], "it is where its bundle is");
}

#[test]
fn an_actor_that_waits_may_be_killed_anywhere() {
    let mut cluster = Cluster::new(1.0, &[1.0]);
    let nowhere = cluster.create_with(9.0);
    let queued = [
        cluster.create_with(1.0),
        cluster.create_with(1.0),
        cluster.create_with(1.0),
    ];
    cluster.asked();
    for actor in [nowhere, queued[2]] {
        let kill = whipray_proto::messages::actor::KillActor {
            actor,
            no_restart: true,
        };
        cluster.stage.say(cluster.driver, kill);
    }
    let orders = cluster.stage.orders();
    assert!(matches!(&orders[..], [ControlSays::KillActor { actor, .. }] if *actor == queued[2]));
    cluster.stage.has_left(1, 1.0);
    assert!(cluster.recalled().is_empty());
}
