//! Placement groups, as programs use them.

use whipray_proto::scheduling::{BundleSpec, GroupSpec, InGroup, NodeAffinity, SchedulingStrategy};
use whipray_proto::{NodeId, PlacementGroupId, Resources, resources};

use super::Process;
use super::frame::{Frame, Handle};
use super::reading::pick_of;
use super::writing::content;
use crate::around::Around;
use crate::scenario::{Pick, Placement};

/// What places something into a group.
pub(super) fn inside(group: PlacementGroupId) -> Box<SchedulingStrategy> {
    Box::new(SchedulingStrategy {
        group: Some(InGroup {
            group,
            bundle: None,
            captures: false,
        }),
        ..SchedulingStrategy::default()
    })
}

/// What has something run where it is to.
pub(super) fn strategy(
    group: Option<PlacementGroupId>,
    placement: Placement,
    around: &Around,
) -> Option<Box<SchedulingStrategy>> {
    if let Some(group) = group {
        return Some(inside(group));
    }
    let affinity = |pick: Pick, is_soft| {
        let nodes = &around.witness.nodes;
        let node = pick_of(nodes, pick).copied()?;
        Some(Box::new(SchedulingStrategy {
            affinity: Some(NodeAffinity {
                node,
                is_soft,
                ..NodeAffinity::default()
            }),
            ..SchedulingStrategy::default()
        }))
    };
    match placement {
        Placement::Anywhere => None,
        Placement::Spread => Some(Box::new(SchedulingStrategy {
            spreads: true,
            ..SchedulingStrategy::default()
        })),
        Placement::Rather(pick) => affinity(pick, true),
        Placement::On(pick) => affinity(pick, false),
    }
}

/// The only node that a strategy allows.
pub(super) fn bound_to(strategy: Option<&SchedulingStrategy>) -> Option<NodeId> {
    let affinity = strategy?.affinity.as_ref()?;
    (!affinity.is_soft).then_some(affinity.node)
}

impl Process {
    pub(super) fn create_group(
        &mut self,
        frame: &mut Frame,
        cpu_percents: &[u32],
        strategy: i32,
        around: &mut Around,
    ) {
        let mut bytes: [u8; 18] = around.random.bytes();
        bytes[14..].copy_from_slice(&self.job.to_array());
        let group = PlacementGroupId::from_array(bytes);
        let bundle = |percent: &u32| BundleSpec {
            resources: Resources::none().with(resources::CPU, f64::from(*percent) / 100.0),
            selector: None,
        };
        let spec = GroupSpec {
            group,
            strategy,
            bundles: cpu_percents.iter().map(bundle).collect(),
            job: self.job,
            ..GroupSpec::default()
        };
        around.witness.groups.insert(group, (self.index, false));
        frame.groups.push(group);
        self.core.create_group(0, spec);
        self.commit(around);
    }

    pub(super) fn remove_group(&mut self, group: PlacementGroupId, around: &mut Around) {
        around.witness.groups.insert(group, (self.index, true));
        self.core.remove_group(group);
        self.commit(around);
    }

    pub(super) fn await_group(&mut self, frame: &mut Frame, group: Pick, around: &mut Around) {
        let Some(group) = pick_of(&frame.groups, group).copied() else {
            return;
        };
        let object = self.next_put_object(frame);
        around.witness.object_owners.insert(object, self.index);
        around.witness.group_objects.insert(object, group);
        let data = content(&object);
        let cell = self.core.group_object(group, object, data);
        self.commit(around);
        frame.objects.push(Handle { cell });
    }
}
