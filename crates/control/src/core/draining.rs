//! Nodes that are to leave: they finish what they have, and go when nothing is left or their time
//! is over.

use whipray_proto::link::ControlSays;
use whipray_proto::messages::cluster::NodeEnd;
use whipray_proto::messages::draining::{DrainNode, DrainReason, NodeDrained};
use whipray_proto::{NodeId, WorkerId, limits};

use super::Control;

/// Why a node is to go, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    reason: DrainReason,
    text: String,
    /// The time that the node has, from when it heard of this; zero: as long as it takes.
    lasts_us: u64,
    /// When the node said that it has heard of this.
    known_us: Option<u64>,
    /// When the node was heard again after a silence: what it has said meanwhile comes after that.
    heard_again_us: u64,
}

impl Drain {
    /// When the node is given up that has not said by itself that its time is over. One that does not
    /// know of it is not: its actors live on. It hears nothing of control, and ends for that reason.
    fn end_us(&self) -> Option<u64> {
        let wait = limits::DRAIN_LAST_WORD.as_micros() as u64;
        let known_us = self.known_us.filter(|_| self.lasts_us > 0)?;
        let over_us = known_us.saturating_add(self.lasts_us);
        Some(over_us.max(self.heard_again_us).saturating_add(wait))
    }

    pub(super) fn heard_again(&mut self, now_us: u64) {
        self.heard_again_us = now_us;
    }

    fn end(&self) -> NodeEnd {
        match self.reason {
            DrainReason::Preemption => NodeEnd::DrainedForPreemption,
            DrainReason::Idle => NodeEnd::DrainedIdle,
            DrainReason::Unspecified => NodeEnd::Expected,
        }
    }
}

impl Control {
    pub(super) fn drain_node(&mut self, client: WorkerId, asked: DrainNode) {
        let request = asked.request;
        let rejection = self.why_not_drained(&asked).unwrap_or_default();
        let is_accepted = rejection.is_empty();
        if is_accepted {
            self.start_drain(&asked);
        }
        self.tell(
            client,
            NodeDrained {
                request,
                is_accepted,
                rejection,
            },
        );
    }

    fn why_not_drained(&self, asked: &DrainNode) -> Option<String> {
        if Some(asked.node) == self.head {
            return Some(
                "the head's node cannot be drained: it holds the state of the cluster".to_owned(),
            );
        }
        // One that is not there any more is as good as drained.
        let member = self
            .nodes
            .get(&asked.node)
            .filter(|member| !member.is_dead())?;
        if asked.reason() != DrainReason::Idle {
            return None;
        }
        let actors = self.actors.values();
        let actors = actors.filter(|actor| !actor.is_dead() && actor.node == Some(asked.node));
        let actors = actors.count();
        let mut used = member.status.total.clone();
        used.subtract(&member.status.available);
        used.amounts.retain(|_, units| *units > 0);
        let mut busy = Vec::new();
        if let Some(wants) = member.wants.as_ref().filter(|it| !it.busy.is_empty()) {
            busy.push(wants.busy.clone());
        } else if actors > 0 {
            busy.push(format!("{actors} actors are there"));
        }
        if !used.is_empty() {
            busy.push(format!("{} is in use", used.describe()));
        }
        (!busy.is_empty()).then(|| format!("the node is not idle: {}", busy.join(", and ")))
    }

    fn start_drain(&mut self, asked: &DrainNode) {
        let node = asked.node;
        let Some(member) = self.nodes.get_mut(&node).filter(|member| !member.is_dead()) else {
            return;
        };
        let text = match (asked.reason_message.as_str(), asked.reason()) {
            ("", DrainReason::Idle) => "it was idle".to_owned(),
            ("", DrainReason::Preemption) => "its machine is taken away".to_owned(),
            ("", DrainReason::Unspecified) => "on request".to_owned(),
            (text, _) => text.to_owned(),
        };
        let lasts_us = asked.deadline_ms.saturating_mul(1000);
        member.unheard_drains += 1;
        member.drain = Some(Drain {
            reason: asked.reason(),
            text: text.clone(),
            lasts_us,
            known_us: None,
            heard_again_us: 0,
        });
        tracing::info!(%node, reason = text, "node is drained");
        self.node_changed(node);
        let drain = ControlSays::Drain {
            reason: text,
            deadline_us: lasts_us,
            only_if_idle: asked.reason() == DrainReason::Idle,
        };
        self.say(node, drain);
        self.recall_actors_of(node);
    }

    /// A node has heard of one order to drain, and goes by it until it hears of the next.
    pub(super) fn drain_heard(&mut self, node: NodeId) {
        let Some(member) = self.nodes.get_mut(&node) else {
            return;
        };
        member.unheard_drains = member.unheard_drains.saturating_sub(1);
        if let Some(drain) = &mut member.drain
            && member.unheard_drains == 0
        {
            drain.known_us = Some(self.now_us);
        }
    }

    /// A node that was to be drained because it was idle has got something to do since.
    pub(super) fn not_idle(&mut self, node: NodeId, reason: &str) {
        let member = self.nodes.get_mut(&node).filter(|member| !member.is_dead());
        if let Some(member) = member
            && let Some(drain) = &member.drain
            && drain.reason == DrainReason::Idle
        {
            tracing::info!(%node, reason, "node is not drained: it is not idle");
            member.drain = None;
            self.node_changed(node);
            self.room_changed();
        }
    }

    /// Nothing that would have to end first runs on a node any more, or its time is over. What it has
    /// that others may miss is named: errors of programs say it.
    pub(super) fn drained(&mut self, node: NodeId, left_behind: &str) {
        let member = self.nodes.get(&node);
        let Some(drain) = member.and_then(|member| member.drain.clone()) else {
            return;
        };
        let mut what = format!("was drained: {}", drain.text);
        if !left_behind.is_empty() {
            what = format!("{what}; {left_behind}");
        }
        self.node_lost(node, &what, drain.end());
    }

    /// Gives up the nodes whose time to drain is over, and that have not said so themselves. One that is
    /// silent may not know of it, and go on: how long it is silent decides.
    pub(super) fn end_drains(&mut self) {
        let late = |member: &super::membership::Member| {
            let end = member.drain.as_ref().and_then(Drain::end_us);
            member.is_heard() && end.is_some_and(|end| end <= self.now_us)
        };
        let late = self.nodes.iter().filter(|(_, member)| late(member));
        let late: Vec<NodeId> = late.map(|(node, _)| *node).collect();
        for node in late {
            self.drained(node, "");
        }
    }

    /// When the time of the first node is over.
    pub(super) fn next_drain_us(&self) -> Option<u64> {
        let heard = self.nodes.values().filter(|member| member.is_heard());
        heard
            .filter_map(|member| member.drain.as_ref()?.end_us())
            .min()
    }
}
