//! The memory that all objects of a node lie in, mapped by every process that uses them.

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{Advice, MapFlags, ProtFlags};

use crate::core::HUGE_PAGE_BYTES;
use crate::pages::Pages;

/// A range that does not lie inside the arena.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("range of {length} bytes at {offset} lies outside the arena of {arena_bytes} bytes")]
pub struct OutOfArena {
    pub offset: u64,
    pub length: u64,
    pub arena_bytes: u64,
}

/// A shared mapping of a memory file.
///
/// The file has no name: it is gone with the last process that has it. Its pages come into being
/// when they are provided or first written, so that a large arena costs nothing until it is used.
/// Every process maps it at an address that is aligned to huge pages.
pub struct Arena {
    base: NonNull<u8>,
    bytes: u64,
    descriptor: OwnedFd,
    pub(crate) pages: Pages,
}

// SAFETY: the mapping belongs to the process, not to a thread. `Arena` itself never reads or writes
// the memory; whoever dereferences a pointer that it gave out answers for the exclusion, which the
// table of objects makes possible: one writer until the seal, readers only after it.
unsafe impl Send for Arena {}
// SAFETY: as above; no method changes the `Arena`.
unsafe impl Sync for Arena {}

impl Arena {
    /// A new arena of `bytes`, all zero.
    ///
    /// # Errors
    /// The system is out of file descriptors or of address space.
    pub fn create(bytes: u64) -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let descriptor = rustix::fs::memfd_create("whipray-arena", flags)?;
        rustix::fs::ftruncate(&descriptor, bytes)?;
        // A client that could cut the file short would make every other one die of SIGBUS.
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&descriptor, seals)?;
        Self::from_descriptor(descriptor, bytes)
    }

    /// The arena that another process created and sent the descriptor of.
    ///
    /// # Errors
    /// The file is smaller than `bytes`, or cannot be mapped.
    pub fn from_descriptor(descriptor: OwnedFd, bytes: u64) -> io::Result<Self> {
        let file_bytes = rustix::fs::fstat(&descriptor)?.st_size as u64;
        let length = usize::try_from(bytes).ok().filter(|length| *length > 0);
        let Some(length) = length.filter(|_| file_bytes >= bytes) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("arena of {bytes} bytes does not fit its file of {file_bytes} bytes"),
            ));
        };
        let base = map_aligned(&descriptor, length)?;
        // SAFETY: the range is the mapping that was just made; the advice changes no content. It is
        // a wish only: a system without huge pages for shared memory refuses it.
        let _ = unsafe { rustix::mm::madvise(base, length, Advice::LinuxHugepage) };
        let base = NonNull::new(base.cast())
            .ok_or_else(|| io::Error::other("the system mapped the arena at address zero"))?;
        Ok(Self {
            base,
            bytes,
            descriptor,
            pages: Pages::new(bytes),
        })
    }

    /// The file behind the arena, to send to another process.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// The size in bytes.
    pub fn len(&self) -> u64 {
        self.bytes
    }

    /// Whether the arena has no bytes at all; never so, since an empty one cannot be mapped.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The address of `length` bytes at `offset`, valid as long as the arena lives.
    ///
    /// # Errors
    /// The range does not lie inside the arena.
    pub fn pointer(&self, offset: u64, length: u64) -> Result<*mut u8, OutOfArena> {
        match offset.checked_add(length) {
            Some(end) if end <= self.bytes => {
                // SAFETY: the offset is at most the length of the mapping.
                Ok(unsafe { self.base.as_ptr().add(offset as usize) })
            }
            _ => Err(OutOfArena {
                offset,
                length,
                arena_bytes: self.bytes,
            }),
        }
    }

    /// The bytes of a sealed object.
    ///
    /// # Errors
    /// The range does not lie inside the arena.
    ///
    /// # Safety
    /// The caller holds a pin on a sealed object that covers the range, for as long as it uses the
    /// slice: nobody writes there meanwhile.
    pub unsafe fn slice(&self, offset: u64, length: u64) -> Result<&[u8], OutOfArena> {
        let pointer = self.pointer(offset, length)?;
        // SAFETY: the range is inside the mapping; the caller vouches for the rest.
        Ok(unsafe { std::slice::from_raw_parts(pointer, length as usize) })
    }

    /// The bytes of an object that is still being written.
    ///
    /// # Errors
    /// The range does not lie inside the arena.
    ///
    /// # Safety
    /// The caller created the object that covers the range, has not sealed it, and makes no second
    /// slice of the range while it uses this one.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn slice_mut(&self, offset: u64, length: u64) -> Result<&mut [u8], OutOfArena> {
        let pointer = self.pointer(offset, length)?;
        // SAFETY: the range is inside the mapping; the caller vouches for the exclusion.
        Ok(unsafe { std::slice::from_raw_parts_mut(pointer, length as usize) })
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and slices borrow the arena, so that none is left. It fails
        // only for ranges that are none.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.bytes as usize) };
    }
}

/// Maps `length` bytes of the file at an address that is a multiple of the size of a huge page. The
/// file is at least that long and, when sealed by its creator, stays so.
fn map_aligned(file: &OwnedFd, length: usize) -> io::Result<*mut c_void> {
    let unit = HUGE_PAGE_BYTES as usize;
    let reserved = length
        .checked_add(unit)
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: the system chooses the address, so that no other mapping is touched.
    let start = unsafe {
        rustix::mm::mmap_anonymous(
            ptr::null_mut(),
            reserved,
            ProtFlags::empty(),
            MapFlags::PRIVATE | MapFlags::NORESERVE,
        )?
    };
    let before = start.align_offset(unit).min(unit);
    // SAFETY: the aligned range lies inside the reservation, which is replaced by the mapping and
    // otherwise given back; nobody else knows of it.
    unsafe {
        let mapped = rustix::mm::mmap(
            start.byte_add(before),
            length,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED | MapFlags::NORESERVE | MapFlags::FIXED,
            file,
            0,
        );
        let base = match mapped {
            Ok(base) => base,
            Err(error) => {
                let _ = rustix::mm::munmap(start, reserved);
                return Err(error.into());
            }
        };
        if before > 0 {
            let _ = rustix::mm::munmap(start, before);
        }
        let end = before + length.next_multiple_of(rustix::param::page_size());
        if end < reserved {
            let _ = rustix::mm::munmap(start.byte_add(end), reserved - end);
        }
        Ok(base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_mapping_writes_the_other_reads() -> io::Result<()> {
        let writer = Arena::create(1 << 20)?;
        let descriptor = writer.descriptor().try_clone_to_owned()?;
        let reader = Arena::from_descriptor(descriptor, writer.len())?;
        // SAFETY: this test is the only user of the arena, and does one thing after the other.
        unsafe {
            if let Ok(bytes) = writer.slice_mut(4096, 3) {
                bytes.copy_from_slice(b"abc");
            }
            assert_eq!(reader.slice(4096, 3), Ok(&b"abc"[..]));
        }
        Ok(())
    }

    #[test]
    fn ranges_beyond_the_end_are_refused() -> io::Result<()> {
        let arena = Arena::create(8192)?;
        assert!(arena.pointer(0, 8192).is_ok());
        assert!(arena.pointer(8192, 0).is_ok());
        for (offset, length) in [(0, 8193), (8192, 1), (u64::MAX, 2)] {
            let expected = OutOfArena {
                offset,
                length,
                arena_bytes: 8192,
            };
            assert_eq!(arena.pointer(offset, length), Err(expected));
        }
        Ok(())
    }

    #[test]
    fn a_file_that_is_too_short_is_refused() -> io::Result<()> {
        let file = rustix::fs::memfd_create("short", MemfdFlags::CLOEXEC)?;
        rustix::fs::ftruncate(&file, 4096)?;
        assert!(Arena::from_descriptor(file, 8192).is_err());
        assert!(Arena::create(0).is_err());
        Ok(())
    }

    #[test]
    fn nobody_can_cut_the_file_short() -> io::Result<()> {
        let arena = Arena::create(8192)?;
        assert!(rustix::fs::ftruncate(arena.descriptor(), 0).is_err());
        Ok(())
    }
}
