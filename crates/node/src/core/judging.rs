//! Whether a demand can ever be served, by this node or another one.

use whipray_proto::failure::{Failure, FailureKind};
use whipray_proto::link::{NodeSays, NodeState};
use whipray_proto::scheduling::SchedulingStrategy;
use whipray_proto::{NodeId, PlacementGroupId, Resources};
use whipray_sched::policy::{Decision, NodeView, decide};

use super::Node;
use super::leases::{Demand, Waiter};
use super::timers::Micros;

/// What a task gets that insists on what cannot be.
pub fn unschedulable(example: &str, reason: &str) -> Failure {
    let message = format!("{reason}. The task is {example}.");
    Failure::new(FailureKind::Unschedulable, "", message)
}

impl Node {
    /// Whether any node of the cluster but those to be avoided can ever serve a request. What is
    /// free counts for new requests alone: some would rather fail than wait.
    pub(super) fn judge_in_cluster(
        &self,
        request: &Resources,
        strategy: Option<&SchedulingStrategy>,
        avoids: &[NodeId],
        is_new: bool,
    ) -> Decision {
        if self.neighbours.is_alone() && is_new {
            return self.judge(request, strategy);
        }
        if let Some(group) = strategy.and_then(|strategy| strategy.group.as_ref()) {
            let is_elsewhere = !self.nodes_of_bundles(group.group, group.bundle).is_empty();
            let is_placed = self.group_nodes.contains_key(&group.group);
            let may_be_elsewhere = !self.neighbours.is_alone() && !is_placed;
            return match is_elsewhere || may_be_elsewhere && group.bundle.is_none() {
                true => Decision::Run(self.config.node),
                false => self.judge(request, strategy),
            };
        }
        let mut nodes = match self.neighbours.all() {
            nodes if nodes.is_empty() => vec![self.own_view()],
            nodes => nodes,
        };
        nodes.retain(|view| !avoids.contains(&view.node));
        for view in &mut nodes {
            if !is_new {
                view.available.clone_from(&view.total);
            } else if view.node == self.config.node {
                view.available.clone_from(self.ledger.available());
            }
        }
        decide(
            &nodes,
            self.config.node,
            request,
            strategy,
            NodeId::default(),
        )
    }

    fn own_view(&self) -> NodeView {
        NodeView {
            node: self.config.node,
            total: self.ledger.total().clone(),
            available: self.ledger.available().clone(),
            labels: self.config.labels.clone(),
        }
    }

    /// Whether this node itself can ever serve a request.
    pub(super) fn can_serve_here(
        &self,
        request: &Resources,
        strategy: Option<&SchedulingStrategy>,
    ) -> bool {
        match strategy {
            None => self.ledger.explain_infeasible(request).is_none(),
            Some(strategy) if strategy.group.is_some() => true,
            strategy => {
                let mut own = self.own_view();
                own.available.clone_from(&own.total);
                let decision = decide(
                    &[own],
                    self.config.node,
                    request,
                    strategy,
                    NodeId::default(),
                );
                matches!(decision, Decision::Run(_) | Decision::Wait(..))
            }
        }
    }

    /// Nodes came, went, or are not what they were: what could not be served may be now, and what
    /// could may never be any more.
    pub(super) fn judge_again(&mut self, now: Micros) {
        let waiters: Vec<Waiter> = self.demands.keys().copied().collect();
        for waiter in waiters {
            self.judge_one(waiter, now);
        }
    }

    pub(super) fn judge_one(&mut self, waiter: Waiter, now: Micros) {
        let (Waiter::Class { owner, class }, Some(demand)) = (waiter, self.demands.get(&waiter))
        else {
            return;
        };
        if demand.is_of_node {
            return;
        }
        let (resources, strategy) = (&demand.resources, demand.strategy.as_deref());
        let infeasible = match self.judge_in_cluster(resources, strategy, &demand.avoids, false) {
            Decision::Run(_) | Decision::Wait(..) => None,
            Decision::Infeasible(reason) => Some(reason),
            Decision::Never(reason) if demand.asked_for.is_some_and(|it| self.is_unheard(it)) => {
                Some(reason)
            }
            Decision::Never(reason) => {
                let failure = unschedulable(&demand.example, &reason);
                return self.refuse_class(owner, class, failure, now);
            }
        };
        if infeasible == demand.infeasible {
            return;
        }
        let (job, example) = (demand.job, demand.example.clone());
        if let Some(demand) = self.demands.get_mut(&waiter) {
            demand.infeasible.clone_from(&infeasible);
            self.reclaim.is_fresh |= infeasible.is_none();
        }
        if let Some(reason) = infeasible {
            self.tell_infeasible((owner, class), job, &example, &reason);
        }
        self.update_hunger(waiter, now);
    }

    /// Asks control for the node that a demand insists on, where nobody has told of it: whoever
    /// named it may have heard of it before this node does.
    pub(super) fn ask_for_node(&mut self, strategy: Option<&SchedulingStrategy>) -> Option<NodeId> {
        let node = strategy?.affinity.as_ref()?.node;
        if self.neighbours.is_alone() || !self.is_unheard(node) {
            return None;
        }
        self.tell_control(NodeSays::NodeWanted { node });
        Some(node)
    }

    fn is_unheard(&self, node: NodeId) -> bool {
        node != self.config.node
            && !self.neighbours.is_known(node)
            && self.neighbours.death_of(node).is_none()
    }

    /// There is no such node, and there never was: who insists on it hears so.
    pub(super) fn on_node_unknown(&mut self, node: NodeId, now: Micros) {
        for demand in self.demands.values_mut() {
            demand.asked_for.take_if(|asked| *asked == node);
        }
        self.judge_again(now);
        self.schedule(now);
    }

    /// The other nodes that have this bundle of a group, or any.
    pub(super) fn nodes_of_bundles(
        &self,
        group: PlacementGroupId,
        bundle: Option<u32>,
    ) -> Vec<NodeId> {
        let Some(places) = self.group_nodes.get(&group) else {
            return Vec::new();
        };
        let is_meant = |index: usize| bundle.is_none_or(|bundle| bundle as usize == index);
        let places = places.iter().enumerate();
        let meant = places.filter(|(index, _)| is_meant(*index));
        let mut nodes: Vec<NodeId> = meant
            .map(|(_, node)| *node)
            .filter(|node| *node != self.config.node && !node.is_nil())
            .collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// Control says where the bundles of a group lie now.
    pub(super) fn group_placed(
        &mut self,
        group: PlacementGroupId,
        nodes: Vec<NodeId>,
        now: Micros,
    ) {
        self.group_nodes.insert(group, nodes);
        let members = self.group_members.get(&group).cloned().unwrap_or_default();
        for member in members {
            let Some(strategy) = self.demands.get(&member).map(|it| it.strategy.clone()) else {
                continue;
            };
            let bundle = strategy
                .as_deref()
                .and_then(|it| it.group.as_ref())
                .and_then(|group| group.bundle);
            let nodes = self.nodes_of_bundles(group, bundle);
            if let Some(demand) = self.demands.get_mut(&member) {
                let gone = demand.shares.iter_mut();
                gone.filter(|share| !nodes.contains(&share.node))
                    .for_each(|share| share.asked = 0);
            }
            self.judge_one(member, now);
            self.update_hunger(member, now);
        }
        self.schedule(now);
    }

    /// Why a demand that can be served has to wait, as a sentence.
    pub(super) fn why_demand_waits(&self, demand: &Demand) -> String {
        let strategy = demand.strategy.as_deref();
        let here = || self.why_waits(&demand.resources, strategy);
        if self.neighbours.is_alone() || demand.is_of_node {
            return here();
        }
        if let Some(group) = strategy.and_then(|strategy| strategy.group.as_ref()) {
            let is_elsewhere = !self.nodes_of_bundles(group.group, group.bundle).is_empty();
            if is_elsewhere && !self.ledger.serves(group.group) {
                let wanted = demand.resources.describe();
                return format!("waits for {wanted} in placement group {}", group.group);
            }
            return here();
        }
        if let Some(reason) = self.why_not_there(strategy) {
            return reason;
        }
        match self.decide_for(demand) {
            Decision::Wait(node, reason) if node == self.config.node => {
                format!("{reason}, and no other node has it free")
            }
            Decision::Wait(node, reason) => format!("{reason} on node {node}"),
            Decision::Run(node) if node != self.config.node => {
                format!("waits for a worker of node {node}")
            }
            _ => here(),
        }
    }

    /// Why the only node that will do takes nothing, whatever is free there.
    fn why_not_there(&self, strategy: Option<&SchedulingStrategy>) -> Option<String> {
        let affinity = strategy?.affinity.as_ref().filter(|it| !it.is_soft)?;
        let node = affinity.node;
        let reason = match self.neighbours.state_of(node)? {
            NodeState::Alive | NodeState::Dead => return None,
            NodeState::Suspect => "has not been heard of for a moment",
            NodeState::Draining => "is to go, and takes nothing new",
        };
        Some(format!("waits for node {node}, which {reason}"))
    }
}
