//! Length-prefixed messages, by counting: no byte of them is kept.

use crate::Piece;

/// Counts the messages of one direction of a stream.
///
/// ```text
/// flags(8) length(32) message
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Messages {
    count: u64,
    bytes: u64,
    prefix: [u8; PREFIX],
    /// Bytes of the prefix that have come; when all have, `left` bytes of its message follow.
    come: u8,
    left: u32,
    lost: bool,
}

const PREFIX: usize = 5;
/// Flags of what is no message: the trailers of gRPC-Web, the end of a stream of Connect.
const NOT_MESSAGE: u8 = 0x80 | 0x02;
const COMPRESSED: u8 = 0x01;

// === impl Messages ===

impl Messages {
    /// Takes the next piece of the stream's payload.
    pub fn feed(&mut self, piece: Piece<'_>) {
        match piece {
            _ if self.lost => {}
            Piece::Bytes(bytes) => self.take(bytes),
            Piece::Gap(len) => self.gap(len),
        }
    }

    /// What is fed may not be what was sent: nothing is known from here on.
    pub fn lose(&mut self) {
        self.lost = true;
    }

    /// Whole messages so far; `None` from the moment that a length could not be seen, or was none.
    pub fn count(&self) -> Option<u64> {
        (!self.lost).then_some(self.count)
    }

    /// Whether all that was fed are messages, and there is one: hardly anything else looks so.
    pub fn are_whole(&self) -> bool {
        !self.lost && self.come == 0 && self.count > 0
    }

    /// Bytes of those messages, as sent (compressed, without prefixes).
    pub fn bytes(&self) -> Option<u64> {
        (!self.lost).then_some(self.bytes)
    }

    fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.lost {
            let come = usize::from(self.come);
            let taken = if come < PREFIX {
                let taken = bytes.len().min(PREFIX - come);
                self.prefix[come..][..taken].copy_from_slice(&bytes[..taken]);
                self.come += taken as u8;
                if come + taken == PREFIX {
                    self.begin();
                }
                taken
            } else {
                let taken = bytes.len().min(self.left as usize);
                self.left -= taken as u32;
                taken
            };
            bytes = &bytes[taken..];
            self.settle();
        }
    }

    fn gap(&mut self, len: u64) {
        if len == 0 {
            return;
        }
        match u32::try_from(len) {
            Ok(len) if usize::from(self.come) == PREFIX && len <= self.left => {
                self.left -= len;
                self.settle();
            }
            _ => self.lost = true,
        }
    }

    /// The prefix has come.
    fn begin(&mut self) {
        let [flags, length @ ..] = self.prefix;
        self.left = u32::from_be_bytes(length);
        self.lost = flags & !(NOT_MESSAGE | COMPRESSED) != 0;
    }

    fn settle(&mut self) {
        if usize::from(self.come) < PREFIX || self.left > 0 {
            return;
        }
        self.come = 0;
        let [flags, length @ ..] = self.prefix;
        if flags & NOT_MESSAGE == 0 {
            self.count = self.count.saturating_add(1);
            self.bytes = self
                .bytes
                .saturating_add(u64::from(u32::from_be_bytes(length)));
        }
    }
}

/// Where pieces are cut makes no difference, and a gap makes a count unknown or leaves it right.
#[cfg(any(test, feature = "fuzz"))]
pub(super) fn fuzz_messages(input: &[u8]) {
    let mut whole = Messages::default();
    whole.feed(Piece::Bytes(input));
    let mut bytes = Messages::default();
    input
        .chunks(1)
        .for_each(|byte| bytes.feed(Piece::Bytes(byte)));
    assert_eq!(whole.count(), bytes.count());
    assert_eq!(whole.bytes(), bytes.bytes());
    let third = input.len() / 3;
    let mut gap = Messages::default();
    gap.feed(Piece::Bytes(&input[..third]));
    gap.feed(Piece::Gap(third as u64));
    gap.feed(Piece::Bytes(&input[2 * third..]));
    assert!(gap.count().is_none() || gap.count() == whole.count());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole() {
        check(b"\0\0\0\0\x02ab", &[], true);
        check(b"\0\0\0\0\x02ab\x01\0\0\0\0", &[], true);
        check(b"\0\0\0\x01\0a", &[255], true);
        check(b"\0\0\0\x01\0a", &[254], false);
        check(b"\0\0\0\0\x02ab\0", &[], false);
        check(b"\x02\0\0\0\x01x", &[], false);
        check(b"{\"a\": 1}", &[], false);
        check(b"", &[], false);
        fn check(bytes: &[u8], gaps: &[u64], expected: bool) {
            let mut messages = Messages::default();
            messages.feed(Piece::Bytes(bytes));
            gaps.iter().for_each(|&gap| messages.feed(Piece::Gap(gap)));
            assert_eq!(messages.are_whole(), expected, "{bytes:?}");
        }
    }

    #[test]
    fn counts() {
        check(b"", &[], Some((0, 0)));
        check(b"\0\0\0\0\x02ab", &[], Some((1, 2)));
        check(b"\0\0\0\0\x02ab\x01\0\0\0\0", &[], Some((2, 2)));
        check(b"\0\0\0\0\x02a", &[], Some((0, 0)));
        check(b"\0\0\0\0\x02ab\0\0", &[], Some((1, 2)));
        check(b"\0\0\0\0\x02ab\x80\0\0\0\x01x", &[], Some((1, 2)));
        check(b"\0\0\0\0\x02ab\x02\0\0\0\x01x", &[], Some((1, 2)));
        check(b"\0\0\0\x01\0a", &[255], Some((1, 256)));
        check(b"\0\0\0\x01\0a", &[254], Some((0, 0)));
        check(b"\0\0\0\x01\0a", &[256], None);
        check(b"\0\0\0", &[1], None);
        check(b"GET / HTTP/1.1", &[], None);
        fn check(bytes: &[u8], gaps: &[u64], expected: Option<(u64, u64)>) {
            let mut messages = Messages::default();
            messages.feed(Piece::Bytes(bytes));
            gaps.iter().for_each(|&gap| messages.feed(Piece::Gap(gap)));
            assert_eq!(
                messages.count().zip(messages.bytes()),
                expected,
                "{bytes:?}"
            );
            fuzz_messages(bytes);
        }
    }
}
