//! Placement groups as those who use them see them: whether one is there, and objects that become
//! ready with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;
use rustc_hash::FxHashMap;
use whipray_proto::failure::{Failure, FailureKind};
use whipray_proto::messages::placement::{CreateGroup, GroupUpdate, RemoveGroup, SubscribeGroup};
use whipray_proto::scheduling::{GroupSpec, GroupState};
use whipray_proto::{ObjectId, ObjectValue, PlacementGroupId};

use super::Core;
use super::effect::Effect;
use super::party::Party;
use super::tasks::Micros;
use crate::cell::ObjectCell;

const PENDING: u8 = 0;
const CREATED: u8 = 1;
const REMOVED: u8 = 2;

/// What is known of a group, for threads that wait for it.
#[derive(Debug, Default)]
pub struct GroupCell(AtomicU8);

impl GroupCell {
    /// Whether its bundles are reserved.
    pub fn is_created(&self) -> bool {
        self.0.load(Ordering::Acquire) == CREATED
    }

    /// Whether it was removed, or there is none.
    pub fn is_removed(&self) -> bool {
        self.0.load(Ordering::Acquire) == REMOVED
    }

    /// Whether there is nothing to wait for.
    pub fn is_settled(&self) -> bool {
        self.0.load(Ordering::Acquire) != PENDING
    }
}

/// One group that this process has asked about.
#[derive(Default)]
struct Known {
    cell: Arc<GroupCell>,
    /// Objects that become ready with it, and their values.
    awaiting: Vec<(ObjectId, Bytes)>,
}

/// Groups that are not removed, as far as this process has asked about them.
#[derive(Default)]
pub struct GroupTable {
    groups: FxHashMap<PlacementGroupId, Known>,
}

impl Core {
    /// Creates a group. Without a `request` nothing is answered.
    pub fn create_group(&mut self, request: u64, spec: GroupSpec) {
        self.groups.groups.entry(spec.group).or_default();
        let create = CreateGroup { request, spec };
        self.effects.push(Effect::ToNode(create.into()));
    }

    /// The control did not take a group of ours.
    pub fn forget_group(&mut self, group: PlacementGroupId) {
        self.groups.groups.remove(&group);
    }

    pub fn remove_group(&mut self, group: PlacementGroupId) {
        self.effects
            .push(Effect::ToNode(RemoveGroup { group }.into()));
    }

    /// What is known of a group; the control is asked where that is nothing.
    pub fn group(&mut self, group: PlacementGroupId) -> Arc<GroupCell> {
        self.know_group(group).cell.clone()
    }

    fn know_group(&mut self, group: PlacementGroupId) -> &mut Known {
        let effects = &mut self.effects;
        self.groups.groups.entry(group).or_insert_with(|| {
            effects.push(Effect::ToNode(SubscribeGroup { group }.into()));
            Known::default()
        })
    }

    /// An object of ours that becomes ready, with this value, once the group is there. It has one
    /// local reference.
    pub fn group_object(
        &mut self,
        group: PlacementGroupId,
        object: ObjectId,
        data: Bytes,
    ) -> Arc<ObjectCell> {
        let known = self.know_group(group);
        let cell = if known.cell.is_created() {
            Arc::new(ObjectCell::ready(object, ObjectValue::inline(data)))
        } else {
            known.awaiting.push((object, data));
            Arc::new(ObjectCell::pending(object))
        };
        self.objects.insert_ours(cell.clone(), &[]);
        self.fail_if_over();
        cell
    }

    /// The control's word on a group.
    pub(super) fn on_group_update(&mut self, update: &GroupUpdate, now: Micros) {
        let state = GroupState::try_from(update.state).unwrap_or(GroupState::Removed);
        let Some(known) = self.groups.groups.get_mut(&update.group) else {
            return;
        };
        match state {
            GroupState::Pending | GroupState::Prepared | GroupState::Rescheduling => {
                known.cell.0.store(PENDING, Ordering::Release);
            }
            GroupState::Created => {
                known.cell.0.store(CREATED, Ordering::Release);
                for (object, data) in std::mem::take(&mut known.awaiting) {
                    self.complete_group_object(object, ObjectValue::inline(data), now);
                }
            }
            GroupState::Removed => {
                known.cell.0.store(REMOVED, Ordering::Release);
                let awaiting = std::mem::take(&mut known.awaiting);
                self.groups.groups.remove(&update.group);
                for (object, _) in awaiting {
                    let message = format!("The placement group {} was removed.", update.group);
                    let failure =
                        Failure::new(FailureKind::TaskGroupRemoved, object.to_hex(), message);
                    self.complete_group_object(object, ObjectValue::failed(failure), now);
                }
            }
        }
    }

    fn complete_group_object(&mut self, object: ObjectId, value: ObjectValue, now: Micros) {
        let me = Party::from(&self.me);
        let waiting = self.objects.complete(object, value, me, &mut self.effects);
        self.on_dependencies(waiting, now);
    }
}
