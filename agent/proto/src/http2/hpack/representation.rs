//! One field of a block as it is sent (RFC 7541 §6).

use std::ops::Range;

use super::{Error, huffman, integer};

/// ```text
/// 1 index(7)                      indexed
/// 01 name index(6) | 0 name  value   literal, inserted into the table
/// 001 size(5)                     size update
/// 000n name index(4) | 0 name value  literal, not inserted
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Representation {
    Indexed {
        index: u32,
        len: usize,
    },
    Resize {
        bytes: u32,
        len: usize,
    },
    /// Whole up to its value, whose bytes may still have to come.
    Literal(Literal),
    /// It goes on behind the input.
    More,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Literal {
    pub(super) inserts: bool,
    pub(super) name: Name,
    pub(super) value: Text,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Indexed(u32),
    Literal(Text),
}

/// A string: where its bytes stand in the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) coded: bool,
    pub(super) range: Range<usize>,
}

/// Longer names are nobody's.
pub(super) const MAX_NAME: usize = 4 * 1024;

impl Representation {
    pub(super) fn parse(input: &[u8]) -> Result<Self, Error> {
        let Some(&first) = input.first() else {
            return Ok(Self::More);
        };
        let (prefix, inserts) = match first {
            0x80.. => {
                return Ok(match integer::decode(input, 7)? {
                    Some((0, _)) => return Err(Error::Index),
                    Some((index, len)) => Self::Indexed { index, len },
                    None => Self::More,
                });
            }
            0x40.. => (6, true),
            0x20.. => {
                return Ok(match integer::decode(input, 5)? {
                    Some((bytes, len)) => Self::Resize { bytes, len },
                    None => Self::More,
                });
            }
            _ => (4, false),
        };
        let Some((index, mut at)) = integer::decode(input, prefix)? else {
            return Ok(Self::More);
        };
        let name = if index > 0 {
            Name::Indexed(index)
        } else {
            let Some(text) = Text::parse(input, at)? else {
                return Ok(Self::More);
            };
            if text.range.len() > MAX_NAME {
                return Err(Error::Name);
            }
            if text.range.end > input.len() {
                return Ok(Self::More);
            }
            at = text.range.end;
            Name::Literal(text)
        };
        Ok(match Text::parse(input, at)? {
            Some(value) => Self::Literal(Literal {
                inserts,
                name,
                value,
            }),
            None => Self::More,
        })
    }
}

impl Text {
    fn parse(input: &[u8], at: usize) -> Result<Option<Self>, Error> {
        let rest = input.get(at..).unwrap_or_default();
        let coded = rest.first().is_some_and(|first| first & 0x80 != 0);
        Ok(integer::decode(rest, 7)?.map(|(len, of_len)| {
            let start = at + of_len;
            Self {
                coded,
                range: start..start + len as usize,
            }
        }))
    }

    /// Appends it, decoded, to `buffer`; `input` holds all of it.
    pub(super) fn append(&self, input: &[u8], buffer: &mut Vec<u8>) -> Result<(), Error> {
        let sent = input.get(self.range.clone()).ok_or(Error::End)?;
        if self.coded {
            huffman::decode(sent, buffer)
        } else {
            buffer.extend_from_slice(sent);
            Ok(())
        }
    }
}
