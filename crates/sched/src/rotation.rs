//! Whose turn it is.

use std::collections::BTreeMap;
use std::hash::Hash;

use rustc_hash::FxHashMap;

/// Those who wait, in the order of their turns: whoever was served goes to the end of the line.
#[derive(Clone, Debug)]
pub struct Rotation<K> {
    /// By ticket: the lowest one is next.
    line: BTreeMap<u64, K>,
    tickets: FxHashMap<K, u64>,
    next_ticket: u64,
}

impl<K> Default for Rotation<K> {
    fn default() -> Self {
        Self {
            line: BTreeMap::new(),
            tickets: FxHashMap::default(),
            next_ticket: 0,
        }
    }
}

impl<K: Copy + Eq + Hash> Rotation<K> {
    /// Adds a key at the end; one that waits already keeps its place.
    pub fn push(&mut self, key: K) {
        if !self.tickets.contains_key(&key) {
            self.tickets.insert(key, self.next_ticket);
            self.line.insert(self.next_ticket, key);
            self.next_ticket += 1;
        }
    }

    /// Removes a key; one that does not wait is no error.
    pub fn remove(&mut self, key: &K) {
        if let Some(ticket) = self.tickets.remove(key) {
            self.line.remove(&ticket);
        }
    }

    /// Sends a key to the end of the line.
    pub fn served(&mut self, key: K) {
        if self.tickets.contains_key(&key) {
            self.remove(&key);
            self.push(key);
        }
    }

    /// The keys in the order of their turns.
    pub fn iter(&self) -> impl Iterator<Item = K> + '_ {
        self.line.values().copied()
    }

    pub fn contains(&self, key: &K) -> bool {
        self.tickets.contains_key(key)
    }

    pub fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    pub fn len(&self) -> usize {
        self.line.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn turns_go_round() {
        let mut rotation = Rotation::default();
        for key in ["a", "b", "a", "c"] {
            rotation.push(key);
        }
        rotation.served("a");
        rotation.remove(&"b");
        rotation.remove(&"nobody");
        rotation.served("nobody");
        assert_eq!(rotation.iter().collect::<Vec<_>>(), ["c", "a"]);
        assert_eq!(rotation.len(), 2);
    }

    proptest! {
        /// Between two turns of one key, every other one that waits throughout has its turn.
        #[test]
        fn nobody_is_overtaken_twice(count in 1usize..10, rounds in 1usize..50) {
            let mut rotation = Rotation::default();
            (0..count).for_each(|key| rotation.push(key));
            let mut turns = vec![0usize; count];
            for _ in 0..rounds {
                let Some(key) = rotation.iter().next() else { break };
                rotation.served(key);
                turns[key] += 1;
            }
            let (least, most) = (turns.iter().min(), turns.iter().max());
            prop_assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1));
        }
    }
}
