//! Objects that change nodes for good: the copy that counts becomes one of many here, and one of many
//! there the copy that counts.

use whipray_proto::{ObjectId, WorkerId};

use super::table::{ClientId, ObjectTable, State};

/// Stands for the requests of other nodes to take objects over, among the clients that have pins.
pub const TAKING: ClientId = ClientId::MAX - 1;

impl ObjectTable {
    /// The objects that were made here, or taken over for good, in the order of their seals.
    pub fn primaries(&self) -> Vec<ObjectId> {
        let its = self.entries.iter().filter_map(|(object, entry)| {
            let State::Sealed { seal, .. } = entry.state else {
                return None;
            };
            (!entry.is_secondary).then_some((seal, *object))
        });
        let mut its: Vec<(u64, ObjectId)> = its.collect();
        its.sort_unstable();
        its.into_iter().map(|(_, object)| object).collect()
    }

    /// Whether something is written that nobody has sealed yet.
    pub fn has_unsealed(&self) -> bool {
        let mut entries = self.entries.values();
        entries.any(|entry| matches!(entry.state, State::Writing { .. }))
    }

    /// Whose an object is that was made here, or taken over for good, and its size in bytes.
    pub fn primary(&self, object: &ObjectId) -> Option<(WorkerId, u64)> {
        let entry = self.entries.get(object).filter(|it| !it.is_secondary)?;
        match entry.state {
            State::Sealed { owner, .. } => Some((owner, entry.size_bytes)),
            _ => None,
        }
    }

    /// The size in bytes of a sealed object of `owner` that is here, be it a copy or not.
    pub fn sealed_bytes(&self, owner: WorkerId, object: &ObjectId) -> Option<u64> {
        let entry = self.entries.get(object)?;
        let is_its = matches!(entry.state, State::Sealed { owner: known, .. } if known == owner);
        is_its.then_some(entry.size_bytes)
    }

    /// From here on another node has the copy that counts: this one goes when the room is needed.
    pub fn hand_over(&mut self, object: ObjectId) {
        if let Some(entry) = self.entries.get_mut(&object)
            && matches!(entry.state, State::Sealed { .. })
        {
            entry.is_secondary = true;
            // One that is not even in the arena goes at once.
            self.drop_pins(object, 0);
        }
    }

    /// From here on this copy counts: it stays until its owner frees it, on disk if need be. Returns
    /// whether there is one.
    pub fn take_over(&mut self, owner: WorkerId, object: ObjectId) -> bool {
        if self.sealed_bytes(owner, &object).is_none() {
            return false;
        }
        if let Some(entry) = self.entries.get_mut(&object) {
            entry.is_secondary = false;
        }
        self.list(object);
        true
    }
}
