//! What a parser finds, on its way to the exchanges and spans.

use weft_proto::grpc;
use weft_proto::http1::{self, Answers, Body, Conversation, Malformed, RequestHead, ResponseHead};
use weft_proto::propagation::{Context, Fields, Propagator};
use weft_proto::trace_context::{SpanId, TraceId};

use crate::connection::{Carrier, Mark, Marks, Muted, endpoints};
use crate::forwards::Line;
use crate::record::Ends;
use crate::resumptions::Believed;
use crate::span::{Call, Http, Kind, Link, Outcome, Partial, Process, Span, Version};
use crate::spans::{Author, Cause, Header, NodeKey, Request};
use crate::state::State;

use super::{Early, Exchange, Exchanges, Reading, Reads};

/// Takes what the parser of one direction finds.
pub(crate) struct Listener<'a> {
    pub(crate) cookie: u64,
    pub(crate) kind: Kind,
    pub(crate) reads: Reads,
    pub(crate) carrier: Carrier,
    pub(crate) process: Process,
    pub(crate) exchanges: &'a mut Exchanges,
    /// Of the direction that is being read.
    pub(crate) marks: &'a Marks,
    pub(crate) state: &'a mut State,
    pub(crate) now_ns: u64,
    /// The direction has just ended.
    pub(crate) at_end: bool,
    pub(crate) found: Found,
}

/// What the owner of the connection has to act on.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) malformed: u32,
    /// HTTP/2: a request was seen, so that frames are in step.
    pub(crate) in_step: bool,
    pub(crate) mute: Option<Muted>,
    /// HTTP/2: a stream is answered and waits for the end of its request.
    pub(crate) closing: bool,
    /// Offset up to which everything is read.
    pub(crate) read_to: Option<u64>,
    pub(crate) goes_over: Option<GoesOver>,
}

/// The connection goes over to HTTP/2.
pub(crate) struct GoesOver {
    /// Stream offset of the server's first frame.
    pub(crate) at: u64,
    /// The request that asked for it, which the server answers there.
    pub(crate) asked: Option<NodeKey>,
}

/// A request's head, in whatever version of HTTP it came.
pub(super) struct Head {
    pub(super) http: Http,
    pub(super) partial: bool,
    pub(super) context: Option<Context>,
    /// HTTP/2.
    pub(super) stream: Option<u32>,
    /// Where it begins.
    pub(super) start: u64,
}

/// So much later a request may be seen than its response.
const EARLY_NS: u64 = 10_000_000;

// === impl Listener ===

impl Listener<'_> {
    pub(super) fn mark(&self, offset: u64) -> Mark {
        self.marks.at(offset).copied().unwrap_or(Mark {
            offset,
            time_ns: self.now_ns,
            tid: 0,
            tgid: 0,
            seq: None,
            cipher_len: 0,
            blocking: false,
            work: None,
            forwards: false,
        })
    }

    fn header(&mut self, head: &mut Head, mark: &Mark) -> Option<Header> {
        if let Some(parent) = self.injected(head, mark) {
            return Some(parent);
        }
        let context = head.context.take();
        let context = context.filter(|_| self.state.config.links.trace_parent)?;
        let (parent, ends) = (&context.parent, &self.carrier.ends);
        let author = match self.kind {
            Kind::Server => {
                self.state.incoming.came(self.process, parent, ends);
                Author::Other
            }
            Kind::Client if self.state.is_own_context(self.process, parent, ends) => Author::Sender,
            Kind::Client => Author::Other,
        };
        Some(Header { context, author })
    }

    /// What the kernel programs have written into the request, which carries nothing else.
    fn injected(&mut self, head: &Head, mark: &Mark) -> Option<Header> {
        if self.kind == Kind::Server || head.start != mark.offset {
            return None;
        }
        let parent = self.state.injected.take(self.cookie, mark.seq)?;
        self.state.counters.injected_adopted += 1;
        Some(Header {
            context: Context {
                propagator: Propagator::TraceContext,
                parent,
                decided: true,
                state: None,
            },
            author: Author::Weft,
        })
    }

    /// A request has begun: its span, unless there are too many.
    pub(super) fn begin(
        &mut self,
        mut head: Head,
        mark: &Mark,
        cause: Option<Cause>,
    ) -> Option<NodeKey> {
        match self.kind {
            Kind::Client if is_span_export(&head.http) => self.state.exports_spans(self.process),
            Kind::Client => {}
            Kind::Server => self.state.serves(self.process),
        }
        let header = self.header(&mut head, mark);
        let carrier = Carrier {
            ends: self.state.unix_ends(&self.carrier.ends),
            ..self.carrier
        };
        let wire = self.state.config.links.wire_position;
        let position = wire
            .then(|| carrier.position(self.kind, head.stream, mark, head.start))
            .flatten();
        let request = Request {
            span: self.span(mark, head),
            header,
            position,
            cause,
            has_span: !self.exchanges.without_spans,
        };
        let cause = request.cause;
        let node = self
            .state
            .with_spans(|spans, around| spans.begin(request, around))?;
        let (process, tid) = (self.process, mark.tid);
        let State {
            threads,
            counters,
            resumptions,
            forwards,
            processes,
            ..
        } = &mut *self.state;
        if let Some(Cause::Request(server, Link::Forwarded)) = cause {
            forwards.sent(server, node);
        }
        let is_told_later = match cause {
            Some(Cause::Resumes(sender)) => {
                let believed = match mark.work {
                    Some(work) if work.thread => Believed::Both,
                    _ => Believed::Either,
                };
                let waits = resumptions.sent(node, process, mark.time_ns, sender, believed);
                counters.task_requests_forgotten += u64::from(!waits);
                waits
            }
            Some(Cause::Answered) => threads.calls(process, tid, node, mark.time_ns, counters),
            Some(Cause::AnsweredOrResumes(sender)) => {
                let answers = threads.calls(process, tid, node, mark.time_ns, counters);
                let sender = Some(sender);
                resumptions.sent(node, process, mark.time_ns, sender, Believed::Both) || answers
            }
            // Threads of a JVM may send, and read, in passing.
            Some(Cause::Request(server, Link::Thread)) if mark.work.is_some() => {
                if let Some(entry) = processes.entry_mut(process) {
                    entry.sent = entry.sent.saturating_add(1);
                }
                let sender = Some(server);
                resumptions.sent(node, process, mark.time_ns, sender, Believed::Neither)
            }
            _ => true,
        };
        if !is_told_later {
            self.state
                .with_spans(|spans, around| spans.judged(node, None, around));
        }
        Some(node)
    }

    /// Ids and the end are filled in when they are known.
    fn span(&self, mark: &Mark, head: Head) -> Box<Span> {
        let (local, peer) = endpoints(&self.carrier.ends);
        Box::new(Span {
            trace_id: TraceId([0; 16]),
            span_id: SpanId([0; 8]),
            parent: None,
            parent_is_remote: false,
            trace_flags: 0,
            trace_state: None,
            kind: self.kind,
            link: Link::None,
            partial: Partial {
                request_head: head.partial,
                peer: self.carrier.ends == Ends::Unproved,
                ..Partial::default()
            },
            process: self.process,
            tid: mark.tid,
            start_ns: mark.time_ns,
            end_ns: mark.time_ns,
            local,
            peer,
            exchange: head.http,
            outcome: Outcome::Complete,
            tls: self.carrier.tls,
            hello: self.exchanges.hello.clone(),
            peer_service: None,
        })
    }

    /// The thread that has read the whole head of a server request is on it.
    fn occupy(&mut self, node: NodeKey, mark: &Mark, start: u64, alone: bool) -> bool {
        let State {
            threads,
            counters,
            config,
            processes,
            ..
        } = &mut *self.state;
        if !config.links.thread || mark.tid == 0 {
            return false;
        }
        let (process, tid) = (self.process, mark.tid);
        if !self.marks.blocking_since(start) {
            if let Some(entry) = processes.entry_mut(process) {
                entry.polls = true;
            }
            threads.polls(process, tid, node, counters);
            return false;
        }
        if alone {
            threads.begin(process, tid, self.cookie, node, counters);
        } else {
            // Pipelined, or the end of the one before was not seen: neither is the live one.
            threads.forget(process, tid);
        }
        alone
    }

    fn answer(&mut self, index: usize, head: &ResponseHead, start: u64) {
        let mark = self.mark(start);
        let Some(exchange) = self.exchanges.queue.get_mut(index) else {
            return;
        };
        let Some(node) = exchange.node else {
            return;
        };
        if let Some(span) = self.state.spans.span_mut(node) {
            span.exchange.status = Some(head.status);
            span.partial.response_head |= head.partial;
        }
        if self.kind == Kind::Client {
            if mark.tid == exchange.tid {
                self.state.spans.waited_for(node);
            }
            return self.reads_answer(Some(node), mark.time_ns);
        }
        if mark.tid == 0 || exchange.tid == 0 {
            return;
        }
        let (process, read_by) = (exchange.process, exchange.tid);
        if mark.tid == read_by {
            if exchange.live {
                self.state.works_alone(process);
            }
            self.state
                .with_spans(|spans, around| spans.by_thread(node, around));
        } else {
            exchange.release(self.state);
            exchange.live = false;
            self.state.hand_off(process);
            self.state.threads.leaves(process, read_by, node);
            self.state
                .with_spans(|spans, around| spans.not_by_thread(node, around));
        }
        self.answered_by(mark.tid, process, node, mark.tid == read_by);
    }

    /// Something of a response to this call was read at `time_ns`.
    pub(super) fn reads_answer(&mut self, node: Option<NodeKey>, time_ns: u64) {
        if let Some(node) = node.filter(|_| self.kind == Kind::Client)
            && self.state.resumptions.answered(node, time_ns)
        {
            self.exchanges.answering.read(node, time_ns);
        }
    }

    /// A thread begins the response: what it has sent since the request came, if it waited for each, was for
    /// that.
    fn answered_by(&mut self, tid: u32, process: Process, node: NodeKey, has_read: bool) {
        let State {
            threads,
            processes,
            spans,
            counters,
            ..
        } = &mut *self.state;
        let Some(read_ns) = spans.span_mut(node).map(|span| span.start_ns) else {
            return;
        };
        let answer = threads.answers(process, tid, node, read_ns);
        let Some(entry) = processes.entry_mut(process) else {
            return;
        };
        if answer.has_other_work && !entry.other_work {
            entry.other_work = true;
            counters.processes_other_work += 1;
        }
        let trusted = !entry.other_work;
        let link = if has_read {
            Link::Thread
        } else {
            Link::HandOff
        };
        self.state.with_spans(|spans, around| {
            for (call, for_it) in answer.calls {
                let server = (for_it && trusted).then_some((node, link));
                spans.sender_answers(call, server, around);
            }
        });
    }

    /// Their responses were lost.
    fn end_unanswered(&mut self, count: usize, end_ns: u64) {
        for _ in 0..count {
            let Some(exchange) = self.exchanges.queue.pop_front() else {
                return;
            };
            if let Some(span) = exchange
                .node
                .and_then(|node| self.state.spans.span_mut(node))
            {
                span.partial.response_head = true;
                span.partial.end = true;
            }
            exchange.end(end_ns, Outcome::Complete, self.state);
        }
    }
}

impl Conversation for Listener<'_> {
    fn request(&mut self, head: RequestHead, start: u64, end: u64) {
        self.found.read_to = Some(end);
        let limit = self.state.config.limits.open_exchanges;
        if self.exchanges.len() >= limit {
            self.state.counters.requests += 1;
            self.state.counters.dropped_muted += 1;
            self.exchanges.request = Reading::Nothing;
            self.found.mute = Some(Muted::Pipelining);
            return;
        }
        let mark = self.mark(start);
        let after_loss = std::mem::take(&mut self.exchanges.lost_requests);
        let alone = self.exchanges.is_empty();
        let cause = match self.kind {
            Kind::Client => self.cause(&mark, start, &head.method, &head.target),
            Kind::Server => None,
        };
        let answers = match &head.method[..] {
            b"HEAD" => Answers::Head,
            b"CONNECT" => Answers::Connect,
            _ => Answers::Other,
        };
        let line = mark.forwards.then(|| Line::of(&head.method, &head.target));
        let head = Head::of_http1(head, start, &self.state.config.propagators);
        let node = self.begin(head, &mark, cause);
        let live = match (self.kind, node) {
            (Kind::Server, Some(node)) => self.occupy(node, &mark, start, alone),
            _ => false,
        };
        if let (Kind::Server, Some(node)) = (self.kind, node) {
            self.work_on(node, start, end);
        }
        if let (Kind::Server, Some(line), Some(node)) = (self.kind, line, node) {
            let Self { state, process, .. } = self;
            state.forwards.read(*process, mark.tid, node, line);
        }
        let number = self.exchanges.seen;
        self.exchanges.seen += 1;
        self.exchanges.request = Reading::Exchange(number);
        self.exchanges.queue.push_back(Exchange {
            number,
            node,
            process: self.process,
            tid: mark.tid,
            live,
            answers,
            after_loss,
            unanswered: false,
        });
        if let Some(early) = self.exchanges.early.take()
            && self.kind == Kind::Client
            && alone
            && !after_loss
            && mark.time_ns <= early.start_ns.saturating_add(EARLY_NS)
        {
            self.exchanges.answer_early(number, early, self.state);
        }
    }

    fn response(&mut self, head: ResponseHead, start: u64, end: u64) -> Answers {
        self.found.read_to = Some(end);
        self.state.counters.responses += 1;
        let upgrade = head.fields.upgrade.as_deref();
        self.exchanges.goes_over = head.status == 101 && upgrade == Some(b"h2c");
        if (100..200).contains(&head.status) && head.status != 101 {
            self.state.counters.responses_interim += 1;
            return Answers::Unknown;
        }
        self.exchanges.pipelines |= self.exchanges.pipelines_now();
        let (index, unanswered) = self.exchanges.answered(self.state.config.gaps);
        let time_ns = self.mark(start).time_ns;
        self.end_unanswered(unanswered, time_ns);
        let was_lost = std::mem::take(&mut self.exchanges.lost_responses);
        let Some(index) = index.map(|index| index - unanswered) else {
            self.state.counters.responses_unpaired += 1;
            let may_be_early = unanswered == 0
                && !was_lost
                && match self.kind {
                    // Else it may answer a request that was sent before anything was seen.
                    Kind::Client => self.carrier.from_beginning || self.exchanges.seen > 0,
                    // The session may turn out to be that which has read the request.
                    Kind::Server => self.carrier.ends == Ends::Unproved,
                };
            self.exchanges.early = may_be_early.then_some(Early {
                status: head.status,
                partial: head.partial,
                start_ns: time_ns,
                end: None,
            });
            self.exchanges.response = if may_be_early {
                Reading::Early
            } else {
                Reading::Nothing
            };
            return Answers::Unknown;
        };
        self.state.counters.responses_paired += 1;
        self.answer(index, &head, start);
        let exchange = &self.exchanges.queue[index];
        self.exchanges.response = Reading::Exchange(exchange.number);
        exchange.answers
    }

    fn complete(&mut self, end: u64, body: Body) {
        self.found.read_to = Some(end);
        let reading = match self.reads {
            Reads::Requests => std::mem::take(&mut self.exchanges.request),
            Reads::Responses => std::mem::take(&mut self.exchanges.response),
        };
        let last_ns = self.mark(end.saturating_sub(1)).time_ns;
        let end_ns = if self.at_end { self.now_ns } else { last_ns };
        if let (Reading::Early, Some(early)) = (reading, &mut self.exchanges.early) {
            early.end = Some((end_ns, body));
            return;
        }
        let Some(index) = self.exchanges.find(reading) else {
            return;
        };
        if self.reads == Reads::Requests {
            let node = self.exchanges.queue[index].node;
            if let Some(span) = node.and_then(|node| self.state.spans.span_mut(node)) {
                span.exchange.request_body = body.bytes;
            }
            return;
        }
        let node = self.exchanges.queue[index].node;
        self.reads_answer(node, last_ns);
        self.exchanges.end_answered(index, end_ns, body, self.state);
    }

    fn malformed(&mut self, _at: u64, _why: Malformed) {
        self.state.counters.malformed += 1;
        self.found.malformed += 1;
        self.lost(0);
    }

    fn tunnel(&mut self, at: u64) {
        let end_ns = self.mark(at.saturating_sub(1)).time_ns;
        let reading = std::mem::take(&mut self.exchanges.response);
        let index = self.exchanges.find(reading);
        let exchange = index.and_then(|index| self.exchanges.queue.remove(index));
        if self.exchanges.goes_over {
            if let Some(exchange) = &exchange {
                exchange.release(self.state);
            }
            self.found.goes_over = Some(GoesOver {
                at,
                asked: exchange.and_then(|exchange| exchange.node),
            });
            return;
        }
        if let Some(exchange) = exchange {
            exchange.end(end_ns, Outcome::Upgraded, self.state);
        }
        self.found.mute = Some(Muted::Tunnel);
    }

    fn lost(&mut self, _at: u64) {
        self.exchanges.lost(self.reads);
    }
}

/// A request that carries OTLP traces, over HTTP or over gRPC.
fn is_span_export(http: &Http) -> bool {
    const OTLP_GRPC: &[u8] = b"/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let path = http.target.split(|byte| *byte == b'?').next();
    http.method.as_ref() == b"POST"
        && path.is_some_and(|path| path.ends_with(b"/v1/traces") || path == OTLP_GRPC)
}

// === impl Head ===

impl Head {
    fn of_http1(head: RequestHead, start: u64, propagators: &[Propagator]) -> Self {
        let RequestHead {
            method,
            target,
            version,
            fields,
            partial,
        } = head;
        // Plain gRPC needs HTTP/2.
        let kind = fields.content_type.as_deref().and_then(grpc::kind);
        let call = kind.filter(|kind| *kind != grpc::Kind::Grpc).map(Call::of);
        let carried = Fields {
            traceparent: fields.traceparent.as_ref(),
            tracestate: fields.tracestate.as_ref(),
            grpc_trace_bin: None,
            others: &fields.contexts,
        };
        Self {
            context: carried.context(propagators),
            http: Http {
                method,
                target,
                version: match version {
                    http1::Version::Http10 => Version::Http10,
                    http1::Version::Http11 => Version::Http11,
                },
                host: fields.host,
                user_agent: fields.user_agent,
                headers: fields.chosen,
                status: None,
                request_body: None,
                response_body: None,
                call,
            },
            partial,
            stream: None,
            start,
        }
    }
}
