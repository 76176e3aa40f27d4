//! How much of the arena has memory behind it, and who provides more.

/// The unit in which the kernel maps the arena at best, in bytes: one huge page.
pub const HUGE_PAGE_BYTES: u64 = 2 * 1024 * 1024;

/// What is kept ready beyond the highest address in use: half of what is in use, within these bounds.
const LEAST_MARGIN_BYTES: u64 = 16 * 1024 * 1024;
const MOST_MARGIN_BYTES: u64 = 256 * 1024 * 1024;

/// An object whose room has at least this much without memory has it provided by its writer, which
/// would otherwise overtake the daemon. Below, the daemon is ahead of the writers.
const WRITER_BYTES: u64 = 16 * 1024 * 1024;

/// A range of the arena, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub offset: u64,
    pub length: u64,
}

/// Decides when ranges of the arena get their memory.
///
/// The allocator takes the lowest range that fits, so what was ever in use is a range from zero up,
/// and so is what has memory. Nothing is provided before the first object, and never more than a
/// margin beyond the objects: an idle cluster stays small.
#[derive(Clone, Debug)]
pub struct Commitment {
    capacity: u64,
    /// Somebody has provided, or is about to provide, everything below this. Whole huge pages, but
    /// for the end of the arena.
    committed: u64,
    /// The highest end of an object so far.
    high_water: u64,
}

impl Commitment {
    /// Nothing of `capacity` bytes has memory.
    pub fn new(capacity: u64) -> Self {
        Self {
            capacity,
            committed: 0,
            high_water: 0,
        }
    }

    /// An object got this range. Returns how many bytes below the end of its last huge page its
    /// writer has to provide: zero, unless the object is large and its room was never used.
    pub fn on_allocated(&mut self, offset: u64, size_bytes: u64) -> u64 {
        let end = offset.saturating_add(size_bytes).min(self.capacity);
        self.high_water = self.high_water.max(end);
        let needed = self.whole_pages(end);
        let cold = needed.saturating_sub(self.committed);
        if cold < WRITER_BYTES {
            return 0;
        }
        self.committed = needed;
        cold
    }

    /// The range that the daemon is to provide now, if there is one. It counts as provided from here
    /// on: whoever comes earlier does the work for the pages that it touches.
    pub fn next_extent(&mut self) -> Option<Extent> {
        if self.high_water == 0 {
            return None;
        }
        let margin = (self.high_water / 2).clamp(LEAST_MARGIN_BYTES, MOST_MARGIN_BYTES);
        // Few large steps: each one has a cost of its own, whatever its size.
        if self.committed >= self.whole_pages(self.high_water + margin / 2) {
            return None;
        }
        let offset = self.committed;
        self.committed = self.whole_pages(self.high_water + margin);
        Some(Extent {
            offset,
            length: self.committed - offset,
        })
    }

    fn whole_pages(&self, end: u64) -> u64 {
        end.next_multiple_of(HUGE_PAGE_BYTES).min(self.capacity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1024 * 1024;

    fn extent(offset: u64, length: u64) -> Option<Extent> {
        Some(Extent { offset, length })
    }

    #[test]
    fn nothing_is_provided_before_the_first_object() {
        let mut commitment = Commitment::new(1024 * MIB);
        assert_eq!(commitment.next_extent(), None);
        assert_eq!(commitment.on_allocated(0, 200_000), 0);
        assert_eq!(commitment.next_extent(), extent(0, 18 * MIB));
        assert_eq!(commitment.next_extent(), None);
    }

    #[test]
    fn the_margin_grows_with_what_is_in_use() {
        let mut commitment = Commitment::new(10_000 * MIB);
        commitment.on_allocated(0, MIB);
        assert_eq!(commitment.next_extent(), extent(0, 18 * MIB));
        commitment.on_allocated(8 * MIB, MIB);
        assert_eq!(commitment.next_extent(), None, "half of the margin is left");
        commitment.on_allocated(11 * MIB, MIB);
        assert_eq!(commitment.next_extent(), extent(18 * MIB, 10 * MIB));
        for used in 12..2000 {
            commitment.on_allocated(used * MIB, MIB);
            if let Some(extent) = commitment.next_extent() {
                let ahead = extent.offset + extent.length - (used + 1) * MIB;
                assert!(ahead <= MOST_MARGIN_BYTES + HUGE_PAGE_BYTES, "{ahead}");
            }
        }
    }

    #[test]
    fn a_large_object_is_provided_for_by_its_writer() {
        let mut commitment = Commitment::new(1024 * MIB);
        assert_eq!(commitment.on_allocated(0, 100 * MIB + 1), 102 * MIB);
        assert_eq!(commitment.next_extent(), extent(102 * MIB, 50 * MIB));
        assert_eq!(
            commitment.on_allocated(100 * MIB + 64, 100 * MIB),
            50 * MIB,
            "only what is beyond the margin"
        );
        assert_eq!(commitment.on_allocated(0, 100 * MIB + 1), 0, "used before");
    }

    #[test]
    fn the_end_of_the_arena_is_no_whole_page() {
        let mut commitment = Commitment::new(78_643_200 + 4096);
        assert_eq!(commitment.on_allocated(0, 78_643_200), 78_643_200 + 4096);
        assert_eq!(commitment.next_extent(), None);
    }

    proptest! {
        /// Extents of daemon and writers follow each other without gap or overlap, and cover every
        /// object once the daemon has done its part.
        #[test]
        fn every_object_is_covered_once(sizes in proptest::collection::vec(1u64..90_000_000, 1..60)) {
            const CAPACITY: u64 = 1_000_000_000;
            let mut commitment = Commitment::new(CAPACITY);
            let (mut end, mut provided) = (0, 0);
            for size in sizes {
                if end + size > CAPACITY {
                    break;
                }
                let cold = commitment.on_allocated(end, size);
                end += size;
                provided += cold;
                prop_assert_eq!(provided, commitment.committed);
                if let Some(extent) = commitment.next_extent() {
                    prop_assert_eq!(extent.offset, provided);
                    provided += extent.length;
                }
                prop_assert!(provided >= end && provided <= CAPACITY);
            }
        }
    }
}
