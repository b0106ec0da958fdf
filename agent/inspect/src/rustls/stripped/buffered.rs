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
use crate::code::Extents;
use crate::elf::Image;
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
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) functions: Vec<Candidate>,
    /// `send_appdata_encrypt`: also gets the connection and plaintext in pieces, counts what is to be
    /// sent already, and appends to it what it encrypted.
    pub(super) encrypting: Vec<Candidate>,
    /// `ConnectionCommon::send_plaintext`, one for servers and one for clients, into which
    /// `buffer_plaintext` was put: the object begins with the connection's, and what is written while
    /// shaking hands stands behind.
    pub(super) sending: Vec<Candidate>,
}

/// With the messages to be sent where they may be.
pub(super) fn find(image: &Image<'_>, may_be: impl Fn(&Appended) -> bool) -> Written {
    let takes = takes(image);
    let extents = Extents::around(image, &takes);
    let (mut found, mut apart) = (Written::default(), BTreeMap::new());
    for start in starts(image, &extents, &takes) {
        let Some(facts) = Facts::read(image, &extents, start) else {
            continue;
        };
        let taken = Taken::all(image, &facts).into_iter();
        for taken in taken.filter(|taken| may_be(&taken.appended)) {
            if !found.add(image, &extents, &facts, start, &taken) {
                apart.insert(start, taken);
            }
        }
    }
    if found.functions.is_empty() {
        found.add_callers(image, &apart);
    }
    found
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
    looks_at_flag(facts, message)
        && is_read(image, extents, facts, CHUNKS)
        && (Vectors(facts).is_appended_to(third) || passed(facts, third).next().is_some())
}

fn looks_at_flag(facts: &Facts, message: i64) -> bool {
    facts.accesses.iter().any(|access| {
        access.reads
            && access.bytes == 1
            && access.to.argument == 0
            && FLAG.contains(&access.to.offset.saturating_sub(message))
    })
}

fn sends(image: &Image<'_>, extents: &Extents<'_>, facts: &Facts, message: i64) -> bool {
    let behind = Appended::all(image, facts, 0).into_iter();
    looks_at_flag(facts, message)
        && is_read(image, extents, facts, CHUNKS)
        && behind.map(|one| one.buffer).any(|buffer| buffer > message)
}

fn encrypts(image: &Image<'_>, extents: &Extents<'_>, facts: &Facts, queue: i64) -> bool {
    Vectors(facts).is_counted(connection(queue)) && is_read(image, extents, facts, CHUNKS)
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
        let found = highest
            .chain(all)
            .filter(|&at| is_taken(bytes, at))
            .take(left);
        takes.extend(found.map(|at| region.address + at as u64));
    }
    takes
}

/// Whether the code around this store, or just behind it, speaks of the words it stores to and of those
/// behind: what is taken is read, too.
fn is_taken(bytes: &[u8], at: usize) -> bool {
    const AROUND: usize = 512;
    let around = at.saturating_sub(AROUND)..at.saturating_add(AROUND).min(bytes.len());
    let around = &bytes[around];
    let stored = &bytes[at.saturating_sub(6)..at.saturating_add(16).min(bytes.len())];
    stored.windows(4).any(|distance| {
        let [a, b, c, d] = *distance else {
            return false;
        };
        let message = i32::from_le_bytes([a, b, c, d]);
        let next = message.wrapping_add(8).to_le_bytes();
        MESSAGE.contains(&i64::from(message))
            && memmem::find_iter(around, distance).nth(1).is_some()
            && memmem::find(around, &next).is_some()
    })
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

// === impl Written ===

impl Written {
    /// False: the function is neither.
    fn add(
        &mut self,
        image: &Image<'_>,
        extents: &Extents<'_>,
        facts: &Facts,
        start: u64,
        taken: &Taken,
    ) -> bool {
        let to = if is_it(image, extents, facts, taken.message) {
            &mut self.functions
        } else if sends(image, extents, facts, taken.message) {
            &mut self.sending
        } else if encrypts(image, extents, facts, taken.appended.buffer) {
            &mut self.encrypting
        } else {
            return false;
        };
        to.push(Candidate {
            start,
            appended: taken.appended.clone(),
        });
        true
    }

    /// Functions that call one which takes a connection's message.
    fn add_callers(&mut self, image: &Image<'_>, apart: &BTreeMap<u64, Taken>) {
        let callers = callers(image, &apart.keys().copied().collect());
        let places: Vec<u64> = callers.iter().map(|(at, _)| *at).collect();
        let extents = Extents::around(image, &places);
        let calling: BTreeSet<(u64, u64)> = callers
            .iter()
            .filter_map(|&(at, called)| Some((extents.start(image, at)?, called)))
            .take(MAX_FUNCTIONS)
            .collect();
        for (start, called) in calling {
            let facts = Facts::read(image, &extents, start);
            if let (Some(facts), Some(taken)) = (facts, apart.get(&called)) {
                self.add(image, &extents, &facts, start, taken);
            }
        }
    }
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
        let appended = Appended::all(image, facts, 0).into_iter();
        appended
            .filter(|appended| appended.buffer < message)
            .map(|appended| Self { message, appended })
            .collect()
    }
}
