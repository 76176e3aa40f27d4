//! Copies in shared memory: those that are freed, and those that are lost.

use std::sync::Arc;

use whipray_proto::failure::{Failure, FailureKind};
use whipray_proto::messages::object::{FreeObjects, SubscribeObject};
use whipray_proto::{Message, NodeId, ObjectId, ObjectValue, SharedLocation};

use crate::core::effect::Effect;
use crate::core::lineage::Unreconstructable;
use crate::core::objects::{ObjectTable, Ownership, Rebuild};
use crate::shared::SharedView;

impl ObjectTable {
    /// Frees the values of these objects now, whoever refers to them.
    pub fn free(&mut self, objects: &[ObjectId]) {
        for object in objects {
            let Some(entry) = self.entries.get(object) else {
                continue;
            };
            if !matches!(entry.ownership, Ownership::Ours { .. }) || !entry.cell.is_ready() {
                continue;
            }
            if entry.cell.is_shared() {
                self.to_free.push(*object);
                if entry.rebuild == Rebuild::Kept {
                    self.released_results.push(object.task());
                }
            }
            entry.cell.replace(ObjectValue::failed(Failure::new(
                FailureKind::ObjectFreed,
                object.to_hex(),
                format!("object {object} was freed by an explicit call"),
            )));
        }
    }

    /// Has this node's copies of these objects go, as if they were lost.
    pub fn drop_copies(&mut self, objects: &[ObjectId]) -> Vec<Arc<SharedView>> {
        let mut views = Vec::new();
        for object in objects {
            if let Some(entry) = self.entries.get(object)
                && matches!(entry.ownership, Ownership::Ours { .. })
                && entry.cell.is_shared()
            {
                views.extend(entry.cell.drop_own_view());
                self.to_free.push(*object);
            }
        }
        views
    }

    // ---- copies that are lost -------------------------------------------------------------------

    pub(crate) fn is_ours(&self, object: &ObjectId) -> bool {
        let entry = self.entries.get(object);
        entry.is_some_and(|entry| matches!(entry.ownership, Ownership::Ours { .. }))
    }

    /// Whether the value of an object is this copy.
    pub(crate) fn is_at(&self, object: &ObjectId, location: &SharedLocation) -> bool {
        let cell = self.cell(object);
        cell.is_some_and(|cell| cell.location().as_ref() == Some(location))
    }

    /// The objects of ours whose copy a node has.
    pub(crate) fn of_node(&self, node: &NodeId) -> Vec<(ObjectId, SharedLocation)> {
        let mut found = Vec::new();
        for (object, entry) in &self.entries {
            if matches!(entry.ownership, Ownership::Ours { .. }) {
                let location = entry.cell.location();
                let location = location.filter(|location| location.node == *node);
                found.extend(location.map(|location| (*object, location)));
            }
        }
        found.sort_unstable_by_key(|(object, _)| *object);
        found
    }

    /// Says whether an object of ours can be made again; whether it is one that might have to be.
    pub(crate) fn set_rebuild(&mut self, object: &ObjectId, rebuild: Rebuild) -> bool {
        match self.entries.get_mut(object) {
            Some(entry) if entry.cell.is_shared() => {
                entry.rebuild = rebuild;
                true
            }
            _ => false,
        }
    }

    /// Why the task of a lost object of ours is not kept.
    pub(crate) fn why_not_kept(&self, object: &ObjectId) -> Unreconstructable {
        match self.entries.get(object).map(|entry| entry.rebuild) {
            Some(Rebuild::Never) => Unreconstructable::NoRetries,
            Some(Rebuild::Exhausted) => Unreconstructable::AttemptsExceeded,
            Some(Rebuild::Evicted) => Unreconstructable::Evicted,
            Some(Rebuild::Cancelled) => Unreconstructable::Cancelled,
            Some(Rebuild::Kept) | None => Unreconstructable::NotFound,
        }
    }

    /// The value of an object is lost, and is awaited anew. What it contained stays with the object:
    /// tasks that have the value already rely on it.
    pub(crate) fn forget_value(&mut self, object: &ObjectId) {
        if let Some(entry) = self.entries.get(object) {
            entry.cell.reset();
        }
    }

    /// Asks the owner for the value of a borrowed object again, since its copy is lost.
    pub(crate) fn subscribe_anew(
        &mut self,
        object: &ObjectId,
        lost: SharedLocation,
        effects: &mut Vec<Effect>,
    ) {
        let Some(entry) = self.entries.get_mut(object) else {
            return;
        };
        if let Ownership::Borrowed {
            owner,
            is_subscribed,
            ..
        } = &mut entry.ownership
        {
            *is_subscribed = true;
            let owner = owner.clone();
            self.watch(owner.worker, effects);
            let message = SubscribeObject {
                object: *object,
                lost: Some(lost),
            };
            effects.push(Effect::ToPeer(*owner, message.into()));
        }
    }

    /// Shared memory of this id, if there is any, is of no use to anybody.
    pub fn free_unknown(&mut self, object: ObjectId) {
        self.to_free.push(object);
    }

    /// Whether shared memory is to be given back.
    pub fn has_freed(&self) -> bool {
        !self.to_free.is_empty()
    }

    /// The message that gives shared memory back, if there is any to give.
    pub fn take_free_message(&mut self) -> Option<Message> {
        if self.to_free.is_empty() {
            return None;
        }
        Some(
            FreeObjects {
                objects: std::mem::take(&mut self.to_free),
                node: None,
                owner: None,
            }
            .into(),
        )
    }
}
