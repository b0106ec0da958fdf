//! Spans from the request's head until they leave, and how each finds its trace.
//!
//! ```text
//!                other end seen / grace over
//!   AwaitsWire ──────────────────────────────┐
//!       │ grace over   answered / hold over  │
//!       └─▶ AwaitsPeer ──────────────────────┤
//!                response by the same thread │    parent has its context
//!   AwaitsThread ────────────────────────────┼─▶ AwaitsParent ─▶ context
//!    any response by the thread, or its own │
//!   AwaitsAnswer ────────────────────────────┤
//!                                            └──────────────────▶ (header or none)
//! ```
//! A span leaves when it has ended and has its context. Contexts are handed down as soon as they
//! are known, so that a child needs its parent's node no longer.

mod context;
mod judged;
mod remote;

use std::collections::VecDeque;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use slotmap::{SlotMap, new_key_type};
use smallvec::SmallVec;
use weft_proto::peering::Fingerprint;
use weft_proto::propagation;
use weft_proto::trace_context::SpanId;

use crate::config::Config;
use crate::counters::Counters;
use crate::peers::Peers;
use crate::processes::Processes;
use crate::remote::Remote;
use crate::span::{Kind, Link, Outcome, Process, Span, Version};
use crate::wire::{Position, Positions};

use context::Context;

new_key_type! { pub(crate) struct NodeKey; }

pub(crate) struct Spans {
    nodes: SlotMap<NodeKey, Node>,
    positions: Positions,
    /// Server spans that wait for the other end, by the time they no longer do.
    grace: VecDeque<(u64, NodeKey)>,
    /// Spans that ended without a context, by the time they leave anyhow.
    held: VecDeque<(u64, NodeKey)>,
    /// Of them, those for which another node is asked.
    held_for_peers: VecDeque<(u64, NodeKey)>,
    /// Have left and are listed no longer.
    gone: Vec<NodeKey>,
    pub(crate) ready: VecDeque<Box<Span>>,
    pub(crate) peers: Peers,
    pub(crate) remote: Remote,
    ids: SmallRng,
    /// Of the last tick.
    now_ns: u64,
}

/// Where the drop of a span is counted.
pub(crate) type Reason = fn(&mut Counters) -> &mut u64;

/// What the settling of spans depends on and is counted in.
pub(crate) struct Around<'a> {
    pub(crate) config: &'a Config,
    pub(crate) processes: &'a Processes,
    pub(crate) counters: &'a mut Counters,
}

/// What is known at a request's head.
pub(crate) struct Request {
    /// Ids are filled in when it leaves.
    pub(crate) span: Box<Span>,
    pub(crate) header: Option<Header>,
    pub(crate) position: Option<Position>,
    pub(crate) cause: Option<Cause>,
    /// `false`: it is not reported, what hangs on it hangs on its parent.
    pub(crate) has_span: bool,
}

/// What a request is sent for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cause {
    /// The server request, and how that is known: with `Link::Thread` it depends on who responds.
    Request(NodeKey, Link),
    /// What the thread that has sent it answers next.
    Answered,
    /// It seems to be this server request; the response will show.
    Resumes(Option<NodeKey>),
    /// As `Answered` if that thread reads the response, else as `Resumes`.
    AnsweredOrResumes(NodeKey),
}

/// The trace context a request carried.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    pub(crate) context: propagation::Context,
    pub(crate) author: Author,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Author {
    /// Somebody before, or not known.
    Other,
    /// The sending process, as its own span: that span's ids are taken over.
    Sender,
    /// The kernel programs, for that span.
    Weft,
}

struct Node {
    id: SpanId,
    kind: Kind,
    process: Process,
    header: Option<Header>,
    progress: Progress,
    /// Have this one as parent and wait for its context.
    children: SmallVec<[(NodeKey, Link); 2]>,
    /// Were sent by the thread that read this request; the response will show whether it works
    /// on it.
    thread_children: SmallVec<[NodeKey; 2]>,
    position: Option<Position>,
    /// For agents of other nodes, if there may be such.
    request: Option<Fingerprint>,
    /// The question to them that is not answered yet.
    asked: Option<u32>,
    /// `None`: has left.
    span: Option<Box<Span>>,
    ended: bool,
    abandoned: bool,
    /// `false`: FastCGI.
    has_span: bool,
    /// A logical task may still send requests for it.
    held: bool,
    /// The thread that has sent the request has read the response, too, as one does that waits for it.
    waited_for: bool,
    /// The response has woken the thread that has read the request for which it is sent.
    confirmed: bool,
    /// The thread that has read the request was woken by who has read a response: it may send in passing.
    woken: bool,
    /// What the response goes on with counts as well.
    resumes: bool,
    /// Whether the thread has begun the response that has read the request; `None`: nobody has.
    by_reader: Option<bool>,
}

enum Progress {
    AwaitsWire,
    AwaitsPeer,
    AwaitsThread(NodeKey),
    AwaitsAnswer,
    AwaitsParent(NodeKey),
    Known(Context),
}

/// A server may read a request so long after its client gave up.
const LATE_READ_NS: u64 = 5_000_000_000;

// === impl Spans ===

impl Spans {
    pub(crate) fn new(seed: u64) -> Self {
        let mut ids = SmallRng::seed_from_u64(seed);
        Self {
            remote: Remote::new(ids.random()),
            nodes: SlotMap::with_key(),
            positions: Positions::default(),
            grace: VecDeque::new(),
            held: VecDeque::new(),
            held_for_peers: VecDeque::new(),
            gone: Vec::new(),
            ready: VecDeque::new(),
            peers: Peers::default(),
            ids,
            now_ns: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn begin(&mut self, request: Request, around: &mut Around<'_>) -> Option<NodeKey> {
        around.counters.requests += 1;
        let limits = &around.config.limits;
        if self.nodes.len() >= limits.open_spans {
            around.counters.dropped_full += 1;
            return None;
        }
        let Request {
            span,
            header,
            position,
            cause,
            has_span,
        } = request;
        around.counters.spans_open += 1;
        let (kind, process, start_ns) = (span.kind, span.process, span.start_ns);
        // A TLS session's socket may be proved by the response.
        let waits_for_socket = span.partial.peer && around.config.links.wire_position;
        let id = match &header {
            Some(header) if header.is_own() => header.context.parent.parent_id,
            _ => SpanId(self.random_id()),
        };
        let request = around.config.links.nodes.then(|| fingerprint(&span));
        let key = self.nodes.insert(Node {
            id,
            kind,
            process,
            header,
            progress: Progress::AwaitsWire,
            children: SmallVec::new(),
            thread_children: SmallVec::new(),
            position: None,
            request: request.flatten(),
            asked: None,
            span: Some(span),
            ended: false,
            abandoned: false,
            has_span,
            held: false,
            waited_for: false,
            confirmed: false,
            woken: false,
            resumes: false,
            by_reader: None,
        });
        let other_end = position.and_then(|position| self.meet(key, position, around));
        match kind {
            Kind::Server => {
                if let Some(client) = other_end {
                    self.unlist(client);
                    self.attach(key, client, Link::WirePosition, around);
                } else if self.nodes[key].position.is_some() {
                    let until = start_ns.saturating_add(limits.link_grace_ns);
                    self.grace.push_back((until, key));
                    self.ask(key, start_ns, around);
                } else if !waits_for_socket {
                    self.settle_alone(key, around);
                }
            }
            Kind::Client => {
                match cause.filter(|_| !self.nodes[key].is_its_senders()) {
                    Some(Cause::Request(server, Link::Thread)) => {
                        if let Some(node) = self.nodes.get_mut(server) {
                            node.thread_children.push(key);
                            self.nodes[key].progress = Progress::AwaitsThread(server);
                        } else {
                            self.settle_alone(key, around);
                        }
                    }
                    Some(Cause::Request(server, link)) => self.attach(key, server, link, around),
                    Some(Cause::Answered | Cause::Resumes(_)) => {
                        self.nodes[key].progress = Progress::AwaitsAnswer;
                    }
                    Some(Cause::AnsweredOrResumes(_)) => {
                        self.nodes[key].progress = Progress::AwaitsAnswer;
                        self.nodes[key].resumes = true;
                    }
                    None => self.settle_alone(key, around),
                }
                if let Some(server) = other_end {
                    self.unlist(server);
                    self.attach(server, key, Link::WirePosition, around);
                }
            }
        }
        Some(key)
    }

    /// The other end of a request, or a place in the list where that will find this one.
    fn meet(
        &mut self,
        key: NodeKey,
        position: Position,
        around: &mut Around<'_>,
    ) -> Option<NodeKey> {
        let node = self.nodes.get_mut(key)?;
        let other = self.positions.other_end(node.kind, &position);
        if other.is_none() {
            if self.positions.len() < around.config.limits.wire_positions {
                let start_ns = node.span.as_ref().map_or(0, |span| span.start_ns);
                let kind = node.kind;
                self.positions.list(key, kind, position, start_ns);
                node.position = Some(position);
                self.list_for_peers(key, kind, around);
            } else {
                around.counters.wire_evicted += 1;
            }
        }
        other
    }

    /// Where a request crossed is known only now.
    pub(crate) fn crossed_at(
        &mut self,
        key: NodeKey,
        kind: Kind,
        position: Position,
        around: &mut Around<'_>,
    ) {
        let Some(node) = self.nodes.get(key) else {
            return;
        };
        let knows = matches!(node.progress, Progress::Known(_));
        let late = node.position.is_some() || (kind == Kind::Server && knows);
        if node.kind != kind || late {
            return;
        }
        let start_ns = node.span.as_ref().map_or(0, |span| span.start_ns);
        let Some(other) = self.meet(key, position, around) else {
            if kind == Kind::Server {
                self.ask(key, start_ns, around);
            }
            return;
        };
        self.unlist(other);
        let (client, server) = match kind {
            Kind::Client => (key, other),
            Kind::Server => (other, key),
        };
        self.attach(server, client, Link::WirePosition, around);
    }

    /// To be filled with what the response tells.
    pub(crate) fn span_mut(&mut self, key: NodeKey) -> Option<&mut Span> {
        self.nodes.get_mut(key)?.span.as_deref_mut()
    }

    /// The response has begun, or nothing is known of the request any more.
    pub(crate) fn is_answered(&self, key: NodeKey) -> bool {
        let span = self.nodes.get(key).and_then(|node| node.span.as_ref());
        span.is_none_or(|span| span.exchange.status.is_some())
    }

    pub(crate) fn end(
        &mut self,
        key: NodeKey,
        end_ns: u64,
        outcome: Outcome,
        around: &mut Around<'_>,
    ) {
        // Who would have responded was not seen.
        self.not_by_thread(key, around);
        let away_ns = self.away_linger(key);
        let Some(node) = self.nodes.get_mut(key) else {
            return;
        };
        let Some(span) = &mut node.span else {
            return;
        };
        span.end_ns = end_ns.max(span.start_ns);
        span.outcome = outcome;
        node.ended = true;
        let end_ns = span.end_ns;
        if node.kind == Kind::Client && node.has_span {
            let met = node.position.is_none();
            self.peers.saw(span, met, outcome, around.config.inject);
        }
        if node.kind == Kind::Client && node.position.is_some() {
            let grace_ns = around.config.limits.link_grace_ns;
            let linger = match outcome {
                Outcome::Complete | Outcome::Upgraded => grace_ns.max(away_ns),
                Outcome::ConnectionClosed
                | Outcome::Timeout
                | Outcome::Reset { .. }
                | Outcome::Open => LATE_READ_NS,
            };
            self.positions.expire_at(end_ns.saturating_add(linger), key);
        }
        if matches!(node.progress, Progress::Known(_)) {
            self.leave(key, around);
        } else {
            let until = end_ns.saturating_add(around.config.limits.settle_ns);
            self.held.push_back((until, key));
        }
    }

    /// The span will never be whole.
    pub(crate) fn abandon(&mut self, key: NodeKey, reason: Reason, around: &mut Around<'_>) {
        if let Some(node) = self.nodes.get_mut(key) {
            node.abandoned = true;
        }
        self.not_by_thread(key, around);
        self.force(key, around);
        self.unlist(key);
        let Some(node) = self.nodes.get(key) else {
            return;
        };
        if node.span.is_some() {
            *reason(around.counters) += 1;
            around.counters.spans_open -= 1;
        }
        self.nodes.remove(key);
    }

    pub(crate) fn tick(&mut self, now_ns: u64, around: &mut Around<'_>) {
        self.now_ns = now_ns;
        while let Some((until, key)) = self.grace.front().copied() {
            if until > now_ns {
                break;
            }
            self.grace.pop_front();
            self.give_up_wire(key, around);
        }
        while let Some((until, key)) = self.held.front().copied() {
            if until > now_ns {
                break;
            }
            self.held.pop_front();
            match self.patience(key, around) {
                Some(until) if until > now_ns => self.held_for_peers.push_back((until, key)),
                _ => self.force(key, around),
            }
        }
        while let Some((until, key)) = self.held_for_peers.front().copied() {
            if until > now_ns {
                break;
            }
            self.held_for_peers.pop_front();
            self.force(key, around);
        }
        self.remote.tick(now_ns, around.counters);
        while let Some(question) = self.remote.due(now_ns, around.counters) {
            self.question(question, now_ns, around);
        }
        while let Some(key) = self.positions.expired(now_ns) {
            self.unlist(key);
        }
        for key in self.gone.drain(..) {
            self.nodes.remove(key);
        }
    }

    /// Everything that has ended leaves, everything else is dropped.
    pub(crate) fn finish(&mut self, around: &mut Around<'_>) {
        let keys: Vec<NodeKey> = self.nodes.keys().collect();
        for &key in &keys {
            if self.nodes.get(key).is_some_and(|node| node.ended) {
                self.force(key, around);
            }
        }
        for key in keys {
            self.abandon(key, |counters| &mut counters.dropped_unfinished, around);
        }
    }

    /// The span has ended and has its context.
    fn leave(&mut self, key: NodeKey, around: &mut Around<'_>) {
        let Some(node) = self.nodes.get_mut(key) else {
            return;
        };
        let Progress::Known(context) = &node.progress else {
            return;
        };
        let (has_span, reported) = (node.has_span, node.is_reported(around));
        let Some(mut span) = node.span.take() else {
            return;
        };
        span.trace_id = context.trace_id;
        span.span_id = node.id;
        span.parent = context.parent;
        span.parent_is_remote = context.parent.is_some() && context.link.crosses_processes();
        span.trace_flags = context.flags;
        span.trace_state.clone_from(&context.state);
        span.link = context.link;
        let sampler = around.processes.sampler(span.process);
        let sampler = sampler.unwrap_or(match span.exchange.version {
            Version::Http10 | Version::Http11 => &around.config.sampler,
            Version::Http2 => &around.config.stream_sampler,
        });
        let sampled = sampler.keeps(&span.trace_id, context.parent_flags);
        let lingers = node.position.is_some() || node.held;
        let counters = &mut *around.counters;
        counters.spans_open -= 1;
        if !has_span {
            counters.requests_without_span += 1;
        } else if !reported {
            counters.dropped_self_instrumented += 1;
        } else if !sampled {
            counters.dropped_sampled_out += 1;
        } else if self.ready.len() >= around.config.limits.ready_spans {
            counters.dropped_not_drained += 1;
        } else {
            counters.spans_emitted += 1;
            *match span.link {
                Link::TraceParent => &mut counters.linked_trace_parent,
                Link::B3 => &mut counters.linked_b3,
                Link::Jaeger => &mut counters.linked_jaeger,
                Link::XRay => &mut counters.linked_xray,
                Link::WirePosition => &mut counters.linked_wire_position,
                Link::Thread => &mut counters.linked_thread,
                Link::Goroutine => &mut counters.linked_goroutine,
                Link::AsyncContext => &mut counters.linked_async_context,
                Link::HandOff => &mut counters.linked_hand_off,
                Link::Forwarded => &mut counters.linked_forwarded,
                Link::None => &mut counters.linked_none,
            } += 1;
            self.ready.push_back(span);
        }
        if !lingers {
            self.nodes.remove(key);
        }
    }

    /// Takes it from the wire positions; forgets it if it has left.
    fn unlist(&mut self, key: NodeKey) {
        let Some(node) = self.nodes.get_mut(key) else {
            return;
        };
        if let Some(position) = node.position.take() {
            self.positions.unlist(key, &position);
        }
        if node.span.is_none() && !node.held {
            // Not yet forgotten: who has just found it there still takes its context.
            self.gone.push(key);
        }
    }

    /// It stays, with its context, until it is released.
    pub(crate) fn hold(&mut self, key: NodeKey) {
        if let Some(node) = self.nodes.get_mut(key) {
            node.held = true;
        }
    }

    pub(crate) fn release(&mut self, key: NodeKey) {
        if let Some(node) = self.nodes.get_mut(key) {
            node.held = false;
            if node.span.is_none() && node.position.is_none() {
                self.nodes.remove(key);
            }
        }
    }

    /// Never all zero.
    fn random_id<const N: usize>(&mut self) -> [u8; N] {
        loop {
            let mut id = [0; N];
            self.ids.fill(&mut id[..]);
            if id != [0; N] {
                return id;
            }
        }
    }
}

/// Of what both ends know of a request.
fn fingerprint(span: &Span) -> Option<Fingerprint> {
    if span.partial.request_head {
        return None;
    }
    Fingerprint::of(&span.exchange.method, &span.exchange.target)
}
