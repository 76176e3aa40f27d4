//! Placement groups over several nodes: each is played by a ledger, and may be lost.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use proptest::prelude::*;
use whipray_proto::Resources;
use whipray_proto::messages::cluster::NodeEnd;
use whipray_proto::messages::placement::{CreateGroup, GroupsRequest, RemoveGroup, SubscribeGroup};
use whipray_proto::resources::CPU;
use whipray_proto::scheduling::{BundleSpec, GroupSpec, GroupState, GroupStrategy};
use whipray_sched::Ledger;

use super::*;

fn cpus(amount: f64) -> Resources {
    Resources::none().with(CPU, amount)
}

/// A control with nodes that answer.
struct Cluster {
    stage: Stage,
    driver: WorkerId,
    job: JobId,
    nodes: BTreeMap<NodeId, Ledger>,
    watched: bool,
    /// Nodes that do not answer for now, with what they were told.
    silent: BTreeMap<NodeId, Vec<ControlSays>>,
}

impl Cluster {
    fn new(sizes: &[f64]) -> Self {
        let mut stage = Stage::empty();
        let (driver, job) = stage.driver();
        stage.orders();
        let mut cluster = Self {
            stage,
            driver,
            job,
            nodes: BTreeMap::new(),
            watched: false,
            silent: BTreeMap::new(),
        };
        for (number, size) in (1u8..).zip(sizes) {
            cluster.join(number, *size);
        }
        cluster
    }

    fn join(&mut self, number: u8, size: f64) {
        let node = NodeId::from_array([number; 28]);
        self.nodes.insert(node, Ledger::new(cpus(size)));
        let status = NodeStatus {
            node,
            alive: true,
            total: cpus(size),
            available: cpus(size),
            ..NodeStatus::default()
        };
        self.stage
            .on_node_from(node, NodeSays::Joined(Box::new(status)));
        self.settle();
    }

    fn lose(&mut self, number: u8) {
        let node = NodeId::from_array([number; 28]);
        self.nodes.remove(&node);
        self.silent.remove(&node);
        self.stage
            .control
            .node_lost(node, "was lost", NodeEnd::Unexpected);
        self.stage.take_in();
        self.settle();
    }

    /// Nodes do what they are told, until nobody says anything.
    fn settle(&mut self) {
        loop {
            let orders = self.stage.addressed_orders();
            if orders.is_empty() {
                return;
            }
            for (node, order) in orders {
                self.carry_out(node, order);
            }
        }
    }

    fn carry_out(&mut self, node: NodeId, order: ControlSays) {
        if let Some(unheard) = self.silent.get_mut(&node) {
            return unheard.push(order);
        }
        let Some(ledger) = self.nodes.get_mut(&node) else {
            return;
        };
        match order {
            ControlSays::PrepareBundles {
                group,
                attempt,
                bundles,
            } => {
                let is_granted = ledger.prepare(group, attempt, &bundles);
                let available = ledger.available().clone();
                let prepared = NodeSays::BundlesPrepared {
                    group,
                    attempt,
                    is_granted,
                    available,
                };
                self.stage.on_node_from(node, prepared);
            }
            ControlSays::CommitBundles { group, attempt } => ledger.commit(group, attempt),
            ControlSays::ReturnBundles { group, attempt } => {
                ledger.withdraw(group, Some(attempt));
                self.tell_available(node);
            }
            ControlSays::RemoveGroup { group } => {
                ledger.withdraw(group, None);
                self.tell_available(node);
            }
            ControlSays::WatchResources { is_on, .. } => {
                self.watched = is_on;
                self.tell_available(node);
            }
            _ => {}
        }
    }

    fn tell_available(&mut self, node: NodeId) {
        if self.watched
            && let Some(ledger) = self.nodes.get(&node)
        {
            let available = ledger.available().clone();
            self.stage
                .on_node_from(node, NodeSays::Available { available });
        }
    }

    fn speak_again(&mut self, number: u8) {
        let node = NodeId::from_array([number; 28]);
        for order in self.silent.remove(&node).unwrap_or_default() {
            self.carry_out(node, order);
        }
        self.settle();
    }

    fn create(&mut self, strategy: GroupStrategy, bundles: &[f64]) -> PlacementGroupId {
        let spec = self.spec(strategy, bundles);
        let group = spec.group;
        self.stage
            .say(self.driver, CreateGroup { request: 0, spec });
        self.settle();
        group
    }

    fn spec(&self, strategy: GroupStrategy, bundles: &[f64]) -> GroupSpec {
        let bundles = bundles.iter().map(|size| BundleSpec {
            resources: cpus(*size),
            selector: None,
        });
        GroupSpec {
            group: PlacementGroupId::new(self.job),
            strategy: strategy as i32,
            bundles: bundles.collect(),
            job: self.job,
            ..GroupSpec::default()
        }
    }

    fn remove(&mut self, group: PlacementGroupId) {
        self.stage.say(self.driver, RemoveGroup { group });
        self.settle();
    }

    fn state(&self, group: PlacementGroupId) -> Option<GroupState> {
        Some(self.stage.control.groups.get(&group)?.state())
    }

    /// The numbers of the nodes of a group's bundles.
    fn places(&self, group: PlacementGroupId) -> Vec<u8> {
        let group = self.stage.control.groups.get(&group);
        let nodes = group.map(|group| group.nodes.clone()).unwrap_or_default();
        nodes
            .iter()
            .flatten()
            .map(|node| node.to_array()[0])
            .collect()
    }

    fn free(&self) -> f64 {
        self.nodes
            .values()
            .map(|ledger| ledger.available().amount(CPU))
            .sum()
    }

    /// Bundles serve where their group stands, and nowhere else.
    fn check(&self) {
        let groups = &self.stage.control.groups;
        for (node, ledger) in &self.nodes {
            for used in ledger.bundle_uses() {
                let group = &groups[&used.bundle.group];
                let place = group.nodes[used.bundle.index as usize];
                assert_eq!(place, Some(*node), "a bundle serves where it does not lie");
                assert_ne!(group.state(), GroupState::Removed);
            }
            let mut sum = ledger.available().clone();
            sum.add(&ledger.reserved());
            assert_eq!(
                sum,
                *ledger.total(),
                "something is lost, or was given twice"
            );
        }
        for group in groups.values() {
            for (index, place) in (0u32..).zip(&group.nodes) {
                let Some(node) = place else { continue };
                if group.state() == GroupState::Removed {
                    continue;
                }
                let serves = self.nodes[node].bundle_uses().iter().any(|used| {
                    used.bundle.group == group.spec.group && used.bundle.index == index
                });
                assert!(serves, "a bundle lies where it does not serve");
            }
            if group.state() == GroupState::Created {
                assert!(group.nodes.iter().all(Option::is_some));
            }
        }
    }
}

#[test]
fn bundles_lie_as_their_strategy_says() {
    let mut cluster = Cluster::new(&[4.0, 4.0, 4.0]);
    let packed = cluster.create(GroupStrategy::StrictPack, &[1.0, 1.0]);
    let spread = cluster.create(GroupStrategy::StrictSpread, &[1.0, 1.0, 1.0]);
    assert_eq!(cluster.state(packed), Some(GroupState::Created));
    let places = cluster.places(packed);
    assert_eq!(places[0], places[1]);
    let mut places = cluster.places(spread);
    places.sort_unstable();
    assert_eq!(places, [1, 2, 3]);
    cluster.check();
}

#[test]
fn one_refusal_returns_what_the_others_have_set_aside() {
    let mut cluster = Cluster::new(&[2.0, 2.0]);
    // The second node gives something away that control does not know of.
    let second = NodeId::from_array([2; 28]);
    let taken = cluster
        .nodes
        .get_mut(&second)
        .and_then(|ledger| ledger.acquire(&cpus(2.0)));
    let group = cluster.create(GroupStrategy::StrictSpread, &[1.0, 1.0]);
    assert_eq!(cluster.state(group), Some(GroupState::Pending));
    assert_eq!(cluster.free(), 2.0, "the first node has everything back");
    if let (Some(ledger), Some(taken)) = (cluster.nodes.get_mut(&second), taken) {
        ledger.release(&taken);
    }
    cluster.tell_available(second);
    cluster.settle();
    assert_eq!(cluster.state(group), Some(GroupState::Created));
    cluster.check();
}

#[test]
fn a_group_waits_until_room_comes_and_then_nobody_listens() {
    let mut cluster = Cluster::new(&[2.0]);
    let first = cluster.create(GroupStrategy::Pack, &[2.0]);
    let second = cluster.create(GroupStrategy::Pack, &[1.0]);
    let third = cluster.create(GroupStrategy::Pack, &[9.0]);
    assert_eq!(cluster.state(second), Some(GroupState::Pending));
    assert!(cluster.watched);
    cluster.remove(first);
    assert_eq!(cluster.state(second), Some(GroupState::Created));
    assert!(
        !cluster.watched,
        "what can never fit is no reason to listen"
    );
    assert_eq!(cluster.state(third), Some(GroupState::Pending));
    cluster.join(7, 10.0);
    assert_eq!(cluster.state(third), Some(GroupState::Created));
    cluster.check();
}

#[test]
fn removal_while_nodes_are_asked_leaves_nothing() {
    let mut cluster = Cluster::new(&[2.0, 2.0]);
    cluster
        .silent
        .insert(NodeId::from_array([2; 28]), Vec::new());
    let group = cluster.create(GroupStrategy::StrictSpread, &[1.0, 1.0]);
    assert_eq!(cluster.state(group), Some(GroupState::Pending));
    cluster.remove(group);
    cluster.speak_again(2);
    assert_eq!(cluster.free(), 4.0);
    cluster.check();
}

#[test]
fn bundles_of_a_lost_node_are_placed_again() {
    let mut cluster = Cluster::new(&[2.0, 2.0]);
    let group = cluster.create(GroupStrategy::StrictSpread, &[1.0, 1.0]);
    cluster.stage.told(cluster.driver);
    cluster.lose(2);
    assert_eq!(cluster.state(group), Some(GroupState::Rescheduling));
    cluster.check();
    cluster.join(3, 2.0);
    assert_eq!(cluster.state(group), Some(GroupState::Created));
    let mut places = cluster.places(group);
    places.sort_unstable();
    assert_eq!(places, [1, 3]);
    let told: Vec<i32> = cluster
        .stage
        .told(cluster.driver)
        .iter()
        .filter_map(|message| match message {
            Message::GroupUpdate(update) => Some(update.state),
            _ => None,
        })
        .collect();
    let expected = [GroupState::Rescheduling as i32, GroupState::Created as i32];
    assert_eq!(told, expected);
    cluster.check();
}

#[test]
fn a_node_that_is_lost_while_it_is_asked_is_not_waited_for() {
    let mut cluster = Cluster::new(&[2.0, 2.0]);
    cluster
        .silent
        .insert(NodeId::from_array([2; 28]), Vec::new());
    let group = cluster.create(GroupStrategy::StrictSpread, &[1.0, 1.0]);
    cluster.lose(2);
    assert_eq!(cluster.state(group), Some(GroupState::Pending));
    assert_eq!(cluster.free(), 2.0);
    cluster.join(3, 2.0);
    assert_eq!(cluster.state(group), Some(GroupState::Created));
    cluster.check();
}

#[test]
fn a_group_that_loses_more_while_it_is_mended_is_mended_again() {
    let mut cluster = Cluster::new(&[2.0, 2.0, 2.0]);
    let group = cluster.create(GroupStrategy::StrictSpread, &[1.0, 1.0, 1.0]);
    cluster.join(4, 2.0);
    cluster
        .silent
        .insert(NodeId::from_array([4; 28]), Vec::new());
    cluster.lose(3);
    cluster.lose(2);
    cluster.speak_again(4);
    assert_eq!(cluster.state(group), Some(GroupState::Rescheduling));
    cluster.check();
    cluster.join(5, 2.0);
    assert_eq!(cluster.state(group), Some(GroupState::Created));
    cluster.check();
}

#[test]
fn groups_end_with_their_job_but_for_detached_ones() -> Result<(), Box<dyn std::error::Error>> {
    let mut cluster = Cluster::new(&[4.0]);
    let plain = cluster.create(GroupStrategy::Pack, &[1.0]);
    let mut spec = cluster.spec(GroupStrategy::Pack, &[1.0]);
    spec.detached = true;
    spec.name = "kept".to_owned();
    let detached = spec.group;
    cluster
        .stage
        .say(cluster.driver, CreateGroup { request: 3, spec });
    cluster.settle();
    cluster.stage.process_gone(cluster.driver);
    cluster.settle();
    assert_eq!(cluster.state(plain), Some(GroupState::Removed));
    assert_eq!(cluster.state(detached), Some(GroupState::Created));
    assert_eq!(cluster.stage.storage.read(Table::Groups)?.len(), 2);
    let other = WorkerId::random();
    let asked = GroupsRequest {
        request: 9,
        name: "kept".to_owned(),
        ..GroupsRequest::default()
    };
    cluster.stage.say(other, asked);
    let told = cluster.stage.told(other);
    assert!(matches!(&told[..], [Message::Groups(found)]
        if found.groups.len() == 1 && found.groups[0].spec.group == detached));
    cluster.check();
    Ok(())
}

#[test]
fn a_name_is_taken_until_its_group_is_removed() {
    let mut cluster = Cluster::new(&[4.0]);
    let named = |cluster: &mut Cluster| {
        let mut spec = cluster.spec(GroupStrategy::Pack, &[1.0]);
        spec.name = "name".to_owned();
        let group = spec.group;
        cluster
            .stage
            .say(cluster.driver, CreateGroup { request: 1, spec });
        cluster.settle();
        let told = cluster.stage.told(cluster.driver);
        let error = told.iter().find_map(|message| match message {
            Message::GroupCreated(created) => Some(created.error.clone()),
            _ => None,
        });
        (group, error.unwrap_or_default())
    };
    let (first, error) = named(&mut cluster);
    assert_eq!(error, "");
    assert_eq!(named(&mut cluster).1, "name 'name' already exists.");
    cluster.remove(first);
    assert_eq!(named(&mut cluster).1, "");
    cluster.check();
}

#[test]
fn a_question_may_come_before_its_group_and_ends_with_the_job() {
    let mut cluster = Cluster::new(&[4.0]);
    let (early, late) = (WorkerId::random(), WorkerId::random());
    let spec = cluster.spec(GroupStrategy::Pack, &[1.0]);
    let (group, never) = (spec.group, PlacementGroupId::new(cluster.job));
    cluster.stage.say(early, SubscribeGroup { group });
    cluster.stage.say(late, SubscribeGroup { group: never });
    assert!(cluster.stage.told(early).is_empty());
    cluster
        .stage
        .say(cluster.driver, CreateGroup { request: 0, spec });
    cluster.settle();
    assert!(
        matches!(&cluster.stage.told(early)[..], [Message::GroupUpdate(update)]
        if update.state == GroupState::Created as i32)
    );
    let node = NodeId::from_array([1; 28]);
    cluster
        .stage
        .on_node_from(node, NodeSays::GroupWanted { group: never });
    assert!(cluster.stage.orders().is_empty());
    cluster.stage.process_gone(cluster.driver);
    let told = cluster.stage.told(late);
    assert!(matches!(&told[..], [Message::GroupUpdate(update)]
        if update.state == GroupState::Removed as i32));
    let orders = cluster.stage.addressed_orders();
    assert!(orders.contains(&(node, ControlSays::RemoveGroup { group: never })));
    cluster
        .stage
        .on_node_from(node, NodeSays::GroupWanted { group });
    let orders = cluster.stage.addressed_orders();
    assert_eq!(orders, [(node, ControlSays::RemoveGroup { group })]);
}

proptest! {
    /// Whatever happens in whatever order: bundles serve all or none, and nothing is lost.
    #[test]
    fn nothing_is_lost_and_nothing_given_twice(
        sizes in proptest::collection::vec(1u8..5, 1..4),
        steps in proptest::collection::vec(
            (0u8..6, 0i32..4, proptest::collection::vec(1u8..4, 1..4), any::<prop::sample::Index>()),
            1..30,
        ),
    ) {
        let sizes: Vec<f64> = sizes.iter().map(|size| f64::from(*size)).collect();
        let mut cluster = Cluster::new(&sizes);
        let mut groups: Vec<PlacementGroupId> = Vec::new();
        let mut next = sizes.len() as u8 + 1;
        for (what, strategy, bundles, which) in steps {
            let strategy = GroupStrategy::try_from(strategy).unwrap_or(GroupStrategy::Pack);
            let bundles: Vec<f64> = bundles.iter().map(|size| f64::from(*size)).collect();
            match what {
                0 | 1 => groups.push(cluster.create(strategy, &bundles)),
                2 if !groups.is_empty() => {
                    let group = groups.swap_remove(which.index(groups.len()));
                    cluster.remove(group);
                }
                3 if cluster.nodes.len() > 1 => {
                    let nodes: Vec<u8> = cluster.nodes.keys().map(|node| node.to_array()[0]).collect();
                    cluster.lose(nodes[which.index(nodes.len())]);
                }
                4 => {
                    cluster.join(next, 3.0);
                    next += 1;
                }
                5 => {
                    let nodes: Vec<NodeId> = cluster.nodes.keys().copied().collect();
                    let node = nodes[which.index(nodes.len())];
                    if let Entry::Vacant(silent) = cluster.silent.entry(node) {
                        silent.insert(Vec::new());
                    } else {
                        cluster.speak_again(node.to_array()[0]);
                    }
                }
                _ => {}
            }
            if cluster.silent.is_empty() {
                cluster.check();
            }
        }
        let silent: Vec<u8> = cluster.silent.keys().map(|node| node.to_array()[0]).collect();
        for number in silent {
            cluster.speak_again(number);
        }
        cluster.check();
        for group in groups {
            cluster.remove(group);
        }
        let total: f64 = cluster.nodes.values().map(|ledger| ledger.total().amount(CPU)).sum();
        prop_assert_eq!(cluster.free(), total);
    }
}
