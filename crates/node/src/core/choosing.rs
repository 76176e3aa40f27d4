//! Which node is to serve the next lease of a demand.
//!
//! Mostly that follows from what is free, as far as is known here. But a node that looks full may
//! have leases that are idle. Where a demand prefers a node, or is to be spread, such nodes are asked
//! first, and others only once they have said that they found nothing.

use std::borrow::Cow;

use whipray_proto::scheduling::NodeAffinity;
use whipray_proto::{NodeId, Resources};
use whipray_sched::policy::{self, Decision, NodeView, decide};

use super::Node;
use super::forwarding::{Choice, Share};
use super::leases::Demand;
use super::neighbours::Neighbours;

impl Demand {
    pub fn spreads(&self) -> bool {
        let strategy = self.strategy.as_ref();
        strategy.is_some_and(|strategy| strategy.spreads)
    }

    /// A node was chosen for its next lease.
    pub(super) fn goes_to(&mut self, node: NodeId, neighbours: &mut Neighbours) {
        if self.spreads() {
            self.last_node = node;
            neighbours.last_spread = node;
        }
    }

    /// What a node has free for this demand if nobody else uses what he has there.
    pub(super) fn hoped_for(&self, view: &NodeView) -> Resources {
        let mut shares = self.shares.iter();
        let share = shares.find(|share| share.node == view.node);
        let used = share.map_or(self.held, |share| share.held + share.asked);
        let mut room = view.total.clone();
        for (name, units) in &self.resources.amounts {
            *room.amounts.entry(name.clone()).or_insert(0) -= units * i64::from(used);
        }
        room
    }
}

impl Node {
    /// Whether a demand is, by what it says, served here rather than on another node, as things are.
    pub(super) fn is_for_here(&self, demand: &Demand) -> bool {
        if demand.is_of_node || demand.insists_on(self.config.node) {
            return true;
        }
        if self.neighbours.open().is_empty() {
            return demand.serves_here;
        }
        match demand.strategy.as_deref() {
            None => self.choose_near(demand).is_none(),
            Some(strategy) if strategy.group.is_some() => true,
            _ => self.choose_for(demand).decision == Decision::Run(self.config.node),
        }
    }

    /// The node with its arguments, where a demand can be served there.
    fn choose_near(&self, demand: &Demand) -> Option<Choice> {
        let near = demand.near?;
        if demand.strategy.is_some() || demand.avoids.contains(&near) {
            return None;
        }
        let mut views = self.neighbours.open_others().iter();
        let view = views.find(|view| view.node == near)?;
        let has_room = view.available.covers(&demand.resources);
        let may_have =
            || self.may_have_idle(demand, near) && demand.hoped_for(view).covers(&demand.resources);
        (has_room || may_have()).then_some(Choice {
            decision: Decision::Run(near),
            is_trial: !has_room,
        })
    }

    /// Which node is to serve the next lease of a demand.
    pub(super) fn choose_for(&self, demand: &Demand) -> Choice {
        if let Some(near) = self.choose_near(demand) {
            return near;
        }
        let nodes = self.candidates(demand);
        let decision = self.decide_among(&nodes, demand);
        let as_things_are = |decision| Choice {
            decision,
            is_trial: false,
        };
        let Some(strategy) = demand.strategy.as_deref() else {
            return as_things_are(decision);
        };
        let spills = |it: &NodeAffinity| it.is_soft && it.spills;
        let prefers = strategy.affinity.as_ref().is_some_and(spills)
            || strategy.affinity.is_none()
                && (strategy.soft.is_some() || strategy.selectors.len() > 1);
        if !strategy.spreads && !prefers {
            return as_things_are(decision);
        }
        // As if all that may be idle was. What is to be spread is so by where it is itself, whatever
        // else there is, and whether its tasks wait for something at the moment.
        let mut hoped = nodes.to_vec();
        for view in &mut hoped {
            let has_room = strategy.spreads && view.available.covers(&demand.resources);
            if has_room || self.may_have_idle(demand, view.node) {
                view.available = demand.hoped_for(view);
            }
        }
        let Decision::Run(best) = self.decide_among(&hoped, demand) else {
            return as_things_are(decision);
        };
        let find = |node: NodeId| nodes.iter().find(|view| view.node == node);
        let has_room = find(best).is_some_and(|view| view.available.covers(&demand.resources));
        let rank = |node: NodeId| Some(policy::rank(strategy, find(node)?));
        let is_better = match decision {
            Decision::Run(node) => strategy.spreads || rank(best) < rank(node),
            _ => true,
        };
        match is_better {
            true => Choice {
                decision: Decision::Run(best),
                is_trial: !has_room,
            },
            false => as_things_are(decision),
        }
    }

    /// What the policy says as things are.
    pub(super) fn decide_for(&self, demand: &Demand) -> Decision {
        self.decide_among(&self.candidates(demand), demand)
    }

    fn decide_among(&self, nodes: &[NodeView], demand: &Demand) -> Decision {
        let strategy = demand.strategy.as_deref();
        let (own, after) = (self.config.node, demand.last_node);
        decide(nodes, own, &demand.resources, strategy, after)
    }

    /// The nodes that may be asked for a demand.
    fn candidates(&self, demand: &Demand) -> Cow<'_, [NodeView]> {
        let nodes = match self.draining {
            Some(_) => self.neighbours.open_others(),
            None => self.neighbours.open(),
        };
        if demand.avoids.is_empty() {
            return Cow::Borrowed(nodes);
        }
        let is_meant = |view: &&NodeView| !demand.avoids.contains(&view.node);
        Cow::Owned(nodes.iter().filter(is_meant).cloned().collect())
    }

    /// Whether a node may have more to give than it seems: nobody has looked for idle leases there.
    fn may_have_idle(&self, demand: &Demand, node: NodeId) -> bool {
        if node == self.config.node {
            return demand.hopes.round.is_some();
        }
        let is_stuck = |share: &Share| share.node == node && share.is_stuck;
        !demand.hopes.busy.contains(&node) && !demand.shares.iter().any(is_stuck)
    }
}
