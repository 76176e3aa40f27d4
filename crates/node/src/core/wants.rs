//! What the autoscaler hears of this node: what waits here, and whether there is anything to do.
//!
//! It is said rarely: what waits for less than [`limits::WANTS_INTERVAL`] is not worth a node, and of
//! each change no more than the last state matters.

use rustc_hash::FxHashMap;
use whipray_proto::link::NodeSays;
use whipray_proto::messages::lease::LeasePending;
use whipray_proto::messages::scaling::{NodeType, NodeWants, Want};
use whipray_proto::messages::session::{Goodbye, Role};
use whipray_proto::{ActorSpec, JobId, Resources, SchedulingStrategy, limits};
use whipray_sched::helping::explain_awaited;

use super::leases::Demand;
use super::placement::Stage;
use super::scheduling::IDLE;
use super::timers::{Micros, Timer, micros};
use super::workers::Work;
use super::{ClientId, Node};

/// What is known of the autoscaler, and what it knows.
#[derive(Debug, Default)]
pub struct Wants {
    /// There is one.
    is_on: bool,
    types: Vec<NodeType>,
    told: Option<NodeWants>,
    is_armed: bool,
    /// Since when nothing was to do, but for workers that may own something.
    quiet_since: Option<Micros>,
}

impl Wants {
    /// Whether nodes may come for what waits.
    pub fn is_on(&self) -> bool {
        self.is_on
    }
}

impl Node {
    /// There is an autoscaler, which can start nodes of these types.
    pub(super) fn node_types(&mut self, types: Vec<NodeType>, now: Micros) {
        if !self.wants.is_on {
            self.wants.told = None;
        }
        self.wants.is_on = true;
        self.wants.types = types;
        self.expect_wants(now);
    }

    /// Something may wait that did not, or the other way round.
    pub(super) fn expect_wants(&mut self, now: Micros) {
        if self.wants.is_on && !self.wants.is_armed {
            self.arm_wants(now + micros(limits::WANTS_INTERVAL));
        }
    }

    fn arm_wants(&mut self, at: Micros) {
        self.wants.is_armed = true;
        self.timers.set(at, Timer::Wants);
    }

    /// Says what waits, where that is something else than what was said last.
    pub(super) fn on_wants_due(&mut self, now: Micros) {
        self.wants.is_armed = false;
        let wants = self.collect_wants();
        let busy = self.why_busy(now);
        let next = match (wants.is_empty(), busy.is_empty()) {
            (false, _) => Some(limits::WANTS_INTERVAL),
            (true, false) => Some(limits::IDLE_LOOK),
            (true, true) => None,
        };
        if let Some(next) = next {
            self.arm_wants(now + micros(next));
        }
        let wants = NodeWants { wants, busy };
        if self.wants.told.as_ref() != Some(&wants) {
            self.wants.told = Some(wants.clone());
            self.tell_control(NodeSays::Wants(wants));
        }
    }

    /// Tasks and actors that wait here, by kind. What other nodes want here they say themselves, and
    /// a placement group has its own demand.
    fn collect_wants(&self) -> Vec<Want> {
        let mut wants: FxHashMap<(Resources, Option<&SchedulingStrategy>), u32> =
            FxHashMap::default();
        for demand in self.demands.values().filter(|demand| !demand.is_of_node) {
            // What another node was asked for is on its way, unless that turned out to be full.
            let coming = demand.obtained() + demand.asked() - demand.stuck();
            let missing = demand.target.saturating_sub(coming);
            if missing > 0 && !demand.is_in_group() {
                let key = (demand.resources.clone(), demand.strategy.as_deref());
                *wants.entry(key).or_default() += missing;
            }
        }
        let waiting = self.placements.values();
        let waiting = waiting.filter(|it| matches!(it.stage, Stage::Waiting { .. }));
        for placement in waiting {
            let spec = &placement.spec;
            let strategy = spec.strategy.as_deref();
            if strategy.is_none_or(|strategy| strategy.group.is_none()) {
                *wants.entry((spec.wanted(), strategy)).or_default() += 1;
            }
        }
        let mut wants: Vec<Want> = wants
            .into_iter()
            .map(|((resources, strategy), count)| Want {
                resources,
                strategy: strategy.map(|strategy| Box::new(strategy.clone())),
                count,
            })
            .collect();
        // The order of a hash map is none: what is the same is to look the same.
        wants.sort_by_cached_key(|want| format!("{:?} {:?}", want.resources, want.strategy));
        wants
    }

    /// What this node has to do, as a sentence; empty where it is idle, and nothing is lost with it.
    fn why_busy(&mut self, now: Micros) -> String {
        let reason = self.what_is_done();
        if !reason.is_empty() {
            self.wants.quiet_since = None;
            return reason;
        }
        let owners = self.count_former_workers();
        if owners == 0 {
            self.wants.quiet_since = None;
            return String::new();
        }
        let since = *self.wants.quiet_since.get_or_insert(now);
        if now >= since + micros(limits::IDLE_LOOK) {
            self.wants.quiet_since = Some(now);
            self.dismiss_former_workers();
        }
        format!("{owners} idle workers may own objects")
    }

    pub(super) fn what_is_done(&self) -> String {
        let mut parts = Vec::new();
        let mut say = |count: usize, what: &str| {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        };
        say(self.leases.len() + self.awaiting.len(), "leases of workers");
        say(self.placements.len(), "actors");
        let is_driver = |client: &&super::clients::Client| client.role == Role::Driver;
        let drivers = self.clients.values().filter(is_driver).count();
        say(drivers, "drivers");
        let mut bundles = self.ledger.reserved();
        bundles.amounts.retain(|_, units| *units > 0);
        say(
            bundles.amounts.len(),
            "kinds of resources in placement groups",
        );
        if self.objects.has_originals() {
            parts.push("objects".to_owned());
        }
        parts.join(", ")
    }

    /// Idle workers that have run something: what they own would be lost with them.
    pub(super) fn count_former_workers(&self) -> usize {
        let workers = self.pool.iter();
        workers.filter(|(_, worker)| worker.job.is_some()).count()
    }

    /// Asks idle workers that have run something to leave: one that owns what others refer to stays.
    pub(super) fn dismiss_former_workers(&mut self) {
        let is_idle = |worker: &super::workers::Worker| {
            worker.job.is_some() && matches!(worker.work, Work::Idle { .. })
        };
        let idle = self.pool.iter().filter(|(_, worker)| is_idle(worker));
        let clients: Vec<ClientId> = idle.filter_map(|(_, worker)| worker.client()).collect();
        for client in clients {
            let reason = IDLE.to_owned();
            self.send(client, Goodbye { reason });
        }
    }

    /// What people read of a request that no node could serve, but one that the autoscaler can start.
    pub(super) fn why_awaited(
        &self,
        request: &Resources,
        strategy: Option<&SchedulingStrategy>,
    ) -> Option<String> {
        explain_awaited(&self.wants.types, request, strategy)
    }

    /// Why a demand is not served, and whether it can never be.
    pub(super) fn explain_demand(&self, demand: &Demand) -> (String, bool) {
        let Some(reason) = &demand.infeasible else {
            return (self.why_demand_waits(demand), false);
        };
        match self.why_awaited(&demand.resources, demand.strategy.as_deref()) {
            Some(awaited) => (awaited, false),
            None => (reason.clone(), true),
        }
    }

    /// The same of an actor without a process.
    pub(super) fn explain_placement(
        &self,
        spec: &ActorSpec,
        infeasible: Option<&str>,
    ) -> (String, bool) {
        let strategy = spec.strategy.as_deref();
        let Some(reason) = infeasible else {
            return (self.why_waits(&spec.resources, strategy), false);
        };
        match self.why_awaited(&spec.wanted(), strategy) {
            Some(awaited) => (awaited, false),
            None => (reason.to_owned(), true),
        }
    }

    /// Tells an owner that a class can never be served, unless a node is to come for it; and the
    /// driver of its job, which is where a person looks, where the owner is a task.
    pub(super) fn tell_infeasible(
        &mut self,
        (owner, class): (ClientId, u64),
        job: JobId,
        example: &str,
        reason: &str,
    ) {
        let demand = self
            .demands
            .get(&super::leases::Waiter::Class { owner, class });
        let is_awaited = demand.is_some_and(|demand| !self.explain_demand(demand).1);
        // Another node tells its own owners.
        let is_of_node = self.neighbours.node_of(owner).is_some();
        if is_awaited && !is_of_node {
            return;
        }
        let pending = LeasePending {
            class,
            infeasible: true,
            reason: reason.to_owned(),
            ..LeasePending::default()
        };
        self.send(owner, pending);
        let driver = self.jobs.get(&job).map(|job| job.driver);
        if !is_of_node && driver.is_some_and(|driver| driver != owner) {
            let text = format!("task {example} can never run: it {reason}");
            self.warn_driver(job, text);
        }
    }
}
