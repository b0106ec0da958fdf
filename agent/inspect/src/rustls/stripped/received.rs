//! `take_received_plaintext`: two arguments, the connection and the plaintext, which it appends to the
//! connection's buffer. Since rustls 0.23.32 it first sets a counter to 32: how many requests for new
//! keys are borne before data come again. Nothing else in rustls does so.

use std::collections::BTreeSet;
use std::ops::Range;

use memchr::memmem;

use super::{Appended, Candidate, callers, code};
use crate::code::{Extents, Kind, Proof};
use crate::elf::Image;
use crate::rustls::facts::{Facts, OF_CONTEXT, Pointer, Traced};
use crate::rustls::layout::{Layout, PAYLOAD, is_read};
use crate::{Class, Register};

/// Distances in the connection's object where the counter may stand.
const COUNTER: Range<i64> = 0x80..0x1000;
/// Places in the file that look like its being set.
const MAX_MARKS: usize = 64;

/// Where the counter is set, and the plaintext taken.
#[derive(Debug, Default)]
pub(super) struct Marked {
    /// In functions of their own.
    pub(super) functions: Vec<Candidate>,
    /// In functions that take a whole message. Empty where one of the places is not understood.
    pub(super) inlined: Vec<Inlined>,
}

/// A place in a function that takes a whole message, where it turns out to be plaintext.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Inlined {
    pub(super) taken: Taken,
    /// Where the connection's counter stands.
    counter: i64,
    /// Buffers of the connection that the function appends to.
    pub(super) appended: Vec<Appended>,
}

/// Where a probe sees the plaintext, and in which registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rustls) struct Taken {
    pub(in crate::rustls) at: u64,
    pub(in crate::rustls) class: Class,
    pub(in crate::rustls) connection: Register,
    pub(in crate::rustls) payload: Register,
    /// So many words behind what the register points to begins the `Payload`.
    pub(in crate::rustls) words: u8,
}

/// The fourth argument of those functions is a message; behind its kind, plaintext is a `Payload`.
const IN_MESSAGE: Layout = Layout {
    pointer: Pointer {
        argument: MESSAGE,
        offset: WORD,
    },
    ..PAYLOAD
};
const MESSAGE: usize = 3;
const WORD: i64 = 8;

pub(super) fn marked(image: &Image<'_>) -> Marked {
    let marks = marks(image);
    let addresses: Vec<u64> = marks.iter().map(|mark| mark.at).collect();
    let extents = Extents::around(image, &addresses);
    let mut found = Marked::default();
    for mark in &marks {
        let Some(start) = extents.start(image, mark.at) else {
            continue;
        };
        let Some(traced) = Traced::read(image, start, extents.limits(image, start)) else {
            continue;
        };
        let facts = traced.facts();
        let mut accesses = facts.accesses.iter();
        let Some(sets) = accesses.find(|access| access.at == mark.at && access.bytes == 1) else {
            continue;
        };
        let appended = Appended::all(image, &facts, sets.to.argument);
        match (sets.to.argument, &appended[..]) {
            (0, [only]) if sets.always && is_read(image, &extents, &facts, PAYLOAD) => {
                found.functions.push(Candidate {
                    start,
                    appended: only.clone(),
                });
            }
            (OF_CONTEXT, [_, ..]) if is_read(image, &extents, &facts, IN_MESSAGE) => {
                found
                    .inlined
                    .extend(Taken::near(&traced, mark.at).map(|taken| Inlined {
                        taken,
                        counter: mark.counter,
                        appended,
                    }));
            }
            _ => {}
        }
    }
    let is_understood = |inlined: &Inlined| {
        let counter = inlined.counter;
        let places = marks.iter().filter(|mark| mark.counter == counter).count();
        found
            .inlined
            .iter()
            .filter(|other| other.counter == counter)
            .count()
            == places
    };
    if !found.inlined.iter().all(is_understood) {
        found.inlined.clear();
    }
    found
}

/// Where a byte of an object, whichever, is set to 32.
struct Mark {
    at: u64,
    counter: i64,
}

fn marks(image: &Image<'_>) -> Vec<Mark> {
    /// The end of `mov byte ptr [register + distance], 32`: of the distance the upper half.
    const END: &[u8] = &[0, 0, 0x20];
    let mut marks = Vec::new();
    for region in code(image) {
        let found = memmem::find_iter(region.bytes, END).filter_map(|end| {
            let before = |bytes: usize| region.bytes.get(end.checked_sub(bytes)?..end);
            let (bytes, lower) = match (before(4), before(5)) {
                (Some(&[0xc6, mode, a, b]), _) if mode & 0xf8 == 0x80 && mode != 0x84 => {
                    (4, [a, b])
                }
                (_, Some(&[0xc6, 0x84, 0x24, a, b])) => (5, [a, b]),
                _ => return None,
            };
            // A byte before it names some of the registers.
            let prefixed = before(bytes + 1).is_some_and(|store| store[0] == 0x41);
            let at = region.address + (end - bytes - usize::from(prefixed)) as u64;
            let counter = i64::from(u16::from_le_bytes(lower));
            COUNTER.contains(&counter).then_some(Mark { at, counter })
        });
        let left = MAX_MARKS - marks.len();
        marks.extend(found.take(left));
    }
    marks
}

/// The only one that appends to the buffer beside this one.
pub(super) fn beside(image: &Image<'_>, queue: &Appended) -> Option<u64> {
    let callers = callers(image, &queue.by.iter().copied().collect());
    let callers: Vec<u64> = callers.into_iter().map(|(at, _)| at).collect();
    let extents = Extents::around(image, &callers);
    let starts = callers.iter().map(|&caller| extents.start(image, caller));
    let starts: BTreeSet<u64> = starts.flatten().collect();
    let mut found = starts.into_iter().filter_map(|start| {
        let facts = Facts::read(image, &extents, start)?;
        let [appended] = <[Appended; 1]>::try_from(Appended::all(image, &facts, 0)).ok()?;
        let fits = appended.is_beside(queue) && is_read(image, &extents, &facts, PAYLOAD);
        fits.then_some(start)
    });
    found.next().filter(|_| found.next().is_none())
}

// === impl Taken ===

impl Taken {
    /// The first cheap instruction from there on, as long as there is one way only and both are still
    /// in registers; else the one there.
    fn near(traced: &Traced, mark: u64) -> Option<Self> {
        let graph = &traced.graph;
        let nodes = graph.nodes();
        let first = nodes
            .binary_search_by_key(&mark, |node| node.address)
            .ok()?;
        (graph.proof == Proof::Whole).then_some(())?;
        let (mut best, mut at) = (None, first);
        while let Some(taken) = Self::at(traced, at) {
            let cheap = taken.class == Class::Emulated;
            if best.is_none() || cheap {
                best = Some(taken);
            }
            let &[next] = &nodes[at].next[..] else {
                break;
            };
            if cheap || nodes[at].kind != Kind::Plain || nodes[next].previous.len() != 1 {
                break;
            }
            at = next;
        }
        best
    }

    fn at(traced: &Traced, node: usize) -> Option<Self> {
        let mut connections = traced.holding(node, OF_CONTEXT);
        let (connection, _) = connections.find(|(_, offset)| *offset == 0)?;
        let (payload, offset) = traced
            .holding(node, MESSAGE)
            .find(|(_, offset)| [0, WORD].contains(offset))?;
        let node = traced.graph.node(node);
        Some(Self {
            at: node.address,
            class: node.class,
            connection,
            payload,
            words: u8::from(offset == 0),
        })
    }
}
