//! Goroutines.

use std::fmt;

use weft_abi::{Runtime, RuntimeKind, Site};
use weft_inspect::{Goroutines, Site as Instruction};

use crate::bpf::{Hook, Place};

pub(super) fn places(goroutines: &Goroutines) -> Vec<Place> {
    let Goroutines {
        id: _,
        parent: _,
        created,
        gives,
        takes,
        plumbing,
        serves,
        reads,
        queues,
        sends,
        problems: _,
    } = goroutines;
    let all = |hook: Hook, sites: &[Instruction]| {
        let place = move |site: &Instruction| Place {
            hook,
            offset: site.offset,
            site: Site::from_cookie(0),
        };
        sites.iter().map(place).collect::<Vec<_>>()
    };
    // First what keeps a goroutine from seeming to work for whoever has made it.
    [
        all(Hook::GoPlumbing, plumbing),
        all(Hook::GoTakes, takes),
        all(Hook::GoSends, sends),
        all(Hook::GoQueues, queues),
        all(Hook::GoServes, serves),
        all(Hook::GoReads, reads),
        all(Hook::GoGives, gives),
        all(Hook::GoCreated, created.as_slice()),
    ]
    .concat()
}

pub(super) fn facts(goroutines: &Goroutines) -> Runtime {
    Runtime {
        kind: RuntimeKind::Go as u32,
        id: goroutines.id,
        parent: goroutines.parent.unwrap_or(0),
        ..Runtime::default()
    }
}

/// In words.
pub(super) struct Told<'a>(pub(super) &'a Goroutines);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Goroutines {
            id,
            parent,
            created,
            gives,
            serves,
            queues,
            problems,
            ..
        } = self.0;
        write!(f, "goroutines are told apart (goid at {id}")?;
        if let Some(parent) = parent {
            write!(f, ", parentGoid at {parent}")?;
        }
        f.write_str(")")?;
        if created.is_some() {
            f.write_str(", with what they create")?;
        }
        if !gives.is_empty() {
            f.write_str(", and with requests that net/http's writers send")?;
        }
        if !serves.is_empty() {
            f.write_str(", with streams of HTTP/2")?;
        }
        if !queues.is_empty() {
            f.write_str(", with calls of grpc-go")?;
        }
        for problem in problems {
            write!(f, "; {}", problem.0)?;
        }
        Ok(())
    }
}
