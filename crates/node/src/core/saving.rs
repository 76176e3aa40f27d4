//! Turns for those who need more at once than what becomes free at a time.
//!
//! Whoever fits is served, in turn. So one that needs two CPUs would never have its turn beside many
//! that need one: each CPU that comes back is taken again. After a while without anything, what it
//! lacks is therefore saved for it: others that need the same get nothing. That costs throughput
//! where those who hold it go on for long, so it ends after a time, and comes again after a pause
//! four times as long; each further time is twice as long as the one before.

use rustc_hash::FxHashMap;
use whipray_proto::{PlacementGroupId, Resources, limits};

use super::Node;
use super::leases::Waiter;
use super::placement::Stage;
use super::timers::{Micros, Timer, micros};
use super::workers::Work;

/// How much longer a pause is than the saving before it.
const PAUSE_FACTOR: u64 = 4;

/// For whom what comes back is saved.
#[derive(Debug)]
struct Active {
    waiter: Waiter,
    until: Micros,
    lacks: Resources,
    group: Option<PlacementGroupId>,
}

/// Who is saved for, and for whom it was in vain.
#[derive(Debug, Default)]
pub struct Saving {
    active: Option<Active>,
    next_look: Micros,
    /// How often it was in vain, and when it may begin again.
    tried: FxHashMap<Waiter, (u32, Micros)>,
}

impl Saving {
    /// Whether someone else must not have this now.
    pub fn keeps_from(
        &self,
        waiter: Waiter,
        request: &Resources,
        group: Option<PlacementGroupId>,
    ) -> bool {
        self.active.as_ref().is_some_and(|active| {
            let mut names = request.amounts.keys();
            active.waiter != waiter
                && active.group == group
                && names.any(|name| active.lacks.amounts.contains_key(name))
        })
    }

    /// Someone was served.
    pub fn on_served(&mut self, waiter: Waiter) {
        if self
            .active
            .as_ref()
            .is_some_and(|active| active.waiter == waiter)
        {
            self.active = None;
        }
        if !self.tried.is_empty() {
            self.tried.remove(&waiter);
        }
    }
}

impl Node {
    /// Ends a saving that is over, and begins one where someone has waited for too long.
    pub(super) fn update_saving(&mut self, now: Micros) {
        if let Some(active) = &self.saving.active {
            let is_waiting = self.waiting.contains(&active.waiter);
            if is_waiting && now < active.until {
                return;
            }
            if is_waiting {
                let (rounds, resume) = self.saving.tried.entry(active.waiter).or_default();
                *resume = now + PAUSE_FACTOR * length(*rounds);
                *rounds += 1;
            }
            self.saving.active = None;
        }
        if now < self.saving.next_look {
            return;
        }
        self.saving.next_look = now + micros(limits::RECLAIM_REPEAT);
        let waiting = &self.waiting;
        self.saving
            .tried
            .retain(|waiter, _| waiting.contains(waiter));
        let starving = self
            .waiting
            .iter()
            .find(|waiter| self.is_starving(*waiter, now));
        let Some(waiter) = starving else { return };
        let Some(lack) = self.lacks(waiter) else {
            return;
        };
        let tried = self.saving.tried.get(&waiter);
        let until = now + length(tried.map_or(0, |(rounds, _)| *rounds));
        self.timers.set(until, Timer::Saving);
        self.saving.active = Some(Active {
            waiter,
            until,
            lacks: lack.resources,
            group: lack.group,
        });
    }

    /// Whether someone has had nothing for long, and would get it if all leases came back.
    fn is_starving(&self, waiter: Waiter, now: Micros) -> bool {
        let (since, request) = match waiter {
            Waiter::Class { .. } => match self.demands.get(&waiter) {
                Some(demand) => (demand.starved_since, &demand.resources),
                None => return false,
            },
            Waiter::Actor(actor) => match self.placements.get(&actor) {
                Some(placement) => match placement.stage {
                    Stage::Waiting { since, .. } => (Some(since), &placement.spec.resources),
                    Stage::AwaitsWorker | Stage::Runs { .. } => return false,
                },
                None => return false,
            },
        };
        let is_long = since.is_some_and(|since| since + micros(limits::STARVING) <= now);
        let tried = self.saving.tried.get(&waiter);
        if !is_long || tried.is_some_and(|(_, resume)| now < *resume) {
            return false;
        }
        let Some(lack) = self.lacks(waiter) else {
            return false;
        };
        // What actors and placement groups hold does not come back.
        lack.group.is_some() || self.with_leases_back().covers(request)
    }

    fn with_leases_back(&self) -> Resources {
        let mut sum = self.ledger.available().clone();
        for (_, worker) in self.pool.iter() {
            if let Work::Leased { hold, .. } = &worker.work
                && self.ledger.is_of_node(&hold.assignment)
            {
                sum.add(&hold.assignment.resources);
            }
        }
        sum
    }
}

/// How long is saved for the same one after so many times in vain.
fn length(rounds: u32) -> Micros {
    let longest = micros(limits::SAVING_LONGEST);
    let doubled = 1u64.checked_shl(rounds).unwrap_or(u64::MAX);
    micros(limits::STARVING)
        .saturating_mul(doubled)
        .min(longest)
}
