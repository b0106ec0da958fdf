//! GnuTLS: `gnutls_record_send` and its kin.

use crate::code::pointers;
use crate::elf::{Image, Symbol, Symbols};
use crate::named::{Declared, Returned};
use crate::{Direction, Finder, Finding, Library, Stack};

pub(crate) const FINDER: Finder = Finder {
    wants: |name| name.starts_with(b"gnutls_record_") || name == VERSION.as_bytes(),
    find,
};

const VERSION: &str = "gnutls_check_version";

const SEND: Declared = bytes("gnutls_record_send", Direction::Write);
const SEND2: Declared = bytes("gnutls_record_send2", Direction::Write);
const RECEIVE: &[Declared] = &[
    bytes("gnutls_record_recv", Direction::Read),
    bytes("gnutls_record_recv_seq", Direction::Read),
];

const fn bytes(name: &'static str, direction: Direction) -> Declared {
    Declared {
        name,
        direction,
        returns: Returned::Bytes,
    }
}

fn find(image: &Image<'_>, symbols: &Symbols<'_>) -> Vec<Library> {
    // Since 3.1.9 it is `gnutls_record_send2` that does the work of both.
    let send = match symbols.named(SEND2.name).next() {
        Some(_) => SEND2,
        None => SEND,
    };
    let mut problems = Vec::new();
    let functions: Vec<_> = [send]
        .iter()
        .chain(RECEIVE)
        .flat_map(|declared| declared.find(image, symbols, &mut problems))
        .collect();
    if functions.is_empty() {
        return Vec::new();
    }
    vec![Library {
        stack: Stack::GnuTls,
        version: symbols
            .named(VERSION)
            .find_map(|symbol| version(image, symbol)),
        finding: Finding::Symbols,
        functions,
        problems,
    }]
}

/// The function compares with the library's own version: `3.7.9`.
fn version(image: &Image<'_>, symbol: Symbol<'_>) -> Option<String> {
    pointers(image, symbol.address, symbol.bytes)
        .filter_map(|pointer| image.string(pointer, 32))
        .find(|text| {
            text.split('.').count() == 3
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || byte == b'.')
        })
        .map(str::to_owned)
}
