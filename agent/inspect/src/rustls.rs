//! rustls (0.23), by symbols, and where they say nothing by its code.
//!
//! Compilers put much of it into its callers, the more so as the calls for reading and writing are
//! generic. Two functions through which all plaintext passes are neither generic nor small:
//! `CommonState::take_received_plaintext`, once for each record that was decrypted, and
//! `CommonState::buffer_plaintext`, once for each write. Their first argument is the same object.

mod facts;
mod layout;
mod stripped;

use memchr::memmem;

use crate::code::{ARGUMENTS, Extents, Limits, sites};
use crate::elf::{Image, Symbol, Symbols};
use crate::{
    Arguments, Direction, Finder, Finding, Function, Library, Outcome, Problem, Return, Site, Stack,
};
use facts::Facts;
use layout::{CHUNKS, Layout, PAYLOAD};
use stripped::{Buffered, Received, Taken};

pub(crate) const FINDER: Finder = Finder {
    wants: |name| WATCHED.iter().any(|watched| watched.is_called(name)),
    find,
};

/// More copies are not linked into one program.
const MAX_COPIES: usize = 4;

struct Watched {
    name: &'static str,
    /// How both manglings write it.
    mangled: &'static str,
    direction: Direction,
    /// What the code reads of its argument, as we do.
    layout: Layout,
}

const WATCHED: [Watched; 2] = [
    Watched {
        name: "rustls::common_state::CommonState::take_received_plaintext",
        mangled: "11CommonState23take_received_plaintext",
        direction: Direction::Read,
        layout: PAYLOAD,
    },
    Watched {
        name: "rustls::common_state::CommonState::buffer_plaintext",
        mangled: "11CommonState16buffer_plaintext",
        direction: Direction::Write,
        layout: CHUNKS,
    },
];

/// What `buffer_plaintext` calls once hands are shaken: where that is a part of its callers.
const ENCRYPTS: Watched = Watched {
    name: "rustls::common_state::CommonState::send_appdata_encrypt",
    mangled: "11CommonState20send_appdata_encrypt",
    direction: Direction::Write,
    layout: CHUNKS,
};

/// What calls `buffer_plaintext`.
const SENDS: Watched = Watched {
    name: "rustls::conn::ConnectionCommon::send_plaintext",
    mangled: "14send_plaintext",
    direction: Direction::Write,
    layout: CHUNKS,
};

fn find(image: &Image<'_>, symbols: &Symbols<'_>) -> Vec<Library> {
    let is_named = |symbol: Symbol<'_>| (FINDER.wants)(symbol.name.as_bytes());
    if !symbols.iter().any(is_named) {
        return unnamed(image).into_iter().collect();
    }
    let extents = Extents::told(image);
    let mut otherwise = None;
    let (mut functions, mut problems) = (Vec::new(), Vec::new());
    for (at, watched) in WATCHED.iter().enumerate() {
        let named = symbols
            .iter()
            .filter(|symbol| watched.is_called(symbol.name.as_bytes()));
        let mut named = named.take(MAX_COPIES).peekable();
        if named.peek().is_none() {
            match &otherwise.get_or_insert_with(|| by_code(image))[at] {
                Some(found) => functions.extend_from_slice(found),
                None => problems.push(Problem(format!(
                    "`{}` is not a function of its own in this build.",
                    watched.name
                ))),
            }
        }
        for symbol in named {
            let limits = Limits::from_size(symbol.bytes);
            match watched.at(image, &extents, symbol.address, limits) {
                Some(function) => functions.push(function),
                None => problems.push(Problem(format!(
                    "`{}` takes its argument in a way that is not known.",
                    watched.name
                ))),
            }
        }
    }
    vec![Library {
        stack: Stack::Rustls,
        version: version(image),
        finding: Finding::Symbols,
        functions,
        problems,
    }]
}

/// A program that has rustls and does not name its functions.
fn unnamed(image: &Image<'_>) -> Option<Library> {
    let compiler = image.named(".comment")?;
    memmem::find(compiler.bytes, b"rustc version")?;
    let version = version(image)?;
    let (mut functions, mut problems) = (Vec::new(), Vec::new());
    for (watched, found) in WATCHED.iter().zip(by_code(image)) {
        match found {
            Some(found) => functions.extend(found),
            None => problems.push(Problem(format!(
                "Stripped rustls {version}, build {}: no verified site: no function is `{}` for \
                 certain.",
                image.build_id_text(),
                watched.name,
            ))),
        }
    }
    Some(Library {
        stack: Stack::Rustls,
        version: Some(version),
        finding: Finding::Code,
        functions,
        problems,
    })
}

/// Reads and writes without a symbol, each where it is certain.
fn by_code(image: &Image<'_>) -> [Option<Vec<Function>>; 2] {
    let extents = Extents::told(image);
    let stripped::Found { received, buffered } = stripped::find(image);
    let [reads, writes] = &WATCHED;
    let at =
        |watched: &Watched, start| watched.at(image, &extents, start, extents.limits(image, start));
    let received = match received {
        Received::Function(start) => at(reads, start).map(|function| vec![function]),
        Received::Inlined(taken) => taken
            .iter()
            .map(|taken| reads.inside(image, taken))
            .collect(),
        Received::Unknown => None,
    };
    let buffered = match buffered {
        Buffered::Function(start) => at(writes, start).map(|function| vec![function]),
        Buffered::Encrypts(start) => at(&ENCRYPTS, start).map(|function| vec![function]),
        Buffered::Inlined(starts) => starts.into_iter().map(|start| at(&SENDS, start)).collect(),
        Buffered::Unknown => None,
    };
    [received, buffered]
}

// === impl Watched ===

impl Watched {
    /// `_ZN6rustls12common_state11CommonState16buffer_plaintext17h0badfbf42e2f83b2E`, or
    /// `_RNvMs2_NtCs4YuWb_6rustls12common_stateNtB5_11CommonState16buffer_plaintext`.
    fn is_called(&self, name: &[u8]) -> bool {
        let Some(at) = memmem::find(name, self.mangled.as_bytes()) else {
            return false;
        };
        let (before, after) = (&name[..at], &name[at + self.mangled.len()..]);
        memmem::find(before, b"6rustls12common_state").is_some()
            && (after.is_empty() || after.starts_with(b"17h") || after.starts_with(b"."))
    }

    fn at(
        &self,
        image: &Image<'_>,
        extents: &Extents<'_>,
        start: u64,
        limits: Limits,
    ) -> Option<Function> {
        let facts = Facts::within(image, start, limits)?;
        layout::is_read(image, extents, &facts, self.layout).then_some(())?;
        let [session, words, ..] = ARGUMENTS;
        let sites = sites(image, start, limits, &[session, words])?;
        let (outcome, returns) = match self.direction {
            Direction::Read => (Outcome::Payload(0), Return::Sites(Vec::new())),
            Direction::Write => (Outcome::Chunks(sites.value), sites.returns),
        };
        Some(Function {
            name: self.name,
            direction: self.direction,
            entry: sites.entry,
            arguments: Arguments {
                session: sites.arguments[0],
                buffer: sites.arguments[1],
                length: sites.arguments[1],
            },
            outcome,
            returns,
        })
    }

    /// The function as a part of another.
    fn inside(&self, image: &Image<'_>, taken: &Taken) -> Option<Function> {
        let entry = Site {
            offset: image.offset(taken.at)?,
            class: taken.class,
        };
        Some(Function {
            name: self.name,
            direction: self.direction,
            entry,
            arguments: Arguments {
                session: taken.connection,
                buffer: taken.payload,
                length: taken.payload,
            },
            outcome: Outcome::Payload(taken.words),
            returns: Return::Sites(Vec::new()),
        })
    }
}

/// Panics name the file they happen in: `.../rustls-0.23.46/src/conn.rs`.
fn version(image: &Image<'_>) -> Option<String> {
    const BEFORE: &[u8] = b"/rustls-";
    const MAX_BYTES: usize = 16;
    let data = image.named(".rodata")?.bytes;
    memmem::find_iter(data, BEFORE).take(64).find_map(|at| {
        let rest = &data[at + BEFORE.len()..];
        let rest = rest.get(..MAX_BYTES).unwrap_or(rest);
        let version = &rest[..memchr::memchr(b'/', rest)?];
        let is_version =
            version.first()?.is_ascii_digit() && version.iter().all(u8::is_ascii_graphic);
        is_version.then(|| String::from_utf8_lossy(version).into_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::WATCHED;

    #[test]
    fn both_manglings() {
        let check = |name: &str, expected: [bool; 2]| {
            let found = WATCHED.map(|watched| watched.is_called(name.as_bytes()));
            assert_eq!(found, expected, "{name}");
        };
        check(
            "_ZN6rustls12common_state11CommonState16buffer_plaintext17h0badfbf42e2f83b2E",
            [false, true],
        );
        check(
            "_RNvMs2_NtCs4YuWb_6rustls12common_stateNtB5_11CommonState23take_received_plaintext",
            [true, false],
        );
        check(
            "_ZN6rustls12common_state11CommonState16buffer_plaintext28_$u7b$closure$u7d$17h0E",
            [false; 2],
        );
        check(
            "_ZN6rustls6server11server_conn14EarlyDataState23take_received_plaintext17h0E",
            [false; 2],
        );
        check("SSL_read", [false; 2]);
    }
}
