//! One stream of an HTTP/2 connection, from its first fields on.

use weft_proto::grpc::{self, Messages};
use weft_proto::http2::Block;
use weft_proto::propagation::{Fields, Propagator};

use super::listener::Head;
use crate::span::{Call, Http, Kind, Outcome, Span, Version};
use crate::spans::NodeKey;
use crate::state::State;

#[derive(Default)]
pub(super) struct Stream {
    pub(super) asked: Option<Asked>,
    /// A final response head was seen.
    pub(super) answered: bool,
    status: Option<u16>,
    grpc_status: Option<u32>,
    /// What the response's content type says, where the request's did not.
    says: Says,
    /// Fields came behind the response's payload.
    trailers: bool,
    /// Bytes of the response's fields are missing.
    partial: bool,
    /// Fields of the response refer to what is not known.
    unknown: bool,
    /// Frames of the response may have passed unseen.
    pub(super) lost: bool,
    pub(super) response: Payload,
    /// The response is complete, but what the request consists of was not seen yet.
    pub(super) over: Option<(u64, Outcome)>,
}

pub(super) struct Asked {
    /// `None`: there are too many, or it was reported already.
    pub(super) node: Option<NodeKey>,
    pub(super) start_ns: u64,
    pub(super) request: Payload,
    unsure: Unsure,
    call: bool,
}

/// What unknown fields of a request may have been.
#[derive(Clone, Copy, Default)]
pub(super) struct Unsure {
    /// The content type: it may be a gRPC call.
    kind: bool,
    /// A call's time limit.
    limit: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Says {
    #[default]
    Nothing,
    Call(grpc::Kind),
    NoCall,
}

/// What one end has sent on a stream.
#[derive(Clone, Copy, Default)]
pub(super) struct Payload {
    pub(super) bytes: u64,
    /// Some may have passed unseen.
    pub(super) incomplete: bool,
    /// Its last frame was seen.
    pub(super) ended: bool,
    pub(super) messages: Messages,
}

// === impl Asked ===

impl Asked {
    pub(super) fn new(node: NodeKey, start_ns: u64, ended: bool) -> Self {
        Self {
            node: Some(node),
            start_ns,
            request: Payload {
                ended,
                ..Payload::default()
            },
            unsure: Unsure::default(),
            call: false,
        }
    }

    pub(super) fn with(self, unsure: Unsure, call: bool) -> Self {
        Self {
            unsure,
            call,
            ..self
        }
    }
}

// === impl Unsure ===

impl Unsure {
    pub(super) fn of(block: &Block) -> Self {
        let unknown = block.unknown > 0;
        let posts = block.method.as_deref().is_none_or(|name| name == b"POST");
        Self {
            kind: unknown && posts && block.content_type.is_none(),
            limit: unknown && block.grpc_timeout.is_none(),
        }
    }
}

// === impl Stream ===

impl Stream {
    pub(super) fn asked(asked: Asked) -> Self {
        Self {
            asked: Some(asked),
            ..Self::default()
        }
    }

    /// Fields that are no interim response's.
    pub(super) fn respond(&mut self, block: &Block) {
        if !self.answered {
            self.answered = true;
            self.status = block.status;
            let kind = block.content_type.as_deref().map(grpc::kind);
            self.says = match kind {
                Some(Some(kind)) => Says::Call(kind),
                // Who stands between answers a call with a page when it fails.
                Some(None) if block.status == Some(200) => Says::NoCall,
                _ => Says::Nothing,
            };
        } else {
            self.trailers = true;
        }
        self.partial |= block.partial;
        self.unknown |= block.unknown > 0;
        self.grpc_status = block.grpc_status.or(self.grpc_status);
    }

    /// Something of the response's fields is not known.
    fn lacks(&self) -> bool {
        self.status.is_none() || self.is_call() && self.grpc_status.is_none()
    }

    pub(super) fn is_call(&self) -> bool {
        let says_call = matches!(self.says(), Says::Call(grpc::Kind::Grpc));
        says_call || self.asked.as_ref().is_some_and(|asked| asked.call)
    }

    /// Where no content type is known, what was sent: nothing but messages, and trailers behind them.
    fn says(&self) -> Says {
        let asked = self.asked.as_ref();
        let unsure = asked.is_some_and(|asked| asked.unsure.kind && asked.request.is_messages());
        match self.says {
            Says::Nothing if unsure && self.trailers && self.response.is_messages() => {
                Says::Call(grpc::Kind::Grpc)
            }
            says => says,
        }
    }

    /// All that is to come of the request has.
    pub(super) fn is_asked(&self) -> bool {
        self.asked.as_ref().is_some_and(|asked| asked.request.ended)
    }

    pub(super) fn end_over(&self, end_ns: u64, outcome: Outcome, state: &mut State) {
        if let Some(node) = self.asked.as_ref().and_then(|asked| asked.node) {
            let (end_ns, outcome) = self.over.unwrap_or((end_ns, outcome));
            self.end(node, end_ns, outcome, state);
        }
    }

    pub(super) fn end(&self, node: NodeKey, end_ns: u64, outcome: Outcome, state: &mut State) {
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
        let more = !asked.request.ended && is_answer(outcome);
        exchange.request_body = asked.request.total().filter(|_| !more);
        exchange.response_body = self.response.total();
        if exchange.call.is_none() {
            exchange.call = match self.says() {
                Says::Call(kind) => Some(Call::of(kind)),
                _ if self.grpc_status.is_some() => Some(Call::of(grpc::Kind::Grpc)),
                _ => None,
            };
            let unsure = asked.unsure.kind && self.says == Says::Nothing;
            span.partial.request_head |= unsure && exchange.call.is_none();
        }
        if let Some(call) = &mut exchange.call {
            call.status = self.grpc_status;
            call.requests = asked.request.messages.count().filter(|_| !more);
            call.responses = self.response.messages.count();
            // Whether it was given up for being late is not known.
            let given_up = matches!(
                outcome,
                Outcome::Reset {
                    by: Kind::Client,
                    ..
                }
            );
            span.partial.request_head |= given_up && asked.unsure.limit;
        }
        let maybe = self.lost && outcome == Outcome::Complete;
        let unseen = maybe && self.lacks();
        let unknown = self.unknown && self.lacks();
        span.partial.response_head |= self.partial || unknown || unseen;
        let unended = maybe && self.over.is_none();
        span.partial.end |= unseen || unended || outcome == Outcome::Open;
    }
}

/// The server has sent all that it will.
pub(super) fn is_answer(outcome: Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Complete
            | Outcome::Reset {
                by: Kind::Server,
                ..
            }
    )
}

// === impl Payload ===

impl Payload {
    /// All of it was seen, and is messages of gRPC.
    fn is_messages(&self) -> bool {
        !self.incomplete && self.messages.are_whole()
    }

    fn total(&self) -> Option<u64> {
        (!self.incomplete).then_some(self.bytes)
    }
}

// === impl Head ===

impl Head {
    pub(super) fn of_stream(
        stream: u32,
        block: Block,
        start: u64,
        propagators: &[Propagator],
    ) -> Self {
        let kind = block.content_type.as_deref().and_then(grpc::kind);
        let call = kind.map(|kind| Call {
            timeout_ns: block.grpc_timeout.as_deref().and_then(grpc::timeout_ns),
            ..Call::of(kind)
        });
        let carried = Fields {
            traceparent: block.traceparent.as_ref(),
            tracestate: block.tracestate.as_ref(),
            grpc_trace_bin: block.grpc_trace_bin.as_ref(),
            others: &block.contexts,
        };
        let context = carried.context(propagators);
        let target = block.path.or_else(|| {
            let connects = block.method.as_deref() == Some(b"CONNECT");
            block.authority.clone().filter(|_| connects)
        });
        let unknown = block.unknown > 0 && (block.method.is_none() || target.is_none());
        Self {
            context,
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
