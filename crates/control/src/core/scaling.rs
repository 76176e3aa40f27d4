//! What the autoscaler is told of the cluster, and what the cluster is told of the autoscaler.

use whipray_proto::link::ControlSays;
use whipray_proto::messages::scaling::{
    NodeType, NodeWants, ScalingNode, ScalingStatus, ScalingView, WaitingGroup, Want,
};
use whipray_proto::scheduling::BundleSpec;
use whipray_proto::{ActorSpec, NodeId, WorkerId, limits};
use whipray_sched::helping::{explain_awaited, would_hold_group};

use super::Control;
use super::groups::{Group, Standing};
use super::health::micros;

/// What is known of the autoscaler, and what it knows.
#[derive(Debug, Default)]
pub struct Scaling {
    /// The client that decides on nodes.
    scaler: Option<WorkerId>,
    status: ScalingStatus,
    /// What clients want the cluster to have room for.
    requested: Vec<BundleSpec>,
    is_changed: bool,
    told_us: u64,
    told: Option<ScalingView>,
}

impl Control {
    /// Whether nodes come and go by somebody's decision.
    pub(super) fn has_scaler(&self) -> bool {
        self.scaling.scaler.is_some()
    }

    fn node_types_there(&self) -> &[NodeType] {
        &self.scaling.status.types
    }

    /// The autoscaler says what it can start and what it does.
    pub(super) fn scaling_status(&mut self, client: WorkerId, status: ScalingStatus) {
        let is_new = self.scaling.scaler.replace(client) != Some(client);
        if is_new {
            self.scaling.told = None;
        }
        let are_other = self.scaling.status.types != status.types;
        self.scaling.status = status;
        if is_new || are_other {
            self.publish_node_types();
            self.watch_nodes();
            // What they wait for has changed.
            self.room_changed();
        }
    }

    fn publish_node_types(&mut self) {
        for node in self.alive_nodes() {
            self.tell_node_types(node);
        }
    }

    pub(super) fn tell_node_types(&mut self, node: NodeId) {
        if self.has_scaler() {
            let types = self.scaling.status.types.clone();
            self.say(node, ControlSays::NodeTypes(types));
        }
    }

    /// A process is gone: nobody starts nodes any more where it was the autoscaler.
    pub(super) fn scaler_gone(&mut self, process: WorkerId) {
        if self.scaling.scaler == Some(process) {
            self.scaling.status.types.clear();
            self.publish_node_types();
            self.scaling.scaler = None;
        }
    }

    pub(super) fn request_resources(&mut self, bundles: Vec<BundleSpec>) {
        self.scaling.requested = bundles;
    }

    /// A node says what waits there, and whether it is idle.
    pub(super) fn node_wants(&mut self, node: NodeId, wants: NodeWants) {
        if let Some(member) = self.nodes.get_mut(&node) {
            member.wants = Some(wants);
        }
    }

    /// What people read of the state of the autoscaler; `None` without one.
    pub(super) fn scaling_shown(&self) -> Option<Box<ScalingStatus>> {
        self.has_scaler().then(|| {
            Box::new(ScalingStatus {
                requested: self.scaling.requested.clone(),
                ..self.scaling.status.clone()
            })
        })
    }

    /// What an actor waits for that no node could have, where one is to come for it.
    pub(super) fn why_actor_is_awaited(&self, spec: &ActorSpec) -> Option<String> {
        explain_awaited(
            self.node_types_there(),
            &spec.wanted(),
            spec.strategy.as_deref(),
        )
    }

    /// What a group waits for that the nodes could not hold, where some are to come for it.
    pub(super) fn why_group_is_awaited(&self, group: &Group) -> Option<String> {
        let spec = &group.spec;
        let views = self.views();
        let kinds = self.node_types_there();
        would_hold_group(kinds, &views, spec.strategy(), &spec.bundles)
            .then(|| "waits for nodes that the autoscaler is to start".to_owned())
    }

    // ---- the view

    /// Something may have changed that the autoscaler is to hear of.
    pub(super) fn scaling_changed(&mut self) {
        self.scaling.is_changed |= self.has_scaler();
    }

    /// When the next view is due.
    pub(super) fn next_scaling_us(&self) -> Option<u64> {
        let interval = micros(limits::SCALING_INTERVAL);
        let is_due = self.scaling.is_changed;
        is_due.then(|| self.scaling.told_us.saturating_add(interval))
    }

    /// Tells the autoscaler how the cluster is, where that is not what it was told last.
    pub(super) fn publish_scaling_view(&mut self) {
        self.scaling.is_changed = false;
        self.scaling.told_us = self.now_us;
        let Some(scaler) = self.scaling.scaler else {
            return;
        };
        let view = self.scaling_view();
        if self.scaling.told.as_ref() != Some(&view) {
            self.scaling.told = Some(view.clone());
            self.tell(scaler, view);
        }
    }

    fn scaling_view(&self) -> ScalingView {
        let usable = self.views();
        let alive = self.nodes.values().filter(|member| !member.is_dead());
        let nodes = alive.map(|member| {
            let status = &member.status;
            let view = usable.iter().find(|view| view.node == status.node);
            let unheard = || "it has not said what it does".to_owned();
            ScalingNode {
                node: status.node,
                instance: status.instance.clone(),
                node_type: status.node_type.clone(),
                total: status.total.clone(),
                available: view.map_or_else(Default::default, |view| view.available.clone()),
                labels: status.labels.clone(),
                state: member.state() as i32,
                is_head: status.is_head,
                busy: member
                    .wants
                    .as_ref()
                    .map_or_else(unheard, |wants| wants.busy.clone()),
            }
        });
        let groups = self.waiting_groups.iter();
        let groups = groups.filter_map(|group| {
            let entry = self.groups.get(group)?;
            let waits = matches!(entry.standing, Standing::Waits { .. });
            waits.then(|| WaitingGroup {
                spec: entry.spec.clone(),
                nodes: entry
                    .nodes
                    .iter()
                    .map(|it| it.unwrap_or(NodeId::nil()))
                    .collect(),
            })
        });
        ScalingView {
            nodes: nodes.collect(),
            wants: self.all_wants(),
            groups: groups.collect(),
            requested: self.scaling.requested.clone(),
        }
    }

    /// What nodes say that waits there, and the actors that wait here.
    fn all_wants(&self) -> Vec<Want> {
        let alive = self.nodes.values().filter(|member| !member.is_dead());
        let of_nodes = alive.filter_map(|member| member.wants.as_ref());
        let of_nodes = of_nodes.flat_map(|wants| wants.wants.iter().cloned());
        let actors = self.actors_without_node();
        let of_actors = actors.map(|spec| Want {
            resources: spec.wanted(),
            strategy: spec.strategy.clone(),
            count: 1,
        });
        let mut all: Vec<Want> = Vec::new();
        for want in of_nodes.chain(of_actors) {
            let same =
                |it: &&mut Want| it.resources == want.resources && it.strategy == want.strategy;
            match all.iter_mut().find(same) {
                Some(known) => known.count = known.count.saturating_add(want.count),
                None => all.push(want),
            }
        }
        all
    }
}
