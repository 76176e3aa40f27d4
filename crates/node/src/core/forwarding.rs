//! What a demand gets of other nodes: the home of an owner asks them for what it has not itself.
//!
//! Another node is asked as its own owners ask it: by a target, here for a demand as a whole. What
//! is asked for there counts against the demand, so that nothing is asked for twice; only the
//! bundles of a placement group, of which nobody here knows what is free, are all asked at once, and
//! what is too much is given back.

use rustc_hash::FxHashMap;
use whipray_proto::messages::lease::{LeaseTarget, SchedulingClass};
use whipray_proto::{NodeId, Resources};
use whipray_sched::policy::{Decision, NodeView};

use super::groups::group_of;
use super::leases::{Demand, Waiter};
use super::neighbours::Neighbours;
use super::timers::Micros;
use super::{Node, foreign_leases::ForeignLeases};

/// What a demand has, and is to get, of another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    pub node: NodeId,
    /// Leases that are asked for there and did not come yet.
    pub asked: u32,
    /// Leases of that node that the owner holds.
    pub held: u32,
    /// The target that the node knows.
    pub told: u32,
    /// Of those that are asked for, so many were when the node last said what is free: they may be
    /// counted off there already, while their workers start.
    pub seen: u32,
    /// As far as is known nothing is free there: whoever has something first serves instead, and
    /// what becomes free there is not kept from others for it.
    pub is_stuck: bool,
    pub trial: Trial,
}

/// Whether a node was asked that looks full, in the hope that leases there are idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trial {
    No,
    /// Its views mean nothing until it has looked for idle leases.
    Wanted,
    /// It was told to say so if it finds none.
    Told,
}

/// What a demand is to get next, and of whom.
pub(super) struct Choice {
    pub decision: Decision,
    /// The node looks full.
    pub is_trial: bool,
}

impl Share {
    /// The target that the node is to know, where the owner wants so many in all.
    pub fn wish(&self, target: u32) -> u32 {
        (self.asked + self.held).min(target)
    }

    /// What counts as taken on the node.
    fn hopeful(&self) -> i64 {
        if self.is_stuck {
            0
        } else {
            i64::from(self.asked)
        }
    }

    /// Changes what is asked for; what the node has free is counted accordingly.
    pub fn change(
        &mut self,
        neighbours: &mut Neighbours,
        resources: &Resources,
        change: impl FnOnce(&mut Self),
    ) {
        let before = self.hopeful();
        change(self);
        self.seen = self.seen.min(self.asked);
        neighbours.take(self.node, resources, self.hopeful() - before);
    }
}

/// What is under way between this node and others for its owners.
#[derive(Debug, Default)]
pub struct Forwarding {
    /// Demands by the numbers by which other nodes know them.
    by_number: FxHashMap<u64, Waiter>,
    last_number: u64,
    pub leases: ForeignLeases,
}

impl Forwarding {
    pub fn waiter(&self, number: u64) -> Option<Waiter> {
        self.by_number.get(&number).copied()
    }

    fn number(&mut self, waiter: Waiter) -> u64 {
        self.last_number += 1;
        self.by_number.insert(self.last_number, waiter);
        self.last_number
    }

    pub fn forget(&mut self, number: u64) {
        self.by_number.remove(&number);
    }
}

/// With which prospects a node is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ask {
    InRoom,
    Trial,
    Stuck,
}

/// How often a request fits into what is free, at most `most` times.
fn fits(available: &Resources, request: &Resources, most: u32) -> u32 {
    let wanted = request.amounts.iter().filter(|(_, units)| **units > 0);
    let often = wanted.map(|(name, units)| available.units(name) / units);
    let often = often.min().unwrap_or(i64::from(most));
    u32::try_from(often).unwrap_or(0).min(most)
}

impl Node {
    /// Asks other nodes for what cannot be served here. Returns whether that was done for someone
    /// whose next lease may as well be served here.
    pub(super) fn forward(&mut self, now: Micros) -> bool {
        if self.neighbours.is_alone() {
            return false;
        }
        let mut is_turn_of_here = false;
        let waiting: Vec<Waiter> = self.waiting.iter().collect();
        for waiter in waiting {
            let Some(demand) = self.demands.get(&waiter) else {
                continue;
            };
            if demand.is_of_node || demand.infeasible.is_some() {
                continue;
            }
            if group_of(demand.strategy.as_deref()).is_some() {
                self.ask_for_bundles(waiter, now);
            } else {
                is_turn_of_here |= self.ask_others(waiter, now);
            }
        }
        is_turn_of_here
    }

    /// Asks for as much as others can give. Returns whether the one that was asked is but the next
    /// in turn.
    fn ask_others(&mut self, waiter: Waiter, now: Micros) -> bool {
        loop {
            let Some(demand) = self.demands.get(&waiter) else {
                return false;
            };
            let (missing, stuck) = (demand.missing(), demand.stuck());
            let someone = self.neighbours.open_others();
            let has_room = |view: &NodeView| view.available.covers(&demand.resources);
            let is_choosy = demand.strategy.is_some() || demand.near.is_some();
            let may_wait_here = missing == 0 || demand.serves_here;
            if missing + stuck == 0 || !is_choosy && may_wait_here && !someone.iter().any(has_room)
            {
                return false;
            }
            let choice = self.choose_for(demand);
            let hopes_for_here = demand.strategy.is_none() && demand.hopes.round.is_some();
            if hopes_for_here && !choice.is_trial && self.could_be_freed(waiter) {
                return false;
            }
            let spreads = demand.spreads();
            match choice.decision {
                Decision::Run(node) if node != self.config.node => {
                    let most = if spreads { 1 } else { missing + stuck };
                    let mut views = self.neighbours.open_others().iter();
                    let view = views.find(|view| view.node == node);
                    let room = view.map(|view| match choice.is_trial {
                        true => demand.hoped_for(view),
                        false => view.available.clone(),
                    });
                    let count = room.map_or(0, |room| fits(&room, &demand.resources, most));
                    if count == 0 {
                        return false;
                    }
                    self.take_back_stuck(waiter, count.saturating_sub(missing));
                    let kind = match choice.is_trial {
                        true => Ask::Trial,
                        false => Ask::InRoom,
                    };
                    self.ask(waiter, node, count, kind);
                    self.update_hunger(waiter, now);
                    if spreads {
                        return true;
                    }
                }
                Decision::Wait(node, _) if node != self.config.node && missing > 0 => {
                    self.ask(waiter, node, missing, Ask::Stuck);
                    self.update_hunger(waiter, now);
                    return false;
                }
                // It would rather fail than wait: the node itself knows better whether it is busy.
                Decision::Never(_) if missing > 0 => {
                    let affinity = demand.strategy.as_ref().and_then(|it| it.affinity.as_ref());
                    let node = affinity.map(|affinity| affinity.node);
                    if let Some(node) = node.filter(|node| self.neighbours.is_open(*node)) {
                        self.ask(waiter, node, missing, Ask::Stuck);
                        self.update_hunger(waiter, now);
                    }
                    return false;
                }
                _ => return false,
            }
        }
    }

    /// Asks the nodes where bundles of its group lie for all that a demand has not; what too many
    /// of them give is returned.
    fn ask_for_bundles(&mut self, waiter: Waiter, now: Micros) {
        let Some(demand) = self.demands.get(&waiter) else {
            return;
        };
        let Some(group) = demand.strategy.as_deref().and_then(|it| it.group.as_ref()) else {
            return;
        };
        let missing = demand.target.saturating_sub(demand.obtained());
        let mut nodes = self.nodes_of_bundles(group.group, group.bundle);
        nodes.retain(|node| self.neighbours.is_open(*node) && !demand.avoids.contains(node));
        let mut has_changed = false;
        for node in nodes {
            let share = self
                .demands
                .get(&waiter)
                .and_then(|demand| demand.shares.iter().find(|share| share.node == node));
            let asked = share.map_or(0, |share| share.asked);
            if missing > asked {
                self.ask(waiter, node, missing - asked, Ask::Stuck);
                has_changed = true;
            }
        }
        if has_changed {
            self.update_hunger(waiter, now);
        }
    }

    /// Notes that so many more are asked for on a node; [`Self::tell_shares`] says it.
    fn ask(&mut self, waiter: Waiter, node: NodeId, count: u32, kind: Ask) {
        let Some(demand) = self.demands.get_mut(&waiter) else {
            return;
        };
        if demand.number == 0 {
            demand.number = self.forwarding.number(waiter);
        }
        demand.goes_to(node, &mut self.neighbours);
        let resources = demand.resources.clone();
        let share = demand.share_of(node);
        share.change(&mut self.neighbours, &resources, |share| {
            share.asked += count;
            share.is_stuck = kind == Ask::Stuck;
            if kind == Ask::Trial {
                share.trial = Trial::Wanted;
            }
        });
    }

    /// Takes back so many of those that nobody has room for.
    fn take_back_stuck(&mut self, waiter: Waiter, mut count: u32) {
        let Some(demand) = self.demands.get_mut(&waiter) else {
            return;
        };
        for share in demand.shares.iter_mut().filter(|share| share.is_stuck) {
            let taken = share.asked.min(count);
            share.asked -= taken;
            count -= taken;
            share.seen = share.seen.min(share.asked);
        }
    }

    /// Asks others for no more than a demand still lacks, and tells them what has changed. For every
    /// demand of which shares, target or leases changed.
    pub(super) fn trim_shares(&mut self, waiter: Waiter) {
        let Some(demand) = self.demands.get_mut(&waiter) else {
            return;
        };
        if demand.shares.is_empty() {
            return;
        }
        let wanted = match demand.infeasible {
            Some(_) => 0,
            None => demand.target.saturating_sub(demand.obtained()),
        };
        if demand.is_in_group() {
            for share in &mut demand.shares {
                share.asked = share.asked.min(wanted);
            }
        } else {
            let mut excess = demand.asked().saturating_sub(wanted);
            // Those without hope go first.
            for is_stuck in [true, false] {
                for share in demand.shares.iter_mut().rev() {
                    if share.is_stuck == is_stuck {
                        let taken = share.asked.min(excess);
                        excess -= taken;
                        share.change(&mut self.neighbours, &demand.resources, |share| {
                            share.asked -= taken;
                        });
                    }
                }
            }
        }
        self.tell_shares(waiter);
    }

    /// Tells other nodes what a demand wants of them, where they know it otherwise.
    pub(super) fn tell_shares(&mut self, waiter: Waiter) {
        let Some(demand) = self.demands.get_mut(&waiter) else {
            return;
        };
        let target = demand.target;
        let mut told = Vec::new();
        for share in &mut demand.shares {
            let wish = share.wish(target);
            let is_trial = share.trial == Trial::Wanted;
            if wish != share.told || is_trial {
                share.told = wish;
                told.push((share.node, wish, is_trial));
            }
            if is_trial {
                share.trial = Trial::Told;
            }
        }
        demand
            .shares
            .retain(|share| share.asked + share.held + share.told > 0);
        for (node, target, says_if_busy) in told {
            let message = LeaseTarget {
                class: demand.number,
                definition: SchedulingClass {
                    resources: demand.resources.clone(),
                    job: demand.job,
                    environment: (*demand.environment).clone(),
                    strategy: demand.strategy.clone(),
                    near: None,
                },
                target,
                example: demand.example.clone(),
                says_if_busy,
            };
            self.effects.push(super::Effect::ToNode {
                node,
                message: message.into(),
            });
        }
    }

    /// Takes in what these nodes have free: what is asked for there counts as taken, and where there
    /// is no room for it others may serve it.
    pub(super) fn on_views(&mut self, heard: &[NodeId], now: Micros) {
        if heard.is_empty() {
            return;
        }
        let mut changed = Vec::new();
        for (waiter, demand) in &mut self.demands {
            let is_in_group = demand.is_in_group();
            for share in &mut demand.shares {
                if share.asked == 0 || !heard.contains(&share.node) {
                    continue;
                }
                changed.push(*waiter);
                let views = self.neighbours.open_others().iter();
                match views.clone().find(|view| view.node == share.node) {
                    None => {
                        share.asked = 0;
                        share.trial = Trial::No;
                    }
                    Some(_) if is_in_group || share.trial != Trial::No => {}
                    Some(view) => share.is_stuck = !view.available.covers(&demand.resources),
                }
                share.seen = share.asked;
            }
        }
        // After all of them have looked at it.
        for demand in self.demands.values() {
            for share in &demand.shares {
                if heard.contains(&share.node) {
                    let (node, count) = (share.node, share.hopeful());
                    self.neighbours.take(node, &demand.resources, count);
                }
            }
        }
        for waiter in changed {
            self.update_hunger(waiter, now);
        }
    }

    /// What a node has is not what it had: those that it could not serve may ask it again.
    pub(super) fn forgive(&mut self, node: NodeId) {
        for demand in self.demands.values_mut() {
            demand.avoids.retain(|avoided| *avoided != node);
        }
    }

    /// Shares on a node that is gone.
    pub(super) fn drop_shares_on(&mut self, node: NodeId, now: Micros) {
        let has_share = |demand: &&mut Demand| demand.shares.iter().any(|it| it.node == node);
        for demand in self.demands.values_mut().filter(has_share) {
            demand.shares.retain(|share| share.node != node);
        }
        let waiters: Vec<Waiter> = self.demands.keys().copied().collect();
        for waiter in waiters {
            self.update_hunger(waiter, now);
        }
    }
}
