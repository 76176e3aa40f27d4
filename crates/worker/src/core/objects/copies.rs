//! Copies in shared memory: those that are freed, and those that are lost.

use std::sync::Arc;

use whipray_proto::failure::{Failure, FailureKind};
use whipray_proto::messages::object::SubscribeObject;
use whipray_proto::{ObjectId, ObjectValue, SharedLocation};

use crate::core::effect::Effect;
use crate::core::lineage::Unreconstructable;
use crate::core::objects::{Loss, ObjectTable, Ownership, Rebuild, is_put};
use crate::core::party::Party;
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
            let location = entry.cell.location();
            if location.is_some() && entry.rebuild == Rebuild::Kept {
                self.released_results.push(object.task());
            }
            entry.cell.replace(ObjectValue::failed(Failure::new(
                FailureKind::ObjectFreed,
                object.to_hex(),
                format!("object {object} was freed by an explicit call"),
            )));
            if let Some(location) = location {
                self.free_copies(*object, location.node);
            }
        }
    }

    /// Has this node's copies of these objects go, as if they were lost.
    pub fn drop_copies(&mut self, objects: &[ObjectId]) -> Vec<Arc<SharedView>> {
        let mut views = Vec::new();
        let node = self.me.node;
        for object in objects {
            if let Some(entry) = self.entries.get(object)
                && matches!(entry.ownership, Ownership::Ours { .. })
                && let Some(first) = entry.cell.location()
            {
                views.extend(entry.cell.drop_own_view());
                // Of the last copy nobody is told: whoever does not find it has it made again.
                if self.lose_copy(object, &SharedLocation { node, ..first }) != Loss::Survives {
                    self.to_free.push(*object);
                }
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

    /// Whether an object of ours has a value, and one that could not be made again: tasks that may
    /// run again need it to stay. Items of streams do not, for all that a stream made would stay.
    pub(crate) fn is_irreplaceable(&self, object: &ObjectId) -> bool {
        let Some(entry) = self.entries.get(object) else {
            return false;
        };
        let is_made_again = matches!(entry.rebuild, Rebuild::Kept | Rebuild::Never);
        let is_ours = matches!(entry.ownership, Ownership::Ours { .. });
        is_ours && entry.cell.is_ready() && (is_put(object) || !is_made_again)
    }

    /// Why the task of a lost object of ours is not kept.
    pub(crate) fn why_not_kept(&self, object: &ObjectId) -> Unreconstructable {
        match self.entries.get(object).map(|entry| entry.rebuild) {
            Some(Rebuild::Never | Rebuild::NoRetries) => Unreconstructable::NoRetries,
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
        self.copies.remove(object);
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
            self.watch(Party::from(&*owner), effects);
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
}
