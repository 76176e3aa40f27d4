//! What must hold after every event.
//!
//! - ND-1: workers that have not said hello are counted.
//! - ND-2: every worker that is ready is idle exactly once.
//! - ND-3: a process number leads to the worker that has it.
//! - ND-4: all resources that are taken are held by a worker, or reserved for one.
//! - ND-5: what an owner holds of a class is counted; those who want more wait in the line.
//! - ND-6: an actor without resources waits in the line, and no other does.
//! - ND-8: the same as ND-4 for each bundle of a placement group.
//! - ND-7: a lease leads to the worker that has it, and a process to its connection.
//! - ND-9: what an owner has of other nodes is counted there and here; what it has and what is asked
//!   for is no more than it wants; and the other nodes were told so.

use whipray_proto::resources::CPU;
use whipray_proto::{Assignment, Resources};

use super::Node;
use super::foreign_leases::ForeignLease;
use super::leases::{Demand, Waiter};
use super::placement::Stage;
use super::workers::Work;

impl Node {
    /// Checks every invariant; for tests and the simulation.
    ///
    /// # Errors
    /// The name of the invariant that does not hold, and where.
    pub fn validate(&self) -> Result<(), String> {
        self.pool.validate()?;
        self.objects.validate()?;
        self.validate_resources()?;
        self.validate_line()?;
        for (_, lease) in self.forwarding.leases.iter() {
            let demand = self.demands.get(&lease.waiter());
            let shares = demand.map_or(&[][..], |demand| &demand.shares);
            if !shares.iter().any(|share| share.node == lease.node) {
                return Err(format!("ND-9: nobody has {lease:?}"));
            }
        }
        for (lease, worker) in &self.leases {
            let work = self.pool.get(*worker).map(|worker| &worker.work);
            if !matches!(work, Some(Work::Leased { lease: held, .. }) if held == lease) {
                return Err(format!(
                    "ND-7: {worker} does not have lease {}",
                    lease.number
                ));
            }
        }
        for (worker, client) in &self.by_worker {
            let entry = self.clients.get(client);
            if entry.is_none_or(|entry| entry.worker != *worker) {
                return Err(format!("ND-7: client {client} is not {worker}"));
            }
        }
        Ok(())
    }

    fn validate_resources(&self) -> Result<(), String> {
        let mut available = self.config.resources.clone();
        available.subtract(&self.ledger.reserved());
        let mut held: Vec<(Resources, &Assignment)> = Vec::new();
        for (_, worker) in self.pool.iter() {
            let hold = match &worker.work {
                Work::Idle { .. } => continue,
                Work::Leased { hold, .. } | Work::Actor { hold, .. } => hold,
            };
            let mut taken = hold.assignment.resources.clone();
            if hold.is_blocked {
                taken.set(CPU, 0);
            }
            held.push((taken, &hold.assignment));
        }
        for reservation in &self.awaiting {
            let taken = reservation.assignment.resources.clone();
            held.push((taken, &reservation.assignment));
        }
        for (taken, assignment) in &held {
            if self.ledger.is_of_node(assignment) {
                available.subtract(taken);
            }
        }
        self.validate_bundles(&held)?;
        let (mut expected, mut actual) = (available, self.ledger.available().clone());
        expected.amounts.retain(|_, units| *units != 0);
        actual.amounts.retain(|_, units| *units != 0);
        if expected != actual {
            let (expected, actual) = (expected.describe(), actual.describe());
            return Err(format!(
                "ND-4: {actual} is free, where {expected} is held by nobody"
            ));
        }
        Ok(())
    }

    fn validate_bundles(&self, held: &[(Resources, &Assignment)]) -> Result<(), String> {
        for used in self.ledger.bundle_uses() {
            let (mut expected, mut actual) = (used.total.clone(), used.available.clone());
            let of_bundle = held.iter().filter(|(_, by)| by.bundle == Some(used.bundle));
            let mut users = 0;
            for (taken, _) in of_bundle {
                expected.subtract(taken);
                users += 1;
            }
            expected.amounts.retain(|_, units| *units != 0);
            actual.amounts.retain(|_, units| *units != 0);
            if expected != actual || users != used.users {
                let (expected, actual) = (expected.describe(), actual.describe());
                let bundle = used.bundle;
                return Err(format!(
                    "ND-8: {actual} is free of bundle {} of {}, where {expected} is held by nobody",
                    bundle.index, bundle.group
                ));
            }
        }
        Ok(())
    }

    fn validate_shares(&self, waiter: Waiter, demand: &Demand) -> Result<(), String> {
        let fault = |what: &str| Err(format!("ND-9: {waiter:?} {what}: {:?}", demand.shares));
        if demand.shares.is_empty() {
            return Ok(());
        }
        if demand.is_of_node {
            return fault("is of another node, and is passed on");
        }
        if self.forwarding.waiter(demand.number) != Some(waiter) {
            return fault("has no number");
        }
        for share in &demand.shares {
            if share.told != share.wish(demand.target) {
                return fault("has a share that its node does not know");
            }
            if share.asked + share.held == 0 {
                return fault("has an empty share");
            }
            let leases = self.forwarding.leases.iter();
            let is_its =
                |lease: &ForeignLease| lease.waiter() == waiter && lease.node == share.node;
            if leases.filter(|(_, lease)| is_its(lease)).count() != share.held as usize {
                return fault("holds other leases than are counted");
            }
            if share.asked > 0 && demand.obtained() + share.asked > demand.target {
                return fault("asks for more than it wants");
            }
        }
        let asked = demand.asked();
        if asked > 0 && demand.infeasible.is_some() {
            return fault("asks for what nobody has");
        }
        if asked > 0 && !demand.is_in_group() && demand.obtained() + asked > demand.target {
            return fault("asks for more than it wants in all");
        }
        Ok(())
    }

    fn validate_line(&self) -> Result<(), String> {
        for (waiter, demand) in &self.demands {
            let Waiter::Class { owner, class } = *waiter else {
                return Err("ND-5: an actor is no demand".to_owned());
            };
            let leased = self.pool.iter().filter(|(_, worker)| {
                matches!(worker.work, Work::Leased { owner: of, class: with, .. }
                    if of == owner && with == class)
            });
            let awaiting = self.awaiting.iter();
            let reserved = awaiting.filter(|reserved| reserved.waiter == *waiter);
            let held = leased.count() + reserved.count();
            if held != demand.held as usize {
                let counted = demand.held;
                return Err(format!(
                    "ND-5: {waiter:?} holds {held}, and {counted} are counted"
                ));
            }
            self.validate_shares(*waiter, demand)?;
            if self.waiting.contains(waiter) != demand.is_waiting() {
                return Err(format!(
                    "ND-5: {waiter:?} is in the line without need, or not in it"
                ));
            }
        }
        for (actor, placement) in &self.placements {
            let waits = matches!(
                placement.stage,
                Stage::Waiting {
                    infeasible: None,
                    ..
                }
            );
            if self.waiting.contains(&Waiter::Actor(*actor)) != waits {
                return Err(format!(
                    "ND-6: {actor} is in the line without need, or not in it"
                ));
            }
        }
        Ok(())
    }
}
