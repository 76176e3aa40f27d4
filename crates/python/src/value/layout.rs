//! The bytes of a value, apart from anything of Python: kinds, and where pickle and buffers lie.
//!
//! The format as a whole is described in `docs/internals/values.md`.

use std::ops::Range;

/// The alignment of every out-of-band buffer, in bytes from the start of the value.
pub const BUFFER_ALIGNMENT: usize = 64;

/// The bytes before the table of buffers: kind, padding, count, length of the pickle.
const FIXED_BYTES: usize = 16;

/// The bytes of one entry in the table of buffers: offset, length.
const ENTRY_BYTES: usize = 16;

/// Buffers from this size on are placed so that their copy is fast.
const PLACED_BYTES: usize = 1 << 20;

/// Where source and target of a copy lie in a page decides its speed: processors take a load for one
/// that needs the store before it where only the page differs, which costs up to a third.
const PAGE_BYTES: usize = 4096;

/// The first byte of every value: how to read the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    None = 0,
    True = 1,
    False = 2,
    /// Eight bytes, little-endian, signed.
    Integer = 3,
    /// Eight bytes, little-endian, IEEE 754.
    Float = 4,
    /// UTF-8.
    Text = 5,
    Bytes = 6,
    /// A pickle without out-of-band buffers.
    Pickle = 7,
    /// A pickle and its out-of-band buffers.
    Buffers = 8,
    /// A list of nothing but references, in their order.
    ReferenceList = 9,
    /// The same as a tuple.
    ReferenceTuple = 10,
    /// An exception, as the package serialized it.
    Error = 16,
}

impl Kind {
    /// The kind that this byte stands for, if there is one.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::None,
            1 => Self::True,
            2 => Self::False,
            3 => Self::Integer,
            4 => Self::Float,
            5 => Self::Text,
            6 => Self::Bytes,
            7 => Self::Pickle,
            8 => Self::Buffers,
            9 => Self::ReferenceList,
            10 => Self::ReferenceTuple,
            16 => Self::Error,
            _ => return None,
        })
    }
}

/// Where the parts of a value of [`Kind::Buffers`] lie, in bytes from its start.
///
/// ```text
/// 0      1       4       8               16                      aligned
/// | kind | zeros | count | pickle length | (offset, length) ... | pickle | padding | buffer | ...
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BufferLayout {
    pub pickle: Range<usize>,
    pub buffers: Vec<Range<usize>>,
    /// The size of the whole value.
    pub total_bytes: usize,
}

impl BufferLayout {
    /// The layout for a pickle and buffers of these lengths; `None` where no memory could hold it.
    pub fn plan(pickle_bytes: usize, lengths: &[usize]) -> Option<Self> {
        let start = lengths
            .len()
            .checked_mul(ENTRY_BYTES)?
            .checked_add(FIXED_BYTES)?;
        let mut end = start.checked_add(pickle_bytes)?;
        let pickle = start..end;
        let mut buffers = Vec::with_capacity(lengths.len());
        for length in lengths {
            let offset = end.checked_next_multiple_of(BUFFER_ALIGNMENT)?;
            end = offset.checked_add(*length)?;
            buffers.push(offset..end);
            if *length >= PLACED_BYTES {
                end = end.checked_add(PAGE_BYTES - BUFFER_ALIGNMENT)?;
            }
        }
        // No allocation is larger than that.
        isize::try_from(end).ok()?;
        u32::try_from(lengths.len()).ok()?;
        Some(Self {
            pickle,
            buffers,
            total_bytes: end,
        })
    }

    /// Moves large buffers, within the room that [`Self::plan`] left for it, to where the copy from
    /// `sources` is fast: just below the source's place in its page. `target` is the address of the
    /// value, the sources are those of the buffers.
    pub fn place(&mut self, target: usize, sources: impl Iterator<Item = usize>) {
        for (buffer, source) in self.buffers.iter_mut().zip(sources) {
            if buffer.len() >= PLACED_BYTES {
                let behind = source.wrapping_sub(target + buffer.start) % PAGE_BYTES;
                let shift = behind - behind % BUFFER_ALIGNMENT;
                *buffer = buffer.start + shift..buffer.end + shift;
            }
        }
    }

    /// Writes everything before the pickle; `target` is the whole value.
    pub fn write_header(&self, target: &mut [u8]) {
        target[0] = Kind::Buffers as u8;
        target[1..4].fill(0);
        target[4..8].copy_from_slice(&(self.buffers.len() as u32).to_le_bytes());
        target[8..16].copy_from_slice(&(self.pickle.len() as u64).to_le_bytes());
        for (index, buffer) in self.buffers.iter().enumerate() {
            let at = FIXED_BYTES + index * ENTRY_BYTES;
            target[at..at + 8].copy_from_slice(&(buffer.start as u64).to_le_bytes());
            target[at + 8..at + 16].copy_from_slice(&(buffer.len() as u64).to_le_bytes());
        }
    }

    /// Reads the layout of a value; `None` where it does not describe `value`.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let count = u32::from_le_bytes(*value.get(4..)?.first_chunk()?) as usize;
        let pickle_bytes = word(value, 8)?;
        let start = count.checked_mul(ENTRY_BYTES)?.checked_add(FIXED_BYTES)?;
        let pickle = range_within(value, start, pickle_bytes)?;
        let mut buffers = Vec::with_capacity(count.min(value.len() / ENTRY_BYTES));
        for index in 0..count {
            let at = FIXED_BYTES + index * ENTRY_BYTES;
            buffers.push(range_within(value, word(value, at)?, word(value, at + 8)?)?);
        }
        Some(Self {
            pickle,
            buffers,
            total_bytes: value.len(),
        })
    }
}

fn word(value: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u64::from_le_bytes(*value.get(at..)?.first_chunk()?)).ok()
}

fn range_within(value: &[u8], start: usize, length: usize) -> Option<Range<usize>> {
    let end = start.checked_add(length)?;
    (end <= value.len()).then_some(start..end)
}
