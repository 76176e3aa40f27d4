//! Random traffic between nodes, with messages that take their time: what owners, homes and other
//! nodes believe to have of each other must agree once all of them have arrived.

use proptest::prelude::*;
use whipray_proto::messages::lease::KillWorker;

use super::cluster::{Cluster, id};
use super::*;
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
    News,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0usize..3, 1u64..4, 0u32..6)
            .prop_map(|(node, class, target)| Step::Want { node, class, target }),
        4 => (0usize..3, 0usize..64).prop_map(|(node, which)| Step::Return { node, which }),
        1 => (0usize..3, 0usize..64).prop_map(|(node, which)| Step::Kill { node, which }),
        1 => (0usize..3, 0usize..64).prop_map(|(node, which)| Step::Exit { node, which }),
        2 => (0usize..3).prop_map(|node| Step::StartWorkers { node }),
        12 => (0usize..64).prop_map(|which| Step::Deliver { which }),
        2 => Just(Step::News),
    ]
}

/// Owners, one for each node.
struct Owners {
    cluster: Cluster,
    drivers: Vec<(ClientId, JobId)>,
    targets: BTreeMap<(usize, u64), u32>,
    /// What each owner holds: lease, class, worker.
    held: Vec<Vec<(LeaseId, u64, WorkerId)>>,
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
                    _ => {}
                }
            }
        }
    }

    fn want(&mut self, node: usize, class: u64, target: u32) {
        let (driver, job) = self.drivers[node];
        self.targets.insert((node, class), target);
        let amount = if class == 3 { 2.0 } else { 1.0 };
        self.cluster.nodes[node].target_of(driver, class, job, target, cpus(amount));
    }

    fn take_step(&mut self, step: &Step) {
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
                let mut living: Vec<WorkerId> = stage.worker_clients.keys().copied().collect();
                living.retain(|worker| stage.node.pool.get(*worker).is_some());
                if let Some(worker) = living.iter().cycle().nth(which) {
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
            Step::News => self.cluster.news(),
        }
    }

    /// Everything arrives, workers that were condemned are gone, and all views are right.
    fn come_to_rest(&mut self) {
        for _ in 0..20 {
            self.cluster.run();
            self.take_in();
            for stage in &mut self.cluster.nodes {
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
        for home in 0..3 {
            let node = &self.cluster.nodes[home].node;
            let (driver, _) = self.drivers[home];
            let local = node
                .pool
                .iter()
                .filter(|(_, it)| matches!(it.work, Work::Leased { owner, .. } if owner == driver));
            let foreign = node.forwarding.leases.iter().count();
            let has = local.count() + foreign;
            assert_eq!(has, self.held[home].len(), "node {home} and its owner");
            for other in 0..3 {
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
            for class in 1..4 {
                let demand = node.demands.get(&Waiter::Class {
                    owner: driver,
                    class,
                });
                let Some(demand) = demand else { continue };
                if demand.obtained() < demand.target {
                    let room = self.cluster.nodes.iter().enumerate();
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
    #![proptest_config(ProptestConfig::with_cases(200))]
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
}
