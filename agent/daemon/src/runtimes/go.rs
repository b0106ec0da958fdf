//! Goroutines.

use std::fmt;

use weft_abi::{Runtime, RuntimeKind};
use weft_inspect::Goroutines;

use super::places_at;
use crate::bpf::{Hook, Place};

pub(super) fn places(goroutines: &Goroutines) -> Vec<Place> {
    let Goroutines {
        id: _,
        parent: _,
        creator: _,
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
    // First what keeps a goroutine from seeming to work for whoever has made it.
    [
        places_at(Hook::GoPlumbing, plumbing),
        places_at(Hook::GoTakes, takes),
        places_at(Hook::GoSends, sends),
        places_at(Hook::GoQueues, queues),
        places_at(Hook::GoServes, serves),
        places_at(Hook::GoReads, reads),
        places_at(Hook::GoGives, gives),
        places_at(Hook::GoCreated, created.as_slice()),
    ]
    .concat()
}

pub(super) fn facts(goroutines: &Goroutines) -> Runtime {
    Runtime {
        kind: RuntimeKind::Go as u32,
        id: goroutines.id,
        parent: goroutines.parent.unwrap_or(0),
        thread: goroutines.creator.map_or(0, |it| it.thread),
        running: goroutines.creator.map_or(0, |it| it.running),
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
            creator,
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
        if let Some(creator) = creator {
            write!(f, ", curg at {}", creator.running)?;
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
