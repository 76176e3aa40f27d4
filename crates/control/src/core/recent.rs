//! A set that forgets.

use std::collections::VecDeque;
use std::hash::Hash;

use rustc_hash::FxHashSet;

/// The last keys that were inserted, up to a number.
#[derive(Debug)]
pub struct Recent<K> {
    keys: FxHashSet<K>,
    order: VecDeque<K>,
    most: usize,
}

impl<K: Copy + Eq + Hash> Recent<K> {
    pub fn new(most: usize) -> Self {
        Self {
            keys: FxHashSet::default(),
            order: VecDeque::new(),
            most,
        }
    }

    /// Inserts a key; the oldest one is forgotten where there are too many.
    pub fn insert(&mut self, key: K) {
        if self.keys.insert(key) {
            self.order.push_back(key);
        }
        if self.order.len() > self.most
            && let Some(oldest) = self.order.pop_front()
        {
            self.keys.remove(&oldest);
        }
    }

    pub fn contains(&self, key: &K) -> bool {
        self.keys.contains(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut recent = Recent::new(2);
        for key in [1, 2, 2, 3] {
            recent.insert(key);
        }
        assert!(!recent.contains(&1));
        assert!(recent.contains(&2) && recent.contains(&3));
    }
}
