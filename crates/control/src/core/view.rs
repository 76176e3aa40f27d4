//! What nodes have to give: who says so, and who hears of it.

use whipray_proto::link::{ControlSays, NodeNews};
use whipray_proto::{NodeId, Resources, limits};
use whipray_sched::policy::NodeView;

use super::Control;
use super::groups::Standing;
use super::health::micros;

impl Control {
    /// The nodes that may get something, in the order of their ids, with what they have left.
    pub(super) fn views(&self) -> Vec<NodeView> {
        let usable = self.nodes.values().filter(|member| member.is_usable());
        let view = |member: &super::membership::Member| {
            let mut available = member.status.available.clone();
            for promised in member.promised.values() {
                available.subtract(promised);
            }
            NodeView {
                node: member.status.node,
                total: member.status.total.clone(),
                available,
                labels: member.status.labels.clone(),
            }
        };
        usable.map(view).collect()
    }

    /// A node says what is free.
    pub(super) fn resources_available(&mut self, node: NodeId, available: Resources) {
        let (_, with_decreases) = self.watch;
        let has_grown = self.note_available(node, available);
        // Where nodes tell growth alone, each word is one: also the first after a group waits.
        if has_grown || !with_decreases {
            self.room_changed();
        }
    }

    /// Returns whether there is more than there was.
    pub(super) fn note_available(&mut self, node: NodeId, available: Resources) -> bool {
        let Some(member) = self.nodes.get_mut(&node).filter(|member| !member.is_dead()) else {
            return false;
        };
        let had_promised = !member.promised.is_empty();
        member.promised.clear();
        let has_grown = had_promised || !member.status.available.covers(&available);
        // Also what is the same as before: others may have counted off what they asked for.
        member.status.available = available;
        if self.has_several_nodes() {
            self.changed_nodes.insert(node);
            self.publish_news_in_time();
        }
        has_grown
    }

    /// Something about a node changed that others are to know at once.
    pub(super) fn node_changed(&mut self, node: NodeId) {
        self.scaling_changed();
        self.changed_nodes.insert(node);
        self.publish_news();
    }

    fn publish_news_in_time(&mut self) {
        if self.next_news_us().is_some_and(|due| due <= self.now_us) {
            self.publish_news();
        }
    }

    /// When the next word on nodes is due.
    pub(super) fn next_news_us(&self) -> Option<u64> {
        let due = self
            .told_news_us
            .saturating_add(micros(limits::VIEW_INTERVAL));
        (!self.changed_nodes.is_empty()).then_some(due)
    }

    /// Tells every node what changed at the others.
    pub(super) fn publish_news(&mut self) {
        let changed = std::mem::take(&mut self.changed_nodes);
        self.told_news_us = self.now_us;
        let members = changed.iter().filter_map(|node| self.nodes.get(node));
        let news: Vec<NodeNews> = members.map(super::membership::Member::news).collect();
        for node in self.alive_nodes() {
            let of_others = news.iter().filter(|news| news.node != node);
            let of_others: Vec<NodeNews> = of_others.cloned().collect();
            if !of_others.is_empty() {
                self.say(node, ControlSays::Nodes(of_others));
            }
        }
    }

    /// Someone at a node insists on another one of which that has not heard.
    pub(super) fn node_wanted(&mut self, from: NodeId, node: NodeId) {
        let answer = match self.nodes.get(&node) {
            Some(member) => ControlSays::Nodes(vec![member.news()]),
            None => ControlSays::NodeUnknown { node },
        };
        self.say(from, answer);
    }

    /// There may be room now that was not there before.
    pub(super) fn room_changed(&mut self) {
        self.place_waiting_groups();
        self.place_waiting_actors();
    }

    /// Has nodes say what they have to give, as far as someone wants to know.
    pub(super) fn watch_nodes(&mut self) {
        let wants_all = self.has_several_nodes() || self.has_scaler();
        let (is_on, with_decreases) = (self.waits_for_room(), wants_all);
        if self.watch == (is_on, with_decreases) {
            return;
        }
        self.watch = (is_on, with_decreases);
        for node in self.alive_nodes() {
            let watch = ControlSays::WatchResources {
                is_on,
                with_decreases,
            };
            self.say(node, watch);
        }
    }

    fn waits_for_room(&self) -> bool {
        // One that is being tried again may be refused, and then waits for the next growth: to stop
        // listening meanwhile would make it try for ever where amounts fit and devices do not.
        let waits = |standing: &Standing| match standing {
            Standing::Waits { is_infeasible, .. } => !is_infeasible,
            Standing::Prepares { .. } => true,
            Standing::Stands | Standing::Removed => false,
        };
        let mut waiting = self.waiting_groups.iter();
        waiting.any(|group| {
            let entry = self.groups.get(group);
            entry.is_some_and(|entry| waits(&entry.standing))
        })
    }
}
