//! Requests and responses of an HTTP/2 connection, paired by stream.
//!
//! ```text
//!               request's fields          response's last frame
//!   (nothing) ──────────────────▶ asked ────────────────────────▶ over
//!       │                         ▲   └── RST_STREAM ──▶ gone ◀───┘ request's last frame, or a little later
//!       └── response's fields ──▶ early
//! ```

use std::collections::hash_map::Entry;

use foldhash::HashMap;

use super::stream::{Asked, Stream};
use crate::span::{Kind, Outcome};
use crate::spans::{NodeKey, Reason};
use crate::state::State;

#[derive(Default)]
pub(super) struct Streams {
    pub(super) open: HashMap<u32, Stream>,
    /// Highest stream on which a request was seen: they only rise.
    pub(super) highest: u32,
    /// Streams whose response came before their request, of `open`.
    early: usize,
    /// Frames of responses may pass unseen at present.
    pub(super) responses_lost: bool,
    /// Some of `open` may be over.
    pub(super) some_lost: bool,
    /// The client has closed the connection before the server did.
    given_up: bool,
}

/// Responses whose requests have not been seen; another thread may read one before the thread that
/// sent the request is back from its call.
const MAX_EARLY: usize = 64;
/// A thread may be back so much later from the call that ends a request than another from the one that
/// reads the response.
const LATE_END_NS: u64 = 20_000_000;
/// Streams of one connection that are followed; peers allow each other some hundreds.
const MAX_STREAMS: usize = 4096;

// === impl Streams ===

impl Streams {
    /// Of a connection that was joined in the middle, unless `from_beginning`.
    pub(super) fn new(from_beginning: bool) -> Self {
        Self {
            responses_lost: !from_beginning,
            ..Self::default()
        }
    }

    /// A request that came as HTTP/1 is answered on stream 1 (RFC 7540 §3.2).
    pub(super) fn go_on_with(&mut self, node: Option<NodeKey>, start_ns: u64) {
        self.highest = 1;
        if let Some(node) = node {
            let asked = Asked::new(node, start_ns, true);
            self.open.insert(1, Stream::asked(asked));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.open.len() - self.early
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = (u32, NodeKey)> + '_ {
        self.open.iter().filter_map(|(stream, state)| {
            let node = state.asked.as_ref()?.node?;
            Some((*stream, node))
        })
    }

    /// What was seen of them does not say how they ended.
    pub(super) fn end_all(&mut self, end_ns: u64, outcome: Outcome, state: &mut State) {
        let outcome = if outcome == Outcome::Timeout {
            Outcome::Open
        } else {
            outcome
        };
        for (_, stream) in self.open.drain() {
            let outcome = match outcome {
                _ if stream.lost => Outcome::Complete,
                Outcome::ConnectionClosed if self.given_up && stream.is_call() => Outcome::Reset {
                    by: Kind::Client,
                    code: None,
                },
                outcome => outcome,
            };
            stream.end_over(end_ns, outcome, state);
        }
        self.early = 0;
    }

    /// The client closes the connection, and the server has not.
    pub(super) fn give_up(&mut self) {
        self.given_up = true;
    }

    /// Those whose response is complete end with what was seen of the request, when the rest had its time.
    /// True: some still have.
    pub(super) fn end_answered(&mut self, now_ns: u64, state: &mut State) -> bool {
        let mut wait = false;
        let over: Vec<u32> = self
            .open
            .iter()
            .filter(|(_, stream)| stream.asked.is_some())
            .filter_map(|(number, stream)| {
                let (end_ns, _) = stream.over?;
                let due = now_ns.saturating_sub(end_ns) >= LATE_END_NS;
                wait |= !due;
                due.then_some(*number)
            })
            .collect();
        for stream in over {
            self.take_over(stream, state);
        }
        wait
    }

    pub(super) fn take_over(&mut self, stream: u32, state: &mut State) {
        if let Some(stream) = self.open.remove(&stream)
            && let Some((end_ns, outcome)) = stream.over
        {
            stream.end_over(end_ns, outcome, state);
        }
    }

    /// There is no room for one more: those end that may be over. True: there is room now.
    pub(super) fn make_room(&mut self, now_ns: u64, state: &mut State) -> bool {
        if self.open.len() < MAX_STREAMS {
            return true;
        }
        if std::mem::take(&mut self.some_lost) {
            let lost = self
                .open
                .extract_if(|_, stream| stream.lost && stream.asked.is_some());
            for (_, stream) in lost {
                stream.end_over(now_ns, Outcome::Complete, state);
            }
        }
        self.open.len() < MAX_STREAMS
    }

    /// Their spans leave with what is known, and nothing more is told of them.
    pub(super) fn report_long(&mut self, now_ns: u64, state: &mut State) {
        let limit_ns = state.config.limits.long_stream_ns;
        for stream in self.open.values_mut() {
            let Some(asked) = stream.asked.as_mut().filter(|_| stream.over.is_none()) else {
                continue;
            };
            if now_ns.saturating_sub(asked.start_ns) < limit_ns {
                continue;
            }
            if let Some(node) = asked.node {
                stream.end(node, now_ns, Outcome::Open, state);
            }
            if let Some(asked) = &mut stream.asked {
                asked.node = None;
            }
        }
        let told = |stream: &Stream| {
            stream
                .asked
                .as_ref()
                .is_some_and(|asked| asked.node.is_none())
        };
        // No frame may come that would end them.
        self.open.retain(|_, stream| !(stream.lost && told(stream)));
    }

    pub(super) fn abandon_all(&mut self, reason: Reason, state: &mut State) {
        for (_, stream) in self.open.drain() {
            if let Some(node) = stream.asked.and_then(|asked| asked.node) {
                state.no_longer_waits(node, 0);
                state.with_spans(|spans, around| spans.abandon(node, reason, around));
            }
        }
        self.early = 0;
    }

    /// The stream that a response comes on; a new one if its request may still be seen.
    pub(super) fn answering(&mut self, stream: u32) -> Option<&mut Stream> {
        match self.open.entry(stream) {
            Entry::Occupied(open) => Some(open.into_mut()),
            Entry::Vacant(free) => {
                if stream <= self.highest || self.early >= MAX_EARLY || stream.is_multiple_of(2) {
                    return None;
                }
                self.early += 1;
                Some(free.insert(Stream::default()))
            }
        }
    }

    pub(super) fn take_early(&mut self, stream: u32) -> Option<Stream> {
        if self.early == 0 {
            return None;
        }
        let early = self.open.remove(&stream)?;
        self.early -= 1;
        Some(early)
    }

    /// A request begins on `stream`: those of lower ones will not be seen any more.
    pub(super) fn rise_to(&mut self, stream: u32) {
        self.highest = stream;
        if self.early > 0 {
            self.open
                .retain(|&other, state| state.asked.is_some() || other >= stream);
            let asked = self.open.values().filter(|state| state.asked.is_some());
            self.early = self.open.len() - asked.count();
        }
    }
}
