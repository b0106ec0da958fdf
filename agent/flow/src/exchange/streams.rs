//! Requests and responses of an HTTP/2 connection, paired by stream.
//!
//! ```text
//!                request's fields         response's last frame             request's last frame,
//!   (nothing) ───────────────────▶ asked ─────────────────────────▶ over ──────────────────────▶ gone
//!       └── response's fields ──▶ early ── request's fields ──▶ as far   a little later, RST_STREAM
//!                                                               as the response has come
//! ```

use foldhash::HashMap;
use weft_proto::Piece;
use weft_proto::http2::{Block, Conversation, Ends, Malformed};

use super::listener::Head;
use super::stream::{Asked, Payload, Stream, Unsure, is_answer};
use super::{Listener, Reads};
use crate::forwards::Line;
use crate::span::{Kind, Outcome, REFUSED_STREAM};
use crate::spans::{NodeKey, Reason};
use crate::state::State;

#[derive(Default)]
pub(super) struct Streams {
    open: HashMap<u32, Stream>,
    /// Highest stream on which a request was seen: they only rise.
    highest: u32,
    /// Streams whose response came before their request, of `open`.
    early: usize,
    /// Frames of responses may pass unseen at present.
    responses_lost: bool,
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

// === impl Conversation ===

impl Conversation for Listener<'_> {
    fn fields(&mut self, stream: u32, block: Block, ends: Ends, start: u64, end: u64) {
        match self.reads {
            Reads::Requests => {
                self.request_fields(stream, block, ends, start);
                self.request_ends(stream, ends);
            }
            Reads::Responses => {
                self.responses_in_step();
                self.response_fields(stream, &block);
                if ends == Ends::Stream {
                    self.over(stream, end, Outcome::Complete);
                }
            }
        }
    }

    fn payload(&mut self, stream: u32, piece: Piece<'_>) {
        if let Some(payload) = self.sent(stream) {
            payload.messages.feed(piece);
        }
    }

    fn data(&mut self, stream: u32, bytes: Option<u64>, ends: Ends, end: u64) {
        if let Some(payload) = self.sent(stream) {
            payload.bytes += bytes.unwrap_or(0);
            payload.incomplete |= bytes.is_none();
        }
        match self.reads {
            Reads::Requests => self.request_ends(stream, ends),
            Reads::Responses => {
                self.responses_in_step();
                if ends == Ends::Stream {
                    self.over(stream, end, Outcome::Complete);
                }
            }
        }
    }

    fn reset(&mut self, stream: u32, code: Option<u32>, at: u64) {
        let by = match self.reads {
            Reads::Requests => Kind::Client,
            Reads::Responses => Kind::Server,
        };
        self.over(stream, at.saturating_add(1), Outcome::Reset { by, code });
    }

    fn go_away(&mut self, last_stream: u32, _code: u32, at: u64) {
        if self.reads == Reads::Requests {
            return;
        }
        let Some(streams) = &self.exchanges.streams else {
            return;
        };
        let refused: Vec<u32> = streams
            .open
            .keys()
            .copied()
            .filter(|stream| *stream > last_stream)
            .collect();
        for stream in refused {
            let outcome = Outcome::Reset {
                by: Kind::Server,
                code: Some(REFUSED_STREAM),
            };
            self.over(stream, at.saturating_add(1), outcome);
        }
    }

    fn promised(&mut self, _stream: u32, _promised: u32, _at: u64) {
        self.state.counters.streams_pushed += 1;
    }

    fn malformed(&mut self, at: u64, _why: Malformed) {
        self.state.counters.malformed += 1;
        self.found.malformed += 1;
        Conversation::lost(self, at);
    }

    fn lost(&mut self, _at: u64) {
        let Some(streams) = &mut self.exchanges.streams else {
            return;
        };
        streams.responses_lost |= self.reads == Reads::Responses;
        for stream in streams.open.values_mut() {
            match self.reads {
                Reads::Requests => {
                    if let Some(asked) = &mut stream.asked {
                        asked.request.incomplete = true;
                    }
                }
                Reads::Responses => {
                    stream.lost = true;
                    stream.response.incomplete = true;
                }
            }
        }
    }
}

// === impl Listener ===

impl Listener<'_> {
    fn responses_in_step(&mut self) {
        if let Some(streams) = &mut self.exchanges.streams {
            streams.responses_lost = false;
        }
    }

    fn request_ends(&mut self, stream: u32, ends: Ends) {
        if let (Ends::Stream, Some(payload)) = (ends, self.sent(stream)) {
            payload.ended = true;
            if let Some(streams) = &mut self.exchanges.streams {
                streams.end_if_over(stream, self.state);
            }
        }
    }

    fn sent(&mut self, stream: u32) -> Option<&mut Payload> {
        let stream = self.exchanges.streams.as_mut()?.open.get_mut(&stream)?;
        match self.reads {
            Reads::Requests => stream.asked.as_mut().map(|asked| &mut asked.request),
            Reads::Responses => Some(&mut stream.response),
        }
    }

    fn request_fields(&mut self, stream: u32, block: Block, ends: Ends, start: u64) {
        let Some(streams) = &mut self.exchanges.streams else {
            return;
        };
        if stream <= streams.highest {
            // Trailers.
            return;
        }
        let names = [&block.method, &block.path, &block.scheme, &block.authority];
        if names.iter().all(|name| name.is_none()) {
            self.state.counters.blocks_unknown += 1;
            return;
        }
        self.found.in_step = true;
        streams.rise_to(stream);
        let early = streams.take_early(stream);
        self.exchanges.seen += 1;
        let full = streams.open.len() >= MAX_STREAMS;
        let mark = self.mark(start);
        let unsure = Unsure::of(&block);
        let head = Head::of_stream(stream, block, start);
        let call = head.http.call.is_some();
        let node = if full {
            self.state.counters.requests += 1;
            self.state.counters.dropped_full += 1;
            None
        } else {
            let line = mark
                .forwards
                .then(|| Line::of(&head.http.method, &head.http.target));
            let cause = match self.kind {
                Kind::Client => self.cause_of_stream(&mark, stream, line.as_ref()),
                Kind::Server => None,
            };
            let node = self.begin(head, &mark, cause);
            if let (Kind::Server, Some(line), Some(node)) = (self.kind, line, node) {
                let Self { state, process, .. } = self;
                state.forwards.read(*process, mark.tid, node, line);
            }
            if let (Kind::Server, Some(node)) = (self.kind, node) {
                self.works_on_stream(node, &mark, stream);
            }
            node
        };
        let (Some(streams), Some(node)) = (&mut self.exchanges.streams, node) else {
            return;
        };
        let mut state = early.unwrap_or_default();
        let asked = Asked::new(node, mark.time_ns, ends == Ends::Stream);
        state.asked = Some(asked.with(unsure, call));
        if streams.responses_lost {
            state.lost = true;
            state.response.incomplete = true;
        }
        if state.answered {
            self.state.counters.responses_unpaired -= 1;
            self.state.counters.responses_paired += 1;
        }
        self.found.closing |= state.over.is_some();
        streams.open.insert(stream, state);
        streams.end_if_over(stream, self.state);
    }

    fn response_fields(&mut self, stream: u32, block: &Block) {
        let counters = &mut self.state.counters;
        let streams = self.exchanges.streams.as_mut();
        let state = streams.and_then(|streams| streams.answering(stream));
        if block
            .status
            .is_some_and(|status| (100..200).contains(&status))
        {
            counters.responses += 1;
            counters.responses_interim += 1;
            return;
        }
        let Some(state) = state else {
            if block.status.is_some() {
                counters.responses += 1;
                counters.responses_unpaired += 1;
            }
            return;
        };
        if !state.answered {
            counters.responses += 1;
            *if state.asked.is_some() {
                &mut counters.responses_paired
            } else {
                &mut counters.responses_unpaired
            } += 1;
        }
        state.respond(block);
    }

    fn over(&mut self, stream: u32, end: u64, outcome: Outcome) {
        let last_ns = self.mark(end.saturating_sub(1)).time_ns;
        let end_ns = if self.at_end { self.now_ns } else { last_ns };
        let Some(streams) = &mut self.exchanges.streams else {
            return;
        };
        let Some(state) = streams.open.get_mut(&stream) else {
            return;
        };
        let was_over = state.over.is_some();
        state.over.get_or_insert((end_ns, outcome));
        let waits = is_answer(outcome) && !was_over && !state.is_asked();
        if state.asked.is_none() {
            return;
        }
        if waits {
            self.found.closing = true;
        } else {
            streams.take_over(stream, self.state);
        }
    }
}

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

    fn end_if_over(&mut self, stream: u32, state: &mut State) {
        let open = self.open.get(&stream);
        let whole = |stream: &&Stream| {
            stream.over.is_some_and(|(_, outcome)| !is_answer(outcome)) || stream.is_asked()
        };
        if open
            .filter(whole)
            .is_some_and(|stream| stream.over.is_some())
        {
            self.take_over(stream, state);
        }
    }

    fn take_over(&mut self, stream: u32, state: &mut State) {
        if let Some(stream) = self.open.remove(&stream)
            && let Some((end_ns, outcome)) = stream.over
        {
            stream.end_over(end_ns, outcome, state);
        }
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
    fn answering(&mut self, stream: u32) -> Option<&mut Stream> {
        if !self.open.contains_key(&stream) {
            if stream <= self.highest || self.early >= MAX_EARLY || stream.is_multiple_of(2) {
                return None;
            }
            self.early += 1;
        }
        Some(self.open.entry(stream).or_default())
    }

    fn take_early(&mut self, stream: u32) -> Option<Stream> {
        let early = self.open.remove(&stream)?;
        self.early -= 1;
        Some(early)
    }

    /// A request begins on `stream`: those of lower ones will not be seen any more.
    fn rise_to(&mut self, stream: u32) {
        self.highest = stream;
        if self.early > 0 {
            self.open
                .retain(|&other, state| state.asked.is_some() || other >= stream);
            let asked = self.open.values().filter(|state| state.asked.is_some());
            self.early = self.open.len() - asked.count();
        }
    }
}
