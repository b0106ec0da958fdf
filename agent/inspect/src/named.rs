//! C functions that symbol tables name.

use crate::code::{ARGUMENTS, Limits, Sites, sites};
use crate::elf::{Image, Symbol, Symbols};
use crate::{Arguments, Direction, Function, Outcome, Problem, Register};

/// A function as its header declares it: session, buffer, length, then perhaps others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Declared {
    pub(crate) name: &'static str,
    pub(crate) direction: Direction,
    pub(crate) returns: Returned,
}

/// What such a function returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Returned {
    /// Bytes moved, or a negative error.
    Bytes,
    /// 1 on success; bytes moved stand where this argument points to.
    Success { bytes: Register },
}

// === impl Declared ===

impl Declared {
    /// A function for each address that bears the name.
    pub(crate) fn find(
        &self,
        image: &Image<'_>,
        symbols: &Symbols<'_>,
        problems: &mut Vec<Problem>,
    ) -> Vec<Function> {
        let mut found: Vec<Function> = Vec::new();
        for symbol in symbols.named(self.name) {
            match self.at(image, symbol) {
                Some(function) => found.push(function),
                None => problems.push(self.no_code(symbol)),
            }
        }
        found
    }

    pub(crate) fn no_code(&self, symbol: Symbol<'_>) -> Problem {
        Problem(format!(
            "`{}` is said to be at {:#x}, where there is no code.",
            self.name, symbol.address
        ))
    }

    pub(crate) fn at(&self, image: &Image<'_>, symbol: Symbol<'_>) -> Option<Function> {
        let limits = Limits::from_size(symbol.bytes);
        Some(self.with(sites(image, symbol.address, limits, &self.registers())?))
    }

    /// The registers of the arguments that are read.
    pub(crate) fn registers(&self) -> Vec<Register> {
        let mut registers = ARGUMENTS[..3].to_vec();
        if let Returned::Success { bytes } = self.returns {
            registers.push(bytes);
        }
        registers
    }

    /// The function, given the sites of its [`Self::registers`].
    pub(crate) fn with(&self, sites: Sites) -> Function {
        Function {
            name: self.name,
            direction: self.direction,
            entry: sites.entry,
            arguments: Arguments {
                session: sites.arguments[0],
                buffer: sites.arguments[1],
                length: sites.arguments[2],
            },
            outcome: match self.returns {
                Returned::Bytes => Outcome::Bytes(sites.value),
                Returned::Success { bytes } => Outcome::Pointer {
                    success: sites.value,
                    bytes: sites.arguments.get(3).copied().unwrap_or(bytes),
                },
            },
            returns: sites.returns,
        }
    }
}
