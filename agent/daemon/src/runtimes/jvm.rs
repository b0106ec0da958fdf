//! HotSpot and its virtual threads.

use std::fmt;

use weft_abi::{Runtime, RuntimeKind};
use weft_inspect::Jvm;

/// Adds what the kernel programs need to know of a process that has the file's code at `code` less the
/// code's offset in the file. `None`: it may have virtual threads, but how they are told is not known.
pub(super) fn add_to(facts: &mut Runtime, jvm: Option<&Jvm>, code: u64) {
    let Some(jvm) = jvm else {
        facts.kind = RuntimeKind::Jvm as u32;
        return;
    };
    if let Some(fields) = jvm.virtual_threads {
        facts.kind = RuntimeKind::Jvm as u32;
        facts.jvm_fields = fields.map(|field| code.wrapping_add(field.wrapping_sub(jvm.bias)));
    }
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
        })
    }
}
