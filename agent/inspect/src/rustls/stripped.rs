//! rustls without symbols: both functions by what they do to the same object.
//!
//! `take_received_plaintext` sets a counter of the connection to 32, how many requests for new keys
//! are borne before data come again; nothing else in rustls does so (since 0.23.32). Then it appends
//! its argument, the plaintext, to a buffer of the connection. Where the counter and the buffer stand
//! in the object tells `buffer_plaintext`, which
//!
//! - appends to the buffer beside that one, of what is to be sent, a message that it takes from the
//!   connection (a key update, as a rule there is none);
//! - looks at a flag of the connection close to the counter: whether the handshake is done;
//! - has plaintext in pieces as its second argument, and a third buffer as its third.

use std::collections::BTreeSet;

use memchr::memmem;

use super::extents::Extents;
use super::facts::{Access, Call, Facts, Pointer};
use super::layout::{CHUNKS, PAYLOAD, Vectors, is_read};
use crate::elf::Image;

/// Distances in the connection's object where the counter may stand.
const COUNTER: std::ops::Range<i64> = 0x80..0x1000;
/// How far from it the flag may stand.
const FLAG_DISTANCE: i64 = 16;
/// Places in the file that look like one of those looked for.
const MAX_MARKS: usize = 64;
const MAX_FLAGS: usize = 4096;
/// Functions that are looked into.
const MAX_FUNCTIONS: usize = 256;

/// Addresses of the functions, as far as they are certain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) received: Option<u64>,
    pub(super) buffered: Option<u64>,
}

/// What is known of the connection's object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Received {
    start: u64,
    counter: i64,
    /// The buffer of received plaintext.
    buffer: i64,
    /// The function that appends to it, where it is one.
    append: Option<u64>,
}

pub(super) fn find(image: &Image<'_>) -> Found {
    let Some(received) = received(image) else {
        return Found::default();
    };
    Found {
        received: Some(received.start),
        buffered: buffered(image, &received),
    }
}

/// The only one that is it.
fn received(image: &Image<'_>) -> Option<Received> {
    let marks = marks(image);
    let extents = Extents::around(image, &marks);
    let found = marks.iter().filter_map(|&mark| {
        let start = extents.start(image, mark)?;
        let facts = Facts::read(image, &extents, start)?;
        let counter = facts
            .accesses
            .iter()
            .find(|access| access.at == mark && access.always && access.is_of_connection())?
            .to
            .offset;
        is_read(image, &extents, &facts, PAYLOAD).then_some(())?;
        let (buffer, append) = appended(image, &facts)?;
        Some(Received {
            start,
            counter,
            buffer,
            append,
        })
    });
    only(found)
}

/// Where bytes are set to 32 in an object that the first argument points to.
fn marks(image: &Image<'_>) -> Vec<u64> {
    /// `mov byte ptr [rdi + distance], 32`: the distance has four bytes.
    const STORE: &[u8] = &[0xc6, 0x87];
    const COUNT: u8 = 0x20;
    let mut marks = Vec::new();
    for region in code(image) {
        let found = memmem::find_iter(region.bytes, STORE).filter(|&at| {
            let rest = region.bytes.get(at + STORE.len()..).unwrap_or_default();
            matches!(rest, &[a, b, c, d, COUNT, ..]
                if COUNTER.contains(&i64::from(i32::from_le_bytes([a, b, c, d]))))
        });
        let left = MAX_MARKS - marks.len();
        marks.extend(found.take(left).map(|at| region.address + at as u64));
    }
    marks
}

/// The buffer of the connection that is appended to, and by which function.
fn appended(image: &Image<'_>, facts: &Facts) -> Option<(i64, Option<u64>)> {
    let here = facts
        .accesses
        .iter()
        .filter(|access| access.to.argument == 0)
        .map(|access| access.to.offset - Vectors::COUNT)
        .find(|&buffer| buffer > 0 && Vectors(facts).is_appended_to(connection(buffer)));
    if let Some(buffer) = here {
        return Some((buffer, None));
    }
    let mut calls = facts.calls.iter().filter_map(|call| {
        let buffer = call.arguments[0]?;
        (buffer.argument == 0 && buffer.offset > 0)
            .then(|| Some((buffer.offset, call.target.address(image)?)))?
    });
    let (buffer, append) = calls.next()?;
    calls.next().is_none().then_some((buffer, Some(append)))
}

fn buffered(image: &Image<'_>, received: &Received) -> Option<u64> {
    let flags = flags(image, received.counter);
    let extents = Extents::around(image, &flags);
    let starts = flags.iter().map(|&flag| extents.start(image, flag));
    let starts: BTreeSet<u64> = starts.flatten().take(MAX_FUNCTIONS).collect();
    only(starts.into_iter().filter(|&start| {
        Facts::read(image, &extents, start)
            .is_some_and(|facts| is_buffered(image, &extents, &facts, received))
    }))
}

/// Where a byte close to the counter, in whatever object, is compared.
fn flags(image: &Image<'_>, counter: i64) -> Vec<u64> {
    let near = counter - FLAG_DISTANCE..=counter + FLAG_DISTANCE;
    // The upper bytes of the distances, which are few.
    let upper: BTreeSet<[u8; 3]> = near
        .clone()
        .filter_map(|distance| {
            let [_, upper @ ..] = i32::try_from(distance).ok()?.to_le_bytes();
            Some(upper)
        })
        .collect();
    let mut flags = Vec::new();
    for region in code(image) {
        for upper in &upper {
            let found = memmem::find_iter(region.bytes, upper).filter(|&at| {
                let Some(&[operation, operand, lower]) = at
                    .checked_sub(3)
                    .and_then(|begin| region.bytes.get(begin..at))
                else {
                    return false;
                };
                let distance = i64::from(i32::from_le_bytes([lower, upper[0], upper[1], upper[2]]));
                // `cmp byte ptr [register + distance]`, or a load of it
                let compares = operation == 0x80 && operand & 0xf8 == 0xb8;
                let loads = operation == 0xb6 && operand & 0xc0 == 0x80;
                (compares || loads) && near.contains(&distance)
            });
            let left = MAX_FLAGS - flags.len();
            flags.extend(found.take(left).map(|at| region.address + at as u64));
        }
    }
    flags
}

fn is_buffered(
    image: &Image<'_>,
    extents: &Extents<'_>,
    facts: &Facts,
    received: &Received,
) -> bool {
    let flag = facts.accesses.iter().any(|access| {
        let distance = access.to.offset - received.counter;
        access.is_of_connection() && access.reads && distance.abs() <= FLAG_DISTANCE
    });
    flag && facts.reads_words(CHUNKS.pointer, CHUNKS.words)
        && is_third_used(facts)
        && (sends(image, facts, received) || hands_over(image, extents, facts, received))
}

/// The third argument is a buffer.
fn is_third_used(facts: &Facts) -> bool {
    let third = Pointer {
        argument: 2,
        offset: 0,
    };
    Vectors(facts).is_appended_to(third) || passed(facts, third).next().is_some()
}

/// A message of the connection is taken, and appended to what is to be sent.
fn sends(image: &Image<'_>, facts: &Facts, received: &Received) -> bool {
    let is_taken = |access: &Access| {
        access.writes
            && access.bytes == 8
            && access.to.argument == 0
            && facts.reads_words(access.to, &[0])
            && (received.counter - access.to.offset).abs() < Vectors::BYTES
    };
    let beside = [
        received.buffer + Vectors::BYTES,
        received.buffer - Vectors::BYTES,
    ];
    facts.accesses.iter().any(is_taken)
        && beside.into_iter().map(connection).any(|buffer| {
            Vectors(facts).is_appended_to(buffer)
                || passed(facts, buffer).any(|call| {
                    received.append.is_some() && call.target.address(image) == received.append
                })
        })
}

/// The same in a function that gets the connection.
fn hands_over(
    image: &Image<'_>,
    extents: &Extents<'_>,
    facts: &Facts,
    received: &Received,
) -> bool {
    passed(facts, connection(0)).any(|call| {
        let target = call.target.address(image);
        target
            .and_then(|start| Facts::read(image, extents, start))
            .is_some_and(|inner| sends(image, &inner, received))
    })
}

/// Calls whose first argument this is.
fn passed(facts: &Facts, pointer: Pointer) -> impl Iterator<Item = &Call> {
    let calls = facts.calls.iter();
    calls.filter(move |call| call.arguments[0] == Some(pointer))
}

fn connection(offset: i64) -> Pointer {
    Pointer {
        argument: 0,
        offset,
    }
}

fn code<'a>(image: &Image<'a>) -> impl Iterator<Item = crate::elf::Region<'a>> {
    image
        .regions()
        .filter(|region| image.code(region.address).is_some())
}

fn only<T: PartialEq>(mut found: impl Iterator<Item = T>) -> Option<T> {
    let first = found.next()?;
    found.all(|other| other == first).then_some(first)
}

// === impl Access ===

impl Access {
    fn is_of_connection(&self) -> bool {
        self.to.argument == 0 && self.bytes == 1
    }
}
