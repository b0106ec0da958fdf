//! Finds TLS libraries in ELF files by what they contain, and in them the cheapest instructions at
//! which their calls can be watched. The bytes of a file come in, sites go out: nothing here reads a
//! clock, a file, the environment or a global, and nothing panics on any input.
#![forbid(unsafe_code)]

mod boringssl;
mod code;
mod cpython;
mod elf;
#[cfg(any(test, feature = "fuzz"))]
mod fuzz;
mod gnutls;
mod go;
mod jvm;
mod library;
mod named;
mod node;
mod openssl;
mod proxy;
mod rustls;
mod tokio;

use elf::{Image, Symbols};

pub use cpython::{Contexts, Greenlets, Python, Transports};
pub use elf::Error;
#[cfg(any(test, feature = "fuzz"))]
pub use fuzz::fuzz_inspect;
#[cfg(any(test, feature = "fuzz"))]
pub use go::fuzz_go;
pub use go::{Goroutines, Program};
pub use jvm::Jvm;
pub use library::{
    Arguments, Class, Direction, Finding, Function, Inspection, Library, Outcome, Part, Problem,
    Register, Return, Site, Stack,
};
pub use node::Node;
pub use proxy::Proxy;
pub use tokio::{Drawn, Sends, Tokio};

/// One for each family of libraries.
const FINDERS: &[Finder] = &[
    openssl::FINDER,
    gnutls::FINDER,
    rustls::FINDER,
    boringssl::FINDER,
];

/// `struct r_debug`'s `r_brk` in glibc and in musl.
const MAPPED: &str = "_dl_debug_state";

/// How one family is found.
struct Finder {
    /// Whether a function of this name is of use.
    wants: fn(&[u8]) -> bool,
    find: fn(&Image<'_>, &Symbols<'_>) -> Vec<Library>,
}

/// Looks into a whole ELF file. Pages that are not needed are not touched.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, Error> {
    let image = Image::parse(bytes)?;
    let symbols = Symbols::read(&image, |name| {
        name == MAPPED.as_bytes()
            || proxy::wants(name)
            || cpython::wants(name)
            || jvm::wants(name)
            || tokio::wants(name)
            || node::wants(name)
            || FINDERS.iter().any(|finder| (finder.wants)(name))
    });
    let go::Found {
        program,
        tls,
        goroutines,
    } = go::find(&image);
    let build_id = match image.build_id() {
        [] => go::build_id(&image).unwrap_or_default(),
        id => id,
    };
    Ok(Inspection {
        build_id: build_id.to_vec(),
        go: program,
        goroutines,
        proxy: proxy::find(&symbols),
        python: cpython::find(&image, &symbols),
        jvm: jvm::find(&image, &symbols),
        tokio: tokio::find(&image, &symbols),
        node: node::find(&image, &symbols),
        libraries: FINDERS
            .iter()
            .flat_map(|finder| (finder.find)(&image, &symbols))
            .chain(tls)
            .collect(),
        mapped: symbols
            .named(MAPPED)
            .next()
            .and_then(|symbol| image.offset(symbol.address)),
    })
}
