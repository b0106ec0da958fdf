//! HotSpot: its virtual threads, and who wakes whom among the others.

use std::fmt;

use weft_abi::{Runtime, RuntimeKind};
use weft_inspect::Jvm;

use super::places_at;
use crate::bpf::{Hook, Place};

pub(super) fn places(jvm: &Jvm) -> Vec<Place> {
    places_at(Hook::JvmWakes, jvm.wakes.as_slice())
}

/// Adds what the kernel programs need to know of a process that has the file's code at `code` less the
/// code's offset in the file. `None`: it may have virtual threads, but how they are told is not known.
pub(super) fn add_to(facts: &mut Runtime, jvm: Option<&Jvm>, code: u64) {
    facts.kind = RuntimeKind::Jvm as u32;
    let Some(jvm) = jvm else {
        return;
    };
    let address = |field: u64| code.wrapping_add(field.wrapping_sub(jvm.bias));
    let [os_thread, pthread, object] = jvm.threads.map(address);
    let running = jvm.virtual_threads.map_or(0, address);
    facts.jvm_fields = [os_thread, pthread, object, running];
}

/// In words.
pub(super) struct Told<'a>(pub(super) &'a Jvm);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JVM")?;
        if let Some(version) = &self.0.version {
            write!(f, " {version}")?;
        }
        f.write_str(match self.0.virtual_threads {
            Some(_) => ": virtual threads are told apart, others judged as those of any program",
            None => ": threads are judged as those of any program",
        })?;
        f.write_str(match self.0.wakes {
            Some(_) => ", and by who wakes whom",
            None => "; who wakes whom is not seen: `Unsafe.unpark` was not found",
        })
    }
}
