//! Who gets a worker next, and where the workers come from.

use rustc_hash::FxHashSet;
use whipray_proto::link::NodeSays;
use whipray_proto::messages::lease::LeasePending;
use whipray_proto::messages::session::Goodbye;
use whipray_proto::resources::{CPU, UNITS};
use whipray_proto::{
    ActorId, Assignment, DeathCause, DeathKind, JobId, PlacementGroupId, Resources, WorkerId,
    limits,
};

use super::effect::Environment;
use super::groups::group_of;
use super::leases::Waiter;
use super::placement::Stage;
use super::timers::{Micros, Timer, micros};
use super::workers::Work;
use super::{ClientId, Effect, Node};

/// Why an idle worker is asked to leave; one that is of no use to anybody answers the same.
pub const IDLE: &str = "idle";

/// Resources that are taken for someone who has no worker process yet.
#[derive(Clone, Debug)]
pub struct Reservation {
    pub waiter: Waiter,
    pub assignment: Assignment,
    pub job: JobId,
    pub environment: Environment,
}

/// What someone who waits has too little of: of the node, or of a placement group.
pub(super) struct Lack {
    pub resources: Resources,
    pub group: Option<PlacementGroupId>,
}

impl Node {
    /// Serves whoever can be served. Called after every event that frees or asks for something.
    pub(super) fn schedule(&mut self, now: Micros) {
        if self.is_fenced {
            return;
        }
        if !self.waiting.is_empty() {
            self.update_saving(now);
        }
        self.serve_waiting(now);
        if self.arm_reclaim(now) {
            self.serve_waiting(now);
        }
        self.watch_memory(now);
        self.tell_changes(now);
        self.expect_wants(now);
        if self.draining.is_some() {
            self.look_if_drained(now);
        }
    }

    fn serve_waiting(&mut self, now: Micros) {
        self.serve_here(now);
        while !self.waiting.is_empty() && self.forward(now) {
            self.serve_here(now);
        }
        self.spawn_missing(now);
    }

    /// Serves whoever is to be served by this node itself.
    fn serve_here(&mut self, now: Micros) {
        if !self.neighbours.is_alone() {
            self.neighbours.set_own(self.ledger.available());
        }
        while let Some(reservation) = self.reserve_next() {
            let waiter = reservation.waiter;
            self.saving.on_served(waiter);
            match waiter {
                Waiter::Class { .. } => {
                    self.waiting.served(waiter);
                    if let Some(demand) = self.demands.get_mut(&waiter) {
                        demand.held += 1;
                        demand.goes_to(self.config.node, &mut self.neighbours);
                    }
                    self.update_hunger(waiter, now);
                }
                Waiter::Actor(actor) => {
                    self.waiting.remove(&waiter);
                    if let Some(placement) = self.placements.get_mut(&actor) {
                        placement.stage = Stage::AwaitsWorker;
                    }
                }
            }
            match self
                .pool
                .take_idle(reservation.job, &reservation.environment)
            {
                Some(worker) => self.hand_over(worker, reservation),
                None => self.awaiting.push(reservation),
            }
            if !self.neighbours.is_alone() {
                self.neighbours.set_own(self.ledger.available());
            }
        }
    }

    /// Takes the resources of the first in the line whose request fits.
    fn reserve_next(&mut self) -> Option<Reservation> {
        let may_begin = self.may_begin();
        let may_await = self.awaiting.len() < self.lease_starts();
        for waiter in self.waiting.iter() {
            let (resources, job, environment, strategy) = match waiter {
                Waiter::Class { .. } => {
                    let Some(demand) = self.demands.get(&waiter) else {
                        continue;
                    };
                    // A class that needs no resources must not fork a worker for each of its tasks
                    // at once.
                    if !may_await && !self.pool.has_idle(demand.job, &demand.environment) {
                        continue;
                    }
                    if !self.is_for_here(demand) || !may_begin(Some(demand)) {
                        continue;
                    }
                    (
                        &demand.resources,
                        demand.job,
                        &demand.environment,
                        demand.strategy.as_deref(),
                    )
                }
                Waiter::Actor(actor) => {
                    let Some(placement) = self.placements.get(&actor) else {
                        continue;
                    };
                    if !may_begin(None) {
                        continue;
                    }
                    (
                        &placement.spec.resources,
                        placement.spec.job,
                        &placement.environment,
                        placement.spec.strategy.as_deref(),
                    )
                }
            };
            let group = strategy.and_then(|strategy| strategy.group.as_ref());
            if self
                .saving
                .keeps_from(waiter, resources, group_of(strategy))
            {
                continue;
            }
            let acquired = match group {
                None => self.ledger.acquire(resources),
                Some(group) => self.ledger.acquire_in(group, resources),
            };
            if let Some(assignment) = acquired {
                let environment = environment.clone();
                return Some(Reservation {
                    waiter,
                    assignment,
                    job,
                    environment,
                });
            }
        }
        None
    }

    /// Workers that may be on their way for leases at the same time.
    fn lease_starts(&self) -> usize {
        (2 * self.cpus()).clamp(8, limits::WORKERS_STARTING)
    }

    /// Whole CPUs of the node, at least one.
    fn cpus(&self) -> usize {
        usize::try_from(self.ledger.total().units(CPU) / UNITS)
            .unwrap_or(1)
            .max(1)
    }

    fn hand_over(&mut self, worker: WorkerId, reservation: Reservation) {
        self.monitor.is_wanted = true;
        if let Some(entry) = self.pool.get_mut(worker) {
            entry.job = Some(reservation.job);
        }
        match reservation.waiter {
            Waiter::Class { owner, class } => {
                self.grant_lease(worker, (owner, class), reservation.assignment);
            }
            Waiter::Actor(actor) => self.start_actor(worker, actor, reservation.assignment),
        }
    }

    /// A worker has become idle: whoever has waited longest for such a one gets it.
    pub(super) fn serve_with(&mut self, worker: WorkerId) {
        let Some(entry) = self.pool.get(worker) else {
            return;
        };
        let index = self.awaiting.iter().position(|reservation| {
            entry.job.is_none_or(|job| job == reservation.job)
                && entry.environment == reservation.environment
        });
        let Some(index) = index else { return };
        if self.pool.take(worker) {
            let reservation = self.awaiting.remove(index);
            self.hand_over(worker, reservation);
        }
    }

    /// Asks the template for the workers that are waited for and not yet on their way.
    fn spawn_missing(&mut self, now: Micros) {
        if self.awaiting.is_empty() || now < self.no_spawn_before {
            return;
        }
        let mut environments: Vec<(Environment, usize)> = Vec::new();
        for reservation in &self.awaiting {
            match environments
                .iter_mut()
                .find(|(known, _)| *known == reservation.environment)
            {
                Some((_, count)) => *count += 1,
                None => environments.push((reservation.environment.clone(), 1)),
            }
        }
        for (environment, wanted) in environments {
            let missing = wanted.saturating_sub(self.pool.starting_with(&environment));
            let room = limits::WORKERS_STARTING.saturating_sub(self.pool.starting());
            for _ in 0..missing.min(room) {
                self.spawn_worker(environment.clone(), now);
            }
        }
    }

    fn spawn_worker(&mut self, environment: Environment, now: Micros) {
        let worker = WorkerId::numbered(&self.config.node, self.pool.spawned());
        let number = self.pool.spawn(worker, environment.clone(), now);
        self.timers.set(
            now + micros(limits::WORKER_START),
            Timer::WorkerStart(worker),
        );
        self.effects.push(Effect::SpawnWorker {
            worker,
            environment,
            number,
        });
    }

    /// Has workers ready for a driver that has just come.
    pub(super) fn prestart(&mut self, now: Micros) {
        let generic = Environment::default();
        let is_free = |id: &&WorkerId| {
            self.pool
                .get(**id)
                .is_some_and(|worker| worker.job.is_none() && worker.environment == generic)
        };
        let free = self.pool.idle().iter().filter(is_free).count();
        let ready = free + self.pool.starting_with(&generic);
        for _ in ready..self.cpus().min(2) {
            self.spawn_worker(generic.clone(), now);
        }
    }

    /// Takes back what is reserved for a class beyond its target.
    pub(super) fn give_back_reservations(&mut self, waiter: Waiter) {
        loop {
            let Some(demand) = self.demands.get_mut(&waiter) else {
                return;
            };
            if demand.obtained() <= demand.target {
                return;
            }
            let index = self
                .awaiting
                .iter()
                .rposition(|reserved| reserved.waiter == waiter);
            let Some(index) = index else { return };
            demand.held -= 1;
            let reservation = self.awaiting.remove(index);
            self.ledger.release(&reservation.assignment);
        }
    }

    pub(super) fn drop_reservation_of(&mut self, actor: ActorId) {
        let waiter = Waiter::Actor(actor);
        if let Some(index) = self
            .awaiting
            .iter()
            .position(|reserved| reserved.waiter == waiter)
        {
            let reservation = self.awaiting.remove(index);
            self.ledger.release(&reservation.assignment);
        }
    }

    /// Workers do not start: those who wait for one hear why, and the next try waits a moment.
    pub(super) fn start_failed(
        &mut self,
        environment: &Environment,
        cause: &DeathCause,
        now: Micros,
    ) {
        self.start_failures += 1;
        if self.start_failures < limits::START_FAILURES {
            return;
        }
        self.start_failures = 0;
        self.no_spawn_before = now + micros(limits::START_RETRY);
        self.timers.set(self.no_spawn_before, Timer::SpawnRetry);
        let concerned: Vec<Waiter> = self
            .awaiting
            .iter()
            .filter(|reservation| reservation.environment == *environment)
            .map(|reservation| reservation.waiter)
            .collect();
        let mut told = FxHashSet::default();
        for waiter in concerned {
            if !told.insert(waiter) {
                continue;
            }
            match waiter {
                Waiter::Class { owner, class } => {
                    let reason = format!("worker processes do not start: {}", cause.describe());
                    self.send(
                        owner,
                        LeasePending {
                            class,
                            infeasible: false,
                            reason,
                            ..LeasePending::default()
                        },
                    );
                }
                Waiter::Actor(actor) => {
                    let cause = DeathCause {
                        kind: DeathKind::StartFailed as i32,
                        ..cause.clone()
                    };
                    self.fail_placement(actor, cause);
                }
            }
        }
    }

    /// What someone who waits has too little of, and where.
    pub(super) fn lacks(&self, waiter: Waiter) -> Option<Lack> {
        let (request, strategy) = match waiter {
            Waiter::Class { .. } => {
                let demand = self.demands.get(&waiter)?;
                if !demand.serves_here {
                    return None;
                }
                (&demand.resources, demand.strategy.as_deref())
            }
            Waiter::Actor(actor) => {
                let spec = &self.placements.get(&actor)?.spec;
                (&spec.resources, spec.strategy.as_deref())
            }
        };
        let group = group_of(strategy);
        let missing = match group {
            None => self.ledger.available().shortfall(request),
            Some(_) => Resources::none(),
        };
        // Enough in sum, but on no single device or bundle: any holder of a part may help.
        let resources = if missing.is_empty() {
            request.clone()
        } else {
            missing
        };
        Some(Lack { resources, group })
    }

    /// Tells owners that have no lease for long what they wait for.
    pub(super) fn notify_pending(&mut self, now: Micros) {
        let patience = micros(limits::PENDING_NOTICE);
        let mut classes = Vec::new();
        for (waiter, demand) in &mut self.demands {
            let is_due = demand
                .starved_since
                .is_some_and(|since| since + patience <= now);
            // Where another node was asked, it is that one which says why.
            let is_asked = demand.asked() > 0;
            if is_due && !is_asked && !demand.is_told_why {
                demand.is_told_why = true;
                classes.push(*waiter);
            }
        }
        let mut actors = Vec::new();
        for (actor, placement) in &mut self.placements {
            let Stage::Waiting {
                since,
                infeasible: None,
                is_told_why,
            } = &mut placement.stage
            else {
                continue;
            };
            if *since + patience <= now && !*is_told_why {
                *is_told_why = true;
                actors.push(*actor);
            }
        }
        let told = classes.iter().filter_map(|waiter| {
            let Waiter::Class { owner, class } = *waiter else {
                return None;
            };
            let demand = self.demands.get(waiter)?;
            let pending = LeasePending {
                class,
                infeasible: false,
                reason: self.why_demand_waits(demand),
                ..LeasePending::default()
            };
            Some((owner, pending))
        });
        let messages: Vec<(ClientId, LeasePending)> = told.collect();
        let told = actors.iter().filter_map(|actor| {
            let placement = self.placements.get(actor)?;
            let spec = &placement.spec;
            Some(NodeSays::ActorPending {
                actor: *actor,
                incarnation: placement.incarnation,
                reason: self.why_waits(&spec.resources, spec.strategy.as_deref()),
            })
        });
        let pending: Vec<NodeSays> = told.collect();
        for (owner, message) in messages {
            self.send(owner, message);
        }
        for says in pending {
            self.tell_control(says);
        }
    }

    /// Whether a worker is bound to a job that is over: only actors that outlive it can use it.
    fn is_left_over(&self, worker: WorkerId) -> bool {
        let job = self.pool.get(worker).and_then(|entry| entry.job);
        job.is_some_and(|job| !self.jobs.contains_key(&job))
    }

    /// This worker has become idle. Looks again after a while, where there may be too many, or where
    /// nobody may want it any more.
    pub(super) fn arm_trim(&mut self, worker: WorkerId, now: Micros) {
        let is_due = self.pool.idle().len() > self.cpus() || self.is_left_over(worker);
        if is_due && !self.is_trim_armed {
            self.is_trim_armed = true;
            self.timers
                .set(now + micros(limits::IDLE_WORKER), Timer::TrimIdle);
        }
    }

    /// Asks workers that are idle for long to leave, where there are more than CPUs, or their job is
    /// over. A worker that owns objects which others refer to stays, and is asked again later.
    pub(super) fn trim_idle(&mut self, now: Micros) {
        self.is_trim_armed = false;
        let excess = self.pool.idle().len().saturating_sub(self.cpus());
        let idle = self.pool.idle().iter().copied().enumerate();
        let is_useless =
            |(index, worker): &(usize, WorkerId)| *index < excess || self.is_left_over(*worker);
        let useless: Vec<(usize, WorkerId)> = idle.filter(is_useless).collect();
        let mut asked = Vec::new();
        let mut next = None;
        for (_, worker) in useless {
            let Some(entry) = self.pool.get_mut(worker) else {
                continue;
            };
            let client = entry.client();
            let Work::Idle { since } = &mut entry.work else {
                continue;
            };
            let due = *since + micros(limits::IDLE_WORKER);
            if due <= now {
                *since = now;
                asked.extend(client);
            }
            next = Some(
                next.unwrap_or(Micros::MAX)
                    .min(*since + micros(limits::IDLE_WORKER)),
            );
        }
        if let Some(next) = next {
            self.is_trim_armed = true;
            self.timers.set(next, Timer::TrimIdle);
        }
        for client in asked {
            self.send(
                client,
                Goodbye {
                    reason: IDLE.to_owned(),
                },
            );
        }
    }
}
