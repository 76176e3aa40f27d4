//! Random traffic between nodes, with messages that take their time: what owners, homes and other
//! nodes believe to have of each other must agree once all of them have arrived.

use proptest::prelude::*;
use whipray_proto::SchedulingStrategy;
use whipray_proto::link::NodeState;
use whipray_proto::messages::lease::{IdleReturned, KillWorker};

use super::cluster::{Cluster, id};
use super::*;
use crate::core::foreign_leases::ForeignLease;
use crate::core::leases::Waiter;
use crate::core::workers::Work;

#[derive(Clone, Debug)]
enum Step {
    Want {
        node: usize,
        class: u64,
        target: u32,
    },
    Return {
        node: usize,
        which: usize,
    },
    Kill {
        node: usize,
        which: usize,
    },
    Exit {
        node: usize,
        which: usize,
    },
    StartWorkers {
        node: usize,
    },
    Deliver {
        which: usize,
    },
    /// An owner says that what was idle is back.
    Answer {
        node: usize,
    },
    News,
    /// The last node is silent, or is heard again.
    State {
        is_alive: bool,
    },
    Die,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0usize..3, 1u64..6, 0u32..6)
            .prop_map(|(node, class, target)| Step::Want { node, class, target }),
        4 => (0usize..3, 0usize..64).prop_map(|(node, which)| Step::Return { node, which }),
        1 => (0usize..3, 0usize..64).prop_map(|(node, which)| Step::Kill { node, which }),
        1 => (0usize..3, 0usize..64).prop_map(|(node, which)| Step::Exit { node, which }),
        2 => (0usize..3).prop_map(|node| Step::StartWorkers { node }),
        12 => (0usize..64).prop_map(|which| Step::Deliver { which }),
        4 => (0usize..3).prop_map(|node| Step::Answer { node }),
        2 => Just(Step::News),
        1 => any::<bool>().prop_map(|is_alive| Step::State { is_alive }),
    ]
}

/// Owners, one for each node.
struct Owners {
    cluster: Cluster,
    drivers: Vec<(ClientId, JobId)>,
    targets: BTreeMap<(usize, u64), u32>,
    /// What each owner holds: lease, class, worker.
    held: Vec<Vec<(LeaseId, u64, WorkerId)>>,
    /// What each was asked for and has not answered.
    rounds: Vec<Vec<u64>>,
    /// Nodes that are not dead.
    living: usize,
}

impl Owners {
    fn new() -> Self {
        let mut cluster = Cluster::new(&[cpus(1.0), cpus(2.0), cpus(3.0)]);
        let drivers = (0..3).map(|node| cluster.driver(node)).collect();
        Self {
            cluster,
            drivers,
            targets: BTreeMap::new(),
            held: vec![Vec::new(); 3],
            rounds: vec![Vec::new(); 3],
            living: 3,
        }
    }

    fn take_in(&mut self) {
        self.cluster.collect();
        for node in 0..3 {
            let (driver, _) = self.drivers[node];
            for message in self.cluster.nodes[node].received(driver) {
                match message {
                    Message::LeaseGranted(it) => {
                        self.held[node].push((it.lease, it.class, it.worker.worker));
                    }
                    Message::LeaseLost(it) => {
                        self.held[node].retain(|(lease, ..)| *lease != it.lease);
                    }
                    Message::ReclaimIdle(it) => self.rounds[node].push(it.round),
                    _ => {}
                }
            }
        }
    }

    /// An owner whose leases are all busy says so.
    fn answer(&mut self, node: usize) {
        let driver = self.drivers[node].0;
        for round in std::mem::take(&mut self.rounds[node]) {
            self.cluster.nodes[node].say(driver, IdleReturned { round });
        }
    }

    fn want(&mut self, node: usize, class: u64, target: u32) {
        let (driver, job) = self.drivers[node];
        self.targets.insert((node, class), target);
        let amount = if class == 3 { 2.0 } else { 1.0 };
        let spreads = SchedulingStrategy {
            spreads: true,
            ..SchedulingStrategy::default()
        };
        let definition = SchedulingClass {
            resources: cpus(amount),
            job,
            strategy: (class == 4).then(|| Box::new(spreads)),
            near: (class == 5).then(|| id(1)),
            ..SchedulingClass::default()
        };
        self.cluster.nodes[node].want(driver, class, definition, target);
    }

    /// Whether a step is of a node that is dead.
    fn is_of_the_dead(&self, step: &Step) -> bool {
        match *step {
            Step::Want { node, .. }
            | Step::Return { node, .. }
            | Step::Kill { node, .. }
            | Step::Exit { node, .. }
            | Step::Answer { node }
            | Step::StartWorkers { node } => node >= self.living,
            Step::State { .. } | Step::Die => self.living < 3,
            Step::Deliver { .. } | Step::News => false,
        }
    }

    fn take_step(&mut self, step: &Step) {
        if self.is_of_the_dead(step) {
            return;
        }
        match *step {
            Step::Want {
                node,
                class,
                target,
            } => self.want(node, class, target),
            Step::Return { node, which } => {
                if self.held[node].is_empty() {
                    return;
                }
                let index = which % self.held[node].len();
                let (lease, class, _) = self.held[node].remove(index);
                let target = self.targets.get(&(node, class)).copied().unwrap_or(0);
                self.want(node, class, target.saturating_sub(1));
                self.cluster.nodes[node].give_back(self.drivers[node].0, lease);
            }
            Step::Kill { node, which } => {
                if let Some((.., worker)) = self.held[node].iter().cycle().nth(which) {
                    let (worker, reason) = (*worker, String::new());
                    let driver = self.drivers[node].0;
                    self.cluster.nodes[node].say(driver, KillWorker { worker, reason });
                }
            }
            Step::Exit { node, which } => {
                let stage = &mut self.cluster.nodes[node];
                let mut workers: Vec<WorkerId> = stage.worker_clients.keys().copied().collect();
                workers.retain(|worker| stage.node.pool.get(*worker).is_some());
                if let Some(worker) = workers.iter().cycle().nth(which) {
                    stage.exited(*worker, SEGFAULT);
                }
            }
            Step::StartWorkers { node } => {
                self.cluster.nodes[node].start_workers();
            }
            Step::Deliver { which } => {
                let busy = self.cluster.busy_streams();
                if let Some((from, to)) = busy.iter().cycle().nth(which) {
                    self.cluster.deliver(*from, *to);
                }
            }
            Step::Answer { node } => self.answer(node),
            Step::News => self.cluster.news(),
            Step::State { is_alive } => {
                let state = match is_alive {
                    true => NodeState::Alive,
                    false => NodeState::Suspect,
                };
                self.cluster.set_state(2, state);
            }
            Step::Die => {
                self.living = 2;
                self.cluster.set_state(2, NodeState::Dead);
            }
        }
    }

    /// Everything arrives, workers that were condemned are gone, and all views are right.
    fn come_to_rest(&mut self) {
        if self.living == 3 {
            self.cluster.set_state(2, NodeState::Alive);
        }
        for _ in 0..20 {
            self.cluster.run();
            self.take_in();
            (0..self.living).for_each(|node| self.answer(node));
            for stage in &mut self.cluster.nodes {
                // Holders may be asked again.
                stage.wait(5_000);
                let condemned = stage.node.pool.iter();
                let condemned = condemned.filter(|(_, it)| it.verdict.is_some());
                let condemned: Vec<WorkerId> = condemned.map(|(worker, _)| worker).collect();
                for worker in condemned {
                    if stage.pids.contains_key(&worker) {
                        stage.exited(worker, 9);
                    }
                }
            }
            self.cluster.run();
            self.cluster.news();
            self.cluster.run();
            self.take_in();
        }
    }

    fn check(&self) {
        for home in 0..self.living {
            let node = &self.cluster.nodes[home].node;
            let (driver, _) = self.drivers[home];
            let local = node
                .pool
                .iter()
                .filter(|(_, it)| matches!(it.work, Work::Leased { owner, .. } if owner == driver));
            let is_of_dead = |lease: &ForeignLease| lease.node == id(self.living);
            let foreign: Vec<&ForeignLease> =
                node.forwarding.leases.iter().map(|(_, it)| it).collect();
            assert!(!foreign.iter().any(|it| is_of_dead(it)));
            let has = local.count() + foreign.len();
            assert_eq!(has, self.held[home].len(), "node {home} and its owner");
            for other in 0..self.living {
                let given = &self.cluster.nodes[other].node;
                let Some(client) = given.neighbours.client_of(id(home)) else {
                    continue;
                };
                let leased = given.pool.iter().filter(
                    |(_, it)| matches!(it.work, Work::Leased { owner, .. } if owner == client),
                );
                let had = node.forwarding.leases.iter();
                let had = had.filter(|(_, lease)| lease.node == id(other)).count();
                assert_eq!(leased.count(), had, "{home} has of {other}");
            }
            for class in 1..6 {
                let demand = node.demands.get(&Waiter::Class {
                    owner: driver,
                    class,
                });
                let Some(demand) = demand else { continue };
                if demand.obtained() < demand.target {
                    let room = self.cluster.nodes.iter().enumerate().take(self.living);
                    for (index, stage) in room {
                        let available = stage.node.ledger.available();
                        assert!(
                            !available.covers(&demand.resources),
                            "class {class} of {home} waits, and {index} has room: {demand:?}"
                        );
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn all_agree_once_all_has_arrived(steps in proptest::collection::vec(step(), 1..80)) {
        let mut owners = Owners::new();
        for step in &steps {
            owners.take_step(step);
            owners.take_in();
        }
        owners.come_to_rest();
        owners.check();
    }

    #[test]
    fn those_who_are_left_agree_when_a_node_dies(
        steps in proptest::collection::vec(step(), 1..60),
        when in any::<proptest::sample::Index>(),
    ) {
        let mut owners = Owners::new();
        let death = when.index(steps.len());
        for (index, step) in steps.iter().enumerate() {
            if index == death {
                owners.take_step(&Step::Die);
            }
            owners.take_step(step);
            owners.take_in();
        }
        owners.come_to_rest();
        owners.check();
    }
}
