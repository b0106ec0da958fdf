//! OpenSSL and what came from it (BoringSSL, LibreSSL), where symbol tables name its functions.
//!
//! `SSL_read` and `SSL_read_ex` do not call each other: both call a function of the library's own
//! (`ssl_read_internal`), as `SSL_peek` does not. Early data go through `SSL_read_ex` and
//! `SSL_write_ex`. The same for writing.

mod version;

use crate::code::{ARGUMENTS, Graph, Inner, Limits, inner, sites};
use crate::elf::{Image, Symbols};
use crate::named::{Declared, Returned};
use crate::{Direction, Finder, Finding, Function, Library, Register};

pub(crate) const FINDER: Finder = Finder {
    wants: |name| name.starts_with(b"SSL_") || version::is_of_use(name),
    find,
};

/// One way of the plaintext.
struct Way {
    direction: Direction,
    plain: Declared,
    extended: &'static [Declared],
    /// What they all call, by its name in OpenSSL's source.
    inner: &'static str,
    /// Must not call the same.
    other: &'static [&'static str],
}

const WAYS: [Way; 2] = [
    Way {
        direction: Direction::Read,
        plain: declared("SSL_read", Direction::Read, Returned::Bytes),
        extended: &[declared("SSL_read_ex", Direction::Read, FOURTH)],
        inner: "ssl_read_internal",
        other: &["SSL_peek", "SSL_peek_ex"],
    },
    Way {
        direction: Direction::Write,
        plain: declared("SSL_write", Direction::Write, Returned::Bytes),
        extended: &[
            declared("SSL_write_ex", Direction::Write, FOURTH),
            declared("SSL_write_ex2", Direction::Write, FIFTH),
        ],
        inner: "ssl_write_internal",
        other: &[],
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
    let mut functions = Vec::new();
    for way in &WAYS {
        let all: Vec<Function> = std::iter::once(&way.plain)
            .chain(way.extended)
            .flat_map(|declared| declared.find(image, symbols, &mut problems))
            .collect();
        match way.shared(image, symbols, &all) {
            Some(shared) => functions.push(shared),
            None => functions.extend(all),
        }
    }
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

// === impl Way ===

impl Way {
    /// The inner function, when it is proved that all of them hand it their arguments and that
    /// probes on it cost less than theirs.
    fn shared(
        &self,
        image: &Image<'_>,
        symbols: &Symbols<'_>,
        outer: &[Function],
    ) -> Option<Function> {
        if outer.len() < 2 || outer.iter().all(Function::is_cheap) {
            return None;
        }
        let plain = self.inner_of(image, symbols, self.plain.name)?;
        let mut pointer = None;
        for extended in self.extended {
            let Returned::Success { bytes } = extended.returns else {
                return None;
            };
            if symbols.named(extended.name).next().is_none() {
                continue;
            }
            let called = self.inner_of(image, symbols, extended.name)?;
            let at = ARGUMENTS.iter().position(|&register| register == bytes)?;
            let stands = called.arguments[at]?;
            if called.address != plain.address || *pointer.get_or_insert(stands) != stands {
                return None;
            }
        }
        for name in self.other {
            if symbols.named(name).next().is_some()
                && self.called(image, symbols, name)?.address == plain.address
            {
                return None;
            }
        }
        let declared = declared(
            self.inner,
            self.direction,
            Returned::Success { bytes: pointer? },
        );
        let bytes = symbols
            .iter()
            .find(|symbol| symbol.address == plain.address)
            .map_or(0, |symbol| symbol.bytes);
        let limits = Limits::from_size(bytes);
        let sites = sites(image, plain.address, limits, &declared.registers())?;
        let function = declared.with(sites);
        function.is_cheap().then_some(function)
    }

    /// What the only function of this name calls with its own session, buffer and length.
    fn inner_of(&self, image: &Image<'_>, symbols: &Symbols<'_>, name: &str) -> Option<Inner> {
        let inner = self.called(image, symbols, name)?;
        let same = (0..3).all(|at| inner.arguments[at] == Some(ARGUMENTS[at]));
        same.then_some(inner)
    }

    fn called(&self, image: &Image<'_>, symbols: &Symbols<'_>, name: &str) -> Option<Inner> {
        let mut named = symbols.named(name);
        let symbol = named.next().filter(|_| named.next().is_none())?;
        inner(&Graph::read(
            image,
            symbol.address,
            Limits::from_size(symbol.bytes),
        )?)
    }
}
