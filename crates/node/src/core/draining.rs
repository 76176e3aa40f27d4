//! A node that is to go, or that the cluster has given up. What becomes of the objects of one that is
//! to go is in `moving_away`.

use whipray_proto::link::NodeSays;
use whipray_proto::{DeathCause, DeathKind, WorkerId, limits};

use super::leases::{Demand, Waiter};
use super::placement::Stage;
use super::timers::{Micros, Timer, micros};
use super::{Effect, Node};

/// That this node takes nothing new any more.
#[derive(Clone, Copy, Debug)]
pub struct Draining {
    deadline: Micros,
    /// What still ran at the deadline is being ended.
    is_ending: bool,
    is_told: bool,
    /// Until when workers that were asked to leave may take, since they may own something; where they
    /// stay, the node does.
    idle_until: Option<Micros>,
}

impl Node {
    /// Takes nothing new from here on; what runs may go on until the deadline. What owners here
    /// want, other nodes are asked for.
    pub(super) fn drain(
        &mut self,
        reason: &str,
        deadline_us: u64,
        only_if_idle: bool,
        now: Micros,
    ) {
        self.tell_control(NodeSays::DrainHeard);
        if only_if_idle {
            // Control has decided by what it knew: work may have come since.
            let busy = self.what_is_done();
            if !busy.is_empty() {
                return self.tell_control(NodeSays::NotIdle { reason: busy });
            }
        }
        tracing::warn!(
            reason,
            deadline_us,
            "this node is to go, and takes nothing new"
        );
        let deadline = match deadline_us {
            0 => Micros::MAX,
            _ => now.saturating_add(deadline_us),
        };
        let is_first = self.draining.is_none();
        let is_told = self.draining.is_some_and(|draining| draining.is_told);
        let idle_until = only_if_idle.then(|| now + micros(limits::IDLE_LEAVE));
        self.draining = Some(Draining {
            deadline,
            is_ending: false,
            is_told,
            idle_until,
        });
        if let Some(until) = idle_until {
            self.dismiss_former_workers();
            self.timers.set(until, Timer::Drained);
        }
        if deadline_us > 0 {
            self.timers.set(deadline, Timer::Drained);
        }
        self.give_up_reservations(now);
        self.reclaim.is_fresh = true;
        if is_first {
            self.begin_moves(now);
        }
        self.schedule(now);
    }

    /// Workers that were only on their way are not waited for.
    fn give_up_reservations(&mut self, now: Micros) {
        let (classes, actors) = std::mem::take(&mut self.awaiting)
            .into_iter()
            .partition(|it| matches!(it.waiter, Waiter::Class { .. }));
        self.awaiting = actors;
        let classes: Vec<super::scheduling::Reservation> = classes;
        for reservation in classes {
            self.ledger.release(&reservation.assignment);
            if let Some(demand) = self.demands.get_mut(&reservation.waiter) {
                demand.held = demand.held.saturating_sub(1);
            }
            self.update_hunger(reservation.waiter, now);
        }
    }

    /// Whether this node is to go.
    pub fn is_draining(&self) -> bool {
        self.draining.is_some()
    }

    /// What may begin here. On a node that is to go nothing, but for tasks of processes of its own that
    /// insist on it: what runs here may wait for them, and nobody else can ever serve them.
    pub(super) fn may_begin(&self) -> impl Fn(Option<&Demand>) -> bool + use<> {
        let (node, draining) = (self.config.node, self.draining);
        move |demand| match draining {
            None => true,
            Some(draining) if draining.is_ending => false,
            Some(_) => demand.is_some_and(|it| !it.is_of_node && it.insists_on(node)),
        }
    }

    /// Whether something runs here that may make objects yet.
    pub(super) fn has_work(&self) -> bool {
        let waits = |stage: &Stage| matches!(stage, Stage::Waiting { .. });
        let mut actors = self.placements.values();
        !self.leases.is_empty() || actors.any(|placement| !waits(&placement.stage))
    }

    /// What this node waits for before it goes, as a clause; empty where it is not to go.
    pub(super) fn goes_after(&self) -> String {
        if self.draining.is_none() {
            return String::new();
        }
        let mut left = Vec::new();
        let waits = |stage: &Stage| matches!(stage, Stage::Waiting { .. });
        let actors = self.placements.values();
        let actors = actors.filter(|it| !waits(&it.stage)).count();
        for (count, what) in [(self.leases.len(), "leases"), (actors, "actors")] {
            if count > 0 {
                left.push(format!("{count} {what}"));
            }
        }
        let objects = self.left_behind();
        if !objects.is_empty() {
            left.push(objects);
        }
        match left.is_empty() {
            true => "it is about to go".to_owned(),
            false => format!("it goes once these have: {}", left.join(", ")),
        }
    }

    /// Says once that nothing runs here any more and nothing is left that others need, or that it has
    /// had its time.
    pub(super) fn look_if_drained(&mut self, now: Micros) {
        if let Some(until) = self.draining.and_then(|draining| draining.idle_until) {
            let owners = self.count_former_workers();
            if owners > 0 && now < until {
                return;
            }
            if owners > 0 {
                self.draining = None;
                let reason = format!("{owners} idle workers own objects that others refer to");
                self.tell_control(NodeSays::NotIdle { reason });
                return self.schedule(now);
            }
        }
        let Some(draining) = self.draining.filter(|draining| !draining.is_told) else {
            return;
        };
        let is_late = now >= draining.deadline;
        if self.has_work() {
            if is_late && !draining.is_ending {
                self.end_work();
            }
            return;
        }
        if !is_late && self.has_moves() {
            return;
        }
        let left_behind = self.left_behind();
        if !left_behind.is_empty() {
            tracing::warn!(left_behind, "objects are lost with this node");
        }
        if let Some(draining) = &mut self.draining {
            draining.is_told = true;
            self.tell_control(NodeSays::Drained { left_behind });
        }
    }

    /// The time of this node is over, and something still runs here: it ends before control hears so,
    /// since that begins it elsewhere at once.
    fn end_work(&mut self) {
        if let Some(draining) = &mut self.draining {
            draining.is_ending = true;
        }
        self.end_workers("its node was drained, and had its time");
    }

    fn end_workers(&mut self, reason: &str) {
        let workers: Vec<WorkerId> = self.pool.iter().map(|(worker, _)| worker).collect();
        for worker in workers {
            self.end_worker(worker, DeathCause::new(DeathKind::NodeDied, reason));
        }
    }

    /// The cluster has given this node up: nothing that it has counts any more.
    pub(super) fn fence(&mut self, reason: String) {
        tracing::error!(reason, "the cluster has given this node up");
        self.is_fenced = true;
        self.end_workers(&reason);
        self.effects.push(Effect::Fence { reason });
    }
}
