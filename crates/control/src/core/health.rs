//! Silence of nodes.
//!
//! It is counted in control's own time awake: of the time between two looks no more counts than
//! twice what there should be. So a head that was stopped for a minute does not take its own pause for one of
//! the nodes, whose signs of life wait in its sockets.

use std::time::Duration;

use whipray_proto::NodeId;
use whipray_proto::health::HealthSettings;
use whipray_proto::link::NodeState;
use whipray_proto::messages::cluster::NodeEnd;

use super::Control;

/// What control needs to tell silence.
#[derive(Clone, Debug, Default)]
pub struct Watchfulness {
    pub settings: HealthSettings,
    /// How long control has been awake, in microseconds.
    awake_us: u64,
    /// When it looked last.
    looked_us: Option<u64>,
}

/// What is known of a node's silence, in time awake.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pulse {
    heard_us: u64,
    /// Since when nothing leads to it any more.
    broken_us: Option<u64>,
}

impl Watchfulness {
    /// A node that was heard just now.
    pub fn pulse(&self) -> Pulse {
        Pulse {
            heard_us: self.awake_us,
            broken_us: None,
        }
    }

    /// When to look again.
    pub fn next_look_us(&self, now_us: u64) -> u64 {
        self.looked_us
            .map_or(now_us, |looked| looked + self.tick_us())
    }

    fn tick_us(&self) -> u64 {
        micros(self.settings.tick())
    }
}

pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Control {
    /// After how much silence nodes count as what.
    pub fn set_health(&mut self, settings: HealthSettings) {
        self.watchfulness.settings = settings;
    }

    /// A node is alive.
    pub fn on_heartbeat(&mut self, node: NodeId) {
        let awake_us = self.watchfulness.awake_us;
        let Some(member) = self.nodes.get_mut(&node) else {
            return;
        };
        member.pulse.heard_us = awake_us;
        if member.is_suspect && !member.is_dead() {
            member.is_suspect = false;
            if let Some(drain) = &mut member.drain {
                drain.heard_again(self.now_us);
            }
            tracing::info!(%node, "node is heard again");
            self.node_changed(node);
            self.room_changed();
        }
    }

    /// All connections of the stream of a node have ended.
    pub fn on_stream_broken(&mut self, node: NodeId) {
        let awake_us = self.watchfulness.awake_us;
        if let Some(member) = self.nodes.get_mut(&node) {
            member.pulse.broken_us.get_or_insert(awake_us);
        }
    }

    /// The stream of a node has a connection again.
    pub fn on_stream_restored(&mut self, node: NodeId) {
        if let Some(member) = self.nodes.get_mut(&node) {
            member.pulse.broken_us = None;
        }
        self.on_heartbeat(node);
    }

    /// Looks who has been silent for how long, where it is time to.
    pub(super) fn look_at_silence(&mut self) {
        if self.now_us < self.watchfulness.next_look_us(self.now_us) {
            return;
        }
        let watchfulness = &mut self.watchfulness;
        if let Some(looked_us) = watchfulness.looked_us {
            let passed_us = self.now_us.saturating_sub(looked_us);
            // A loop with much to do looks a little late.
            watchfulness.awake_us += passed_us.min(2 * watchfulness.tick_us());
        }
        watchfulness.looked_us = Some(self.now_us);
        let (settings, awake_us) = (watchfulness.settings, watchfulness.awake_us);
        let (mut suspects, mut dead) = (Vec::new(), Vec::new());
        for (node, member) in &self.nodes {
            if member.is_dead() || Some(*node) == self.head {
                continue;
            }
            let silent_us = awake_us.saturating_sub(member.pulse.heard_us);
            let broken_us = member.pulse.broken_us.map(|since| awake_us - since);
            if broken_us.is_some_and(|broken_us| broken_us >= micros(settings.comeback)) {
                let what = "has ended all its connections, and nobody answers there any more";
                dead.push((*node, what.to_owned()));
            } else if silent_us >= micros(settings.dead) {
                let seconds = settings.dead.as_secs_f64();
                dead.push((*node, format!("was silent for {seconds} s")));
            } else if silent_us >= micros(settings.suspect) && !member.is_suspect {
                suspects.push(*node);
            }
        }
        for node in suspects {
            tracing::warn!(%node, "node is silent: it gets nothing new");
            if let Some(member) = self.nodes.get_mut(&node) {
                member.is_suspect = true;
            }
            self.node_changed(node);
        }
        for (node, what) in dead {
            self.node_lost(node, &what, NodeEnd::Unexpected);
        }
    }

    /// Whether there is anyone whose silence would matter.
    pub(super) fn watches_silence(&self) -> bool {
        let is_watched = |(node, member): (&NodeId, &super::membership::Member)| {
            member.state() != NodeState::Dead && Some(*node) != self.head
        };
        self.nodes.iter().any(is_watched)
    }

    /// Silence is looked at from now on, or not any more.
    pub(super) fn restart_watch(&mut self) {
        if !self.watches_silence() {
            self.watchfulness.looked_us = None;
        } else if self.watchfulness.looked_us.is_none() {
            self.watchfulness.looked_us = Some(self.now_us);
        }
    }
}
