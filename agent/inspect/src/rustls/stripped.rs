//! rustls without symbols: both functions by what they do to the same object, the connection's.
//!
//! It has, one beside the other, a buffer of received plaintext and one of messages to be sent.
//! `take_received_plaintext` appends its argument to the first; since rustls 0.23.32 it also sets a
//! counter, see [`received`]. `buffer_plaintext` appends to the second, see [`buffered`]. Where there is
//! a doubt, or two functions that may be meant, there is nothing.

mod buffered;
mod received;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::slice;

use memchr::{memchr_iter, memmem};

use super::facts::{Call, Facts, Pointer, Target};
use super::layout::Vectors;
use crate::elf::{Image, Region};

pub(super) use received::Taken;

/// Calls that are looked at.
const MAX_CALLERS: usize = 2048;

/// One for servers, one for clients.
const MAX_COPIES: usize = 2;

/// What is certain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) received: Received,
    pub(super) buffered: Buffered,
}

/// Where received plaintext is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Received {
    #[default]
    Unknown,
    Function(u64),
    /// The compiler put the function into its callers.
    Inlined(Vec<Taken>),
}

/// Where plaintext is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Buffered {
    #[default]
    Unknown,
    Function(u64),
    /// The compiler put the function into its callers; this one is called next, and has the same
    /// arguments.
    Encrypts(u64),
    /// The same, but that one is not found: these are the callers.
    Inlined(Vec<u64>),
}

/// A buffer of the connection that a function appends to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Appended {
    /// Where the buffer stands in the connection's object.
    buffer: i64,
    /// What it calls to do so: to append, or to make room.
    by: Vec<u64>,
}

/// A function that is one of those looked for, as far as it alone tells.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Candidate {
    start: u64,
    appended: Appended,
}

pub(super) fn find(image: &Image<'_>) -> Found {
    let marked = received::marked(image);
    let (received, to) = match (&marked.functions[..], &marked.inlined[..]) {
        ([], []) => return find_unmarked(image),
        ([only], _) => (
            Received::Function(only.start),
            vec![slice::from_ref(&only.appended)],
        ),
        ([], inlined) => (
            Received::Inlined(inlined.iter().map(|inlined| inlined.taken).collect()),
            inlined
                .iter()
                .map(|inlined| &inlined.appended[..])
                .collect(),
        ),
        _ => return Found::default(),
    };
    let written = buffered::find(image, |queue| {
        let is_near = |one: &Appended| queue.is_near(one);
        to.iter().all(|to| to.iter().any(is_near))
            && to.iter().copied().flatten().any(|one| queue.is_beside(one))
    });
    let starts = |candidates: &[Candidate]| -> BTreeSet<u64> {
        candidates.iter().map(|candidate| candidate.start).collect()
    };
    let functions = starts(&written.functions);
    let encrypting = starts(&written.encrypting);
    let sending = starts(&written.sending);
    let buffered = match (functions.first(), encrypting.first()) {
        (Some(&first), _) if functions.len() == 1 => Buffered::Function(first),
        (None, Some(&first)) if encrypting.len() == 1 => Buffered::Encrypts(first),
        (None, None) if (1..=MAX_COPIES).contains(&sending.len()) => {
            Buffered::Inlined(sending.into_iter().collect())
        }
        _ => Buffered::Unknown,
    };
    Found { received, buffered }
}

/// Where no counter is set.
fn find_unmarked(image: &Image<'_>) -> Found {
    let written = buffered::find(image, |_| true);
    let [only] = &written.functions[..] else {
        return Found::default();
    };
    let beside = received::beside(image, &only.appended);
    Found {
        received: beside.map_or(Received::Unknown, Received::Function),
        buffered: Buffered::Function(only.start),
    }
}

/// Calls whose first argument this is.
fn passed(facts: &Facts, pointer: Pointer) -> impl Iterator<Item = &Call> {
    let calls = facts.calls.iter();
    calls.filter(move |call| call.arguments[0] == Some(pointer))
}

/// What stands there in the connection's object, which is the first argument.
fn connection(offset: i64) -> Pointer {
    Pointer {
        argument: 0,
        offset,
    }
}

fn code<'a>(image: &Image<'a>) -> impl Iterator<Item = Region<'a>> {
    image
        .regions()
        .filter(|region| image.code(region.address).is_some())
}

/// Calls of these functions, by distance or by a word that holds the address: where, and of which.
fn callers(image: &Image<'_>, functions: &BTreeSet<u64>) -> Vec<(u64, u64)> {
    const CALL: u8 = 0xe8;
    const CALL_SLOT: &[u8] = &[0xff, 0x15];
    let mut callers = Vec::new();
    let (Some(&first), Some(&last)) = (functions.first(), functions.last()) else {
        return callers;
    };
    let slots: BTreeMap<u64, u64> = image
        .relative()
        .filter(|relative| functions.contains(&relative.value))
        .map(|relative| (relative.at, relative.value))
        .collect();
    for region in code(image) {
        let target = |at: usize| {
            let distance = i32::from_le_bytes(*region.bytes.get(at..)?.first_chunk()?);
            let after = region.address.wrapping_add(at as u64 + 4);
            Some(after.wrapping_add_signed(i64::from(distance)))
        };
        let near = memchr_iter(CALL, region.bytes).filter_map(|at| {
            let target = target(at + 1).filter(|target| (first..=last).contains(target))?;
            functions.contains(&target).then_some((at, target))
        });
        let far = memmem::find_iter(region.bytes, CALL_SLOT)
            .filter_map(|at| Some((at, *slots.get(&target(at + 2)?)?)));
        let far = far.take(if slots.is_empty() { 0 } else { usize::MAX });
        let left = MAX_CALLERS - callers.len();
        let found = near.chain(far).take(left);
        callers.extend(found.map(|(at, target)| (region.address + at as u64, target)));
    }
    callers
}

// === impl Appended ===

impl Appended {
    /// To each buffer of the connection that the function appends to itself, or lets another append to.
    fn all(image: &Image<'_>, facts: &Facts, connection: usize) -> Vec<Self> {
        let at = |offset: i64| Pointer {
            argument: connection,
            offset,
        };
        let touched = facts.accesses.iter().map(|access| access.to);
        let mut buffers: BTreeSet<i64> = touched
            .filter(|to| to.argument == connection)
            .map(|to| to.offset.saturating_sub(Vectors::COUNT))
            .filter(|&buffer| buffer > 0 && Vectors(facts).is_appended_to(at(buffer)))
            .collect();
        for to in facts.calls.iter().filter_map(|call| call.arguments[0]) {
            // Not where it is for room alone.
            let room = buffers.contains(&to.offset.saturating_sub(Vectors::CAPACITY));
            if to.argument == connection && to.offset > 0 && !room {
                buffers.insert(to.offset);
            }
        }
        let by = |buffer: i64| {
            let calls = [buffer, buffer.saturating_add(Vectors::CAPACITY)].map(at);
            let calls = calls.into_iter().flat_map(|to| passed(facts, to));
            let targets: BTreeSet<Target> = calls.map(|call| call.target).collect();
            let targets = targets.into_iter();
            targets.filter_map(|target| target.address(image)).collect()
        };
        buffers
            .into_iter()
            .map(|buffer| Self {
                buffer,
                by: by(buffer),
            })
            .collect()
    }

    fn is_near(&self, other: &Self) -> bool {
        Vectors::BYTES.contains(&self.buffer.abs_diff(other.buffer))
    }

    /// Whether both buffers are neighbours, and are appended to in the same way.
    fn is_beside(&self, other: &Self) -> bool {
        self.is_near(other) && self.by.iter().any(|by| other.by.contains(by))
    }
}
