//! Objects that lie in files: those that left the arena, and those that it could not take.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::ptr::{self, NonNull};

use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags};

/// A part of a file in memory, as long as this lives; also when the file is removed meanwhile.
pub struct FileMapping {
    base: NonNull<u8>,
    mapped_bytes: usize,
    /// Where the part begins within the mapping, which begins at a page.
    start: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and this type never touches the
// memory itself; whoever uses its pointer answers for the exclusion.
unsafe impl Send for FileMapping {}
// SAFETY: as above; no method changes the mapping.
unsafe impl Sync for FileMapping {}

impl FileMapping {
    /// `length` bytes at `offset`, to be read. They are in memory when this returns, so that a disk
    /// that fails shows here.
    ///
    /// # Errors
    /// The file is not there, is shorter than that, or cannot be read.
    pub fn read(path: &Path, offset: u64, length: usize) -> io::Result<Self> {
        let file = File::open(path)?;
        check_length(&file, offset, length)?;
        match Self::map(
            &file,
            offset,
            length,
            ProtFlags::READ,
            Advice::LinuxPopulateRead,
        ) {
            Ok(mapping) => Ok(mapping),
            // Some file systems lend their pages to nobody.
            Err(_) => Self::copy(&file, offset, length),
        }
    }

    /// The first `length` bytes of a file, to be written. They have their room on disk already.
    ///
    /// # Errors
    /// The file is not there, is shorter than that, or cannot be mapped.
    pub fn write(path: &Path, length: usize) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(path)?;
        check_length(&file, 0, length)?;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        Self::map(&file, 0, length, protection, Advice::LinuxPopulateWrite)
    }

    /// The address of the part.
    pub fn pointer(&self) -> *mut u8 {
        // SAFETY: the part lies inside the mapping.
        unsafe { self.base.as_ptr().add(self.start) }
    }

    fn map(
        file: &File,
        offset: u64,
        length: usize,
        protection: ProtFlags,
        populate: Advice,
    ) -> io::Result<Self> {
        let start = offset % rustix::param::page_size() as u64;
        let mapped_bytes = start as usize + length.max(1);
        // SAFETY: the system chooses the address, so that no other mapping is touched.
        let base = unsafe {
            rustix::mm::mmap(
                ptr::null_mut(),
                mapped_bytes,
                protection,
                MapFlags::SHARED,
                file,
                offset - start,
            )?
        };
        let mapping = Self::owned(base.cast(), mapped_bytes, start as usize)?;
        // SAFETY: the range is the mapping that was just made; the advice changes no content.
        match unsafe { rustix::mm::madvise(base, mapped_bytes, populate) } {
            // Before Linux 5.14 pages come with the first touch alone.
            Ok(()) | Err(Errno::INVAL | Errno::INTR) => Ok(mapping),
            Err(error) => Err(error.into()),
        }
    }

    /// The same as memory of this process alone.
    fn copy(file: &File, offset: u64, length: usize) -> io::Result<Self> {
        let mapped_bytes = length.max(1);
        // SAFETY: the system chooses the address, so that no other mapping is touched.
        let base = unsafe {
            rustix::mm::mmap_anonymous(
                ptr::null_mut(),
                mapped_bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )?
        };
        let mapping = Self::owned(base.cast(), mapped_bytes, 0)?;
        // SAFETY: nobody else knows of the mapping yet.
        let bytes = unsafe { std::slice::from_raw_parts_mut(mapping.pointer(), length) };
        file.read_exact_at(bytes, offset)?;
        Ok(mapping)
    }

    fn owned(base: *mut u8, mapped_bytes: usize, start: usize) -> io::Result<Self> {
        let base = NonNull::new(base)
            .ok_or_else(|| io::Error::other("the system mapped a file at address zero"))?;
        Ok(Self {
            base,
            mapped_bytes,
            start,
        })
    }
}

/// A mapping beyond the end of its file would end the process that touches it.
fn check_length(file: &File, offset: u64, length: usize) -> io::Result<()> {
    let needed = offset.checked_add(length as u64);
    if needed.is_some_and(|needed| needed <= file.metadata().map_or(0, |data| data.len())) {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::UnexpectedEof,
        format!("the file ends before {length} bytes at {offset}"),
    ))
}

impl Drop for FileMapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and whoever uses it keeps this alive. It fails only for
        // ranges that are none.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.mapped_bytes) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(mapping: &FileMapping, length: usize) -> &[u8] {
        // SAFETY: the tests ask for what they mapped, and nobody writes meanwhile.
        unsafe { std::slice::from_raw_parts(mapping.pointer(), length) }
    }

    #[test]
    fn what_was_written_is_read() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("1");
        File::create(&path)?.set_len(10_000)?;
        let writer = FileMapping::write(&path, 10_000)?;
        // SAFETY: the mapping is that long, and the test is alone.
        let target = unsafe { std::slice::from_raw_parts_mut(writer.pointer(), 10_000) };
        target[5000..5003].copy_from_slice(b"abc");
        let reader = FileMapping::read(&path, 5000, 3)?;
        assert_eq!(bytes(&reader, 3), b"abc");
        let copy = FileMapping::copy(&File::open(&path)?, 5000, 3)?;
        std::fs::remove_file(&path)?;
        assert_eq!(bytes(&reader, 3), b"abc");
        assert_eq!(bytes(&copy, 3), b"abc");
        Ok(())
    }

    #[test]
    fn nothing_is_mapped_beyond_the_end() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("1");
        File::create(&path)?.set_len(4096)?;
        assert!(FileMapping::read(&path, 4096, 1).is_err());
        assert!(FileMapping::read(&path, u64::MAX, 2).is_err());
        assert!(FileMapping::write(&path, 4097).is_err());
        assert!(FileMapping::read(&folder.path().join("none"), 0, 1).is_err());
        Ok(())
    }
}
