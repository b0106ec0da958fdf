//! What leaves the flow: one finished span, before it is put in the terms of any exporter.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use weft_proto::grpc;
use weft_proto::propagation::Propagator;
use weft_proto::trace_context::{SpanId, TraceId};

/// One side of one exchange.
#[derive(Clone, Debug)]
pub struct Span {
    pub trace_id: TraceId,
    pub span_id: SpanId,
    pub parent: Option<SpanId>,
    /// The parent was in another process.
    pub parent_is_remote: bool,
    /// W3C trace flags: bit 0 is sampled.
    pub trace_flags: u8,
    pub trace_state: Option<Bytes>,
    pub kind: Kind,
    pub link: Link,
    pub partial: Partial,
    pub process: Process,
    /// Thread that handled the beginning of the request.
    pub tid: u32,
    /// `CLOCK_MONOTONIC`, ns.
    pub start_ns: u64,
    pub end_ns: u64,
    pub local: Endpoint,
    pub peer: Endpoint,
    pub exchange: Http,
    pub outcome: Outcome,
    /// The exchange was seen inside a TLS library.
    pub tls: bool,
    /// What the hello of its connection said.
    pub hello: Option<Arc<Hello>>,
    /// Who is called, where the daemon knows it; the flow does not.
    pub peer_service: Option<Arc<PeerService>>,
}

/// A service as its own resource names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerService {
    /// Empty: none.
    pub namespace: String,
    pub name: String,
}

/// Of a TLS connection whose beginning was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// The name of the host that the client asked for.
    pub server_name: Option<Box<str>>,
    /// The client offered HTTP/2.
    pub offers_http2: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Server,
    Client,
}

/// How the parent was proved: attribute `weft.link`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Link {
    /// The request carried a `traceparent`.
    TraceParent,
    /// It carried another trace context.
    B3,
    Jaeger,
    XRay,
    /// Both ends of the connection were seen on this node.
    WirePosition,
    /// Sent by a blocking worker that had exactly one live server request.
    Thread,
    /// Sent by the goroutine that had read the server request, or by one that it had created.
    Goroutine,
    /// Sent in the context of CPython, or by the greenlet, in which the server request was read, or in one
    /// that was made there.
    AsyncContext,
    /// Sent by a task to which such a one had handed it over.
    HandOff,
    /// Passed on by an event-loop proxy: the only request that the thread had read, and not answered, that
    /// fits by method and target.
    Forwarded,
    /// No evidence: the span begins a trace.
    None,
}

/// What the span lacks: attribute `weft.partial`, a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Partial {
    /// Bytes of the request's head were not seen.
    pub request_head: bool,
    /// Bytes of the response's head were not seen.
    pub response_head: bool,
    /// The response's end was inferred (next message, idle, end of stream).
    pub end: bool,
    /// TLS: it is not proved which socket carried the exchange.
    pub peer: bool,
}

/// A program in a process: a new one with each `exec`, shared by nobody else even if the pid is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    pub tgid: u32,
    /// Another one for each program and process seen since the agent began.
    pub generation: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Inet(SocketAddr),
    /// Unix socket. Path unknown to the kernel side; the daemon may know it.
    Unix,
    /// Of a TLS session whose socket is not proved.
    Unproved,
}

#[derive(Clone, Debug)]
pub struct Http {
    /// Empty: not known.
    pub method: Bytes,
    /// Request target as sent; HTTP/2: `:path`, or `:authority` of a CONNECT. Empty: not known.
    pub target: Bytes,
    pub version: Version,
    /// HTTP/2: `:authority`.
    pub host: Option<Bytes>,
    pub user_agent: Option<Bytes>,
    /// Index into the configured list of kept headers, and value.
    pub headers: Vec<(u16, Bytes)>,
    /// `None`: no response was seen.
    pub status: Option<u16>,
    pub request_body: Option<u64>,
    pub response_body: Option<u64>,
    /// The exchange is a gRPC call.
    pub call: Option<Call>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    Http10,
    Http11,
    Http2,
}

/// What gRPC adds to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub kind: grpc::Kind,
    /// As the server sent it.
    pub status: Option<u32>,
    /// What the client gave the call, ns.
    pub timeout_ns: Option<u64>,
    /// Messages sent by the client and by the server, as far as they could be counted.
    pub requests: Option<u64>,
    pub responses: Option<u64>,
}

/// How the exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Response complete.
    Complete,
    /// The connection ended before the response was complete.
    ConnectionClosed,
    /// No response, or not the whole, within the idle limit.
    Timeout,
    /// The connection became a tunnel (`101`, `CONNECT`).
    Upgraded,
    /// HTTP/2: one end gave the stream up, with an error code (RFC 9113 §7) if it was seen.
    Reset { by: Kind, code: Option<u32> },
    /// A stream that was still open when its span had to leave.
    Open,
}

/// Streams up to this one were or may have been processed; the others were not (RFC 9113 §8.7).
pub const REFUSED_STREAM: u32 = 7;

impl Call {
    /// Of which nothing else is known yet.
    pub(crate) fn of(kind: grpc::Kind) -> Self {
        Self {
            kind,
            status: None,
            timeout_ns: None,
            requests: None,
            responses: None,
        }
    }
}

impl Link {
    pub fn name(self) -> &'static str {
        match self {
            Self::TraceParent => "traceparent",
            Self::B3 => "b3",
            Self::Jaeger => "jaeger",
            Self::XRay => "xray",
            Self::WirePosition => "wire-position",
            Self::Thread => "thread",
            Self::Goroutine => "goroutine",
            Self::AsyncContext => "async-context",
            Self::HandOff => "hand-off",
            Self::Forwarded => "forwarded",
            Self::None => "none",
        }
    }

    /// Parent and child are in different processes, or may be.
    pub fn crosses_processes(self) -> bool {
        matches!(
            self,
            Self::TraceParent | Self::B3 | Self::Jaeger | Self::XRay | Self::WirePosition
        )
    }

    /// By a trace context that the request carried.
    pub(crate) fn by(propagator: Propagator) -> Self {
        match propagator {
            Propagator::TraceContext => Self::TraceParent,
            Propagator::B3 => Self::B3,
            Propagator::Jaeger => Self::Jaeger,
            Propagator::XRay => Self::XRay,
        }
    }
}
