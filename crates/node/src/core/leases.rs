//! Leases: the right of an owner to push its tasks to a worker.

use whipray_proto::messages::lease::{LeaseGranted, LeaseRefused, LeaseTarget, SchedulingClass};
use whipray_proto::{
    ActorId, Assignment, DeathCause, DeathKind, JobId, LeaseId, NodeId, Resources,
    SchedulingStrategy, WorkerId, limits, object,
};
use whipray_sched::policy::Decision;

use super::clients::Client;
use super::effect::Environment;
use super::forwarding::{Share, Trial};
use super::judging::unschedulable;
use super::timers::{Micros, Timer, micros};
use super::workers::{Hold, Link, Work};
use super::{ClientId, Node};

/// Someone who waits for a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Waiter {
    Class { owner: ClientId, class: u64 },
    Actor(ActorId),
}

/// What an owner wants of one scheduling class.
#[derive(Clone, Debug)]
pub struct Demand {
    pub resources: Resources,
    pub job: JobId,
    pub environment: Environment,
    pub strategy: Option<Box<SchedulingStrategy>>,
    pub example: String,
    /// Leases that the owner wants to hold in all.
    pub target: u32,
    /// Leases that it holds, and workers that are on their way to it.
    pub held: u32,
    /// Why no free moment of this node could serve it.
    pub infeasible: Option<String>,
    /// Since when it has no lease at all, and wants one.
    pub starved_since: Option<Micros>,
    pub is_told_why: bool,
    /// It is the demand of another node, for its own owners: only this one can serve it.
    pub is_of_node: bool,
    /// This node itself could serve it in some free moment.
    pub serves_here: bool,
    pub near: Option<NodeId>,
    /// By which other nodes know it; zero while none does.
    pub number: u64,
    pub shares: Vec<Share>,
    /// Nodes that said that they cannot serve it, against what is known of them.
    pub avoids: Vec<NodeId>,
    /// The node that it insists on, where control is asked whether there is such a one.
    pub asked_for: Option<NodeId>,
    pub hopes: Hopes,
    /// The node that was last chosen for it, where it is to be spread.
    pub last_node: NodeId,
}

/// That leases which others have may be idle, so that a node has more to give than it seems.
#[derive(Clone, Debug, Default)]
pub struct Hopes {
    /// While this round is not over, something may come back here.
    pub round: Option<u64>,
    /// The node that asks wants to hear when there is nothing to hope for.
    pub is_asked_to_say: bool,
    /// Other nodes that had nothing idle.
    pub busy: Vec<NodeId>,
    /// When to hope anew: what was in use is so for a while.
    pub not_before: Micros,
}

impl Demand {
    fn new(definition: SchedulingClass, example: String, infeasible: Option<String>) -> Self {
        Self {
            resources: definition.resources,
            job: definition.job,
            environment: Environment::new(definition.environment),
            strategy: definition.strategy,
            example,
            target: 0,
            held: 0,
            infeasible,
            starved_since: None,
            is_told_why: false,
            is_of_node: false,
            serves_here: true,
            near: definition.near,
            number: 0,
            shares: Vec::new(),
            avoids: Vec::new(),
            asked_for: None,
            hopes: Hopes::default(),
            last_node: NodeId::default(),
        }
    }

    /// Leases that the owner has, here and elsewhere.
    pub fn obtained(&self) -> u32 {
        let elsewhere: u32 = self.shares.iter().map(|share| share.held).sum();
        self.held + elsewhere
    }

    /// Leases that other nodes were asked for and that did not come yet.
    pub fn asked(&self) -> u32 {
        self.shares.iter().map(|share| share.asked).sum()
    }

    /// Those of them that nobody has room for.
    pub fn stuck(&self) -> u32 {
        let stuck = self.shares.iter().filter(|share| share.is_stuck);
        stuck.map(|share| share.asked).sum()
    }

    /// Leases that are wanted and that nobody was asked for.
    pub fn missing(&self) -> u32 {
        self.target.saturating_sub(self.obtained() + self.asked())
    }

    /// Whether no other node but this one will do.
    pub fn insists_on(&self, node: NodeId) -> bool {
        let strategy = self.strategy.as_deref();
        let affinity = strategy.and_then(|strategy| strategy.affinity.as_ref());
        affinity.is_some_and(|affinity| affinity.node == node && !affinity.is_soft)
    }

    /// Whether more is wanted than there is, here and elsewhere, and than others were asked for.
    pub fn is_hungry(&self) -> bool {
        self.missing() > 0 && self.infeasible.is_none()
    }

    /// Whether it waits in the line: what others were asked for in vain, any node may serve.
    pub fn is_waiting(&self) -> bool {
        let coming = self.obtained() + self.asked() - self.stuck();
        coming < self.target && self.infeasible.is_none()
    }

    pub fn is_in_group(&self) -> bool {
        let strategy = self.strategy.as_ref();
        strategy.is_some_and(|strategy| strategy.group.is_some())
    }

    /// What it has of another node.
    pub fn share_of(&mut self, node: NodeId) -> &mut Share {
        let known = self.shares.iter().position(|share| share.node == node);
        let index = known.unwrap_or_else(|| {
            self.shares.push(Share {
                node,
                asked: 0,
                seen: 0,
                held: 0,
                told: 0,
                is_stuck: false,
                trial: Trial::No,
            });
            self.shares.len() - 1
        });
        &mut self.shares[index]
    }
}

/// The request without amounts that are none: a client must not give itself resources by asking
/// for less than nothing.
pub fn positive(mut resources: Resources) -> Resources {
    resources.amounts.retain(|_, units| *units > 0);
    resources
}

impl Node {
    pub(super) fn lease_target(&mut self, owner: ClientId, request: LeaseTarget, now: Micros) {
        let waiter = Waiter::Class {
            owner,
            class: request.class,
        };
        let target = request.target.min(limits::LEASES_PER_CLASS);
        if !self.demands.contains_key(&waiter) {
            if target == 0 {
                return;
            }
            let mut definition = request.definition;
            definition.resources = positive(definition.resources);
            let strategy = definition.strategy.as_deref();
            let is_of_node = self.neighbours.node_of(owner).is_some();
            let decision = match is_of_node {
                true => self.judge(&definition.resources, strategy),
                false => self.judge_in_cluster(&definition.resources, strategy, &[], true),
            };
            let mut asked_for = None;
            let infeasible = match decision {
                Decision::Run(_) | Decision::Wait(..) => None,
                Decision::Infeasible(reason) => Some(reason),
                Decision::Never(reason) => {
                    asked_for = self.ask_for_node(strategy);
                    if asked_for.is_none() {
                        let failure = unschedulable(&request.example, &reason);
                        return self.send(
                            owner,
                            LeaseRefused {
                                class: request.class,
                                failure,
                            },
                        );
                    }
                    Some(reason)
                }
            };
            let serves_here = self.can_serve_here(&definition.resources, strategy);
            self.join_group(strategy, waiter);
            let tells = infeasible.clone().filter(|_| asked_for.is_none());
            let (job, example) = (definition.job, request.example.clone());
            let demand = Demand {
                is_of_node,
                serves_here,
                asked_for,
                last_node: self.neighbours.last_spread,
                ..Demand::new(definition, request.example, infeasible)
            };
            self.demands.insert(waiter, demand);
            if let Some(reason) = tells {
                self.tell_infeasible((owner, request.class), job, &example, &reason);
            }
        }
        let Some(demand) = self.demands.get_mut(&waiter) else {
            return;
        };
        let is_raised = target > demand.target;
        demand.target = target;
        if is_raised || request.says_if_busy {
            self.reclaim.is_fresh = true;
            // An answer that is owed stays so, also where more is asked for meanwhile.
            demand.hopes.is_asked_to_say |= request.says_if_busy;
            if !self.neighbours.is_alone()
                && (request.says_if_busy || now >= demand.hopes.not_before)
            {
                demand.hopes.round = Some(self.reclaim.next_round());
                demand.hopes.busy.clear();
            }
            if let Some(strategy) = demand.strategy.clone() {
                self.ask_for_group(Some(&strategy));
            }
        }
        self.give_back_reservations(waiter);
        self.update_hunger(waiter, now);
        self.schedule(now);
    }

    /// Puts a demand into the line, or out of it, by what it has and wants.
    pub(super) fn update_hunger(&mut self, waiter: Waiter, now: Micros) {
        if !self.neighbours.is_alone() {
            self.trim_shares(waiter);
        }
        let Some(demand) = self.demands.get_mut(&waiter) else {
            return;
        };
        if demand.target == 0 && demand.held == 0 && demand.shares.is_empty() {
            let removed = self.demands.remove(&waiter);
            self.waiting.remove(&waiter);
            let Some(removed) = removed else { return };
            if removed.number != 0 {
                self.forwarding.forget(removed.number);
            }
            return self.leave_group(removed.strategy.as_deref(), waiter);
        }
        if !demand.is_waiting() {
            demand.starved_since = None;
            demand.is_told_why = false;
            self.waiting.remove(&waiter);
            return;
        }
        self.waiting.push(waiter);
        // It waits here since before the holders of leases were asked.
        let is_to_come = |round: u64| self.reclaim.is_to_come(round);
        self.reclaim.is_fresh |= demand.hopes.round.is_some_and(is_to_come);
        let obtained = demand.obtained();
        if obtained == 0 && demand.starved_since.is_none() {
            demand.starved_since = Some(now);
            self.timers
                .set(now + micros(limits::PENDING_NOTICE), Timer::PendingNotice);
        } else if obtained > 0 {
            demand.starved_since = None;
        }
    }

    /// Hands a worker to an owner.
    pub(super) fn grant_lease(
        &mut self,
        worker: WorkerId,
        (owner, class): (ClientId, u64),
        assignment: Assignment,
    ) {
        let Some(entry) = self.pool.get_mut(worker) else {
            return;
        };
        let Link::Connected { endpoint, .. } = &entry.link else {
            return;
        };
        let lease = LeaseId {
            number: self.next_lease,
        };
        self.next_lease += 1;
        let address = object::WorkerAddress {
            worker,
            node: self.config.node,
            endpoint: endpoint.clone(),
            node_endpoint: self.config.node_endpoint.clone(),
        };
        let hold = Hold {
            assignment: assignment.clone(),
            is_blocked: false,
        };
        entry.work = Work::Leased {
            lease,
            owner,
            class,
            hold,
        };
        self.leases.insert(lease, worker);
        self.send(
            owner,
            LeaseGranted {
                class,
                lease,
                worker: address,
                assignment,
            },
        );
    }

    /// A number that no other lease of this node has.
    pub(super) fn number_lease(&mut self) -> LeaseId {
        let number = self.next_lease;
        self.next_lease += 1;
        LeaseId { number }
    }

    pub(super) fn lease_return(
        &mut self,
        client: ClientId,
        lease: LeaseId,
        end_worker: bool,
        now: Micros,
    ) {
        let Some(worker) = self.leases.get(&lease).copied() else {
            self.return_elsewhere(client, lease, end_worker, now);
            return;
        };
        let Some(entry) = self.pool.get_mut(worker) else {
            return;
        };
        if !matches!(entry.work, Work::Leased { owner, .. } if owner == client) {
            return;
        }
        self.leases.remove(&lease);
        let work = std::mem::replace(&mut entry.work, Work::Idle { since: now });
        self.settle(work, now);
        if end_worker {
            let cause = DeathCause::new(DeathKind::Exited, "its owner had no more use for it");
            self.dismiss_worker(worker, cause, now);
        } else {
            self.pool.set_idle(worker, now);
            self.serve_with(worker);
            self.arm_trim(worker, now);
        }
        self.schedule(now);
    }

    /// Takes back what some work held, and counts it off its owner's demand.
    pub(super) fn settle(&mut self, work: Work, now: Micros) {
        match work {
            Work::Idle { .. } => {}
            Work::Leased {
                owner, class, hold, ..
            } => {
                self.release(&hold);
                let waiter = Waiter::Class { owner, class };
                if let Some(demand) = self.demands.get_mut(&waiter) {
                    demand.held = demand.held.saturating_sub(1);
                }
                self.update_hunger(waiter, now);
            }
            Work::Actor { actor, hold, .. } => {
                self.release(&hold);
                self.remove_placement(actor);
            }
        }
    }

    fn release(&mut self, hold: &Hold) {
        if hold.is_blocked {
            self.ledger.take_back_cpus(&hold.assignment);
        }
        self.ledger.release(&hold.assignment);
    }

    /// A worker's task waits for others, or goes on.
    pub(super) fn worker_blocked(&mut self, worker: WorkerId, is_blocked: bool, now: Micros) {
        let Some(hold) = self.pool.get_mut(worker).and_then(|entry| entry.hold_mut()) else {
            return;
        };
        if hold.is_blocked == is_blocked {
            return;
        }
        hold.is_blocked = is_blocked;
        if is_blocked {
            self.ledger.lend_cpus(&hold.assignment);
            self.schedule(now);
        } else {
            self.ledger.take_back_cpus(&hold.assignment);
            self.tell_changes(now);
        }
    }

    /// An owner ends the worker of one of its leases.
    pub(super) fn kill_leased(&mut self, client: ClientId, worker: WorkerId, reason: String) {
        let is_holder = self.pool.get(worker).is_some_and(
            |entry| matches!(entry.work, Work::Leased { owner, .. } if owner == client),
        );
        if is_holder {
            self.end_worker(worker, DeathCause::new(DeathKind::Killed, reason));
        } else {
            self.kill_elsewhere(client, worker, reason);
        }
    }

    /// An owner wants nothing any more.
    pub(super) fn drop_demands_of(&mut self, owner: ClientId, now: Micros) {
        let waiters: Vec<Waiter> = self
            .demands
            .keys()
            .copied()
            .filter(|waiter| matches!(waiter, Waiter::Class { owner: of, .. } if *of == owner))
            .collect();
        for waiter in waiters {
            if let Some(demand) = self.demands.get_mut(&waiter) {
                demand.target = 0;
            }
            self.give_back_reservations(waiter);
            self.update_hunger(waiter, now);
        }
    }

    /// An owner is gone: whatever its workers do, nobody waits for it.
    pub(super) fn end_leases_of(&mut self, client: ClientId, owner: &Client, now: Micros) {
        let detail = match self.neighbours.node_of(client) {
            Some(node) => format!("the node {node} that submitted its task is gone"),
            None => format!(
                "the process (pid {}) that submitted its task is gone",
                owner.pid
            ),
        };
        self.end_foreign_leases_of(client, &detail);
        let held: Vec<WorkerId> = self
            .pool
            .iter()
            .filter(
                |(_, entry)| matches!(entry.work, Work::Leased { owner, .. } if owner == client),
            )
            .map(|(worker, _)| worker)
            .collect();
        for worker in held {
            let cause = DeathCause::new(DeathKind::OwnerDied, detail.clone());
            self.end_worker_in_order(worker, cause, now);
        }
    }
}
