//! What the frames of an HTTP/2 connection say, on its way to the streams.

use std::collections::hash_map::Entry;

use weft_proto::Piece;
use weft_proto::http2::{Block, Conversation, Ends, Malformed};

use super::listener::Head;
use super::stream::{Asked, Payload, Unsure, is_answer};
use super::{Listener, Reads};
use crate::forwards::Line;
use crate::span::{Kind, Outcome, REFUSED_STREAM};

// === impl Conversation ===

impl Conversation for Listener<'_> {
    fn fields(&mut self, stream: u32, block: Block, ends: Ends, start: u64, end: u64) {
        match self.reads {
            Reads::Requests => {
                if !self.request_fields(stream, block, ends, start) {
                    // Trailers.
                    self.request_ends(stream, ends);
                }
            }
            Reads::Responses => {
                self.responses_in_step();
                self.response_fields(stream, &block, start);
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
        streams.some_lost |= self.reads == Reads::Responses;
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
        let Some(streams) = self
            .exchanges
            .streams
            .as_mut()
            .filter(|_| ends == Ends::Stream)
        else {
            return;
        };
        let Some(state) = streams.open.get_mut(&stream) else {
            return;
        };
        if let Some(asked) = &mut state.asked {
            asked.request.ended = true;
            if state.over.is_some() {
                streams.take_over(stream, self.state);
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

    /// False: the stream's request has begun before.
    fn request_fields(&mut self, stream: u32, block: Block, ends: Ends, start: u64) -> bool {
        let Some(streams) = &mut self.exchanges.streams else {
            return true;
        };
        if stream <= streams.highest {
            return false;
        }
        let names = [&block.method, &block.path, &block.scheme, &block.authority];
        if names.iter().all(|name| name.is_none()) {
            self.state.counters.blocks_unknown += 1;
            return true;
        }
        self.found.in_step = true;
        streams.rise_to(stream);
        let early = streams.take_early(stream);
        self.exchanges.seen += 1;
        let mark = self.mark(start);
        let unsure = Unsure::of(&block);
        let head = Head::of_stream(stream, block, start, &self.state.config.propagators);
        let call = head.http.call.is_some();
        let streams = self.exchanges.streams.as_mut();
        let full = streams.is_none_or(|streams| !streams.make_room(mark.time_ns, self.state));
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
            return true;
        };
        let mut state = early.unwrap_or_default();
        let asked = Asked::new(node, mark.time_ns, ends == Ends::Stream);
        state.asked = Some(asked.with(unsure, call));
        if streams.responses_lost {
            streams.some_lost = true;
            state.lost = true;
            state.response.incomplete = true;
        }
        if state.answered {
            self.state.counters.responses_unpaired -= 1;
            self.state.counters.responses_paired += 1;
        }
        match state.over {
            Some((end_ns, outcome)) if state.is_asked() || !is_answer(outcome) => {
                state.end_over(end_ns, outcome, self.state);
            }
            over => {
                self.found.closing |= over.is_some();
                streams.open.insert(stream, state);
            }
        }
        true
    }

    fn response_fields(&mut self, stream: u32, block: &Block, start: u64) {
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
        let node = state.asked.as_ref().and_then(|asked| asked.node);
        let time_ns = self.mark(start).time_ns;
        self.reads_answer(node, time_ns);
    }

    fn over(&mut self, stream: u32, end: u64, outcome: Outcome) {
        let last_ns = self.mark(end.saturating_sub(1)).time_ns;
        let end_ns = if self.at_end { self.now_ns } else { last_ns };
        let Some(streams) = &mut self.exchanges.streams else {
            return;
        };
        let Entry::Occupied(mut entry) = streams.open.entry(stream) else {
            return;
        };
        let state = entry.get_mut();
        let was_over = state.over.is_some();
        state.over.get_or_insert((end_ns, outcome));
        let Some(asked) = &state.asked else {
            return;
        };
        if self.kind == Kind::Client
            && let Some(node) = asked.node
            && self.state.resumptions.answered(node, last_ns)
        {
            self.exchanges.answering.read(node, last_ns);
        }
        if is_answer(outcome) && !was_over && !state.is_asked() {
            self.found.closing = true;
        } else {
            entry.remove().end_over(end_ns, outcome, self.state);
        }
    }
}
