//! Fields read and written at the offsets of the `repr(C)` types.

use std::mem::offset_of;

use weft_abi::{Direction, RecordHeader};

use super::RecordError;

/// At least the bytes of the record's type.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

/// Zeroes of the record's type, to be filled.
pub(super) struct Writer<'a>(pub(super) &'a mut [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], needed: usize) -> Result<Self, RecordError> {
        let len = bytes.len();
        bytes
            .get(..needed)
            .map(Self)
            .ok_or(RecordError::Short { len, needed })
    }

    /// `at` comes from `offset_of!` of the type whose size was checked: it is within.
    pub(super) fn array<const N: usize>(self, at: usize) -> [u8; N] {
        let mut array = [0; N];
        array.copy_from_slice(&self.0[at..at + N]);
        array
    }

    pub(super) fn u8(self, at: usize) -> u8 {
        self.0[at]
    }

    pub(super) fn u16(self, at: usize) -> u16 {
        u16::from_ne_bytes(self.array(at))
    }

    pub(super) fn u32(self, at: usize) -> u32 {
        u32::from_ne_bytes(self.array(at))
    }

    pub(super) fn u64(self, at: usize) -> u64 {
        u64::from_ne_bytes(self.array(at))
    }

    pub(super) fn direction(self) -> Result<Direction, RecordError> {
        let value = self.u8(offset_of!(RecordHeader, direction));
        if value == Direction::Rx as u8 {
            Ok(Direction::Rx)
        } else if value == Direction::Tx as u8 {
            Ok(Direction::Tx)
        } else {
            Err(RecordError::Direction(value))
        }
    }
}

impl Writer<'_> {
    pub(super) fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }
}
