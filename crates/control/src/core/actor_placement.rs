//! Which node looks for the process of an actor.
//!
//! An actor without a process stands in a line, in which it keeps its place. It waits at a node that
//! could have it, or here where there is none. When room comes elsewhere, the node that has it in
//! its own line is asked to let go of it.

use rustc_hash::FxHashSet;
use whipray_proto::link::{ControlSays, NodeState};
use whipray_proto::messages::cluster::PendingDemand;
use whipray_proto::scheduling::InGroup;
use whipray_proto::{ActorId, ActorSpec, DeathCause, DeathKind, NodeId, Resources};
use whipray_sched::feasibility::explain_infeasible;
use whipray_sched::policy::{Decision, NodeView, decide};

use super::Control;
use super::actors::{Actor, Life};
use super::groups::Standing;

/// What becomes of an actor that needs a process.
enum Choice {
    /// This node is to find one; `is_queued`: it has no room for it now.
    At { node: NodeId, is_queued: bool },
    /// No node could have it, as things are; with why, and whether only another node would help.
    Nowhere { reason: String, is_infeasible: bool },
    /// It can never have one.
    Never(String),
}

impl Control {
    /// Finds a node for an actor whose constructor can run.
    pub(super) fn place_actor(&mut self, actor: ActorId) {
        self.take_promise_back(actor);
        let mut views = self.views();
        self.place_actor_among(actor, &mut views);
    }

    /// The actor has no promise.
    fn place_actor_among(&mut self, actor: ActorId, views: &mut [NodeView]) {
        let Some(entry) = self.actors.get(&actor) else {
            return;
        };
        if !entry.is_complete || !matches!(entry.life, Life::WaitsForProcess { .. }) {
            return;
        }
        let choice = self.choose_node(views, &entry.spec);
        self.join_line(actor);
        match choice {
            Choice::At { node, is_queued } => self.send_actor(actor, node, is_queued, views),
            Choice::Nowhere {
                reason,
                is_infeasible,
            } => {
                let entry = self.actors.get(&actor).filter(|_| is_infeasible);
                let awaited = entry.and_then(|entry| self.why_actor_is_awaited(&entry.spec));
                let warns = is_infeasible && awaited.is_none();
                if let Some(entry) = self.actors.get_mut(&actor) {
                    entry.node = None;
                    entry.is_recalled = false;
                }
                self.actor_waits(actor, awaited.unwrap_or(reason), warns);
            }
            Choice::Never(reason) => {
                let cause = DeathCause::new(DeathKind::Unschedulable, reason);
                self.end_actor(actor, cause);
            }
        }
    }

    fn send_actor(
        &mut self,
        actor: ActorId,
        node: NodeId,
        is_queued: bool,
        views: &mut [NodeView],
    ) {
        let Some(entry) = self.actors.get_mut(&actor) else {
            return;
        };
        entry.node = Some(node);
        let strategy = entry.spec.strategy.as_deref();
        if strategy.is_some_and(|strategy| strategy.spreads) {
            self.last_spread = node;
        }
        entry.is_queued = is_queued;
        entry.is_recalled = false;
        let place = ControlSays::PlaceActor {
            spec: Box::new(entry.spec.clone()),
            incarnation: entry.incarnation,
        };
        let mut was_waiting = false;
        if let Life::WaitsForProcess { reason } = &mut entry.life {
            was_waiting = !std::mem::take(reason).is_empty();
        }
        if !is_queued {
            self.promise(actor, node, views);
        }
        if was_waiting {
            self.publish(actor);
        }
        self.say(node, place);
    }

    fn choose_node(&self, views: &[NodeView], spec: &ActorSpec) -> Choice {
        if !self.has_several_nodes() {
            // It has the say, and the reasons.
            return match views {
                [only] => Choice::At {
                    node: only.node,
                    is_queued: false,
                },
                _ => nowhere("waits for a node".to_owned()),
            };
        }
        let strategy = spec.strategy.as_deref();
        if let Some(in_group) = strategy.and_then(|strategy| strategy.group.as_ref()) {
            return self.choose_in_group(views, in_group, spec);
        }
        if let Some(affinity) = strategy.and_then(|strategy| strategy.affinity.as_ref())
            && !affinity.is_soft
        {
            let state = self.nodes.get(&affinity.node).map(|member| member.state());
            let what = match state {
                Some(NodeState::Suspect) => "is silent at the moment",
                Some(NodeState::Draining) => "is being drained",
                Some(NodeState::Alive | NodeState::Dead) | None => "",
            };
            if !what.is_empty() {
                return nowhere(format!(
                    "waits for its node {}, which {what}",
                    affinity.node
                ));
            }
        }
        let resources = positive(&spec.resources);
        let wanted = most(&resources, &positive(&spec.placement));
        // What holds nothing would all end up with its owner: it goes round instead.
        let turn = self.last_turn;
        let local = match resources.is_empty() {
            true => usize::try_from(turn % views.len().max(1) as u64)
                .ok()
                .and_then(|index| views.get(index))
                .map_or(spec.owner.node, |view| view.node),
            false => spec.owner.node,
        };
        let after = self.last_spread;
        let first = decide(views, local, &wanted, strategy, after);
        let queued_at = match first {
            Decision::Run(node) => {
                return Choice::At {
                    node,
                    is_queued: false,
                };
            }
            Decision::Wait(node, _) => node,
            Decision::Infeasible(reason) => {
                return Choice::Nowhere {
                    reason,
                    is_infeasible: true,
                };
            }
            Decision::Never(reason) => return Choice::Never(reason),
        };
        // What a node must have in total need not be free.
        let could_serve = |view: &&NodeView| explain_infeasible(&view.total, &wanted).is_none();
        let could_serve: Vec<NodeView> = views.iter().filter(could_serve).cloned().collect();
        match decide(&could_serve, local, &resources, strategy, after) {
            Decision::Run(node) => Choice::At {
                node,
                is_queued: false,
            },
            Decision::Wait(node, _) => Choice::At {
                node,
                is_queued: true,
            },
            Decision::Infeasible(_) | Decision::Never(_) => Choice::At {
                node: queued_at,
                is_queued: true,
            },
        }
    }

    /// The node of the bundle that is meant; where any will do, one with room as far as is known
    /// here, and else the one that has most.
    fn choose_in_group(&self, views: &[NodeView], asked: &InGroup, spec: &ActorSpec) -> Choice {
        let group = asked.group;
        let not_created = || {
            nowhere(format!(
                "waits for placement group {group}, which is not created"
            ))
        };
        let Some(entry) = self.groups.get(&group) else {
            return match self.may_come(group) {
                true => not_created(),
                false => group_is_gone(group),
            };
        };
        if entry.standing == Standing::Removed {
            return group_is_gone(group);
        }
        let is_meant = |index: usize| asked.bundle.is_none_or(|bundle| bundle as usize == index);
        if let Some(bundle) = asked.bundle
            && bundle as usize >= entry.nodes.len()
        {
            let count = entry.nodes.len();
            let reason =
                format!("asks for bundle {bundle} of placement group {group}, which has {count}");
            return Choice::Never(reason);
        }
        let mut places: Vec<(NodeId, Resources)> = Vec::new();
        let bundles = entry.nodes.iter().zip(&entry.spec.bundles).enumerate();
        for (index, (place, bundle)) in bundles {
            let Some(node) = place.filter(|_| is_meant(index)) else {
                continue;
            };
            match places.iter_mut().find(|(known, _)| *known == node) {
                Some((_, sum)) => sum.add(&bundle.resources),
                None => places.push((node, bundle.resources.clone())),
            }
        }
        // Bundles on a node that gets nothing new are no good now, but those of it that run are.
        places.retain(|(node, _)| views.iter().any(|view| view.node == *node));
        if let [(node, _)] = places[..] {
            return Choice::At {
                node,
                is_queued: false,
            };
        }
        for user in self.actors.values() {
            if user.spec.actor == spec.actor
                || user.is_dead()
                || group_of(&user.spec) != Some(group)
            {
                continue;
            }
            if let Some((_, room)) = places.iter_mut().find(|(node, _)| Some(*node) == user.node) {
                room.subtract(&user.spec.resources);
            }
        }
        let roomiest = places
            .iter()
            .max_by_key(|(_, room)| {
                let fits = room.covers(&spec.resources);
                (fits, room.amounts.values().sum::<i64>())
            })
            .map(|(node, _)| *node);
        roomiest.map_or_else(not_created, |node| Choice::At {
            node,
            is_queued: false,
        })
    }

    /// Looks for nodes for the actors that have none, and for better ones for those that wait.
    pub(super) fn place_waiting_actors(&mut self) {
        if self.line.is_empty() {
            return;
        }
        let has_several = self.has_several_nodes();
        let mut views = self.views();
        // Amounts for which there is no room, so that a long line is gone through quickly.
        let mut hopeless: FxHashSet<Resources> = FxHashSet::default();
        for actor in self.line.values().copied().collect::<Vec<_>>() {
            let Some(entry) = self.actors.get(&actor) else {
                continue;
            };
            match entry.node {
                None => self.place_actor_among(actor, &mut views),
                Some(at) if has_several => {
                    if self.is_off_its_group(entry, at) {
                        self.recall(actor, at);
                    } else if self.may_be_recalled(entry, at, &hopeless) {
                        match self.better_node(entry, at, &views) {
                            Some(better) => self.recall_actor(actor, at, better, &mut views),
                            None if entry.spec.strategy.is_none() => {
                                hopeless.insert(entry.spec.resources.clone());
                            }
                            None => {}
                        }
                    }
                }
                Some(_) => {}
            }
        }
    }

    fn may_be_recalled(&self, entry: &Actor, at: NodeId, hopeless: &FxHashSet<Resources>) -> bool {
        if !entry.is_queued || entry.is_recalled || group_of(&entry.spec).is_some() {
            return false;
        }
        let is_hopeless = entry.spec.strategy.is_none()
            && hopeless.contains(&entry.spec.resources)
            && self.could_serve(at, &entry.spec);
        !is_hopeless
    }

    /// Whether an actor waits at a node that has nothing of its placement group: where there was no
    /// other node yet, it was sent there before its bundles had a place.
    fn is_off_its_group(&self, entry: &Actor, at: NodeId) -> bool {
        let strategy = entry.spec.strategy.as_ref();
        let Some(asked) = strategy.and_then(|strategy| strategy.group.as_ref()) else {
            return false;
        };
        let group = self.groups.get(&asked.group);
        // Of the end of a group its nodes hear.
        let Some(group) = group.filter(|group| group.standing != Standing::Removed) else {
            return false;
        };
        let is_meant = |index: usize| asked.bundle.is_none_or(|bundle| bundle as usize == index);
        let mut places = group.nodes.iter().enumerate();
        !entry.is_recalled && !places.any(|(index, place)| is_meant(index) && *place == Some(at))
    }

    /// Another node that has room for an actor now, or that could ever have it where its own cannot.
    fn better_node(&self, entry: &Actor, at: NodeId, views: &[NodeView]) -> Option<NodeId> {
        match self.choose_node(views, &entry.spec) {
            Choice::At { node, is_queued } if node != at => {
                let is_better = !is_queued || !self.could_serve(at, &entry.spec);
                is_better.then_some(node)
            }
            _ => None,
        }
    }

    fn could_serve(&self, node: NodeId, spec: &ActorSpec) -> bool {
        let wanted = most(&positive(&spec.resources), &positive(&spec.placement));
        let member = self.nodes.get(&node);
        member.is_some_and(|member| explain_infeasible(&member.status.total, &wanted).is_none())
    }

    /// Asks the node where an actor waits for it, since it could have a process elsewhere.
    fn recall_actor(&mut self, actor: ActorId, at: NodeId, better: NodeId, views: &mut [NodeView]) {
        self.promise(actor, better, views);
        self.recall(actor, at);
    }

    fn recall(&mut self, actor: ActorId, at: NodeId) {
        if let Some(entry) = self.actors.get_mut(&actor) {
            entry.is_recalled = true;
            let incarnation = entry.incarnation;
            self.say(at, ControlSays::RecallActor { actor, incarnation });
        }
    }

    /// A node gets nothing new: what waits there for a process goes elsewhere.
    pub(super) fn recall_actors_of(&mut self, node: NodeId) {
        for actor in self.line.values().copied().collect::<Vec<_>>() {
            let entry = self.actors.get(&actor);
            if entry.is_some_and(|entry| entry.node == Some(node) && !entry.is_recalled) {
                self.recall(actor, node);
            }
        }
    }

    /// A node has let go of an actor that waited there.
    pub(super) fn actor_recalled(&mut self, from: NodeId, actor: ActorId, incarnation: u32) {
        if let Some(entry) = self.actors.get_mut(&actor)
            && entry.node == Some(from)
            && entry.incarnation == incarnation
            && matches!(entry.life, Life::WaitsForProcess { .. })
        {
            entry.node = None;
            self.place_actor(actor);
            // Where it does not go to the node that it was called back for, others may.
            self.place_waiting_actors();
        }
    }

    /// A node is dead: its actors restart elsewhere, or die with it.
    pub(super) fn actors_lost_node(
        &mut self,
        node: NodeId,
        cause: &DeathCause,
        is_preempted: bool,
    ) {
        for actor in self.line.values() {
            if let Some(entry) = self.actors.get_mut(actor)
                && entry.promised_by == Some(node)
            {
                entry.promised_by = None;
            }
        }
        let there = self.actors.values();
        let there = there.filter(|actor| actor.node == Some(node) && !actor.is_dead());
        let mut there: Vec<ActorId> = there.map(|actor| actor.spec.actor).collect();
        there.sort_unstable();
        for actor in there {
            let Some(entry) = self.actors.get_mut(&actor) else {
                continue;
            };
            if matches!(entry.life, Life::WaitsForProcess { .. }) {
                entry.node = None;
                self.place_actor(actor);
                continue;
            }
            // Whoever may restart at all does so here, whatever it has used up.
            if is_preempted && entry.spec.max_restarts != 0 {
                entry.preempted += 1;
            }
            let cause = match self.actors.get(&actor) {
                Some(entry) => self.in_process(entry, cause.clone()),
                None => continue,
            };
            self.life_ended(actor, cause);
        }
    }

    // ---- the line

    fn join_line(&mut self, actor: ActorId) {
        if let Some(entry) = self.actors.get_mut(&actor)
            && entry.turn.is_none()
        {
            self.last_turn += 1;
            entry.turn = Some(self.last_turn);
            self.line.insert(self.last_turn, actor);
        }
    }

    /// An actor has a process, or needs none any more.
    pub(super) fn leave_line(&mut self, actor: ActorId) {
        self.take_promise_back(actor);
        if let Some(entry) = self.actors.get_mut(&actor)
            && let Some(turn) = entry.turn.take()
        {
            entry.is_queued = false;
            entry.is_recalled = false;
            self.line.remove(&turn);
        }
    }

    /// Until the node has spoken, what an actor takes there counts as taken.
    fn promise(&mut self, actor: ActorId, node: NodeId, views: &mut [NodeView]) {
        self.take_promise_back(actor);
        let Some(entry) = self.actors.get_mut(&actor) else {
            return;
        };
        let resources = positive(&entry.spec.resources);
        // In a group it takes from what is set aside already.
        if resources.is_empty() || group_of(&entry.spec).is_some() || self.nodes.len() < 2 {
            return;
        }
        if let Some(view) = views.iter_mut().find(|view| view.node == node) {
            view.available.subtract(&resources);
        }
        if let Some(member) = self.nodes.get_mut(&node) {
            entry.promised_by = Some(node);
            member.promised.insert(actor, resources);
        }
    }

    fn take_promise_back(&mut self, actor: ActorId) {
        let entry = self.actors.get_mut(&actor);
        if let Some(node) = entry.and_then(|entry| entry.promised_by.take())
            && let Some(member) = self.nodes.get_mut(&node)
        {
            member.promised.remove(&actor);
        }
    }

    /// Those outside of placement groups that no node has in its line.
    pub(super) fn actors_without_node(&self) -> impl Iterator<Item = &ActorSpec> {
        self.line.values().filter_map(|actor| {
            let entry = self.actors.get(actor)?;
            let waits = matches!(entry.life, Life::WaitsForProcess { .. }) && entry.node.is_none();
            (waits && group_of(&entry.spec).is_none()).then_some(&entry.spec)
        })
    }

    /// The actors that no node has in its line, as demand that is not served.
    pub(super) fn pending_actors(&self) -> Vec<PendingDemand> {
        let waiting = self.line.values().filter_map(|actor| {
            let entry = self.actors.get(actor)?;
            match &entry.life {
                Life::WaitsForProcess { reason } if entry.node.is_none() => Some(PendingDemand {
                    resources: entry.spec.wanted(),
                    count: 1,
                    infeasible: group_of(&entry.spec).is_none()
                        && self.why_actor_is_awaited(&entry.spec).is_none(),
                    reason: reason.clone(),
                    example: entry.spec.class_name.clone(),
                }),
                _ => None,
            }
        });
        waiting.collect()
    }
}

fn nowhere(reason: String) -> Choice {
    Choice::Nowhere {
        reason,
        is_infeasible: false,
    }
}

fn group_is_gone(group: whipray_proto::PlacementGroupId) -> Choice {
    Choice::Never(format!(
        "Could not create the actor because its associated placement group was removed.\n\
         Required placement group {group} is removed."
    ))
}

fn group_of(spec: &ActorSpec) -> Option<whipray_proto::PlacementGroupId> {
    Some(spec.strategy.as_ref()?.group.as_ref()?.group)
}

/// Without amounts that mean nothing.
fn positive(resources: &Resources) -> Resources {
    let mut resources = resources.clone();
    resources.amounts.retain(|_, units| *units > 0);
    resources
}

/// The larger amount of each.
fn most(left: &Resources, right: &Resources) -> Resources {
    let mut most = left.clone();
    for (name, units) in &right.amounts {
        most.set(name, most.units(name).max(*units));
    }
    most
}
