//! `take_received_plaintext`: two arguments, the connection and the plaintext, which it appends to the
//! connection's buffer. Since rustls 0.23.32 it first sets a counter to 32: how many requests for new
//! keys are borne before data come again. Nothing else in rustls does so.

use std::collections::BTreeSet;
use std::ops::Range;

use memchr::memmem;

use super::{Appended, Candidate, callers, code};
use crate::elf::Image;
use crate::rustls::extents::Extents;
use crate::rustls::facts::Facts;
use crate::rustls::layout::{PAYLOAD, is_read};

/// Distances in the connection's object where the counter may stand.
const COUNTER: Range<i64> = 0x80..0x1000;
/// Places in the file that look like its being set.
const MAX_MARKS: usize = 64;

/// Those that set the counter.
pub(super) fn marked(image: &Image<'_>) -> Vec<Candidate> {
    let marks = marks(image);
    let extents = Extents::around(image, &marks);
    let found = marks.iter().filter_map(|&mark| {
        let start = extents.start(image, mark)?;
        let facts = Facts::read(image, &extents, start)?;
        let sets = facts.accesses.iter().any(|access| {
            access.at == mark && access.always && access.to.argument == 0 && access.bytes == 1
        });
        let [appended] = <[Appended; 1]>::try_from(Appended::all(image, &facts)).ok()?;
        (sets && is_read(image, &extents, &facts, PAYLOAD)).then_some(Candidate { start, appended })
    });
    found.collect()
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

/// The only one that appends to the buffer beside this one.
pub(super) fn beside(image: &Image<'_>, queue: &Appended) -> Option<Candidate> {
    let callers = callers(image, &queue.by.iter().copied().collect());
    let callers: Vec<u64> = callers.into_iter().map(|(at, _)| at).collect();
    let extents = Extents::around(image, &callers);
    let starts = callers.iter().map(|&caller| extents.start(image, caller));
    let starts: BTreeSet<u64> = starts.flatten().collect();
    let mut found = starts.into_iter().filter_map(|start| {
        let facts = Facts::read(image, &extents, start)?;
        let [appended] = <[Appended; 1]>::try_from(Appended::all(image, &facts)).ok()?;
        let fits = appended.is_beside(queue) && is_read(image, &extents, &facts, PAYLOAD);
        fits.then_some(Candidate { start, appended })
    });
    found.next().filter(|_| found.next().is_none())
}
