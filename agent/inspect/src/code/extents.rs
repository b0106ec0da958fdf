//! Where functions begin and end in a file that does not name them.

use std::collections::BTreeSet;
use std::ops::Range;

use memchr::memchr_iter;

use crate::code::Limits;
use crate::elf::{Frames, Image};

/// Longer functions are not looked into.
const MAX_FUNCTION_BYTES: u64 = 4 << 10;
/// Functions called near the places asked for.
const MAX_CALLED: usize = 1 << 16;

/// Programs that do not unwind their stack when they panic have no table of functions. There a
/// function begins where another calls it, and ends where the next one that is called begins.
pub(crate) enum Extents<'a> {
    Table(Frames<'a>),
    Called(BTreeSet<u64>),
}

impl<'a> Extents<'a> {
    /// Enough to tell of the functions that these addresses lie in.
    pub(crate) fn around(image: &Image<'a>, addresses: &[u64]) -> Self {
        match Frames::read(image) {
            Some(frames) => Self::Table(frames),
            None => Self::Called(called(image, addresses)),
        }
    }

    /// What is known without a look at the code.
    pub(crate) fn told(image: &Image<'a>) -> Self {
        Frames::read(image).map_or(Self::Called(BTreeSet::new()), Self::Table)
    }

    /// The start of the function that this address lies in.
    pub(crate) fn start(&self, image: &Image<'_>, address: u64) -> Option<u64> {
        let start = match self {
            Self::Table(frames) => {
                let range = frames.around(image, address)?;
                (range.end - range.start < MAX_FUNCTION_BYTES).then_some(range.start)?
            }
            Self::Called(called) => {
                let start = *called.range(..=address).next_back()?;
                begins(image, start).then_some(start)?
            }
        };
        (address - start < MAX_FUNCTION_BYTES).then_some(start)
    }

    /// The function, or the part of one, that this address lies in; however long it is.
    pub(crate) fn range(&self, image: &Image<'_>, address: u64) -> Option<Range<u64>> {
        if let Self::Table(frames) = self {
            return frames.around(image, address);
        }
        let start = self.start(image, address)?;
        let end = start
            + self
                .limits(image, start)
                .bytes()
                .unwrap_or(MAX_FUNCTION_BYTES);
        let end = padded(image, address..end).unwrap_or(end);
        Some(start..end)
    }

    pub(crate) fn limits(&self, image: &Image<'_>, start: u64) -> Limits {
        let end = match self {
            Self::Table(frames) => frames.around(image, start).map(|range| range.end),
            Self::Called(called) => called.range(start.saturating_add(1)..).next().copied(),
        };
        let bytes = end.map_or(0, |end| end - start);
        Limits::from_size(if bytes < MAX_FUNCTION_BYTES { bytes } else { 0 })
    }
}

/// Targets of calls that lie near the addresses.
fn called(image: &Image<'_>, addresses: &[u64]) -> BTreeSet<u64> {
    const CALL: u8 = 0xe8;
    const CALL_BYTES: usize = 5;
    let near = ranges(addresses);
    let mut found = BTreeSet::new();
    let code = image
        .regions()
        .filter(|region| image.code(region.address).is_some());
    for region in code {
        for at in memchr_iter(CALL, region.bytes) {
            let Some(distance) = region.bytes.get(at + 1..).and_then(<[u8]>::first_chunk) else {
                break;
            };
            let distance = i64::from(i32::from_le_bytes(*distance));
            let after = region.address.wrapping_add((at + CALL_BYTES) as u64);
            let target = after.wrapping_add_signed(distance);
            if is_in(&near, target) {
                found.insert(target);
            }
            if found.len() == MAX_CALLED {
                return found;
            }
        }
    }
    found
}

/// Whether a function can begin there, as what stands before does not go on. Not all that looks like a
/// call is one.
fn begins(image: &Image<'_>, start: u64) -> bool {
    const BEFORE: u64 = 5;
    let before = start.checked_sub(BEFORE).and_then(|at| image.code(at));
    let Some([before @ .., last]) = before.and_then(<[u8]>::first_chunk::<5>) else {
        return false;
    };
    match (before, *last) {
        // `call` or `jmp` by distance
        ([0xe8 | 0xe9, ..], _) => true,
        // `jmp` by a short distance, `ud2`
        ([.., 0xeb], _) | ([.., 0x0f], 0x0b) => true,
        // `ret`, `int3`, `nop`
        (_, 0xc3 | 0xcc | 0x90) => true,
        _ => false,
    }
}

/// Where the first function begins before which room was left: what is called by its address alone is
/// not among those that are called.
fn padded(image: &Image<'_>, within: Range<u64>) -> Option<u64> {
    const ALIGNMENT: u64 = 16;
    /// `int3`: nothing goes on there.
    const PADDING: [u8; 2] = [0xcc; 2];
    let mut at = within.start.checked_next_multiple_of(ALIGNMENT)?;
    while at < within.end {
        let before = image.code(at.checked_sub(PADDING.len() as u64)?)?;
        if before.starts_with(&PADDING) {
            return Some(at);
        }
        at = at.checked_add(ALIGNMENT)?;
    }
    None
}

/// What lies around them, sorted, none touching another.
fn ranges(addresses: &[u64]) -> Vec<Range<u64>> {
    let sorted: BTreeSet<u64> = addresses.iter().copied().collect();
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for address in sorted {
        let begin = address.saturating_sub(MAX_FUNCTION_BYTES);
        let end = address.saturating_add(MAX_FUNCTION_BYTES);
        match ranges.last_mut() {
            Some(last) if last.end >= begin => last.end = end,
            _ => ranges.push(begin..end),
        }
    }
    ranges
}

fn is_in(ranges: &[Range<u64>], address: u64) -> bool {
    let behind = ranges.partition_point(|range| range.start <= address);
    behind
        .checked_sub(1)
        .is_some_and(|at| address < ranges[at].end)
}
