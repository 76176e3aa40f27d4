//! The frame around every message: eight bytes, then the message.
//!
//! ```text
//! 0        4      6      8
//! | length | code | zero | message ... |
//! ```
//!
//! `length` counts the message alone. All integers are little-endian.

use crate::limits;

/// The size of the header in bytes.
pub const HEADER_BYTES: usize = 8;

/// What stands before every message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    pub length: usize,
    pub code: u16,
}

/// Why bytes from a peer are no message.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ProtocolError {
    #[error("frame of {length} bytes is longer than the limit of {limit}")]
    FrameTooLong { length: usize, limit: usize },
    #[error("frame header has a reserved field that is not zero")]
    ReservedNotZero,
    #[error("unknown message code {0}")]
    UnknownCode(u16),
    #[error("message {code} cannot be decoded: {reason}")]
    Malformed { code: u16, reason: String },
    #[error("expected a hello as the first message, got code {0}")]
    HelloExpected(u16),
}

impl FrameHeader {
    /// The bytes of the header.
    pub fn to_array(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&(self.length as u32).to_le_bytes());
        bytes[4..6].copy_from_slice(&self.code.to_le_bytes());
        bytes
    }

    /// The header at the start of `bytes`, or `None` while there are too few.
    ///
    /// # Errors
    /// A frame above `limit_bytes`, or a reserved field that is not zero.
    pub fn parse(bytes: &[u8], limit_bytes: usize) -> Result<Option<Self>, ProtocolError> {
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let code = u16::from_le_bytes([header[4], header[5]]);
        if header[6] != 0 || header[7] != 0 {
            return Err(ProtocolError::ReservedNotZero);
        }
        let limit = limit_bytes.min(limits::FRAME_BYTES);
        if length > limit {
            return Err(ProtocolError::FrameTooLong { length, limit });
        }
        Ok(Some(Self { length, code }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_header() {
        let header = FrameHeader {
            length: 0x0001_0203,
            code: 0x0405,
        };
        assert_eq!(header.to_array(), [3, 2, 1, 0, 5, 4, 0, 0]);
        assert_eq!(
            FrameHeader::parse(&header.to_array(), usize::MAX),
            Ok(Some(header))
        );
    }

    #[test]
    fn too_long_and_dirty_frames_are_refused() {
        let header = FrameHeader {
            length: 100,
            code: 1,
        };
        assert!(FrameHeader::parse(&header.to_array(), 99).is_err());
        assert!(FrameHeader::parse(&[0, 0, 0, 0, 1, 0, 9, 0], 99).is_err());
        assert_eq!(FrameHeader::parse(&[0; 7], 99), Ok(None));
    }
}
