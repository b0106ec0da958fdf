//! Requests and responses of an HTTP/2 connection, paired by stream.
//!
//! ```text
//!                request's fields                 response's last frame, RST_STREAM
//!   (nothing) ───────────────────▶ asked ─────────────────────────────────────────▶ over
//!       └── response's fields ──▶ early ── request's fields ──▶ as far as the response has come
//! ```

use foldhash::HashMap;
use weft_proto::Piece;
use weft_proto::grpc::{self, Messages};
use weft_proto::http2::{Block, Conversation, Ends, Malformed};
use weft_proto::trace_context::{TraceParent, trace_state};

use super::listener::Head;
use super::{Listener, Reads};
use crate::forwards::Line;
use crate::span::{Call, Http, Kind, Outcome, REFUSED_STREAM, Span, Version};
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
}

#[derive(Default)]
struct Stream {
    asked: Option<Asked>,
    /// A final response head was seen.
    answered: bool,
    status: Option<u16>,
    grpc_status: Option<u32>,
    /// Bytes of the response's fields are missing, or what they refer to.
    partial: bool,
    /// Frames of the response may have passed unseen.
    lost: bool,
    response: Payload,
    /// Only of a stream whose request was not seen yet.
    over: Option<(u64, Outcome)>,
}

struct Asked {
    /// `None`: there are too many, or it was reported already.
    node: Option<NodeKey>,
    start_ns: u64,
    request: Payload,
    call: bool,
}

/// What one end has sent on a stream.
#[derive(Clone, Copy, Default)]
struct Payload {
    bytes: u64,
    /// Some may have passed unseen.
    incomplete: bool,
    /// Its last frame was seen.
    ended: bool,
    messages: Messages,
}

/// Responses whose requests have not been seen; another thread may read one before the thread that
/// sent the request is back from its call.
const MAX_EARLY: usize = 64;
/// Streams of one connection that are followed; peers allow each other some hundreds.
const MAX_STREAMS: usize = 4096;

// === impl Conversation ===

impl Conversation for Listener<'_> {
    fn fields(&mut self, stream: u32, block: Block, ends: Ends, start: u64, end: u64) {
        match self.reads {
            Reads::Requests => {
                self.request_fields(stream, block, ends, start);
                if let Some(payload) = self.sent(stream).filter(|_| ends == Ends::Stream) {
                    payload.ended = true;
                }
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
            payload.ended |= ends == Ends::Stream;
        }
        if self.reads == Reads::Responses {
            self.responses_in_step();
            if ends == Ends::Stream {
                self.over(stream, end, Outcome::Complete);
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
        let Some(streams) = self.exchanges.streams.as_mut().filter(|_| node.is_some()) else {
            return;
        };
        let mut state = early.unwrap_or_default();
        state.asked = Some(Asked {
            node,
            start_ns: mark.time_ns,
            request: Payload {
                ended: ends == Ends::Stream,
                ..Payload::default()
            },
            call,
        });
        if streams.responses_lost {
            state.lost = true;
            state.response.incomplete = true;
        }
        if state.answered {
            self.state.counters.responses_unpaired -= 1;
            self.state.counters.responses_paired += 1;
        }
        match state.over {
            Some((end_ns, outcome)) => state.over(end_ns, outcome, self.state),
            None => {
                streams.open.insert(stream, state);
            }
        }
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
            state.answered = true;
            state.status = block.status;
            counters.responses += 1;
            *if state.asked.is_some() {
                &mut counters.responses_paired
            } else {
                &mut counters.responses_unpaired
            } += 1;
        }
        state.partial |= block.partial || block.unknown > 0 && state.lacks();
        state.grpc_status = block.grpc_status.or(state.grpc_status);
    }

    fn over(&mut self, stream: u32, end: u64, outcome: Outcome) {
        let last_ns = self.mark(end.saturating_sub(1)).time_ns;
        let end_ns = if self.at_end { self.now_ns } else { last_ns };
        let Some(streams) = &mut self.exchanges.streams else {
            return;
        };
        match streams.open.get_mut(&stream) {
            Some(state) if state.asked.is_none() => state.over = Some((end_ns, outcome)),
            Some(_) => {
                if let Some(state) = streams.open.remove(&stream) {
                    state.over(end_ns, outcome, self.state);
                }
            }
            None => {}
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
        if node.is_some() {
            let asked = Some(Asked {
                node,
                start_ns,
                request: Payload {
                    ended: true,
                    ..Payload::default()
                },
                call: false,
            });
            let stream = Stream {
                asked,
                ..Stream::default()
            };
            self.open.insert(1, stream);
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
            let outcome = if stream.lost {
                Outcome::Complete
            } else {
                outcome
            };
            stream.over(end_ns, outcome, state);
        }
        self.early = 0;
    }

    /// Their spans leave with what is known, and nothing more is told of them.
    pub(super) fn report_long(&mut self, now_ns: u64, state: &mut State) {
        let limit_ns = state.config.limits.long_stream_ns;
        for stream in self.open.values_mut() {
            let Some(asked) = &mut stream.asked else {
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

// === impl Stream ===

impl Stream {
    /// Something of the response's fields is not known yet.
    fn lacks(&self) -> bool {
        let call = self.asked.as_ref().is_some_and(|asked| asked.call);
        self.status.is_none() || call && self.grpc_status.is_none()
    }

    fn over(&self, end_ns: u64, outcome: Outcome, state: &mut State) {
        if let Some(node) = self.asked.as_ref().and_then(|asked| asked.node) {
            self.end(node, end_ns, outcome, state);
        }
    }

    fn end(&self, node: NodeKey, end_ns: u64, outcome: Outcome, state: &mut State) {
        if let (Some(span), Some(asked)) = (state.spans.span_mut(node), &self.asked) {
            self.tell(asked, outcome, span);
        }
        state.no_longer_waits(node, end_ns);
        state.with_spans(|spans, around| spans.end(node, end_ns, outcome, around));
    }

    fn tell(&self, asked: &Asked, outcome: Outcome, span: &mut Span) {
        let exchange = &mut span.exchange;
        exchange.status = self.status;
        // A thread that sends may be back from its call only when another has read the response.
        let more = !asked.request.ended
            && matches!(
                outcome,
                Outcome::Complete
                    | Outcome::Reset {
                        by: Kind::Server,
                        ..
                    }
            );
        exchange.request_body = asked.request.total().filter(|_| !more);
        exchange.response_body = self.response.total();
        if exchange.call.is_none() && self.grpc_status.is_some() {
            exchange.call = Some(Call::of(grpc::Kind::Grpc));
        }
        if let Some(call) = &mut exchange.call {
            call.status = self.grpc_status;
            call.requests = asked.request.messages.count().filter(|_| !more);
            call.responses = self.response.messages.count();
        }
        let unseen = self.lost && outcome == Outcome::Complete && self.lacks();
        span.partial.response_head |= self.partial || unseen;
        span.partial.end |= unseen || outcome == Outcome::Open;
    }
}

// === impl Payload ===

impl Payload {
    fn total(&self) -> Option<u64> {
        (!self.incomplete).then_some(self.bytes)
    }
}

// === impl Head ===

impl Head {
    fn of_stream(stream: u32, block: Block, start: u64) -> Self {
        let kind = block.content_type.as_deref().and_then(grpc::kind);
        let call = kind.map(|kind| Call {
            timeout_ns: block.grpc_timeout.as_deref().and_then(grpc::timeout_ns),
            ..Call::of(kind)
        });
        let named = block.traceparent.as_deref().and_then(TraceParent::parse);
        let binary = || block.grpc_trace_bin.as_deref().and_then(grpc::trace_parent);
        let target = block.path.or_else(|| {
            let connects = block.method.as_deref() == Some(b"CONNECT");
            block.authority.clone().filter(|_| connects)
        });
        let unknown = block.unknown > 0 && (block.method.is_none() || target.is_none());
        Self {
            parent: named.or_else(binary),
            trace_state: block.tracestate.as_ref().and_then(trace_state),
            partial: block.partial || unknown,
            http: Http {
                method: block.method.unwrap_or_default(),
                target: target.unwrap_or_default(),
                version: Version::Http2,
                host: block.authority,
                user_agent: block.user_agent,
                headers: block.chosen,
                status: None,
                request_body: None,
                response_body: None,
                call,
            },
            stream: Some(stream),
            start,
        }
    }
}
