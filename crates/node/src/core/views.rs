//! What control hears of what is free here.

use whipray_proto::link::NodeSays;
use whipray_proto::{Resources, limits};

use super::Node;
use super::timers::{Micros, Timer, micros};

/// What control knows, and what it wants to hear.
#[derive(Debug, Default)]
pub struct Views {
    /// A placement group waits for room: control hears of each growth at once.
    watched: Option<Resources>,
    /// Control hears of each change, for other nodes.
    is_shared: bool,
    told: Resources,
    /// Somebody has counted off what they sent here: they hear of what is free, changed or not.
    is_awaited: bool,
    not_before: Micros,
    is_armed: bool,
}

impl Views {
    /// Whether a placement group waits for room on some node.
    pub fn is_group_waiting(&self) -> bool {
        self.watched.is_some()
    }
}

impl Node {
    /// Whether control is to hear what is free.
    pub(super) fn watch_resources(&mut self, is_on: bool, with_decreases: bool, now: Micros) {
        self.views.is_shared = with_decreases;
        self.views.watched = is_on.then(|| self.ledger.available().clone());
        if is_on || with_decreases {
            self.tell_available();
            self.reclaim.is_fresh |= is_on;
            self.schedule(now);
        }
    }

    /// Another node, or control, has sent something here, and counts it off what it knows of this node
    /// until it hears more. What is free may be the same again when it is looked at next.
    pub(super) fn expect_change(&mut self) {
        self.views.is_awaited = true;
    }

    /// Tells control what has changed, as far as it wants to hear it now.
    pub(super) fn tell_changes(&mut self, now: Micros) {
        if self.views.watched.is_some() {
            self.tell_growth();
        }
        if self.views.is_shared || !self.neighbours.is_alone() {
            self.tell_change(now);
        }
    }

    /// Tells control where more is free than at the last look.
    fn tell_growth(&mut self) {
        let Some(before) = &self.views.watched else {
            return;
        };
        let available = self.ledger.available();
        if before == available {
            return;
        }
        let has_grown = !before.covers(available);
        self.views.watched = Some(available.clone());
        if has_grown {
            self.tell_available();
        }
    }

    fn tell_change(&mut self, now: Micros) {
        if self.views.told == *self.ledger.available() && !self.views.is_awaited {
            return;
        }
        if now >= self.views.not_before {
            self.views.not_before = now + micros(limits::VIEW_INTERVAL) / 2;
            self.tell_available();
        } else if !self.views.is_armed {
            self.views.is_armed = true;
            self.timers.set(self.views.not_before, Timer::View);
        }
    }

    pub(super) fn on_view_due(&mut self, now: Micros) {
        self.views.is_armed = false;
        self.tell_changes(now);
    }

    pub(super) fn tell_available(&mut self) {
        let available = self.ledger.available().clone();
        self.views.told.clone_from(&available);
        self.views.is_awaited = false;
        self.tell_control(NodeSays::Available { available });
    }
}
