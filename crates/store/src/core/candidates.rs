//! Objects that could leave the arena, the oldest first.

use std::collections::BTreeMap;

use whipray_proto::ObjectId;

/// What it takes for an object to leave the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Nothing: it has a copy on disk, or is one of what another node has, and nobody reads it.
    Copied,
    /// A copy on disk: nobody reads it.
    Unread,
    /// A word to the client that made it, which alone keeps a mapping of it.
    Kept,
}

/// Sealed objects by class and, within it, by the number of their seal.
#[derive(Clone, Debug, Default)]
pub(super) struct Candidates {
    copied: BTreeMap<u64, ObjectId>,
    unread: BTreeMap<u64, ObjectId>,
    kept: BTreeMap<u64, ObjectId>,
}

impl Candidates {
    fn of(&mut self, class: Class) -> &mut BTreeMap<u64, ObjectId> {
        match class {
            Class::Copied => &mut self.copied,
            Class::Unread => &mut self.unread,
            Class::Kept => &mut self.kept,
        }
    }

    pub fn insert(&mut self, class: Class, seal: u64, object: ObjectId) {
        self.of(class).insert(seal, object);
    }

    pub fn remove(&mut self, class: Class, seal: u64) {
        self.of(class).remove(&seal);
    }

    pub fn oldest(&self, class: Class) -> Option<ObjectId> {
        self.iter(class).next()
    }

    pub fn iter(&self, class: Class) -> impl Iterator<Item = ObjectId> {
        let objects = match class {
            Class::Copied => &self.copied,
            Class::Unread => &self.unread,
            Class::Kept => &self.kept,
        };
        objects.values().copied()
    }

    /// Whether the object is listed with this class and seal.
    pub fn has(&self, class: Class, seal: u64, object: &ObjectId) -> bool {
        let objects = match class {
            Class::Copied => &self.copied,
            Class::Unread => &self.unread,
            Class::Kept => &self.kept,
        };
        objects.get(&seal) == Some(object)
    }

    /// How many are listed in all classes.
    pub fn len(&self) -> usize {
        self.copied.len() + self.unread.len() + self.kept.len()
    }
}
