//! Nodes with room, and what is put on them: those that are there, those that are to come, and those
//! that would have to be added.

use std::collections::BTreeSet;

use whipray_proto::messages::scaling::Want;
use whipray_proto::resources::{GPU, UNITS};
use whipray_proto::{NodeId, Resources};
use whipray_sched::feasibility::explain_infeasible;
use whipray_sched::helping::is_eligible;
use whipray_sched::policy::NodeView;

use crate::config::{NodeType, ScalingConfig};

/// A node that something can be put on.
#[derive(Clone, Debug)]
pub struct Slot {
    pub view: NodeView,
    pub is_used: bool,
}

/// How many nodes of which type may be added, and which were.
#[derive(Clone, Debug)]
pub struct Additions<'a> {
    config: &'a ScalingConfig,
    room: Vec<u32>,
    total_room: u32,
    /// The type of each, and whether it is exempt from the limits on speed.
    pub added: Vec<(usize, bool)>,
}

impl<'a> Additions<'a> {
    pub fn new(config: &'a ScalingConfig, room: Vec<u32>, total_room: u32) -> Self {
        Self {
            config,
            room,
            total_room,
            added: Vec::new(),
        }
    }

    fn may_add(&self, kind: usize) -> bool {
        self.total_room > 0 && self.room.get(kind).is_some_and(|room| *room > 0)
    }

    /// The type of which one more node helps most; `None` where there may be none that serves.
    fn best(&self, want: &Want, rest: &[Want]) -> Option<usize> {
        let kinds = self.config.types.iter().enumerate();
        let helping = kinds.filter(|(kind, node_type)| {
            self.may_add(*kind)
                && explain_infeasible(&node_type.resources, &want.resources).is_none()
                && is_eligible(&node_type.labels, want.strategy.as_deref())
        });
        let best = helping.max_by_key(|(kind, node_type)| {
            let wastes_gpu = node_type.resources.units(GPU) > 0 && want.resources.units(GPU) == 0;
            let amounts = &node_type.resources.amounts;
            let is_wanted = |name: &&String| want.resources.units(name) > 0;
            let matching = amounts.keys().filter(is_wanted).count();
            let others = amounts.len() - matching;
            let used = used_permille(node_type, want, rest);
            let first = std::cmp::Reverse(*kind);
            let fewest_others = std::cmp::Reverse(others);
            (node_type.priority, !wastes_gpu, used, fewest_others, first)
        });
        best.map(|(kind, _)| kind)
    }
}

/// How much of an empty node would be in use, of what somebody wants, in thousandths.
fn used_permille(node_type: &NodeType, want: &Want, rest: &[Want]) -> i64 {
    let mut free = node_type.resources.clone();
    for want in std::iter::once(want).chain(rest) {
        if is_eligible(&node_type.labels, want.strategy.as_deref()) {
            let count = fitting(&free, &want.resources, want.count);
            take(&mut free, &want.resources, count);
        }
    }
    let wanted = node_type.resources.amounts.iter();
    // What every machine has says nothing.
    let wanted = wanted.filter(|(name, units)| {
        let is_asked = |want: &Want| want.resources.units(name) > 0;
        **units > 0 && std::iter::once(want).chain(rest).any(is_asked)
    });
    let shares: Vec<i64> = wanted
        .map(|(name, units)| ((units - free.units(name)) as f64 * 1000.0 / *units as f64) as i64)
        .collect();
    match shares.len() {
        0 => 0,
        count => shares.iter().sum::<i64>() / count as i64,
    }
}

/// All nodes that something can be put on.
#[derive(Clone, Debug, Default)]
pub struct Packing {
    slots: Vec<Slot>,
    imagined: u64,
}

impl Packing {
    pub fn push(&mut self, view: NodeView) {
        self.slots.push(Slot {
            view,
            is_used: false,
        });
    }

    /// A node of this type with nothing on it.
    pub fn push_new(&mut self, node_type: &NodeType) {
        self.imagined += 1;
        let mut id = [0xff; 28];
        id[20..].copy_from_slice(&self.imagined.to_be_bytes());
        self.push(NodeView {
            node: NodeId::from_array(id),
            total: node_type.resources.clone(),
            available: node_type.resources.clone(),
            labels: node_type.labels.clone(),
        });
    }

    pub fn views(&self) -> Vec<NodeView> {
        self.slots.iter().map(|slot| slot.view.clone()).collect()
    }

    /// The nodes that something was put on.
    pub fn used(&self) -> BTreeSet<NodeId> {
        let used = self.slots.iter().filter(|slot| slot.is_used);
        used.map(|slot| slot.view.node).collect()
    }

    /// Puts as much of a want as there is room for on the nodes; returns how much is left.
    pub fn serve(&mut self, want: &Want) -> u32 {
        let mut left = want.count;
        let wants_gpu = want.resources.units(GPU) > 0;
        // Nodes with GPUs are kept for those who ask for some.
        for wastes_gpu in [false, true] {
            for slot in &mut self.slots {
                let wastes = !wants_gpu && slot.view.total.units(GPU) > 0;
                if left == 0 || wastes != wastes_gpu {
                    continue;
                }
                if !is_eligible(&slot.view.labels, want.strategy.as_deref()) {
                    continue;
                }
                let count = fitting(&slot.view.available, &want.resources, left);
                if count > 0 {
                    take(&mut slot.view.available, &want.resources, count);
                    slot.is_used = true;
                    left -= count;
                }
            }
        }
        left
    }

    /// The same with nodes that are added where there is too little room. `rest`: what comes after
    /// this, which a new node should be of use for, too.
    pub fn serve_adding(
        &mut self,
        want: &Want,
        rest: &[Want],
        additions: &mut Additions<'_>,
        is_urgent: bool,
    ) -> u32 {
        let mut left = self.serve(want);
        while left > 0 {
            let missing = Want {
                count: left,
                ..want.clone()
            };
            let Some(kind) = additions.best(&missing, rest) else {
                return left;
            };
            self.add(kind, additions, is_urgent);
            let still = self.serve(&missing);
            if still == left {
                return left;
            }
            left = still;
        }
        0
    }

    /// Adds one node of this type, where there may be one more.
    pub fn add(&mut self, kind: usize, additions: &mut Additions<'_>, is_urgent: bool) {
        let Some(node_type) = additions.config.types.get(kind) else {
            return;
        };
        if !additions.may_add(kind) {
            return;
        }
        self.push_new(node_type);
        additions.room[kind] -= 1;
        additions.total_room -= 1;
        additions.added.push((kind, is_urgent));
    }

    /// Puts one thing on one node that `may` have it, those that are `liked` first; or on a new one.
    /// Returns its node.
    pub fn serve_one(
        &mut self,
        want: &Want,
        rest: &[Want],
        additions: &mut Additions<'_>,
        rank: impl Fn(NodeId) -> Option<usize>,
    ) -> Option<NodeId> {
        let fits = |slot: &Slot| {
            is_eligible(&slot.view.labels, want.strategy.as_deref())
                && fitting(&slot.view.available, &want.resources, 1) == 1
        };
        let ranked = self.slots.iter().enumerate().filter(|(_, slot)| fits(slot));
        let ranked = ranked.filter_map(|(index, slot)| Some((rank(slot.view.node)?, index)));
        let index = match ranked.min() {
            Some((_, index)) => index,
            None => {
                let kind = additions.best(want, rest)?;
                self.add(kind, additions, true);
                self.slots.len().checked_sub(1)?
            }
        };
        let slot = self.slots.get_mut(index).filter(|slot| fits(slot))?;
        take(&mut slot.view.available, &want.resources, 1);
        slot.is_used = true;
        Some(slot.view.node)
    }

    /// Counts resources off a node, as the policy for placement groups has chosen.
    pub fn take_on(&mut self, node: NodeId, resources: &Resources) {
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.view.node == node) {
            slot.view.available.subtract(resources);
            slot.is_used = true;
        }
    }
}

/// How many of these requests, `most` at most, what is free would serve. Shares of a GPU are those of
/// one device each: of several devices only whole ones are believed to be free.
fn fitting(free: &Resources, request: &Resources, most: u32) -> u32 {
    let mut count = i64::from(most);
    for (name, units) in &request.amounts {
        if *units <= 0 {
            continue;
        }
        let free = free.units(name).max(0);
        let fits = match name == GPU && *units < UNITS && free > UNITS {
            true => free / UNITS * (UNITS / units),
            false => free / units,
        };
        count = count.min(fits);
    }
    u32::try_from(count).unwrap_or(0)
}

fn take(free: &mut Resources, request: &Resources, count: u32) {
    for (name, units) in &request.amounts {
        let free = free.amounts.entry(name.clone()).or_insert(0);
        *free -= (*units).max(0) * i64::from(count);
    }
}
