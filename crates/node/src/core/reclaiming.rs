//! Leases that are idle and that others wait for: their holders are asked for them.
//!
//! Owners keep leases for a while after their last task. So a node that looks full may not be: where
//! a demand had rather be served there, it waits until all holders have said that what was idle is
//! back (a *round*), which is a matter of a message there and back, and goes elsewhere only then.

use rustc_hash::FxHashSet;
use whipray_proto::messages::lease::{IdleReturned, LeasePending, ReclaimIdle};
use whipray_proto::{NodeId, limits};

use super::leases::Waiter;
use super::scheduling::Lack;
use super::timers::{Micros, Timer, micros};
use super::workers::Work;
use super::{ClientId, Node};

/// When holders of leases were, and will be, asked for idle ones.
#[derive(Debug, Default)]
pub struct Reclaim {
    /// Someone began to wait since the last look.
    pub is_fresh: bool,
    /// When the next look is due. There is one timer: each further one would look again and again.
    armed: Option<Micros>,
    last: Micros,
    begun: u64,
    /// The last round that was for those who wait here.
    own: u64,
    /// Those that are not over.
    rounds: Vec<Round>,
    /// Holders that did not answer in time: until they do nobody waits for them again.
    slow: FxHashSet<ClientId>,
}

/// Holders of leases that were asked at the same time.
#[derive(Debug)]
struct Round {
    number: u64,
    /// The node that asked this one, with its own number.
    asked_by: Option<(NodeId, u64)>,
    /// Those who have not answered.
    silent: FxHashSet<ClientId>,
    until: Micros,
}

impl Reclaim {
    /// The number of the next round.
    pub fn next_round(&self) -> u64 {
        self.begun + 1
    }

    /// Whether no holder was asked yet in the round that someone waits for.
    pub fn is_to_come(&self, round: u64) -> bool {
        round > self.own
    }
}

impl Node {
    /// Asks for idle leases if that is due. Returns whether others may serve now who waited for that.
    pub(super) fn arm_reclaim(&mut self, now: Micros) -> bool {
        let is_group_waiting = self.views.is_group_waiting();
        if self.waiting.is_empty() && !is_group_waiting && self.draining.is_none() {
            self.reclaim.is_fresh = false;
            return false;
        }
        if self.reclaim.is_fresh {
            self.reclaim.is_fresh = false;
            let allowed = self.reclaim.last + micros(limits::RECLAIM_LEAST);
            if now >= allowed || self.reclaim.last == 0 {
                return self.reclaim_idle_leases(now);
            }
            self.arm_look(allowed);
        } else if self.reclaim.armed.is_none() {
            self.arm_look(now + micros(limits::RECLAIM_REPEAT));
        }
        false
    }

    /// Looks again at that time, or before where that is due already.
    fn arm_look(&mut self, at: Micros) {
        if self.reclaim.armed.is_none_or(|armed| armed > at) {
            self.reclaim.armed = Some(at);
            self.timers.set(at, Timer::Reclaim);
        }
    }

    /// The timer of the next look fired; one that was replaced by an earlier one does nothing.
    pub(super) fn on_reclaim_due(&mut self, now: Micros) {
        if self.reclaim.armed.is_some_and(|armed| armed <= now) {
            self.reclaim.armed = None;
            if self.reclaim_idle_leases(now) {
                self.schedule(now);
            }
        }
    }

    /// Asks the holders of leases for idle ones, where one of those could help someone who waits.
    /// Returns whether there are none, and somebody hoped that there were.
    fn reclaim_idle_leases(&mut self, now: Micros) -> bool {
        let holders = self.holders_of_use();
        if holders.is_empty() {
            let number = self.reclaim.next_round();
            return self.give_up_hopes(number, now);
        }
        self.reclaim.last = now;
        self.arm_look(now + micros(limits::RECLAIM_REPEAT));
        self.begin_round(None, holders, now);
        false
    }

    /// The holders of leases of which one could help someone who waits, were it idle.
    fn holders_of_use(&self) -> FxHashSet<ClientId> {
        let waiting: Vec<(Waiter, Lack)> = self
            .waiting
            .iter()
            .filter_map(|waiter| Some((waiter, self.lacks(waiter)?)))
            .collect();
        let mut holders: FxHashSet<ClientId> = FxHashSet::default();
        for (_, worker) in self.pool.iter() {
            let Work::Leased { owner, hold, .. } = &worker.work else {
                continue;
            };
            let helps = waiting
                .iter()
                .any(|(waiter, lack)| could_help(&worker.work, *waiter, lack));
            // A placement group waits for room on the node, whatever it is that it needs.
            let is_group_waiting = self.views.is_group_waiting();
            let has_something = !hold.assignment.resources.amounts.is_empty();
            let helps_group = is_group_waiting && hold.assignment.bundle.is_none() && has_something;
            if helps || helps_group || self.draining.is_some() {
                holders.insert(*owner);
            }
        }
        for (_, lease) in self.forwarding.leases.iter() {
            // What a local owner has elsewhere, another one could have as well.
            let own = lease.waiter();
            let Some(demand) = self.demands.get(&own) else {
                continue;
            };
            let held = &demand.resources.amounts;
            let helps = waiting.iter().any(|(waiter, lack)| {
                let mut names = lack.resources.amounts.keys();
                *waiter != own && lack.group.is_none() && names.any(|name| held.contains_key(name))
            });
            if helps && !demand.is_in_group() {
                holders.insert(lease.owner);
            }
        }
        // What one has that is gone comes back by itself.
        holders.retain(|holder| self.clients.contains_key(holder));
        holders
    }

    /// Whether a lease that someone else has here could serve a demand, were it idle.
    pub(super) fn could_be_freed(&self, waiter: Waiter) -> bool {
        let Some(lack) = self.lacks(waiter) else {
            return false;
        };
        let mut workers = self.pool.iter();
        workers.any(|(_, worker)| could_help(&worker.work, waiter, &lack))
    }

    fn begin_round(
        &mut self,
        asked_by: Option<(NodeId, u64)>,
        holders: FxHashSet<ClientId>,
        now: Micros,
    ) {
        // Where there is no other node to go to, nobody has to know when all is back.
        let is_counted = !self.neighbours.is_alone();
        let mut round = 0;
        if is_counted {
            round = self.reclaim.next_round();
            self.reclaim.begun = round;
            if asked_by.is_none() {
                self.reclaim.own = round;
            }
            let silent: FxHashSet<ClientId> =
                holders.difference(&self.reclaim.slow).copied().collect();
            let until = match silent.is_empty() {
                true => now,
                false => now + micros(limits::IDLE_ANSWER_WAIT),
            };
            self.timers.set(until, Timer::IdleAnswers);
            self.reclaim.rounds.push(Round {
                number: round,
                asked_by,
                silent,
                until,
            });
        }
        for holder in holders {
            self.send(holder, ReclaimIdle { round });
        }
    }

    /// On another node others wait: those who hold something of it return what is idle.
    pub(super) fn reclaim_for(&mut self, node: NodeId, round: u64, now: Micros) {
        let leases = self.forwarding.leases.iter();
        let of_node = leases.filter(|(_, lease)| lease.node == node);
        let holders: FxHashSet<ClientId> = of_node.map(|(_, lease)| lease.owner).collect();
        if holders.is_empty() {
            return self.tell_node(node, IdleReturned { round });
        }
        self.begin_round(Some((node, round)), holders, now);
    }

    /// A holder of leases has given back what was idle.
    pub(super) fn idle_returned(&mut self, holder: ClientId, number: u64, now: Micros) {
        let mut rounds = self.reclaim.rounds.iter_mut();
        if let Some(round) = rounds.find(|round| round.number == number) {
            round.silent.remove(&holder);
        }
        self.reclaim.slow.remove(&holder);
        self.end_rounds(now);
    }

    /// A holder is gone, and so is what it had.
    pub(super) fn holder_gone(&mut self, holder: ClientId, now: Micros) {
        for round in &mut self.reclaim.rounds {
            round.silent.remove(&holder);
        }
        self.reclaim.slow.remove(&holder);
        self.end_rounds(now);
    }

    /// Ends the rounds that everybody has answered, or that have had their time.
    pub(super) fn end_rounds(&mut self, now: Micros) {
        let is_over = |round: &mut Round| round.silent.is_empty() || round.until <= now;
        let over: Vec<Round> = self.reclaim.rounds.extract_if(.., is_over).collect();
        let mut is_own = false;
        for round in over {
            self.reclaim.slow.extend(round.silent);
            match round.asked_by {
                Some((node, round)) => self.tell_node(node, IdleReturned { round }),
                None => {
                    is_own = true;
                    self.give_up_hopes(round.number, now);
                }
            }
        }
        if is_own {
            self.schedule(now);
        }
    }

    /// What was idle at that round is back, and served: whoever still waits has nothing to hope for
    /// here that others could not give it sooner. Returns whether somebody does.
    fn give_up_hopes(&mut self, round: u64, now: Micros) -> bool {
        if self.neighbours.is_alone() {
            return false;
        }
        let mut has_waiting = false;
        let mut busy = Vec::new();
        for (waiter, demand) in &mut self.demands {
            if demand.hopes.round.is_none_or(|hoped| hoped > round) {
                continue;
            }
            demand.hopes.round = None;
            let waits = demand.is_waiting();
            if waits {
                has_waiting = true;
                demand.hopes.not_before = now + micros(limits::HOPE_AGAIN);
            }
            if std::mem::take(&mut demand.hopes.is_asked_to_say) && waits {
                busy.push(*waiter);
            }
        }
        for waiter in busy {
            if let Waiter::Class { owner, class } = waiter {
                let pending = LeasePending {
                    class,
                    is_only_busy: true,
                    ..LeasePending::default()
                };
                self.send(owner, pending);
            }
        }
        has_waiting
    }
}

/// Whether what a worker is leased for could serve someone who waits.
fn could_help(work: &Work, waiter: Waiter, lack: &Lack) -> bool {
    let Work::Leased {
        owner, class, hold, ..
    } = work
    else {
        return false;
    };
    let own = Waiter::Class {
        owner: *owner,
        class: *class,
    };
    let held = &hold.assignment.resources.amounts;
    let of_group = hold.assignment.bundle.map(|bundle| bundle.group);
    let mut names = lack.resources.amounts.keys();
    waiter != own && lack.group == of_group && names.any(|name| held.contains_key(name))
}
