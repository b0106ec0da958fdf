//! The dynamic table (RFC 7541 §2.3.2, §4) as far as it is known.

use std::collections::VecDeque;

use super::Error;
use super::label::Title;

/// Entries that were inserted since the table was last known to be empty, or unknown.
///
/// An index counts insertions back from the newest, so it is right whatever the sender has evicted
/// meanwhile: what lies further back than the first insertion that was seen is [`Lookup::Unknown`].
/// The capacity serves to forget what cannot be referred to any more. An entry larger than the
/// sender's capacity is not inserted but empties its table: then too, nothing that it can still
/// refer to has another index here.
///
/// Bound: the entries' sizes (RFC 7541 §4.1) sum up to no more than `capacity`, itself at most
/// [`MAX_TABLE`]. Of an entry whose name nobody asked for no byte is kept.
#[derive(Debug)]
pub(super) struct Table {
    /// Newest first.
    entries: VecDeque<Entry>,
    /// Values of the entries, oldest first.
    values: VecDeque<u8>,
    /// Bytes that have left `values`, modulo 2^32.
    left: u32,
    size: usize,
    capacity: usize,
    /// The entries are all that the sender may refer to.
    whole: bool,
    /// The sender has said its capacity, or it is the initial one.
    capacity_known: bool,
    /// Entries that were dropped although the sender may still have them.
    dropped: bool,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    name: Title,
    size: u32,
    /// Where its value stands among all that were ever in `values`, modulo 2^32.
    at: u32,
    /// [`UNKNOWN`]: its value is not known.
    value_len: u32,
}

#[derive(Debug)]
pub(super) enum Lookup<'a> {
    Known(Title, Value<'a>),
    Unknown,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    /// In two parts.
    Bytes(&'a [u8], &'a [u8]),
    Unknown,
}

/// Our own bound on what the sender says.
pub(super) const MAX_TABLE: usize = 64 * 1024;
/// Until anything is said (RFC 9113 §6.5.2, SETTINGS_HEADER_TABLE_SIZE).
const INITIAL: usize = 4096;
/// What an entry counts beside its bytes.
const OVERHEAD: usize = 32;
const UNKNOWN: u32 = u32::MAX;

// === impl Table ===

impl Table {
    pub(super) fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            values: VecDeque::new(),
            left: 0,
            size: 0,
            capacity: INITIAL,
            whole: true,
            capacity_known: true,
            dropped: false,
        }
    }

    /// Insertions may have passed unseen: nothing that was inserted before is known any more.
    pub(super) fn forget(&mut self) {
        *self = Self {
            whole: false,
            capacity_known: false,
            ..Self::new()
        };
    }

    /// The entry at `index` of the dynamic part, 0 is the newest.
    pub(super) fn get(&mut self, index: usize) -> Result<Lookup<'_>, Error> {
        let Some(&entry) = self.entries.get(index) else {
            if self.whole {
                return Err(Error::Index);
            }
            if !self.capacity_known && self.dropped {
                // The sender's table is larger than was assumed.
                self.capacity = MAX_TABLE;
            }
            return Ok(Lookup::Unknown);
        };
        let value = if entry.value_len == UNKNOWN {
            Value::Unknown
        } else {
            let start = entry.at.wrapping_sub(self.left) as usize;
            let (first, second) = self.values.as_slices();
            let range = start..start + entry.value_len as usize;
            let cut = |part: &'_ [u8], before: usize| {
                let place = |at: usize| at.saturating_sub(before).min(part.len());
                place(range.start)..place(range.end)
            };
            Value::Bytes(&first[cut(first, 0)], &second[cut(second, first.len())])
        };
        Ok(Lookup::Known(entry.name, value))
    }

    /// `value`: if it is known.
    pub(super) fn insert(&mut self, name: Title, value_len: usize, value: Option<&[u8]>) {
        let size = value_len.saturating_add(usize::from(name.len) + OVERHEAD);
        if size > self.capacity {
            // Emptied, and the entry not inserted (§4.4), if the capacity is the sender's. If it is
            // not, what comes is counted from here.
            self.whole &= self.capacity_known;
            self.shrink(0);
            return;
        }
        self.shrink(self.capacity - size);
        self.size += size;
        let kept = value.filter(|_| name.label.is_kept()).unwrap_or_default();
        let at = self.left.wrapping_add(self.values.len() as u32);
        self.values.extend(kept);
        self.entries.push_front(Entry {
            name,
            size: size as u32,
            at,
            value_len: value.map_or(UNKNOWN, |_| kept.len() as u32),
        });
    }

    /// A size that was put into [`insert`](Self::insert) may have been too small or too large.
    pub(super) fn doubt(&mut self) {
        self.whole = false;
    }

    pub(super) fn resize(&mut self, bytes: u32) {
        let bytes = bytes as usize;
        self.capacity = bytes.min(MAX_TABLE);
        self.capacity_known = true;
        if bytes > MAX_TABLE {
            self.whole = false;
        }
        self.shrink(self.capacity);
        if bytes == 0 {
            self.whole = true;
        }
    }

    pub(super) fn allocated(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>() + self.values.capacity()
    }

    fn shrink(&mut self, to: usize) {
        while self.size > to
            && let Some(entry) = self.entries.pop_back()
        {
            self.size -= entry.size as usize;
            if entry.value_len != UNKNOWN {
                self.values.drain(..entry.value_len as usize);
                self.left = self.left.wrapping_add(entry.value_len);
            }
            self.dropped = true;
        }
    }
}
