//! Tasks of Tokio.

use std::fmt;

use weft_abi::{Runtime, RuntimeKind, Site, TokioSite};
use weft_inspect::{Drawn, Sends, Tokio};

use crate::bpf::{Hook, Place};

pub(super) fn places(tokio: &Tokio) -> Vec<Place> {
    let place = |hook, offset, site: TokioSite| Place {
        hook,
        offset,
        site: Site::from_cookie(site.cookie()),
    };
    let sends = tokio.sends.iter().map(|sends| {
        let &Sends {
            site,
            waker,
            offset,
        } = sends;
        let at = TokioSite {
            register: waker as u8,
            offset,
        };
        place(Hook::TokioSends, site.offset, at)
    });
    let drawn = tokio.drawn.iter().map(|&Drawn { site, id }| {
        let at = TokioSite {
            register: id as u8,
            ..TokioSite::default()
        };
        place(Hook::TokioDrawn, site.offset, at)
    });
    // First what keeps a connection's task from seeming to work for whoever has made it.
    sends.chain(drawn).collect()
}

/// Adds what the kernel programs need to know of a process that has the file's code at `code` less the
/// code's offset in the file.
pub(super) fn add_to(facts: &mut Runtime, tokio: &Tokio, code: u64) {
    facts.kind = RuntimeKind::Tokio as u32;
    facts.id = tokio.id_offset;
    facts.current = tokio.current;
    facts.wakers = code.wrapping_add(tokio.wakers.wrapping_sub(tokio.bias));
}

/// In words.
pub(super) struct Told<'a>(pub(super) &'a Tokio);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tokio {
            version,
            drawn,
            problems,
            ..
        } = self.0;
        f.write_str("Tokio")?;
        if let Some(version) = version {
            write!(f, " {version}")?;
        }
        f.write_str(": tasks are told apart, with what they send to others' tasks")?;
        if !drawn.is_empty() {
            f.write_str(", and with what they spawn")?;
        }
        for problem in problems {
            write!(f, "; {}", problem.0)?;
        }
        Ok(())
    }
}
