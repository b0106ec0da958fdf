//! A gRPC call in the terms of OpenTelemetry's semantic conventions (RPC, stable since 1.45).

use std::{borrow::Cow, fmt::Write as _};

use weft_flow::span::{Call, Kind, Outcome, Span};
use weft_proto::grpc;

use super::semantic::{Attributes, Status, text};

/// Codes that a client library makes up by itself (gRPC, "Status codes and their use").
mod code {
    pub(super) const CANCELLED: u32 = 1;
    pub(super) const UNKNOWN: u32 = 2;
    pub(super) const DEADLINE_EXCEEDED: u32 = 4;
    pub(super) const PERMISSION_DENIED: u32 = 7;
    pub(super) const RESOURCE_EXHAUSTED: u32 = 8;
    pub(super) const UNIMPLEMENTED: u32 = 12;
    pub(super) const INTERNAL: u32 = 13;
    pub(super) const UNAVAILABLE: u32 = 14;
    pub(super) const UNAUTHENTICATED: u32 = 16;
}

/// Error codes of HTTP/2 (RFC 9113 §7).
mod reset {
    pub(super) const REFUSED_STREAM: u32 = weft_flow::span::REFUSED_STREAM;
    pub(super) const CANCEL: u32 = 8;
    pub(super) const ENHANCE_YOUR_CALM: u32 = 11;
    pub(super) const INADEQUATE_SECURITY: u32 = 12;
}

/// `package.Service/Method`; `None`: the path was not seen.
pub(super) fn method(span: &Span) -> Option<Cow<'_, str>> {
    let path = span.exchange.target.strip_prefix(b"/")?;
    (!path.is_empty()).then(|| text(path))
}

pub(super) fn attributes(span: &Span, call: &Call, out: &mut impl Attributes) {
    let system = match call.kind {
        grpc::Kind::Grpc | grpc::Kind::Web => "grpc",
        grpc::Kind::Connect => "connectrpc",
    };
    out.text("rpc.system.name", system);
    if let Some(method) = method(span) {
        out.text("rpc.method", &method);
    }
    if let Some(code) = code(span, call) {
        match grpc::status_name(code) {
            Some(name) => out.text("rpc.response.status_code", name),
            None => {
                let mut number = String::new();
                let _ = write!(number, "{code}");
                out.text("rpc.response.status_code", &number);
            }
        }
    }
    let messages = [
        ("weft.rpc.request.messages", call.requests),
        ("weft.rpc.response.messages", call.responses),
    ];
    for (key, count) in messages {
        if let Some(count) = count {
            out.int(key, i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}

/// `None`: the call's end was not seen, or does not tell.
pub(super) fn status(span: &Span, call: &Call) -> Option<Status> {
    let role = match span.kind {
        Kind::Server => grpc::Role::Server,
        Kind::Client => grpc::Role::Client,
    };
    code(span, call).map(|code| {
        if grpc::is_error(code, role) {
            Status::Error
        } else {
            Status::Unset
        }
    })
}

pub(super) fn status_name(span: &Span, call: &Call) -> Option<&'static str> {
    code(span, call).and_then(grpc::status_name)
}

/// The status as the server sent it, else as the client's library or the server's handler was told.
fn code(span: &Span, call: &Call) -> Option<u32> {
    if call.status.is_some() || call.kind != grpc::Kind::Grpc {
        return call.status;
    }
    match (span.outcome, span.exchange.status) {
        (Outcome::Reset { by, code }, _) => of_reset(span, call, by, code),
        (Outcome::ConnectionClosed, _) => Some(match span.kind {
            Kind::Server => code::CANCELLED,
            Kind::Client => code::UNAVAILABLE,
        }),
        (Outcome::Complete, Some(status)) if status != 200 => Some(of_http(status)),
        _ => None,
    }
}

/// `None`: it was given up, and whether for its time limit is not known.
fn of_reset(span: &Span, call: &Call, by: Kind, reset: Option<u32>) -> Option<u32> {
    Some(match reset.unwrap_or(reset::CANCEL) {
        reset::CANCEL if call.timeout_ns.is_none() && span.partial.request_head => return None,
        reset::CANCEL if by == Kind::Client && is_late(span, call) => code::DEADLINE_EXCEEDED,
        reset::CANCEL => code::CANCELLED,
        reset::REFUSED_STREAM => code::UNAVAILABLE,
        reset::ENHANCE_YOUR_CALM => code::RESOURCE_EXHAUSTED,
        reset::INADEQUATE_SECURITY => code::PERMISSION_DENIED,
        _ => code::INTERNAL,
    })
}

/// The deadline was set before the request was sent, and what is sent of it is rounded up (to a hundredth by gRPC's C++ core).
fn is_late(span: &Span, call: &Call) -> bool {
    const SENDING_NS: u64 = 2_000_000;
    let took = span.end_ns.saturating_sub(span.start_ns);
    call.timeout_ns
        .is_some_and(|limit| took.saturating_add(limit / 32 + SENDING_NS) >= limit)
}

/// gRPC, "HTTP to gRPC status code mapping".
fn of_http(status: u16) -> u32 {
    match status {
        400 => code::INTERNAL,
        401 => code::UNAUTHENTICATED,
        403 => code::PERMISSION_DENIED,
        404 => code::UNIMPLEMENTED,
        429 | 502 | 503 | 504 => code::UNAVAILABLE,
        _ => code::UNKNOWN,
    }
}
