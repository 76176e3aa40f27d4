//! The memory behind the arena: provided ahead of its use, in huge pages where the kernel has them.
//!
//! A page that is touched for the first time costs many times a copy into it, and small pages cost
//! a fault each in every process. The kernel makes huge pages of a memory file on request
//! (`MADV_COLLAPSE`), without any setting and for any user, where the mapping and the file are
//! aligned to them. Where it does not (it is too old, or the memory is in pieces) small pages take
//! their place; all that is lost then is speed.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::mm::Advice;

use crate::arena::Arena;
use crate::core::{Extent, HUGE_PAGE_BYTES};

/// The most that one call asks for, in bytes. Each call has a price, whatever its size; while it
/// runs, others that change the mappings of this process wait.
const STEP_BYTES: u64 = 256 * 1024 * 1024;

const SMALL_PAGE_BYTES: u64 = 4096;

/// Which huge pages this process has written to, and what the kernel can do for it.
pub(crate) struct Pages {
    /// One bit for each huge page.
    touched: Box<[AtomicU64]>,
    no_collapse: AtomicBool,
}

impl Pages {
    pub fn new(arena_bytes: u64) -> Self {
        let words = arena_bytes.div_ceil(HUGE_PAGE_BYTES).div_ceil(64) as usize;
        Self {
            touched: (0..words).map(|_| AtomicU64::new(0)).collect(),
            no_collapse: AtomicBool::new(false),
        }
    }

    fn is_touched(&self, page: u64) -> bool {
        let word = self.touched.get((page / 64) as usize);
        word.is_none_or(|word| word.load(Ordering::Relaxed) & (1 << (page % 64)) != 0)
    }

    fn set_touched(&self, pages: std::ops::Range<u64>) {
        for page in pages {
            if let Some(word) = self.touched.get((page / 64) as usize) {
                word.fetch_or(1 << (page % 64), Ordering::Relaxed);
            }
        }
    }
}

impl Arena {
    /// Provides the memory of a range that was never used, in huge pages where possible. What is
    /// written there meanwhile stays.
    ///
    /// # Errors
    /// The system has no memory left.
    pub fn provide(&self, extent: Extent) -> io::Result<()> {
        let end = extent.offset.saturating_add(extent.length).min(self.len());
        let mut offset = extent.offset - extent.offset % HUGE_PAGE_BYTES;
        while offset < end {
            let step = (end - offset).min(STEP_BYTES);
            if !self.collapse(offset, step) {
                self.populate(offset, step)?;
            }
            offset += step;
        }
        Ok(())
    }

    /// Makes sure that writing to a range cannot fail. Costs nothing but a look where this process
    /// has written before.
    ///
    /// # Errors
    /// The system has no memory left.
    pub fn prepare_write(&self, offset: u64, length: u64) -> io::Result<()> {
        let end = (offset + length).div_ceil(HUGE_PAGE_BYTES);
        let mut page = offset / HUGE_PAGE_BYTES;
        while page < end {
            if self.pages.is_touched(page) {
                page += 1;
                continue;
            }
            let first = page;
            while page < end && !self.pages.is_touched(page) {
                page += 1;
            }
            let start = first * HUGE_PAGE_BYTES;
            let length = (page * HUGE_PAGE_BYTES).min(self.len()) - start;
            self.populate(start, length)?;
            self.pages.set_touched(first..page);
        }
        Ok(())
    }

    /// Makes huge pages of a range. Returns whether all of it has memory now.
    fn collapse(&self, offset: u64, length: u64) -> bool {
        if self.pages.no_collapse.load(Ordering::Relaxed) {
            return false;
        }
        let whole = length - length % HUGE_PAGE_BYTES;
        if whole == 0 {
            return false;
        }
        // The kernel makes a huge page only of one that has something in it already.
        for page in (offset..offset + whole).step_by(HUGE_PAGE_BYTES as usize) {
            if self.populate(page, SMALL_PAGE_BYTES).is_err() {
                return false;
            }
        }
        let Ok(pointer) = self.pointer(offset, whole) else {
            return false;
        };
        // SAFETY: the range lies inside the mapping, and the advice changes no content.
        let status = unsafe { libc::madvise(pointer.cast(), whole as usize, libc::MADV_COLLAPSE) };
        if status != 0 {
            if io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL) {
                // A kernel that does not know how; others are short of memory just now.
                self.pages.no_collapse.store(true, Ordering::Relaxed);
            }
            return false;
        }
        whole == length
    }

    /// Provides small pages where there is nothing.
    fn populate(&self, offset: u64, length: u64) -> io::Result<()> {
        let pointer = self.pointer(offset, length).map_err(io::Error::other)?;
        // SAFETY: the range lies inside the mapping, and the advice changes no content.
        let outcome = unsafe {
            rustix::mm::madvise(pointer.cast(), length as usize, Advice::LinuxPopulateWrite)
        };
        match outcome {
            // Before Linux 5.14 pages come with the first touch alone.
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn provide(arena: &Arena, offset: u64, length: u64) -> io::Result<()> {
        arena.provide(Extent { offset, length })
    }

    #[test]
    fn what_was_written_before_stays() -> io::Result<()> {
        let arena = Arena::create(7 * MIB + 4096)?;
        let second = Arena::from_descriptor(arena.descriptor().try_clone_to_owned()?, arena.len())?;
        for offset in [5, 3 * MIB, 7 * MIB + 4000] {
            arena.prepare_write(offset, 4)?;
            // SAFETY: this test is the only user of the arena, and does one thing after the other.
            if let Ok(bytes) = unsafe { arena.slice_mut(offset, 4) } {
                bytes.copy_from_slice(b"abcd");
            }
        }
        provide(&arena, 0, arena.len())?;
        provide(&second, 4 * MIB, u64::MAX)?;
        for offset in [5, 3 * MIB, 7 * MIB + 4000] {
            // SAFETY: as above.
            assert_eq!(unsafe { second.slice(offset, 4) }, Ok(&b"abcd"[..]));
        }
        Ok(())
    }

    #[test]
    fn mappings_are_aligned_to_huge_pages() -> io::Result<()> {
        for bytes in [4096, 2 * MIB, 5 * MIB] {
            let arena = Arena::create(bytes)?;
            let address = arena.pointer(0, 1).map_err(io::Error::other)? as u64;
            assert_eq!(address % HUGE_PAGE_BYTES, 0);
        }
        Ok(())
    }

    #[test]
    fn a_page_is_prepared_once() -> io::Result<()> {
        let arena = Arena::create(300 * MIB)?;
        arena.prepare_write(3 * MIB, 2 * MIB)?;
        let touched: Vec<u64> = (0..150)
            .filter(|page| arena.pages.is_touched(*page))
            .collect();
        assert_eq!(touched, [1, 2]);
        arena.prepare_write(0, 300 * MIB)?;
        assert!((0..150).all(|page| arena.pages.is_touched(page)));
        Ok(())
    }
}
