//! What to start and what to end: events in, effects out.
//!
//! | what | where |
//! | --- | --- |
//! | instances and launches, from request to end | [`fleet`] |
//! | which nodes would serve what waits | [`packing`], in the order of [`demand`] |
//! | which nodes have nothing to do for too long | [`idle`] |

mod demand;
mod fleet;
mod idle;
mod packing;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use whipray_proto::NodeId;
use whipray_proto::messages::scaling::{FailedStart, NodeType as TypeStatus};
use whipray_proto::messages::scaling::{ScalingStatus, ScalingView};

use crate::config::ScalingConfig;
use crate::provider::{Instance, InstanceId, LaunchFailure};
use fleet::Fleet;
use idle::Idle;

/// Microseconds of the caller's clock.
pub type Micros = u64;

/// Launches that may be under way at the same time.
const MOST_LAUNCHES: u32 = 10;

/// Launches of a type that may be under way, however few run (Ray's number).
const FIRST_LAUNCHES: u32 = 5;

/// Failures that are remembered for people.
const FAILURES_SHOWN: usize = 5;

/// What the plan asks for, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// The index of the type in the configuration, and a number for the request.
    Launch {
        node_type: usize,
        launch: u64,
    },
    /// Ask control to drain the node because it is idle; answered with
    /// [`Scaler::on_drain_answered`].
    Drain {
        request: u64,
        node: NodeId,
        reason: String,
    },
    Terminate {
        instance: InstanceId,
    },
    /// How it is with the nodes, whenever that has changed.
    Report(ScalingStatus),
}

/// The state of the autoscaler.
pub struct Scaler {
    config: ScalingConfig,
    /// How long an instance may take until its node joins.
    start_wait: Duration,
    /// Milliseconds since 1970 at time zero.
    epoch_unix_ms: u64,
    view: Option<ScalingView>,
    fleet: Fleet,
    idle: Idle,
    failures: VecDeque<FailedStart>,
    told: Option<ScalingStatus>,
    effects: Vec<Effect>,
}

impl Scaler {
    /// `start_wait`: how long an instance of the provider may take until its node joins.
    pub fn new(config: ScalingConfig, start_wait: Duration, epoch_unix_ms: u64) -> Self {
        let types = config.types.len();
        Self {
            config,
            start_wait,
            epoch_unix_ms,
            view: None,
            fleet: Fleet::new(types),
            idle: Idle::default(),
            failures: VecDeque::new(),
            told: None,
            effects: Vec::new(),
        }
    }

    /// Moves the effects of all events so far to `effects`.
    pub fn take_effects(&mut self, effects: &mut Vec<Effect>) {
        effects.append(&mut self.effects);
    }

    /// Says how it is, before anything else.
    pub fn on_start(&mut self) {
        self.report();
    }

    /// The cluster as it is now.
    pub fn on_view(&mut self, view: ScalingView, now: Micros) {
        self.fleet.on_view(&view, now);
        self.idle.on_view(&view, now);
        self.view = Some(view);
        self.decide(now);
    }

    /// The provider's instances, and the launches that failed since it was asked last.
    pub fn on_instances(
        &mut self,
        instances: Vec<Instance>,
        failures: Vec<LaunchFailure>,
        now: Micros,
    ) {
        for failure in failures {
            if let Some(kind) = self.fleet.launch_failed(failure.launch) {
                self.note_failure(kind, failure.reason, now);
            }
        }
        let listed = self.fleet.on_instances(instances, &self.config, now);
        for (kind, instance) in listed.vanished {
            let reason = format!("its instance {instance} ended before it joined the cluster");
            self.note_failure(kind, reason, now);
        }
        self.terminate(listed.leftovers);
        // A node may have joined before its instance was listed.
        if let Some(view) = &self.view {
            self.fleet.on_view(view, now);
        }
        self.decide(now);
    }

    /// Control has said whether it drains a node.
    pub fn on_drain_answered(&mut self, request: u64, is_accepted: bool, now: Micros) {
        self.idle.on_answer(request, is_accepted, now);
    }

    /// Whether the list of instances is about to change.
    pub fn is_unsettled(&self) -> bool {
        self.fleet.is_unsettled()
    }

    fn decide(&mut self, now: Micros) {
        self.give_up_late(now);
        let gone = self.idle.take_gone();
        let ended = self.fleet.of_nodes_gone(&gone);
        self.terminate(ended);
        if let Some(view) = self.view.take() {
            let protected = self.start_missing(&view, now);
            self.drain_idle(&view, &protected, now);
            self.view = Some(view);
        }
        self.report();
    }

    /// Instances whose nodes do not come, or do not come back, are ended.
    fn give_up_late(&mut self, now: Micros) {
        let wait = micros(self.start_wait);
        for (kind, instance) in self.fleet.take_late(wait, now) {
            let seconds = self.start_wait.as_secs();
            let reason =
                format!("its instance {instance} did not join the cluster within {seconds} s");
            self.note_failure(kind, reason, now);
            self.terminate(vec![instance]);
        }
        for kind in self.fleet.take_unheard(wait, now) {
            let seconds = self.start_wait.as_secs();
            let reason = format!("its provider did not say what became of it within {seconds} s");
            self.note_failure(kind, reason, now);
        }
        let lost = self.fleet.take_lost(now);
        self.terminate(lost);
    }

    fn terminate(&mut self, instances: Vec<InstanceId>) {
        let effects = instances.into_iter();
        self.effects
            .extend(effects.map(|instance| Effect::Terminate { instance }));
    }

    fn note_failure(&mut self, kind: usize, reason: String, now: Micros) {
        let Some(node_type) = self.config.types.get(kind) else {
            return;
        };
        let name = node_type.name.clone();
        tracing::warn!(node_type = name, reason, "no node");
        self.fleet.back_off(kind, reason.clone(), now);
        self.failures.push_back(FailedStart {
            node_type: name,
            reason,
            at_unix_ms: self.epoch_unix_ms + now / 1000,
        });
        if self.failures.len() > FAILURES_SHOWN {
            self.failures.pop_front();
        }
    }

    /// Says how it is with the nodes where that is not what was said last.
    fn report(&mut self) {
        let types = self.config.types.iter().enumerate();
        let types = types.filter(|(_, it)| it.max_workers > 0);
        let status = ScalingStatus {
            types: types
                .map(|(kind, node_type)| TypeStatus {
                    name: node_type.name.clone(),
                    resources: node_type.resources.clone(),
                    labels: node_type.labels.clone(),
                    min_nodes: node_type.min_workers,
                    max_nodes: node_type.max_workers,
                    starting: self.fleet.starting(kind),
                    obstacle: self.fleet.obstacle(kind, &self.config),
                })
                .collect(),
            failures: self.failures.iter().cloned().collect(),
            head_type: self.config.head_type.clone(),
            requested: Vec::new(),
            max_nodes: self.config.max_workers,
        };
        if self.told.as_ref() != Some(&status) {
            self.told = Some(status.clone());
            self.effects.push(Effect::Report(status));
        }
    }
}

/// A duration in microseconds.
fn micros(duration: Duration) -> Micros {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
