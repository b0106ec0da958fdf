//! OpenSSL and what came from it (BoringSSL, LibreSSL), where symbol tables name its functions.
//!
//! `SSL_read` and `SSL_read_ex` do not call each other: both call a function of the library's own
//! (`ssl_read_internal`), as `SSL_peek` does not. Early data go through `SSL_read_ex` and
//! `SSL_write_ex`. The same for writing.

mod shared;
mod version;

use std::collections::BTreeSet;

use crate::code::{self, Graph, Limits};
use crate::elf::{Image, Stubs, Symbol, Symbols};
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
    let mut names = WAYS.iter().flat_map(|way| way.functions);
    if !names.any(|declared| symbols.named(declared.name).next().is_some()) {
        return Vec::new();
    }
    let calls = Calls {
        image,
        symbols,
        stubs: Stubs::read(image, "SSL_"),
    };
    let mut problems = Vec::new();
    let functions: Vec<Function> = WAYS
        .iter()
        .flat_map(|way| way.find(&calls, &mut problems))
        .collect();
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

/// Who calls whom in this file.
struct Calls<'i, 'a> {
    image: &'i Image<'a>,
    symbols: &'i Symbols<'a>,
    stubs: Stubs<'a>,
}

// === impl Way ===

impl Way {
    fn find(&self, calls: &Calls<'_, '_>, problems: &mut Vec<Problem>) -> Vec<Function> {
        let mut all = Vec::new();
        for declared in self.functions {
            for symbol in calls.symbols.named(declared.name) {
                match Named::read(calls, *declared, symbol) {
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
            .filter_map(|named| named.declared.at(calls.image, named.symbol))
            .collect();
        if functions.iter().all(Function::is_cheap) {
            return functions;
        }
        match self.shared(calls, &all) {
            Some(shared) => vec![shared],
            None => functions,
        }
    }
}

// === impl Named ===

impl<'a> Named<'a> {
    fn read(calls: &Calls<'_, 'a>, declared: Declared, symbol: Symbol<'a>) -> Option<Self> {
        let limits = Limits::from_size(symbol.bytes);
        let graph = Graph::read(calls.image, symbol.address, limits)?;
        Some(Self {
            calls: calls.of(symbol),
            declared,
            symbol,
            graph,
        })
    }
}

// === impl Calls ===

impl Calls<'_, '_> {
    /// What is called, also through the dynamic linker's stubs.
    fn of(&self, symbol: Symbol<'_>) -> BTreeSet<u64> {
        const MAX_CALLS: usize = 256;
        let direct: BTreeSet<u64> = code::calls(self.image, symbol.address, symbol.bytes)
            .take(MAX_CALLS)
            .collect();
        direct
            .into_iter()
            .map(|address| {
                let stub = self.stubs.name(self.image, address);
                stub.and_then(|name| self.symbols.named(name).next())
                    .map_or(address, |symbol| symbol.address)
            })
            .collect()
    }
}
