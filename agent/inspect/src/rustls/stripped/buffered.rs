//! `buffer_plaintext`: three arguments, the connection, plaintext in pieces, and a buffer for plaintext
//! that is written while shaking hands. It
//!
//! - takes from the connection a message about new keys, which as a rule is not there, and appends it to
//!   the messages to be sent, or calls a function that does so;
//! - looks at a flag behind that message: whether the handshake is done;
//! - if it is not, appends to the third argument.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use memchr::memmem;

use super::{Appended, Candidate, callers, code, connection, passed};
use crate::elf::Image;
use crate::rustls::extents::Extents;
use crate::rustls::facts::{Facts, Pointer};
use crate::rustls::layout::{CHUNKS, Vectors, is_read};

/// Distances in the connection's object where the message may stand.
const MESSAGE: Range<i64> = 0x80..0x1000;
/// How far behind it the flag may stand: behind the message itself, which is a `Vec`.
const FLAG: Range<i64> = 24..128;
/// Places in the file that look like its being taken.
const MAX_TAKES: usize = 4096;
/// Functions that are looked into.
const MAX_FUNCTIONS: usize = 1024;

/// A message is taken and appended to the messages to be sent.
struct Taken {
    message: i64,
    appended: Appended,
}

/// All that may be it.
pub(super) fn find(image: &Image<'_>) -> Vec<Candidate> {
    let takes = takes(image);
    let extents = Extents::around(image, &takes);
    let (mut found, mut apart) = (Vec::new(), BTreeMap::new());
    for start in starts(image, &extents, &takes) {
        let Some(facts) = Facts::read(image, &extents, start) else {
            continue;
        };
        for taken in Taken::all(image, &facts) {
            if is_it(image, &extents, &facts, taken.message) {
                found.push(Candidate {
                    start,
                    appended: taken.appended,
                });
            } else {
                apart.insert(start, taken);
            }
        }
    }
    if found.is_empty() {
        found.extend(calling(image, &apart));
    }
    found
}

/// Functions that hand the connection to one that takes its message.
fn calling(image: &Image<'_>, apart: &BTreeMap<u64, Taken>) -> Vec<Candidate> {
    let callers = callers(image, &apart.keys().copied().collect());
    let callers: Vec<u64> = callers.into_iter().map(|(at, _)| at).collect();
    let extents = Extents::around(image, &callers);
    let starts = starts(image, &extents, &callers).into_iter();
    let found = starts.filter_map(|start| {
        let facts = Facts::read(image, &extents, start)?;
        let mut targets = passed(&facts, connection(0)).map(|call| call.target.address(image));
        let taken = targets.find_map(|target| apart.get(&target?))?;
        is_it(image, &extents, &facts, taken.message).then(|| Candidate {
            start,
            appended: taken.appended.clone(),
        })
    });
    found.collect()
}

fn starts(image: &Image<'_>, extents: &Extents<'_>, addresses: &[u64]) -> BTreeSet<u64> {
    let starts = addresses.iter().map(|&at| extents.start(image, at));
    starts.flatten().take(MAX_FUNCTIONS).collect()
}

fn is_it(image: &Image<'_>, extents: &Extents<'_>, facts: &Facts, message: i64) -> bool {
    let third = Pointer {
        argument: 2,
        offset: 0,
    };
    let looks_at_flag = facts.accesses.iter().any(|access| {
        access.reads
            && access.bytes == 1
            && access.to.argument == 0
            && FLAG.contains(&(access.to.offset - message))
    });
    looks_at_flag
        && is_read(image, extents, facts, CHUNKS)
        && (Vectors(facts).is_appended_to(third) || passed(facts, third).next().is_some())
}

/// Where a word of an object, whichever, is set to what says that there is no `Vec`: to a capacity
/// that none has.
fn takes(image: &Image<'_>) -> Vec<u64> {
    /// The end of `movabs register, 1 << 63`; older compilers.
    const HIGHEST: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 0x80];
    /// The end of `mov qword ptr [register + distance], -1`; newer ones.
    const ALL: &[u8] = &[0xff; 4];
    let mut takes = Vec::new();
    for region in code(image) {
        let bytes = region.bytes;
        let highest = memmem::find_iter(bytes, HIGHEST).filter(|&at| {
            let begin = at.checked_sub(2);
            let before = begin.and_then(|begin| bytes.get(begin..at));
            let after = bytes.get(at + HIGHEST.len()..).unwrap_or_default();
            matches!(before, Some([0x48 | 0x49, 0xb8..=0xbf]))
                && matches!(after, [0x48..=0x4f, 0x89, operand @ ..] if is_message(operand))
        });
        let all = memmem::find_iter(bytes, ALL).filter(|&at| {
            // Behind two bytes the operand, with and without the one that some registers need.
            [5, 6].into_iter().any(|operand| {
                let store = at.checked_sub(2 + operand);
                let store = store.and_then(|begin| bytes.get(begin..at));
                matches!(store, Some([0x48 | 0x49, 0xc7, operand @ ..]) if is_message(operand))
            })
        });
        let left = MAX_TAKES - takes.len();
        let found = highest.chain(all).take(left);
        takes.extend(found.map(|at| region.address + at as u64));
    }
    takes
}

/// An operand in memory, with a distance of four bytes, where the message may stand.
fn is_message(operand: &[u8]) -> bool {
    let distance = match *operand {
        [mode, 0x24, a, b, c, d, ..] if mode & 0xc7 == 0x84 => [a, b, c, d],
        [mode, a, b, c, d, ..] if mode & 0xc0 == 0x80 && mode & 7 != 4 => [a, b, c, d],
        _ => return false,
    };
    MESSAGE.contains(&i64::from(i32::from_le_bytes(distance)))
}

// === impl Taken ===

impl Taken {
    fn all(image: &Image<'_>, facts: &Facts) -> Vec<Self> {
        let stored = facts.accesses.iter().filter(|access| {
            access.writes
                && access.bytes == 8
                && access.to.argument == 0
                && MESSAGE.contains(&access.to.offset)
                && facts.reads_words(access.to, &[0, 8, 16])
        });
        let messages: BTreeSet<i64> = stored.map(|access| access.to.offset).collect();
        let Some(&message) = messages.first() else {
            return Vec::new();
        };
        let appended = Appended::all(image, facts).into_iter();
        appended
            .filter(|appended| appended.buffer < message)
            .map(|appended| Self { message, appended })
            .collect()
    }
}
