//! CPython, and what brings tasks of its own into it.

use std::fmt;

use weft_abi::{Runtime, RuntimeFlags, RuntimeKind, Site};
use weft_inspect::{Contexts, Greenlets, Python, Site as Instruction, Transports};

use crate::bpf::{Hook, Place};

pub(super) fn places(python: &Python) -> Vec<Place> {
    let at = |hook: Hook, site: &Instruction| Place {
        hook,
        offset: site.offset,
        site: Site::from_cookie(0),
    };
    match python {
        // What ends first: an address would seem to be still the same one's.
        Python::Interpreter(Contexts {
            made,
            freed,
            accepts,
            ..
        }) => [(Hook::PyFreed, freed), (Hook::PyMade, made)]
            .into_iter()
            .chain(accepts.iter().map(|site| (Hook::PyAccepted, site)))
            .map(|(hook, site)| at(hook, site))
            .collect(),
        Python::Greenlet(Greenlets { made, freed, .. }) => {
            vec![at(Hook::PyFreed, freed), at(Hook::PyMade, made)]
        }
        Python::Socket(accepts) => vec![at(Hook::PyAccepted, accepts)],
        Python::Uvloop(transports) => {
            let Transports {
                reads,
                connected,
                writes,
            } = transports;
            let called = reads.iter().chain(connected);
            let called = called.map(|site| at(Hook::UvloopCalled, site));
            let reads = reads.iter().map(|site| at(Hook::UvloopReads, site));
            let connected = connected.iter().map(|site| at(Hook::UvloopConnected, site));
            let writes = writes.iter().map(|site| at(Hook::UvloopWrites, site));
            called.chain(reads).chain(connected).chain(writes).collect()
        }
    }
}

/// Adds what the kernel programs need to know of a process that has the file's code at `code` less the
/// code's offset in the file.
pub(super) fn add_to(facts: &mut Runtime, python: &Python, code: u64) {
    let address = |bias: u64, address: u64| code.wrapping_add(address.wrapping_sub(bias));
    match python {
        Python::Interpreter(contexts) => {
            facts.kind = RuntimeKind::CPython as u32;
            facts.id = contexts.context;
            facts.thread_key = address(contexts.bias, contexts.thread_key);
            facts.context_type = address(contexts.bias, contexts.context_type);
        }
        Python::Greenlet(greenlets) => {
            facts.greenlet_module = address(greenlets.bias, greenlets.module);
            facts.greenlet_offset = greenlets.state;
        }
        Python::Socket(_) => {}
        Python::Uvloop(_) => facts.flags |= RuntimeFlags::UVLOOP,
    }
}

/// In words.
pub(super) struct Told<'a>(pub(super) &'a Python);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Python::Interpreter(contexts) => write!(
                f,
                "CPython: contexts of contextvars are told apart (context at {} of a thread's state)",
                contexts.context
            ),
            Python::Socket(_) => f.write_str("_socket: connections are told as they are accepted"),
            Python::Greenlet(_) => f.write_str("greenlet: greenlets are told apart"),
            Python::Uvloop(_) => {
                f.write_str("uvloop: what it reads and writes is told by its transports")
            }
        }
    }
}
