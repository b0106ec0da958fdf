//! Requests and responses of one connection, paired by order or, in HTTP/2, by stream.

mod answering;
mod cause;
mod frames;
mod listener;
mod stream;
mod streams;

use std::collections::VecDeque;
use std::sync::Arc;

use smallvec::SmallVec;
use weft_proto::http1::{Answers, Body};

use crate::config::Gaps;
use crate::span::{Hello, Outcome, Process};
use crate::spans::{NodeKey, Reason};
use crate::state::State;

use answering::Answering;
pub(crate) use listener::{Found, GoesOver, Listener};
use streams::Streams;

#[derive(Default)]
pub(crate) struct Exchanges {
    /// In the order of the requests.
    queue: VecDeque<Exchange>,
    /// A response came, and nothing was lost, when more than one request waited for theirs.
    pipelines: bool,
    /// Requests may have passed unseen since the last one that was seen.
    lost_requests: bool,
    /// Responses may have passed unseen since the last one that was seen.
    lost_responses: bool,
    pub(crate) seen: u64,
    /// Of the message that is being read in each direction.
    request: Reading,
    response: Reading,
    /// Came when no request waited.
    early: Option<Early>,
    /// Calls whose responses were read last.
    answering: Answering,
    /// The response in hand goes over to HTTP/2.
    goes_over: bool,
    /// HTTP/2.
    streams: Option<Box<Streams>>,
    /// FastCGI: its requests are the web server's own once more, and only carry causes on.
    pub(crate) without_spans: bool,
    /// TLS: how the connection began.
    pub(crate) hello: Option<Arc<Hello>>,
}

/// A response whose record came before that of its request: another thread reads it before the
/// one that sent the request is back from its call.
#[derive(Clone, Copy)]
struct Early {
    status: u16,
    partial: bool,
    start_ns: u64,
    end: Option<(u64, Body)>,
}

struct Exchange {
    number: u64,
    /// `None`: there are too many.
    node: Option<NodeKey>,
    process: Process,
    /// Who read (server) or sent (client) the beginning of the request.
    tid: u32,
    /// Stands as the live request of that thread.
    live: bool,
    answers: Answers,
    /// Requests may have been lost just before it.
    after_loss: bool,
    /// Its response may have passed unseen.
    unanswered: bool,
}

/// The exchange that the message belongs to whose head was announced last.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Reading {
    #[default]
    Nothing,
    Exchange(u64),
    Early,
}

/// What the direction carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    Requests,
    Responses,
}

// === impl Exchanges ===

impl Exchanges {
    /// The connection speaks HTTP/2.
    pub(crate) fn of_streams(from_beginning: bool) -> Self {
        Self {
            streams: Some(Box::new(Streams::new(from_beginning))),
            ..Self::default()
        }
    }

    pub(crate) fn without_spans() -> Self {
        Self {
            without_spans: true,
            ..Self::default()
        }
    }

    /// The connection goes over to HTTP/2: the request that asked for it is stream 1.
    pub(crate) fn go_over(&mut self, asked: Option<NodeKey>, now_ns: u64) {
        let mut streams = Streams::default();
        streams.go_on_with(asked, now_ns);
        self.streams = Some(Box::new(streams));
    }

    pub(crate) fn has_streams(&self) -> bool {
        self.streams.is_some()
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len() + self.streams.as_ref().map_or(0, |streams| streams.len())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The spans of open exchanges, in the order of the requests; of HTTP/2 with the stream, in any.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (Option<u32>, NodeKey)> + '_ {
        let queue = self.queue.iter().filter_map(|exchange| exchange.node);
        let streams = self.streams.iter().flat_map(|streams| streams.nodes());
        let streams = streams.map(|(stream, node)| (Some(stream), node));
        queue.map(|node| (None, node)).chain(streams)
    }

    /// No response follows.
    pub(crate) fn end_all(&mut self, end_ns: u64, outcome: Outcome, state: &mut State) {
        if let Some(streams) = &mut self.streams {
            streams.end_all(end_ns, outcome, state);
        }
        while let Some(exchange) = self.queue.pop_front() {
            exchange.end(end_ns, outcome, state);
        }
    }

    /// HTTP/2: the client closes the connection, and the server has not.
    pub(crate) fn give_up(&mut self) {
        if let Some(streams) = &mut self.streams {
            streams.give_up();
        }
    }

    /// Streams that are answered end when the rest of their request had time to be seen. True: some still have.
    pub(crate) fn end_answered_streams(&mut self, now_ns: u64, state: &mut State) -> bool {
        let streams = self.streams.as_mut();
        streams.is_some_and(|streams| streams.end_answered(now_ns, state))
    }

    /// Streams that have been open for too long are reported as they stand.
    pub(crate) fn report_long(&mut self, now_ns: u64, state: &mut State) {
        if let Some(streams) = &mut self.streams {
            streams.report_long(now_ns, state);
        }
    }

    pub(crate) fn abandon_all(&mut self, reason: Reason, state: &mut State) {
        if let Some(streams) = &mut self.streams {
            streams.abandon_all(reason, state);
        }
        while let Some(exchange) = self.queue.pop_front() {
            exchange.release(state);
            if let Some(node) = exchange.node {
                state.no_longer_waits(node, 0);
                state.with_spans(|spans, around| spans.abandon(node, reason, around));
            }
        }
    }

    /// Another thread reads more of a request, or in another way: it is no blocking worker's.
    pub(crate) fn read_by(&mut self, tid: u32, blocking: bool, state: &mut State) {
        if let Some(exchange) = self.queue.back_mut()
            && exchange.live
            && (exchange.tid != tid || !blocking)
        {
            exchange.release(state);
            exchange.live = false;
        }
    }

    /// Messages may have passed unseen.
    pub(crate) fn lost(&mut self, reads: Reads) {
        match reads {
            Reads::Requests => self.lost_requests = true,
            Reads::Responses => {
                self.lost_responses = true;
                for exchange in &mut self.queue {
                    exchange.unanswered = true;
                }
            }
        }
    }

    /// Calls of whose responses something was read since `since_ns`.
    pub(crate) fn answering(&self, since_ns: u64) -> SmallVec<[NodeKey; 4]> {
        let mut calls = self.answering.since(since_ns);
        let reading = self.find(self.response);
        let reading = reading.and_then(|index| self.queue[index].node);
        calls.extend(reading.filter(|node| !calls.contains(node)));
        calls
    }

    fn find(&self, reading: Reading) -> Option<usize> {
        let Reading::Exchange(number) = reading else {
            return None;
        };
        self.queue
            .iter()
            .position(|exchange| exchange.number == number)
    }

    fn pipelines_now(&self) -> bool {
        self.queue.len() > 1 && !self.lost_requests && !self.lost_responses
    }

    /// Goes on with what another session has read of the same connection, which wrote nothing: its
    /// object has moved.
    pub(crate) fn continue_from(&mut self, before: Exchanges, state: &mut State) {
        for mut exchange in before.queue.into_iter().rev() {
            exchange.number += self.seen;
            self.queue.push_front(exchange);
        }
        self.seen += before.seen;
        self.lost_requests |= before.lost_requests;
        if let (Some(early), [exchange]) = (self.early.take(), self.queue.make_contiguous()) {
            let number = exchange.number;
            self.answer_early(number, early, state);
        }
    }

    /// A request has been answered before it was seen.
    fn answer_early(&mut self, number: u64, early: Early, state: &mut State) {
        state.counters.responses_unpaired -= 1;
        state.counters.responses_paired += 1;
        let Some(index) = self.find(Reading::Exchange(number)) else {
            return;
        };
        let node = self.queue[index].node;
        if let Some(span) = node.and_then(|node| state.spans.span_mut(node)) {
            span.exchange.status = Some(early.status);
            span.partial.response_head |= early.partial;
        }
        match early.end {
            Some((end_ns, body)) => self.end_answered(index, end_ns, body, state),
            None => self.response = Reading::Exchange(number),
        }
    }

    fn end_answered(&mut self, index: usize, end_ns: u64, body: Body, state: &mut State) {
        let Some(exchange) = self.queue.remove(index) else {
            return;
        };
        if let Some(span) = exchange.node.and_then(|node| state.spans.span_mut(node)) {
            span.exchange.response_body = body.bytes;
            span.partial.end |= body.inferred;
        }
        let outcome = if body.truncated {
            Outcome::ConnectionClosed
        } else {
            Outcome::Complete
        };
        exchange.end(end_ns, outcome, state);
    }

    /// The exchange that a response belongs to which comes now, and how many before it will see
    /// none.
    fn answered(&self, gaps: Gaps) -> (Option<usize>, usize) {
        let waiting = self.queue.len();
        if waiting == 0 {
            return (None, 0);
        }
        if self.pipelines && self.queue.iter().any(|exchange| exchange.after_loss) {
            return (None, waiting);
        }
        if !self.lost_responses {
            return (Some(0), 0);
        }
        let newest = waiting - 1;
        // One at a time: the newest request was sent when all before it were answered. But what
        // was lost may be its response as well, with the request that this one answers.
        let sent_since = self.queue.iter().filter(|exchange| !exchange.unanswered);
        match gaps {
            Gaps::Loss if self.pipelines || sent_since.count() != 1 => (None, waiting),
            Gaps::Loss | Gaps::Sampling => (Some(newest), newest),
        }
    }
}

// === impl Exchange ===

impl Exchange {
    fn release(&self, state: &mut State) {
        if let (true, Some(node)) = (self.live, self.node) {
            state.threads.end(self.process, self.tid, node);
        }
    }

    fn end(self, end_ns: u64, outcome: Outcome, state: &mut State) {
        self.release(state);
        if let Some(node) = self.node {
            state.no_longer_waits(node, end_ns);
            state.with_spans(|spans, around| spans.end(node, end_ns, outcome, around));
        }
    }
}
