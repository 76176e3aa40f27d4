//! Placement groups as a node has them: bundles that are set aside, and those who use them.

use rustc_hash::FxHashSet;
use whipray_proto::failure::{Failure, FailureKind};
use whipray_proto::ids::PlacementGroupId;
use whipray_proto::link::NodeSays;
use whipray_proto::messages::lease::LeaseRefused;
use whipray_proto::{DeathCause, DeathKind, Resources, SchedulingStrategy, WorkerId};
use whipray_sched::feasibility::explain_wait;
use whipray_sched::policy::{Decision, NodeView, decide};

use super::leases::Waiter;
use super::timers::Micros;
use super::workers::Work;
use super::{ClientId, Node};

/// The group that a strategy names.
pub fn group_of(strategy: Option<&SchedulingStrategy>) -> Option<PlacementGroupId> {
    Some(strategy?.group.as_ref()?.group)
}

impl Node {
    pub(super) fn prepare_bundles(
        &mut self,
        group: PlacementGroupId,
        attempt: u32,
        bundles: &[(u32, Resources)],
        now: Micros,
    ) {
        let is_granted = self.ledger.prepare(group, attempt, bundles);
        if !is_granted {
            self.reclaim.is_fresh = true;
        }
        let available = self.ledger.available().clone();
        self.tell_control(NodeSays::BundlesPrepared {
            group,
            attempt,
            is_granted,
            available,
        });
        self.schedule(now);
    }

    pub(super) fn commit_bundles(&mut self, group: PlacementGroupId, attempt: u32, now: Micros) {
        self.ledger.commit(group, attempt);
        self.schedule(now);
    }

    pub(super) fn return_bundles(&mut self, group: PlacementGroupId, attempt: u32, now: Micros) {
        self.ledger.withdraw(group, Some(attempt));
        self.schedule(now);
    }

    /// A group is gone: those in it end, and those who wait for it hear of it.
    pub(super) fn remove_group(&mut self, group: PlacementGroupId, now: Micros) {
        self.group_nodes.remove(&group);
        let is_used = self.ledger.users_of(group) > 0;
        if self.ledger.serves(group) {
            self.ledger.withdraw(group, None);
            // Control plans with what it knows, and knows of nothing else that comes back.
            self.tell_available();
        } else {
            self.ledger.withdraw(group, None);
        }
        let members = self.group_members.get(&group).cloned().unwrap_or_default();
        self.turn_away(group, members, now);
        if is_used {
            self.end_users_of(group);
        }
        self.schedule(now);
    }

    /// Ends the workers that have something of a group.
    fn end_users_of(&mut self, group: PlacementGroupId) {
        let of_group = |work: &Work| match work {
            Work::Idle { .. } => false,
            Work::Leased { hold, .. } | Work::Actor { hold, .. } => {
                let bundle = hold.assignment.bundle;
                bundle.is_some_and(|bundle| bundle.group == group)
            }
        };
        let users = self
            .pool
            .iter()
            .filter(|(_, worker)| of_group(&worker.work));
        let users: Vec<WorkerId> = users.map(|(worker, _)| worker).collect();
        for worker in users {
            let detail = format!("placement group {group}");
            let cause = DeathCause::new(DeathKind::PlacementGroupRemoved, detail);
            self.end_worker(worker, cause);
        }
    }

    /// Refuses those who wait for something of a group.
    fn turn_away(&mut self, group: PlacementGroupId, members: FxHashSet<Waiter>, now: Micros) {
        for member in members {
            match member {
                Waiter::Class { owner, class } => {
                    let message = format!("The placement group {group} of the task was removed.");
                    let kind = FailureKind::TaskGroupRemoved;
                    self.refuse_class(owner, class, Failure::new(kind, "", message), now);
                }
                Waiter::Actor(actor) => {
                    let detail = format!(
                        "Could not create the actor because its associated placement group was \
                         removed.\nRequired placement group {group} is removed."
                    );
                    let cause = DeathCause::new(DeathKind::Unschedulable, detail);
                    let is_waiting = self.placements.get(&actor);
                    if is_waiting.is_some_and(|placement| placement.is_without_worker()) {
                        self.waiting.remove(&member);
                        self.fail_placement(actor, cause);
                    }
                }
            }
        }
    }

    /// No task of a class can run: its owner hears why, and nothing is wanted any more.
    pub(super) fn refuse_class(
        &mut self,
        owner: ClientId,
        class: u64,
        failure: Failure,
        now: Micros,
    ) {
        let waiter = Waiter::Class { owner, class };
        if let Some(demand) = self.demands.get_mut(&waiter) {
            demand.target = 0;
            self.give_back_reservations(waiter);
            self.update_hunger(waiter, now);
        }
        self.send(owner, LeaseRefused { class, failure });
    }

    /// Someone wants something of this group: if nothing of it is here, control may know why.
    pub(super) fn ask_for_group(&mut self, strategy: Option<&SchedulingStrategy>) {
        let Some(group) = group_of(strategy) else {
            return;
        };
        // Where others have bundles of it, control alone knows that.
        let is_unknown = !self.neighbours.is_alone() && !self.group_nodes.contains_key(&group);
        if is_unknown || !self.ledger.serves(group) {
            self.tell_control(NodeSays::GroupWanted { group });
        }
    }

    /// Notes who wants something of a group.
    pub(super) fn join_group(&mut self, strategy: Option<&SchedulingStrategy>, waiter: Waiter) {
        if let Some(group) = group_of(strategy) {
            self.group_members.entry(group).or_default().insert(waiter);
        }
    }

    pub(super) fn leave_group(&mut self, strategy: Option<&SchedulingStrategy>, waiter: Waiter) {
        if let Some(group) = group_of(strategy)
            && let Some(members) = self.group_members.get_mut(&group)
        {
            members.remove(&waiter);
            if members.is_empty() {
                self.group_members.remove(&group);
            }
        }
    }

    /// Whether this node can ever serve a request, by what its strategy says.
    pub(super) fn judge(
        &self,
        request: &Resources,
        strategy: Option<&SchedulingStrategy>,
    ) -> Decision {
        let node = self.config.node;
        let Some(strategy) = strategy else {
            return match self.ledger.explain_infeasible(request) {
                Some(reason) => Decision::Infeasible(reason),
                None => Decision::Run(node),
            };
        };
        if let Some(group) = &strategy.group {
            return match self.ledger.explain_infeasible_in(group, request) {
                Some(reason) => Decision::Infeasible(reason),
                None => Decision::Run(node),
            };
        }
        let view = NodeView {
            node,
            total: self.ledger.total().clone(),
            available: self.ledger.available().clone(),
            labels: self.config.labels.clone(),
        };
        decide(
            &[view],
            node,
            request,
            Some(strategy),
            whipray_proto::NodeId::default(),
        )
    }

    /// Why someone who could be served has to wait, as a sentence.
    pub(super) fn why_waits(
        &self,
        request: &Resources,
        strategy: Option<&SchedulingStrategy>,
    ) -> String {
        match strategy.and_then(|strategy| strategy.group.as_ref()) {
            None => explain_wait(self.ledger.total(), self.ledger.available(), request),
            Some(group) if !self.ledger.serves(group.group) => {
                format!(
                    "waits for placement group {}, which is not created",
                    group.group
                )
            }
            Some(group) => match self.ledger.explain_infeasible_in(group, request) {
                Some(reason) => reason,
                None => format!(
                    "waits for {} in placement group {}",
                    request.describe(),
                    group.group
                ),
            },
        }
    }
}
