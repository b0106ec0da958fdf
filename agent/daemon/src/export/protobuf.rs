//! Writes protobuf, no more of it than OTLP traces need. Written by hand because the generated
//! types own a `String` for every attribute key: building them costs several times the encoding.

/// Wire types (protobuf encoding, "Message structure").
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const LENGTH: u32 = 2;
const FIXED32: u32 = 5;

#[derive(Debug, Default)]
pub(crate) struct Writer {
    buffer: Vec<u8>,
}

/// Room that is left for a message's length before the message is written.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Room {
    /// Below 128 bytes.
    Small = 1,
    /// Below 16 KiB.
    Medium = 2,
    /// Below 2 MiB.
    Large = 3,
}

impl Writer {
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    /// Memory to write into, if there is none.
    pub(crate) fn give(&mut self, mut buffer: Vec<u8>) {
        if self.buffer.capacity() == 0 {
            buffer.clear();
            self.buffer = buffer;
        }
    }

    pub(crate) fn uint(&mut self, field: u32, value: u64) {
        self.tag(field, VARINT);
        self.varint(value);
    }

    pub(crate) fn fixed64(&mut self, field: u32, value: u64) {
        self.tag(field, FIXED64);
        self.buffer.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn fixed32(&mut self, field: u32, value: u32) {
        self.tag(field, FIXED32);
        self.buffer.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn bytes(&mut self, field: u32, value: &[u8]) {
        self.head(field, value.len());
        self.buffer.extend_from_slice(value);
    }

    /// What the caller has encoded.
    #[inline]
    pub(crate) fn parts(&mut self, parts: [&[u8]; 4]) {
        self.buffer
            .reserve(parts.iter().map(|part| part.len()).sum());
        for part in parts {
            self.buffer.extend_from_slice(part);
        }
    }

    /// Field number and length of what the caller writes next.
    #[inline]
    pub(crate) fn head(&mut self, field: u32, length: usize) {
        self.tag(field, LENGTH);
        self.varint(length as u64);
    }

    /// A message inside a message. A wrong guess of `room` costs a move, nothing else.
    pub(crate) fn message(&mut self, field: u32, room: Room, write: impl FnOnce(&mut Self)) {
        self.tag(field, LENGTH);
        let room = room as usize;
        let start = self.buffer.len();
        self.buffer.resize(start + room, 0);
        write(self);

        let length = self.buffer.len() - start - room;
        let mut bytes = [0; 10];
        let needed = put_varint(length as u64, &mut bytes);
        if needed != room {
            self.buffer.resize(start + needed.max(room) + length, 0);
            self.buffer
                .copy_within(start + room..start + room + length, start + needed);
            self.buffer.truncate(start + needed + length);
        }
        self.buffer[start..start + needed].copy_from_slice(&bytes[..needed]);
    }

    #[inline]
    fn tag(&mut self, field: u32, wire_type: u32) {
        self.varint((field << 3 | wire_type).into());
    }

    #[inline]
    fn varint(&mut self, value: u64) {
        if value < 0x80 {
            self.buffer.push(value as u8);
            return;
        }
        let mut bytes = [0; 10];
        let length = put_varint(value, &mut bytes);
        self.buffer.extend_from_slice(&bytes[..length]);
    }
}

/// Bytes that a number takes.
#[inline]
pub(crate) fn varint_length(value: u64) -> usize {
    // Seven bits a byte; zero takes one.
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Base 128, low groups first, the top bit says that more follow.
fn put_varint(mut value: u64, bytes: &mut [u8; 10]) -> usize {
    let mut length = 0;
    while value >= 0x80 {
        bytes[length] = value as u8 | 0x80;
        value >>= 7;
        length += 1;
    }
    bytes[length] = value as u8;
    length + 1
}
