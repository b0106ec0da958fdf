//! Facts of gRPC: its fields, its codes and its messages' framing (gRPC over HTTP/2, gRPC-Web,
//! Connect).

use crate::Piece;
use crate::trace_context::TraceParent;

/// Which protocol a content type names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `application/grpc`
    Grpc,
    /// `application/grpc-web`, `application/grpc-web-text`
    Web,
    /// `application/connect+...`: a stream of Connect. Its unary calls look like any request.
    Connect,
}

/// Which end of a call a span is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    Server,
    Client,
}

/// Counts length-prefixed messages of one direction of a stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct Messages {
    _count: u64,
}

pub fn kind(content_type: &[u8]) -> Option<Kind> {
    let _ = content_type;
    None
}

pub fn is_grpc(content_type: &[u8]) -> bool {
    kind(content_type) == Some(Kind::Grpc)
}

/// Service with its package, and method, of a path `/package.Service/Method`.
pub fn split_path(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let _ = path;
    None
}

/// Canonical name of a status code, as `NOT_FOUND`.
pub fn status_name(code: u32) -> Option<&'static str> {
    let _ = code;
    None
}

/// Whether a span's status is to be Error (OpenTelemetry, semantic conventions for gRPC).
pub fn is_error(code: u32, role: Role) -> bool {
    let _ = (code, role);
    false
}

/// Nanoseconds of a `grpc-timeout`; saturates.
pub fn timeout_ns(value: &[u8]) -> Option<u64> {
    let _ = value;
    None
}

/// The trace context of a `grpc-trace-bin`.
pub fn trace_parent(value: &[u8]) -> Option<TraceParent> {
    let _ = value;
    None
}

// === impl Messages ===

impl Messages {
    /// Takes the next piece of the stream's payload.
    pub fn feed(&mut self, piece: Piece<'_>) {
        let _ = piece;
    }

    /// Whole messages so far; `None` from the moment that a length could not be seen.
    pub fn count(&self) -> Option<u64> {
        None
    }

    /// Bytes of those messages, as sent (compressed, without prefixes).
    pub fn bytes(&self) -> Option<u64> {
        None
    }
}
