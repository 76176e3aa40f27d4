//! Where copies of objects of ours are: the one that the value names, and those that were fetched
//! from it since. Most objects have one copy, and few are in shared memory at all: the others are
//! listed apart.
//!
//! A fetched copy goes by itself when its node needs the room, and nobody tells us. So whoever has
//! one on its own node is told of the first copy nevertheless: its store finds its own, and has where
//! to fetch it from if it does not.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use smallvec::SmallVec;
use whipray_proto::messages::moving::CopyKept;
use whipray_proto::messages::object::FreeObjects;
use whipray_proto::{NodeId, ObjectId, ObjectValue, SharedLocation};

use crate::core::effect::Effect;
use crate::core::objects::{ObjectTable, Ownership};

/// What the loss of a copy means for its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Nothing: the copy was given up before, or is of an earlier try.
    Old,
    /// There are others.
    Survives,
    /// It was the last one.
    Last,
}

impl ObjectTable {
    /// Somebody has fetched an object of ours: there is a further copy. One that is of no use goes;
    /// false where that has to wait for the end of a task, which makes the object again, maybe there.
    pub fn add_copy(&mut self, object: &ObjectId, location: &SharedLocation) -> bool {
        let node = location.node;
        let Some(entry) = self.entries.get(object) else {
            self.free_at(*object, node);
            return true;
        };
        if !matches!(entry.ownership, Ownership::Ours { .. }) {
            return true;
        }
        match entry.cell.location() {
            Some(first) if first.attempt == location.attempt => {
                if first.node != node {
                    let others = self.copies.entry(*object).or_default();
                    if !others.contains(&node) {
                        others.push(node);
                    }
                }
            }
            Some(_) => {
                // What lies there may be of the present try by now.
                if !self.has_copy_at(object, &node) {
                    self.free_at(*object, node);
                }
            }
            None if !entry.cell.is_ready() => return false,
            None => self.free_at(*object, node),
        }
        true
    }

    /// A node has taken over the copy of `from`, which is to go: from here on it has the copy that
    /// counts, and the old one is one more. Returns whether it is wanted; one that is of no use goes.
    pub(crate) fn move_copy(&mut self, object: &ObjectId, from: &NodeId, to: &NodeId) -> bool {
        let Some(entry) = self.entries.get(object) else {
            self.free_at(*object, *to);
            return false;
        };
        let is_ours = matches!(entry.ownership, Ownership::Ours { .. });
        let cell = entry.cell.clone();
        let Some(first) = cell.location().filter(|_| is_ours) else {
            // One that is made again may come to lie just there.
            if is_ours && cell.is_ready() {
                self.free_at(*object, *to);
            }
            return false;
        };
        let is_there = self.has_copy_at(object, to);
        if !is_there && !self.has_copy_at(object, from) {
            // What it has taken is not what we count on.
            self.free_at(*object, *to);
            return false;
        }
        if first.node != *to {
            let others = self.copies.entry(*object).or_default();
            others.retain(|other| other != to);
            others.push(first.node);
            let node = *to;
            cell.relocate(SharedLocation { node, ..first });
            self.has_moved = true;
        }
        true
    }

    /// Set once values came that lie on other nodes; to ask without the lock of the core.
    pub fn far_values(&self) -> Arc<AtomicBool> {
        self.has_far_values.clone()
    }

    /// Whether a copy of an object of ours is known to be on a node.
    pub(crate) fn has_copy_at(&self, object: &ObjectId, node: &NodeId) -> bool {
        let first = self.cell(object).and_then(|cell| cell.location());
        let is_first = first.is_some_and(|first| first.node == *node);
        is_first
            || self
                .copies
                .get(object)
                .is_some_and(|others| others.contains(node))
    }

    /// The nodes with copies of an object, as far as is known here.
    pub fn nodes_of(&self, object: &ObjectId) -> Vec<NodeId> {
        let first = self.cell(object).and_then(|cell| cell.location());
        let others = self.copies.get(object).into_iter().flatten();
        let first = first.into_iter().map(|first| first.node);
        first.chain(others.copied()).collect()
    }

    /// Whether what was said of the places of values before may be improved on.
    pub fn has_moved(&self) -> bool {
        self.has_moved || !self.copies.is_empty()
    }

    /// The copies of an object beside the first one.
    pub(crate) fn further_copies(&self, object: &ObjectId) -> &[NodeId] {
        self.copies.get(object).map_or(&[], |others| others)
    }

    /// The value of an object as a process on `node` is told of it.
    pub(super) fn value_for(&mut self, object: &ObjectId, node: &NodeId) -> Option<ObjectValue> {
        let mut value = self.cell(object)?.value()?;
        if value.shared.is_some() && self.has_moved() {
            value.shared = self.place_for(object, node);
        }
        Some(value)
    }

    /// The copy of an object in shared memory that a process on `node` is told of: those that have
    /// none are sent to different ones, so that many readers do not all wait for one node.
    pub(crate) fn place_for(&mut self, object: &ObjectId, node: &NodeId) -> Option<SharedLocation> {
        let first = self.cell(object)?.location()?;
        let Some(others) = self.copies.get(object) else {
            return Some(first);
        };
        if first.node == *node || others.contains(node) {
            return Some(first);
        }
        self.turn = self.turn.wrapping_add(1);
        let other = others.get(self.turn % (others.len() + 1));
        Some(SharedLocation {
            node: other.copied().unwrap_or(first.node),
            ..first
        })
    }

    /// A copy of an object of ours is lost.
    pub(crate) fn lose_copy(&mut self, object: &ObjectId, lost: &SharedLocation) -> Loss {
        let Some(entry) = self.entries.get(object) else {
            return Loss::Old;
        };
        let Some(first) = entry.cell.location() else {
            return Loss::Old;
        };
        if !matches!(entry.ownership, Ownership::Ours { .. }) || first.attempt != lost.attempt {
            return Loss::Old;
        }
        let others = self.copies.get_mut(object);
        if first.node == lost.node {
            let Some(heir) = others.and_then(|others| others.pop()) else {
                return Loss::Last;
            };
            entry.cell.relocate(SharedLocation {
                node: heir,
                ..first
            });
            self.to_keep.push((*object, heir));
        } else {
            let Some(others) = others else {
                return Loss::Old;
            };
            let Some(position) = others.iter().position(|other| *other == lost.node) else {
                return Loss::Old;
            };
            others.swap_remove(position);
        }
        if self.copies.get(object).is_some_and(SmallVec::is_empty) {
            self.copies.remove(object);
        }
        self.has_moved = true;
        // It may be there, and only not have been reached.
        self.free_at(*object, lost.node);
        Loss::Survives
    }

    /// The copies that a node has of objects of ours.
    pub(crate) fn of_node(&self, node: &NodeId) -> Vec<(ObjectId, SharedLocation)> {
        let mut found = Vec::new();
        for (object, entry) in &self.entries {
            if matches!(entry.ownership, Ownership::Ours { .. })
                && let Some(first) = entry.cell.location()
                && self.has_copy_at(object, node)
            {
                let node = *node;
                found.push((*object, SharedLocation { node, ..first }));
            }
        }
        found.sort_unstable_by_key(|(object, _)| *object);
        found
    }

    /// A node is gone: nothing is to be freed there any more.
    pub(crate) fn forget_node(&mut self, node: &NodeId) {
        self.has_moved = true;
        self.to_free_elsewhere.retain(|(other, _)| other != node);
    }

    // ---- what is of no use any more -------------------------------------------------------------

    /// The copy of an object on a node is of no use.
    pub(crate) fn free_at(&mut self, object: ObjectId, node: NodeId) {
        if node == self.me.node {
            self.to_free.push(object);
        } else {
            self.to_free_elsewhere.push((node, object));
        }
    }

    /// No copy of an object is of any use, of which the first one is on `node`.
    pub(super) fn free_copies(&mut self, object: ObjectId, node: NodeId) {
        self.free_at(object, node);
        if !self.copies.is_empty()
            && let Some(others) = self.copies.remove(&object)
        {
            for other in others {
                self.free_at(object, other);
            }
        }
    }

    /// A result came of which there is another one, or that nobody asks for: lets go of its copy,
    /// unless the object may be just there.
    pub(super) fn refuse_copy(&mut self, object: ObjectId, node: NodeId) {
        let is_refused = match self.cell(&object) {
            Some(cell) => cell.is_ready() && !self.has_copy_at(&object, &node),
            None => true,
        };
        if is_refused {
            self.free_at(object, node);
        }
    }

    /// Whether stores are to hear of what we count on, or not any more.
    pub fn has_word_for_stores(&self) -> bool {
        !self.to_free.is_empty() || !self.to_free_elsewhere.is_empty() || !self.to_keep.is_empty()
    }

    /// Tells stores which copies count from here on, and gives back what shared memory is of no use: in
    /// one message for each node.
    pub fn tell_stores(&mut self, effects: &mut Vec<Effect>) {
        for (object, by) in self.to_keep.drain(..) {
            let kept = CopyKept {
                request: None,
                object,
                owner: self.me.worker,
                by,
                is_kept: true,
            };
            effects.push(Effect::ToNode(kept.into()));
        }
        if !self.to_free.is_empty() {
            let objects = std::mem::take(&mut self.to_free);
            effects.push(free_message(objects, None));
        }
        if self.to_free_elsewhere.is_empty() {
            return;
        }
        let mut elsewhere = std::mem::take(&mut self.to_free_elsewhere);
        elsewhere.sort_unstable();
        elsewhere.dedup();
        for of_node in elsewhere.chunk_by(|one, other| one.0 == other.0) {
            let objects = of_node.iter().map(|(_, object)| *object).collect();
            let node = of_node.first().map(|(node, _)| *node);
            effects.push(free_message(objects, node));
        }
    }
}

fn free_message(objects: Vec<ObjectId>, node: Option<NodeId>) -> Effect {
    let owner = None;
    Effect::ToNode(
        FreeObjects {
            objects,
            node,
            owner,
        }
        .into(),
    )
}
