//! Finds TLS libraries in ELF files by what they contain, and in them the cheapest instructions at
//! which their calls can be watched. The bytes of a file come in, sites go out: nothing here reads a
//! clock, a file, the environment or a global, and nothing panics on any input.
#![forbid(unsafe_code)]

mod library;

pub use library::{
    Arguments, Class, Direction, Finding, Function, Inspection, Library, Outcome, Problem,
    Register, Return, Site, Stack,
};
