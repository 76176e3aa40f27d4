//! Leases of workers on other nodes that owners of this node hold: numbered anew, and translated.

use rustc_hash::FxHashMap;
use whipray_proto::messages::lease::{
    KillWorker, LeaseGranted, LeaseLost, LeasePending, LeaseRefused, LeaseReturn,
};
use whipray_proto::{DeathCause, LeaseId, Message, NodeId, WorkerId, limits};
use whipray_sched::policy::Decision;

use super::forwarding::Trial;
use super::leases::Waiter;
use super::timers::{Micros, micros};
use super::{ClientId, Effect, Node};

/// A lease that another node has given.
#[derive(Clone, Debug)]
pub struct ForeignLease {
    pub node: NodeId,
    /// The number that it has there.
    pub lease: LeaseId,
    pub worker: WorkerId,
    pub owner: ClientId,
    pub class: u64,
}

impl ForeignLease {
    pub fn waiter(&self) -> Waiter {
        Waiter::Class {
            owner: self.owner,
            class: self.class,
        }
    }
}

/// All such leases.
#[derive(Debug, Default)]
pub struct ForeignLeases {
    by_own: FxHashMap<LeaseId, ForeignLease>,
    by_theirs: FxHashMap<(NodeId, LeaseId), LeaseId>,
}

impl ForeignLeases {
    fn insert(&mut self, own: LeaseId, lease: ForeignLease) {
        self.by_theirs.insert((lease.node, lease.lease), own);
        self.by_own.insert(own, lease);
    }

    fn remove(&mut self, own: LeaseId) -> Option<ForeignLease> {
        let lease = self.by_own.remove(&own)?;
        self.by_theirs.remove(&(lease.node, lease.lease));
        Some(lease)
    }

    pub fn iter(&self) -> impl Iterator<Item = (LeaseId, &ForeignLease)> {
        self.by_own.iter().map(|(own, lease)| (*own, lease))
    }

    pub fn is_empty(&self) -> bool {
        self.by_own.is_empty()
    }

    /// The leases for which something holds, in the order in which they were given.
    fn select(&self, is_meant: impl Fn(&ForeignLease) -> bool) -> Vec<LeaseId> {
        let meant = self.iter().filter(|(_, lease)| is_meant(lease));
        let mut meant: Vec<LeaseId> = meant.map(|(own, _)| own).collect();
        meant.sort_unstable_by_key(|own| own.number);
        meant
    }
}

impl Node {
    pub(super) fn tell_node(&mut self, node: NodeId, message: impl Into<Message>) {
        let message = message.into();
        self.effects.push(Effect::ToNode { node, message });
    }

    /// Another node gives a lease that was asked for.
    pub(super) fn granted_elsewhere(&mut self, from: NodeId, granted: LeaseGranted, now: Micros) {
        let waiter = self.forwarding.waiter(granted.class);
        let demand = waiter.and_then(|waiter| self.demands.get_mut(&waiter));
        let wanted = demand.filter(|demand| demand.obtained() < demand.target);
        let (Some(Waiter::Class { owner, class }), Some(demand)) = (waiter, wanted) else {
            let returned = LeaseReturn {
                lease: granted.lease,
                end_worker: false,
            };
            return self.tell_node(from, returned);
        };
        let is_in_group = demand.is_in_group();
        let share = demand.share_of(from);
        // What was asked for in hope counts as taken already.
        let is_counted = share.asked > 0 && !share.is_stuck;
        let is_seen = share.seen > 0;
        share.asked = share.asked.saturating_sub(1);
        share.seen = share.seen.saturating_sub(1);
        share.held += 1;
        if share.asked == 0 {
            share.trial = Trial::No;
        }
        if !is_in_group {
            match (is_counted, is_seen) {
                (false, false) => self.neighbours.take(from, &demand.resources, 1),
                // The node counts it off, too: once is enough. Too little would never be put right,
                // since nothing changes there; too much is, by the next one that is asked for.
                (true, true) => self.neighbours.take(from, &demand.resources, -1),
                _ => {}
            }
        }
        let waiter = Waiter::Class { owner, class };
        self.saving.on_served(waiter);
        let own = self.number_lease();
        let lease = ForeignLease {
            node: from,
            lease: granted.lease,
            worker: granted.worker.worker,
            owner,
            class,
        };
        self.forwarding.leases.insert(own, lease);
        let granted = LeaseGranted {
            class,
            lease: own,
            ..granted
        };
        self.send(owner, granted);
        self.update_hunger(waiter, now);
        self.schedule(now);
    }

    /// An owner gives a lease of another node back. Returns whether it was one.
    pub(super) fn return_elsewhere(
        &mut self,
        client: ClientId,
        own: LeaseId,
        end_worker: bool,
        now: Micros,
    ) -> bool {
        let Some(lease) = self.forwarding.leases.by_own.get(&own) else {
            return false;
        };
        if lease.owner == client
            && let Some(lease) = self.forwarding.leases.remove(own)
        {
            // What it is to have goes first: else the node would give at once what it gets back.
            self.let_go_of_foreign(&lease, now);
            let returned = LeaseReturn {
                lease: lease.lease,
                end_worker,
            };
            self.tell_node(lease.node, returned);
            self.schedule(now);
        }
        true
    }

    /// Counts a lease off its demand; where one is still wanted it stays asked for on that node.
    fn let_go_of_foreign(&mut self, lease: &ForeignLease, now: Micros) {
        let waiter = lease.waiter();
        let is_open = self.neighbours.is_open(lease.node);
        if let Some(demand) = self.demands.get_mut(&waiter) {
            let share = demand.share_of(lease.node);
            share.held = share.held.saturating_sub(1);
            if !demand.is_in_group() {
                let resources = demand.resources.clone();
                // The node may never say so: to it, what comes back soon was never gone.
                self.neighbours.take(lease.node, &resources, -1);
                if is_open && demand.is_hungry() {
                    let share = demand.share_of(lease.node);
                    share.change(&mut self.neighbours, &resources, |share| share.asked += 1);
                }
            }
        }
        self.update_hunger(waiter, now);
    }

    /// The worker of a lease of another node is dead.
    pub(super) fn lost_elsewhere(&mut self, from: NodeId, lost: LeaseLost, now: Micros) {
        let own = self
            .forwarding
            .leases
            .by_theirs
            .get(&(from, lost.lease))
            .copied();
        let Some(lease) = own.and_then(|own| self.forwarding.leases.remove(own)) else {
            return;
        };
        if let Some(own) = own {
            let lost = LeaseLost { lease: own, ..lost };
            self.send(lease.owner, lost);
        }
        self.let_go_of_foreign(&lease, now);
        self.schedule(now);
    }

    /// A node is gone, and with it all leases that it gave.
    pub(super) fn leases_lost_with(&mut self, node: NodeId, cause: &DeathCause, now: Micros) {
        let lost = self.forwarding.leases.select(|lease| lease.node == node);
        for own in lost {
            if let Some(lease) = self.forwarding.leases.remove(own) {
                let mut cause = cause.clone();
                cause.worker = lease.worker;
                self.send(lease.owner, LeaseLost { lease: own, cause });
            }
        }
        self.drop_shares_on(node, now);
    }

    /// An owner ends the worker of a lease of another node.
    pub(super) fn kill_elsewhere(&mut self, client: ClientId, worker: WorkerId, reason: String) {
        let is_its = |lease: &ForeignLease| lease.owner == client && lease.worker == worker;
        let leases = self.forwarding.leases.iter();
        let node = leases
            .map(|(_, lease)| lease)
            .find(|lease| is_its(lease))
            .map(|lease| lease.node);
        if let Some(node) = node {
            self.tell_node(node, KillWorker { worker, reason });
        }
    }

    /// An owner is gone: its workers on other nodes end, whatever they do.
    pub(super) fn end_foreign_leases_of(&mut self, client: ClientId, reason: &str) {
        if self.forwarding.leases.is_empty() {
            return;
        }
        let held = self.forwarding.leases.select(|it| it.owner == client);
        for own in held {
            if let Some(lease) = self.forwarding.leases.by_own.get(&own) {
                let (node, worker) = (lease.node, lease.worker);
                let reason = reason.to_owned();
                self.tell_node(node, KillWorker { worker, reason });
            }
        }
    }

    /// Another node says why a demand gets nothing there.
    pub(super) fn pending_elsewhere(&mut self, from: NodeId, pending: LeasePending, now: Micros) {
        let Some(waiter) = self.forwarding.waiter(pending.class) else {
            return;
        };
        let Waiter::Class { owner, class } = waiter else {
            return;
        };
        let Some(demand) = self.demands.get_mut(&waiter) else {
            return;
        };
        if pending.infeasible && !demand.is_in_group() {
            // This node believed otherwise, so it knows too little of that one.
            self.avoid(waiter, from, now);
            return self.schedule(now);
        }
        let is_starved = demand.obtained() == 0;
        if pending.is_only_busy && !demand.hopes.busy.contains(&from) {
            demand.hopes.busy.push(from);
            demand.hopes.not_before = now + micros(limits::HOPE_AGAIN);
        }
        // Nothing is free there, or it has waited there for long: whoever has something first serves
        // instead.
        let resources = demand.resources.clone();
        let share = demand.share_of(from);
        share.change(&mut self.neighbours, &resources, |share| {
            share.is_stuck = true;
            share.trial = Trial::No;
        });
        if is_starved && !pending.is_only_busy {
            self.send(owner, LeasePending { class, ..pending });
        }
        self.update_hunger(waiter, now);
        self.schedule(now);
    }

    /// Another node will never serve a demand, and has forgotten it.
    pub(super) fn refused_elsewhere(&mut self, from: NodeId, refused: LeaseRefused, now: Micros) {
        let Some(waiter) = self.forwarding.waiter(refused.class) else {
            return;
        };
        let Waiter::Class { owner, class } = waiter else {
            return;
        };
        let Some(demand) = self.demands.get_mut(&waiter) else {
            return;
        };
        let share = demand.share_of(from);
        share.told = 0;
        if demand.is_in_group() || !self.can_be_served_without(waiter, from) {
            let failure = refused.failure;
            self.refuse_class(owner, class, failure, now);
        } else {
            self.avoid(waiter, from, now);
        }
        self.schedule(now);
    }

    /// Asks a node for nothing more of this, until it is another one than it was.
    fn avoid(&mut self, waiter: Waiter, node: NodeId, now: Micros) {
        if let Some(demand) = self.demands.get_mut(&waiter) {
            let resources = demand.resources.clone();
            let share = demand.share_of(node);
            share.change(&mut self.neighbours, &resources, |share| share.asked = 0);
            if !demand.avoids.contains(&node) {
                demand.avoids.push(node);
            }
            self.update_hunger(waiter, now);
            self.judge_one(waiter, now);
        }
    }

    fn can_be_served_without(&self, waiter: Waiter, node: NodeId) -> bool {
        let Some(demand) = self.demands.get(&waiter) else {
            return false;
        };
        let mut avoids = demand.avoids.clone();
        avoids.push(node);
        let (resources, strategy) = (&demand.resources, demand.strategy.as_deref());
        let decision = self.judge_in_cluster(resources, strategy, &avoids, false);
        matches!(decision, Decision::Run(_) | Decision::Wait(..))
    }
}
