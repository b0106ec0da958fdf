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
pub(super) enum Extents<'a> {
    Table(Frames<'a>),
    Called(BTreeSet<u64>),
}

impl<'a> Extents<'a> {
    /// Enough to tell of the functions that these addresses lie in.
    pub(super) fn around(image: &Image<'a>, addresses: &[u64]) -> Self {
        match Frames::read(image) {
            Some(frames) => Self::Table(frames),
            None => Self::Called(called(image, addresses)),
        }
    }

    /// What is known without a look at the code.
    pub(super) fn told(image: &Image<'a>) -> Self {
        Frames::read(image).map_or(Self::Called(BTreeSet::new()), Self::Table)
    }

    /// The start of the function that this address lies in.
    pub(super) fn start(&self, image: &Image<'_>, address: u64) -> Option<u64> {
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

    pub(super) fn limits(&self, image: &Image<'_>, start: u64) -> Limits {
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
