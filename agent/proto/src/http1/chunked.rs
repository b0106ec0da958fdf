//! The chunked transfer coding (RFC 9112 §7.1), by counting: no byte of it is kept.

use super::MAX_HEAD;

/// ```text
///  ┌─▶ Size ──▶ Rest ──size > 0──▶ Data ──▶ DataEnd ─┐
///  │              └────size = 0──▶ Trailers ──▶ (end) │
///  └──────────────────────────────────────────────────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunks {
    /// Among the hexadecimal digits of a size.
    Size {
        value: u64,
        digits: u8,
    },
    /// Behind them, up to the line's end: extensions.
    Rest {
        value: u64,
        len: usize,
    },
    Data {
        left: u64,
    },
    /// Before the line end that closes a chunk's data.
    DataEnd {
        after_cr: bool,
    },
    /// In the lines that end with an empty one.
    Trailers {
        line_is_empty: bool,
        len: usize,
    },
}

/// What became of some input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// All of it was taken.
    More,
    /// The last of the message was the byte before this index.
    End(usize),
    /// The byte at this index is not in this coding.
    Malformed(usize),
}

/// A gap reached further than what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lost;

/// Longest line of size and extensions, bytes.
const MAX_SIZE_LINE: usize = 16 * 1024;
/// So many hexadecimal digits fit into a `u64`.
const MAX_DIGITS: u8 = 16;

impl Chunks {
    pub(super) const START: Self = Self::Size {
        value: 0,
        digits: 0,
    };

    /// Takes `bytes` and adds the data among them to `payload`.
    pub(super) fn bytes(&mut self, bytes: &[u8], payload: &mut u64) -> Step {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if let Self::Data { left } = self {
                let run = (*left).min((bytes.len() - at) as u64);
                *payload += run;
                self.data(run);
                at += run as usize;
                continue;
            }
            at += 1;
            match self.framing(byte) {
                Some(true) => {}
                Some(false) => return Step::End(at),
                None => return Step::Malformed(at - 1),
            }
        }
        Step::More
    }

    /// Counts through a gap.
    pub(super) fn gap(&mut self, mut len: u64, payload: &mut u64) -> Result<(), Lost> {
        if let Self::Data { left } = self {
            let run = (*left).min(len);
            *payload += run;
            len -= run;
            self.data(run);
        }
        while len > 0 {
            *self = match self {
                // Whoever chunks by the book ends the data with two bytes.
                Self::DataEnd { after_cr: false } => Self::DataEnd { after_cr: true },
                Self::DataEnd { after_cr: true } => Self::START,
                _ => return Err(Lost),
            };
            len -= 1;
        }
        Ok(())
    }

    /// Data bytes before the next byte of framing.
    pub(super) fn known_ahead(&self) -> u64 {
        if let Self::Data { left } = self {
            *left
        } else {
            0
        }
    }

    fn data(&mut self, run: u64) {
        if let Self::Data { left } = self {
            *left -= run;
            if *left == 0 {
                *self = Self::DataEnd { after_cr: false };
            }
        }
    }

    /// Takes a byte outside of data: `None` if it is malformed, `false` if it was the last.
    fn framing(&mut self, byte: u8) -> Option<bool> {
        *self = match (*self, byte) {
            (Self::Size { value, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = (byte as char).to_digit(16).map_or(0, u64::from);
                if digits == MAX_DIGITS {
                    return None;
                }
                Self::Size {
                    value: value << 4 | digit,
                    digits: digits + 1,
                }
            }
            (Self::Size { value, digits: 1.. } | Self::Rest { value, .. }, b'\n') => match value {
                0 => Self::Trailers {
                    line_is_empty: true,
                    len: 0,
                },
                left => Self::Data { left },
            },
            (Self::Size { value, digits: 1.. }, b';' | b' ' | b'\t' | b'\r') => {
                Self::Rest { value, len: 0 }
            }
            (Self::Rest { value, len }, _) if len < MAX_SIZE_LINE => Self::Rest {
                value,
                len: len + 1,
            },
            (Self::DataEnd { after_cr: false }, b'\r') => Self::DataEnd { after_cr: true },
            (Self::DataEnd { .. }, b'\n') => Self::START,
            (
                Self::Trailers {
                    line_is_empty: true,
                    ..
                },
                b'\n',
            ) => return Some(false),
            (Self::Trailers { line_is_empty, len }, _) if len < MAX_HEAD => {
                let line_is_empty = byte == b'\n' || (line_is_empty && byte == b'\r');
                Self::Trailers {
                    line_is_empty,
                    len: len + 1,
                }
            }
            _ => return None,
        };
        Some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framing() {
        check("5\r\nhello\r\n0\r\n\r\n", Ok((5, 15)));
        check("5\nhello\n0\n\n", Ok((5, 11)));
        check("A;x=\"y;z\"\r\n0123456789\r\n00\r\n\r\nnext", Ok((10, 29)));
        check("5  \r\nhello\r\n0\r\nA: b\r\nC: d\r\n\r\n", Ok((5, 29)));
        check("0\r\n\r\n", Ok((0, 5)));
        check(
            "000000000000000f\r\n0123456789abcde\r\n0\r\n\r\n",
            Ok((15, 40)),
        );
        check("0000000000000000f\r\n", Err(Step::Malformed(16)));
        check("\r\n", Err(Step::Malformed(0)));
        check("x\r\n", Err(Step::Malformed(0)));
        check("-1\r\n", Err(Step::Malformed(0)));
        check("2\r\nhello", Err(Step::Malformed(5)));
        check("5\r\nhel", Err(Step::More));
        check("0\r\nA: b\r\n", Err(Step::More));
        fn check(input: &str, expected: Result<(u64, usize), Step>) {
            let (mut chunks, mut payload) = (Chunks::START, 0);
            let result = match chunks.bytes(input.as_bytes(), &mut payload) {
                Step::End(end) => Ok((payload, end)),
                other => Err(other),
            };
            assert_eq!(result, expected, "{input:?}");
        }
    }

    #[test]
    fn gaps() {
        check(4, Ok(()), Chunks::Data { left: 1 });
        check(5, Ok(()), Chunks::DataEnd { after_cr: false });
        check(6, Ok(()), Chunks::DataEnd { after_cr: true });
        check(7, Ok(()), Chunks::START);
        check(8, Err(Lost), Chunks::START);
        check(u64::MAX, Err(Lost), Chunks::START);
        fn check(gap: u64, expected: Result<(), Lost>, then: Chunks) {
            let (mut chunks, mut payload) = (Chunks::Data { left: 5 }, 0);
            assert_eq!(chunks.gap(gap, &mut payload), expected, "{gap}");
            assert_eq!((chunks, payload), (then, gap.min(5)), "{gap}");
        }
    }
}
