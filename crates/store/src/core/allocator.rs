//! Room in the arena.

use whipray_proto::limits::OBJECT_ALIGNMENT;

const ALIGNMENT: u64 = OBJECT_ALIGNMENT as u64;

/// Hands out ranges of `0..capacity`: the lowest one that is long enough.
///
/// Low addresses first keeps objects on pages that were touched before, which are many times faster
/// to write than fresh ones. Free ranges are kept in order of address in one vector: a search reads
/// memory in a row, which beats a tree for the numbers of ranges that occur.
#[derive(Clone, Debug)]
pub struct Allocator {
    capacity: u64,
    used: u64,
    /// `(offset, length)`, by offset; no two of them touch.
    free: Vec<(u64, u64)>,
}

/// The room that an object of `bytes` takes: whole units of alignment, at least one. `None` where
/// the number is too large to be rounded.
fn room_for(bytes: u64) -> Option<u64> {
    bytes.max(1).checked_next_multiple_of(ALIGNMENT)
}

impl Allocator {
    /// All of `capacity` bytes is free; a rest below the alignment is never handed out.
    pub fn new(capacity: u64) -> Self {
        let capacity = capacity - capacity % ALIGNMENT;
        let free = if capacity > 0 {
            vec![(0, capacity)]
        } else {
            Vec::new()
        };
        Self {
            capacity,
            used: 0,
            free,
        }
    }

    /// The offset of `bytes` of room, aligned; `None` where no free range is long enough.
    pub fn allocate(&mut self, bytes: u64) -> Option<u64> {
        let room = room_for(bytes)?;
        let index = self.free.iter().position(|(_, length)| *length >= room)?;
        let (offset, length) = self.free[index];
        if length == room {
            self.free.remove(index);
        } else {
            self.free[index] = (offset + room, length - room);
        }
        self.used += room;
        Some(offset)
    }

    /// Gives back what [`Self::allocate`] returned for the same number of bytes.
    pub fn release(&mut self, offset: u64, bytes: u64) {
        let Some(room) = room_for(bytes) else { return };
        self.used -= room;
        let index = self.free.partition_point(|(start, _)| *start < offset);
        let joins_next = self
            .free
            .get(index)
            .is_some_and(|(start, _)| *start == offset + room);
        let joins_previous = index > 0 && {
            let (start, length) = self.free[index - 1];
            start + length == offset
        };
        match (joins_previous, joins_next) {
            (true, true) => {
                let (_, next_length) = self.free.remove(index);
                self.free[index - 1].1 += room + next_length;
            }
            (true, false) => self.free[index - 1].1 += room,
            (false, true) => {
                self.free[index] = (offset, self.free[index].1 + room);
            }
            (false, false) => self.free.insert(index, (offset, room)),
        }
    }

    /// All room, in bytes.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Room that is handed out, in bytes.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// The length of the longest free range, in bytes.
    pub fn largest_free(&self) -> u64 {
        self.free
            .iter()
            .map(|(_, length)| *length)
            .max()
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_lowest_range_that_fits_is_taken_again() {
        let mut allocator = Allocator::new(1024);
        assert_eq!(allocator.allocate(100), Some(0));
        assert_eq!(allocator.allocate(64), Some(128));
        assert_eq!(allocator.allocate(0), Some(192));
        allocator.release(0, 100);
        assert_eq!(allocator.allocate(129), Some(256));
        assert_eq!(allocator.allocate(128), Some(0));
    }

    #[test]
    fn neighbours_become_one_range() {
        let mut allocator = Allocator::new(192);
        let offsets: Vec<u64> = (0..3).filter_map(|_| allocator.allocate(64)).collect();
        assert_eq!(allocator.allocate(1), None);
        allocator.release(offsets[0], 64);
        allocator.release(offsets[2], 64);
        assert_eq!(allocator.largest_free(), 64);
        allocator.release(offsets[1], 64);
        assert_eq!(allocator.allocate(192), Some(0));
    }

    #[test]
    fn sizes_near_the_end_of_numbers_do_not_fit() {
        let mut allocator = Allocator::new(1 << 20);
        assert_eq!(allocator.allocate(u64::MAX), None);
        assert_eq!(Allocator::new(63).allocate(1), None);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Allocate(u64),
        Release(proptest::sample::Index),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0u64..3000).prop_map(Step::Allocate),
            any::<proptest::sample::Index>().prop_map(Step::Release),
        ]
    }

    proptest! {
        /// Against a model that keeps the ranges in use: none overlap, each is aligned and inside,
        /// the lowest gap that fits is taken, and in the end all of it is one free range again.
        #[test]
        fn agrees_with_a_model(steps in proptest::collection::vec(step(), 1..200)) {
            const CAPACITY: u64 = 16 * 1024;
            let mut allocator = Allocator::new(CAPACITY);
            let mut in_use: BTreeMap<u64, u64> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Allocate(bytes) => {
                        let room = bytes.max(1).next_multiple_of(ALIGNMENT);
                        let mut cursor = 0;
                        let mut expected = None;
                        for (start, taken) in &in_use {
                            if start - cursor >= room {
                                expected = Some(cursor);
                                break;
                            }
                            cursor = start + taken.max(&1).next_multiple_of(ALIGNMENT);
                        }
                        if expected.is_none() && CAPACITY - cursor >= room {
                            expected = Some(cursor);
                        }
                        prop_assert_eq!(allocator.allocate(bytes), expected);
                        if let Some(offset) = expected {
                            in_use.insert(offset, bytes);
                        }
                    }
                    Step::Release(which) => {
                        if in_use.is_empty() {
                            continue;
                        }
                        let offset = *in_use.keys().nth(which.index(in_use.len())).unwrap_or(&0);
                        if let Some(bytes) = in_use.remove(&offset) {
                            allocator.release(offset, bytes);
                        }
                    }
                }
                let used: u64 =
                    in_use.values().map(|bytes| (*bytes).max(1).next_multiple_of(ALIGNMENT)).sum();
                prop_assert_eq!(allocator.used(), used);
            }
            for (offset, bytes) in in_use {
                allocator.release(offset, bytes);
            }
            prop_assert_eq!(allocator.largest_free(), CAPACITY);
        }
    }
}
