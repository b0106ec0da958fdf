//! V8's builtins: functions that V8 has compiled before the program was linked.

use crate::elf::{Image, Symbols};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Builtin {
    pub(super) address: u64,
    pub(super) bytes: u64,
}

/// Those that are asked for, by name.
pub(super) struct Builtins {
    list: Vec<(&'static str, Builtin)>,
}

const PREFIX: &str = "Builtins_";
const NAMES: [&str; 6] = [
    "PerformPromiseThen",
    "PromisePrototypeThen",
    "PromiseFulfillReactionJob",
    "PromiseRejectReactionJob",
    "CallFunction_ReceiverIsAny",
    "AsyncFunctionAwaitResolveClosure",
];

pub(super) fn wants(name: &[u8]) -> bool {
    let rest = name.strip_prefix(PREFIX.as_bytes());
    rest.is_some_and(|rest| NAMES.map(str::as_bytes).contains(&rest))
}

// === impl Builtins ===

impl Builtins {
    pub(super) fn read(_image: &Image<'_>, symbols: &Symbols<'_>) -> Result<Self, &'static str> {
        let named = |symbol: &crate::elf::Symbol<'_>| {
            let name = symbol.name.strip_prefix(PREFIX)?;
            let name = NAMES.into_iter().find(|it| *it == name)?;
            let builtin = Builtin {
                address: symbol.address,
                bytes: symbol.bytes,
            };
            Some((name, builtin))
        };
        let list: Vec<_> = symbols.iter().filter_map(|symbol| named(&symbol)).collect();
        if list.is_empty() {
            return Err("V8's builtins are not named: it was stripped");
        }
        Ok(Self { list })
    }

    pub(super) fn named(&self, name: &str) -> Option<Builtin> {
        let found = self.list.iter().find(|it| it.0 == name)?;
        Some(found.1)
    }
}
