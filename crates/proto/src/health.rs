//! After how much silence a node of the cluster counts as what.

use std::time::Duration;

use crate::limits;

/// The least time after which a silent node may be given up.
const DEAD_LEAST: Duration = Duration::from_secs(1);

/// Durations that all daemons of a cluster have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthSettings {
    /// How often a node says to the head that it is alive.
    pub heartbeat: Duration,
    /// After so much silence a node gets nothing new.
    pub suspect: Duration,
    /// A node that has no answer of the head for so long ends its processes.
    pub fence: Duration,
    /// After so much silence a node is dead.
    pub dead: Duration,
    /// How long a node whose connections ended may take to come back.
    pub comeback: Duration,
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self {
            heartbeat: limits::HEARTBEAT,
            suspect: limits::NODE_SUSPECT,
            fence: limits::NODE_FENCE,
            dead: limits::NODE_DEAD,
            comeback: limits::NODE_RETURN,
        }
    }
}

impl HealthSettings {
    /// The durations of a cluster that gives a silent node up after `dead`: a node fences itself
    /// well before that.
    pub fn dead_after(dead: Duration) -> Self {
        let usual = Self::default();
        let dead = dead.max(DEAD_LEAST);
        Self {
            heartbeat: usual.heartbeat.min(dead / 10),
            suspect: usual.suspect.min(dead / 3),
            fence: dead * 3 / 4,
            dead,
            comeback: usual.comeback.min(dead),
        }
    }

    /// How often silence is looked at.
    pub fn tick(&self) -> Duration {
        limits::HEALTH_TICK.min(self.suspect / 3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_fences_itself_before_it_is_given_up() {
        for seconds in [0, 1, 5, 20, 600] {
            let health = HealthSettings::dead_after(Duration::from_secs(seconds));
            assert!(health.tick() < health.suspect && health.suspect < health.fence);
            assert!(health.heartbeat < health.suspect);
            assert!(health.fence + health.heartbeat < health.dead, "{health:?}");
        }
    }
}
