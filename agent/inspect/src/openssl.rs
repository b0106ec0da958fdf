//! OpenSSL and what came from it (BoringSSL, LibreSSL), where symbol tables name its functions.
//!
//! `SSL_read` and `SSL_read_ex` do not call each other: both call a function of the library's own
//! (`ssl_read_internal`), as `SSL_peek` does not. Early data go through `SSL_read_ex` and
//! `SSL_write_ex`. The same for writing.

mod shared;
mod version;

use std::collections::BTreeSet;

use crate::code::{self, Graph, Limits};
use crate::elf::{Image, Symbol, Symbols};
use crate::named::{Declared, Returned};
use crate::{Direction, Finder, Finding, Function, Library, Problem, Register};

pub(crate) const FINDER: Finder = Finder {
    wants: |name| name.starts_with(b"SSL_") || version::is_of_use(name),
    find,
};

/// One way of the plaintext.
struct Way {
    functions: &'static [Declared],
    /// What they all call, by its name in OpenSSL's source.
    inner: &'static str,
    /// They are not watched, so they must not call it.
    others: &'static [&'static str],
}

const WAYS: [Way; 2] = [
    Way {
        functions: &[
            declared("SSL_read", Direction::Read, Returned::Bytes),
            declared("SSL_read_ex", Direction::Read, FOURTH),
            declared("SSL_read_early_data", Direction::Read, FOURTH),
        ],
        inner: "ssl_read_internal",
        others: &["SSL_peek", "SSL_peek_ex"],
    },
    Way {
        functions: &[
            declared("SSL_write", Direction::Write, Returned::Bytes),
            declared("SSL_write_ex", Direction::Write, FOURTH),
            declared("SSL_write_ex2", Direction::Write, FIFTH),
            declared("SSL_write_early_data", Direction::Write, FOURTH),
        ],
        inner: "ssl_write_internal",
        others: &["SSL_sendfile"],
    },
];

const FOURTH: Returned = Returned::Success {
    bytes: Register::Rcx,
};
const FIFTH: Returned = Returned::Success {
    bytes: Register::R8,
};

const fn declared(name: &'static str, direction: Direction, returns: Returned) -> Declared {
    Declared {
        name,
        direction,
        returns,
    }
}

fn find(image: &Image<'_>, symbols: &Symbols<'_>) -> Vec<Library> {
    let mut problems = Vec::new();
    let functions: Vec<Function> = WAYS
        .iter()
        .flat_map(|way| way.find(image, symbols, &mut problems))
        .collect();
    if functions.is_empty() {
        return Vec::new();
    }
    let (stack, version) = version::tell(image, symbols);
    vec![Library {
        stack,
        version,
        finding: Finding::Symbols,
        functions,
        problems,
    }]
}

/// A function that is there.
struct Named<'a> {
    declared: Declared,
    symbol: Symbol<'a>,
    graph: Graph,
    /// The functions that its code calls.
    calls: BTreeSet<u64>,
}

// === impl Way ===

impl Way {
    fn find(
        &self,
        image: &Image<'_>,
        symbols: &Symbols<'_>,
        problems: &mut Vec<Problem>,
    ) -> Vec<Function> {
        let mut all = Vec::new();
        for declared in self.functions {
            for symbol in symbols.named(declared.name) {
                match Named::read(image, symbols, *declared, symbol) {
                    Some(named) => all.push(named),
                    None => problems.push(declared.no_code(symbol)),
                }
            }
        }
        // A function that calls another of them is seen there.
        let addresses: Vec<u64> = all.iter().map(|named| named.symbol.address).collect();
        all.retain(|named| {
            let mut others = addresses.iter().filter(|&&at| at != named.symbol.address);
            !others.any(|address| named.calls.contains(address))
        });
        let functions: Vec<Function> = all
            .iter()
            .filter_map(|named| named.declared.at(image, named.symbol))
            .collect();
        if functions.iter().all(Function::is_cheap) {
            return functions;
        }
        match self.shared(image, symbols, &all) {
            Some(shared) => vec![shared],
            None => functions,
        }
    }
}

// === impl Named ===

impl<'a> Named<'a> {
    fn read(
        image: &Image<'_>,
        symbols: &Symbols<'a>,
        declared: Declared,
        symbol: Symbol<'a>,
    ) -> Option<Self> {
        let graph = Graph::read(image, symbol.address, Limits::from_size(symbol.bytes))?;
        Some(Self {
            calls: calls(image, symbols, symbol),
            declared,
            symbol,
            graph,
        })
    }
}

/// What is called, also through the dynamic linker's stubs.
fn calls(image: &Image<'_>, symbols: &Symbols<'_>, symbol: Symbol<'_>) -> BTreeSet<u64> {
    const MAX_CALLS: usize = 256;
    let direct: BTreeSet<u64> = code::calls(image, symbol.address, symbol.bytes)
        .take(MAX_CALLS)
        .collect();
    direct
        .into_iter()
        .map(|address| {
            let stub = image.stub(address).filter(|name| name.starts_with("SSL_"));
            stub.and_then(|name| symbols.named(name).next())
                .map_or(address, |symbol| symbol.address)
        })
        .collect()
}
