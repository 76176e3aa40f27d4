//! Processes for actors.

use whipray_proto::link::NodeSays;
use whipray_proto::messages::actor::{StartActor, StopActor};
use whipray_proto::{
    ActorId, ActorSpec, Assignment, DeathCause, DeathKind, WorkerId, limits, object,
};
use whipray_sched::policy::Decision;

use super::Node;
use super::effect::Environment;
use super::groups::group_of;
use super::leases::{Waiter, positive};
use super::timers::{Micros, Timer, micros};
use super::workers::{Hold, Link, Work};

/// Where the life of an actor on this node stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// In the line for resources; never served while `infeasible`.
    Waiting {
        since: Micros,
        infeasible: Option<String>,
        is_told_why: bool,
    },
    /// Has its resources, waits for a worker process.
    AwaitsWorker,
    Runs {
        worker: WorkerId,
    },
}

/// One life of an actor on this node.
#[derive(Clone, Debug)]
pub struct Placement {
    pub spec: ActorSpec,
    pub incarnation: u32,
    pub environment: Environment,
    pub stage: Stage,
}

impl Placement {
    pub fn is_without_worker(&self) -> bool {
        !matches!(self.stage, Stage::Runs { .. })
    }
}

impl Node {
    pub(super) fn place_actor(&mut self, mut spec: ActorSpec, incarnation: u32, now: Micros) {
        let actor = spec.actor;
        spec.resources = positive(spec.resources);
        spec.placement = positive(spec.placement);
        let waiter = Waiter::Actor(actor);
        let infeasible = match self.judge_actor(&spec) {
            Decision::Run(_) | Decision::Wait(..) => None,
            Decision::Infeasible(reason) => Some(reason),
            Decision::Never(reason) => {
                let cause = Box::new(DeathCause::new(DeathKind::Unschedulable, reason));
                return self.tell_control(NodeSays::ActorEnded {
                    actor,
                    incarnation,
                    cause,
                });
            }
        };
        self.ask_for_group(spec.strategy.as_deref());
        self.join_group(spec.strategy.as_deref(), waiter);
        match &infeasible {
            Some(reason) => {
                let (reason, _) = self.explain_placement(&spec, Some(reason));
                self.tell_control(NodeSays::ActorPending {
                    actor,
                    incarnation,
                    reason,
                });
            }
            None => {
                self.waiting.push(waiter);
                self.reclaim.is_fresh = true;
                self.timers
                    .set(now + micros(limits::PENDING_NOTICE), Timer::PendingNotice);
            }
        }
        let stage = Stage::Waiting {
            since: now,
            infeasible,
            is_told_why: false,
        };
        let environment = Environment::new(spec.environment.clone());
        self.placements.insert(
            actor,
            Placement {
                spec,
                incarnation,
                environment,
                stage,
            },
        );
        self.expect_change();
        self.schedule(now);
        self.tell_queued(actor);
    }

    /// Where other nodes might have room for an actor that found none here, or may come for it, control
    /// hears of it at once: what it knew of this node was of a moment before.
    fn tell_queued(&mut self, actor: ActorId) {
        let Some(placement) = self.placements.get(&actor) else {
            return;
        };
        let waits = matches!(
            placement.stage,
            Stage::Waiting {
                infeasible: None,
                ..
            }
        );
        if waits && (!self.neighbours.is_alone() || self.wants.is_on()) {
            let incarnation = placement.incarnation;
            self.tell_available();
            self.tell_control(NodeSays::ActorPending {
                actor,
                incarnation,
                reason: String::new(),
            });
        }
    }

    /// Whether this node can ever have an actor. In a placement group only what it holds counts.
    fn judge_actor(&self, spec: &ActorSpec) -> Decision {
        let strategy = spec.strategy.as_deref();
        if group_of(strategy).is_none() {
            match self.judge(&spec.placement, strategy) {
                Decision::Run(_) | Decision::Wait(..) => {}
                never => return never,
            }
        }
        self.judge(&spec.resources, strategy)
    }

    /// Hands a worker to an actor.
    pub(super) fn start_actor(&mut self, worker: WorkerId, actor: ActorId, assignment: Assignment) {
        let Some(placement) = self.placements.get_mut(&actor) else {
            return;
        };
        let Some(entry) = self.pool.get_mut(worker) else {
            return;
        };
        let Link::Connected { client, endpoint } = &entry.link else {
            return;
        };
        let (client, incarnation) = (*client, placement.incarnation);
        let address = object::WorkerAddress {
            worker,
            node: self.config.node,
            endpoint: endpoint.clone(),
            node_endpoint: self.config.node_endpoint.clone(),
        };
        let pid = entry.pid.unwrap_or(0);
        placement.stage = Stage::Runs { worker };
        let hold = Hold {
            assignment: assignment.clone(),
            is_blocked: false,
        };
        entry.work = Work::Actor {
            actor,
            incarnation,
            hold,
        };
        let start = StartActor {
            spec: placement.spec.clone(),
            incarnation,
            assignment,
        };
        self.tell_control(NodeSays::ActorPlaced {
            actor,
            incarnation,
            address,
            pid,
        });
        self.send(client, start);
    }

    pub(super) fn stop_actor(&mut self, actor: ActorId, incarnation: u32, now: Micros) {
        match self.worker_of(actor, incarnation) {
            Some(Some(worker)) => {
                let Some(entry) = self.pool.get(worker) else {
                    return;
                };
                if let (Some(client), Some(job)) = (entry.client(), entry.job) {
                    self.send(client, StopActor { actor, job });
                }
            }
            Some(None) => self.forget_placement(actor, now),
            None => {}
        }
    }

    pub(super) fn kill_actor(
        &mut self,
        actor: ActorId,
        incarnation: u32,
        cause: DeathCause,
        now: Micros,
    ) {
        match self.worker_of(actor, incarnation) {
            Some(Some(worker)) => self.end_worker_in_order(worker, cause, now),
            Some(None) => self.forget_placement(actor, now),
            None => {}
        }
    }

    /// Control may find a better node for an actor that waits: it is forgotten where it waits still.
    pub(super) fn recall_actor(&mut self, actor: ActorId, incarnation: u32, now: Micros) {
        if self.worker_of(actor, incarnation) == Some(None) {
            self.forget_placement(actor, now);
            self.tell_control(NodeSays::ActorRecalled { actor, incarnation });
        }
    }

    /// The worker of this life of an actor: `None` where the node knows no such life, `Some(None)`
    /// where it has no worker yet.
    fn worker_of(&self, actor: ActorId, incarnation: u32) -> Option<Option<WorkerId>> {
        let placement = self
            .placements
            .get(&actor)
            .filter(|placement| placement.incarnation == incarnation)?;
        match placement.stage {
            Stage::Runs { worker } => Some(Some(worker)),
            Stage::Waiting { .. } | Stage::AwaitsWorker => Some(None),
        }
    }

    /// Drops an actor that has no worker yet.
    fn forget_placement(&mut self, actor: ActorId, now: Micros) {
        self.waiting.remove(&Waiter::Actor(actor));
        self.drop_reservation_of(actor);
        self.remove_placement(actor);
        self.schedule(now);
    }

    pub(super) fn remove_placement(&mut self, actor: ActorId) -> Option<Placement> {
        let placement = self.placements.remove(&actor)?;
        self.leave_group(placement.spec.strategy.as_deref(), Waiter::Actor(actor));
        Some(placement)
    }

    /// Gives up an actor for which no worker process starts.
    pub(super) fn fail_placement(&mut self, actor: ActorId, cause: DeathCause) {
        self.drop_reservation_of(actor);
        if let Some(placement) = self.remove_placement(actor) {
            let incarnation = placement.incarnation;
            let cause = Box::new(cause);
            self.tell_control(NodeSays::ActorEnded {
                actor,
                incarnation,
                cause,
            });
        }
    }
}
