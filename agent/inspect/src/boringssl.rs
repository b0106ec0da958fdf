//! BoringSSL without symbols: `SSL_read` and `SSL_write` by the errors that their code reports.
//!
//! `OPENSSL_PUT_ERROR` passes the name of the source file, the line and the reason to
//! `ERR_put_error`, so the code of a function in `ssl/ssl_lib.cc` shows which reasons it has:
//!
//! - only `SSL_write` has *bad length*, beside *uninitialized* and *handshake failure*;
//! - `SSL_peek` has one, that it should not have been called (for QUIC), and then calls
//!   `ssl_read_impl`, which has *uninitialized* and *handshake failure*;
//! - `SSL_read` calls `SSL_peek`, which compilers copy into it, so two functions are alike down to
//!   the line, or one is left if the program never peeks; `SSL_read` takes what it read from the
//!   buffer: it alone writes to memory.

mod errors;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Range;

use memchr::memmem;

use crate::code::{Extents, Graph, Limits, inners, sites, stores};
use crate::elf::{Image, Symbols};
use crate::named::{Declared, Returned};
use crate::{Direction, Finder, Finding, Function, Library, Problem, Register, Stack};
use errors::{Error, errors, references};

pub(crate) const FINDER: Finder = Finder {
    wants: |_| false,
    find,
};

const READ: Declared = Declared {
    name: "SSL_read",
    direction: Direction::Read,
    returns: Returned::Bytes,
};
const WRITE: Declared = Declared {
    name: "SSL_write",
    direction: Direction::Write,
    returns: Returned::Bytes,
};

/// Reasons, from BoringSSL's `ssl.h` and `err.h`.
const BAD_LENGTH: u32 = 111;
const HANDSHAKE_FAILURE: u32 = 215;
const UNINITIALIZED: u32 = 226;
const SHOULD_NOT_HAVE_BEEN_CALLED: u32 = 66;

/// The end of the file's name, as the compiler was told it.
const SOURCE: &[u8] = b"ssl/ssl_lib.cc\0";
const MAX_SOURCE_BYTES: usize = 512;
/// More data are not searched for it.
const MAX_SEARCHED_BYTES: usize = 48 << 20;
/// `ssl_lib.cc` has about fifty that report errors.
const MAX_FUNCTIONS: usize = 512;

/// A function that reports errors.
struct Reporting {
    range: Range<u64>,
    errors: Vec<Error>,
}

fn find(image: &Image<'_>, symbols: &Symbols<'_>) -> Vec<Library> {
    if symbols.named(READ.name).next().is_some() {
        return Vec::new();
    }
    let Some(source) = source(image) else {
        return Vec::new();
    };
    let reporting = reporting(image, source);
    if reporting.iter().all(|function| function.errors.is_empty()) {
        return Vec::new();
    }
    let (functions, why) = recognise(image, &reporting);
    let id = image.build_id_text();
    let problems = why
        .into_iter()
        .map(|why| {
            Problem(format!(
                "Stripped BoringSSL, build {id}: no verified site: {why}."
            ))
        })
        .collect();
    vec![Library {
        stack: Stack::BoringSsl,
        version: None,
        finding: Finding::Code,
        functions,
        problems,
    }]
}

/// The address of the source file's name.
fn source(image: &Image<'_>) -> Option<u64> {
    let mut left = MAX_SEARCHED_BYTES;
    let mut data = image
        .regions()
        .filter(|region| image.code(region.address).is_none());
    data.find_map(|region| {
        let data = region.bytes.get(..left).unwrap_or(region.bytes);
        left -= data.len();
        let end = memmem::find(data, SOURCE)?;
        let before = &data[end.saturating_sub(MAX_SOURCE_BYTES)..end];
        let begin = memchr::memrchr(0, before)? + 1;
        Some(region.address + (end - before.len() + begin) as u64)
    })
}

fn reporting(image: &Image<'_>, source: u64) -> Vec<Reporting> {
    let references = references(image, source);
    let extents = Extents::around(image, &references);
    let mut ranges: BTreeMap<u64, Range<u64>> = BTreeMap::new();
    for reference in references {
        if ranges.len() == MAX_FUNCTIONS {
            break;
        }
        if let Some(range) = extents.range(image, reference) {
            ranges.insert(range.start, range);
        }
    }
    ranges
        .into_values()
        .map(|range| Reporting {
            errors: errors(image, &range, source),
            range,
        })
        .collect()
}

/// The functions for reading and writing, and why one is missing.
fn recognise(image: &Image<'_>, all: &[Reporting]) -> (Vec<Function>, Vec<&'static str>) {
    let (mut functions, mut why) = (Vec::new(), Vec::new());
    let mut add = |declared: Declared, found: Option<&Reporting>, missing| {
        let sites = found.and_then(|found| {
            let bytes = found.range.end - found.range.start;
            sites(
                image,
                found.range.start,
                Limits::from_size(bytes),
                &declared.registers(),
            )
        });
        match sites {
            Some(sites) => functions.push(declared.with(sites)),
            None => why.push(missing),
        }
    };
    add(
        READ,
        read(image, all),
        "no function is `SSL_read` for certain",
    );
    add(WRITE, write(all), "no function is `SSL_write` for certain");
    (functions, why)
}

fn write(all: &[Reporting]) -> Option<&Reporting> {
    only(all.iter().filter(|function| {
        function.has(UNINITIALIZED) && function.has(HANDSHAKE_FAILURE) && function.has(BAD_LENGTH)
    }))
}

fn read<'r>(image: &Image<'_>, all: &'r [Reporting]) -> Option<&'r Reporting> {
    let peeks: Vec<&Reporting> = all
        .iter()
        .filter(|function| {
            let [error] = function.errors[..] else {
                return false;
            };
            error.reason == SHOULD_NOT_HAVE_BEEN_CALLED && function.read_impl(image, all).is_some()
        })
        .collect();
    match peeks[..] {
        [_] => {}
        [one, other] => {
            let same = one.read_impl(image, all) == other.read_impl(image, all);
            if one.errors != other.errors || !same {
                return None;
            }
        }
        _ => return None,
    }
    only(peeks.into_iter().filter(|function| {
        stores(
            image,
            function.range.start,
            function.range.end - function.range.start,
        )
    }))
}

fn only<T>(mut found: impl Iterator<Item = T>) -> Option<T> {
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

// === impl Reporting ===

impl Reporting {
    fn has(&self, reason: u32) -> bool {
        self.errors.iter().any(|error| error.reason == reason)
    }

    fn is_read_impl(&self, address: u64) -> bool {
        self.range.start == address
            && self.has(UNINITIALIZED)
            && self.has(HANDSHAKE_FAILURE)
            && !self.has(BAD_LENGTH)
    }

    /// The address of `ssl_read_impl`, if the function hands its session to it.
    fn read_impl(&self, image: &Image<'_>, all: &[Self]) -> Option<u64> {
        let limits = Limits::from_size(self.range.end - self.range.start);
        let graph = Graph::read(image, self.range.start, limits)?;
        let called = inners(&graph).into_iter().find(|inner| {
            inner.arguments[0] == Some(Register::Rdi)
                && all.iter().any(|within| within.is_read_impl(inner.address))
        })?;
        Some(called.address)
    }
}
