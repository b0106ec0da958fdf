//! HTTP/1.0 and HTTP/1.1 (RFC 9110, RFC 9112) from one direction of a connection, with gaps.

mod body;
mod candidate;
mod chunked;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod head;
mod parser;
mod reading;
mod side;
pub(crate) mod start_line;
mod tail;
#[cfg(test)]
mod tests;
#[cfg(any(test, feature = "fuzz"))]
mod transcript;

use bytes::Bytes;

use crate::propagation;

pub use parser::{
    Interest, MAX_ALLOCATED, Parser, Request, RequestParser, Response, ResponseParser, Side, Start,
};

/// What one direction of a connection turned out to hold, in stream order.
///
/// A parser calls these; the owner of both directions answers the one question whose answer stands
/// in the other direction.
pub trait Conversation {
    /// A request's head is complete. Its first byte stood at `start`, its last before `end`.
    fn request(&mut self, head: RequestHead, start: u64, end: u64);

    /// A response's head is complete (also of an interim 1xx one). Returns what its body depends
    /// on beside its own fields: the request it answers (of no account for an interim one).
    fn response(&mut self, head: ResponseHead, start: u64, end: u64) -> Answers;

    /// The message whose head was announced last in this direction is complete; `end` is the
    /// offset behind its last byte.
    ///
    /// Exactly one follows each announced head, before the next head of that direction, but for
    /// interim responses (1xx) and for the response that begins a tunnel.
    fn complete(&mut self, end: u64, body: Body);

    /// Bytes that are not HTTP where a head or framing was expected. The parser goes on with the
    /// next call that begins with a start line; messages may pass unseen until then.
    fn malformed(&mut self, at: u64, why: Malformed);

    /// After `101` or a successful `CONNECT`: what follows is not HTTP. The parser takes no more;
    /// the owner stops the other direction's by [`Parser::stop`].
    fn tunnel(&mut self, at: u64);

    /// A gap lay where a head was expected, or in a start line: from `at` on messages may have
    /// passed unseen, until the next head that is announced. Pairing by order ends here.
    fn lost(&mut self, at: u64) {
        let _ = at;
    }
}

/// The request that a response answers, as far as framing cares (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    Head,
    Connect,
    Other,
    /// The request was not seen.
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// As sent, also when it is no registered method.
    pub method: Bytes,
    /// The request target as sent; cut at [`MAX_TARGET`] bytes.
    pub target: Bytes,
    pub version: Version,
    pub fields: Fields,
    /// A piece of the head was not seen: `fields` may lack some.
    pub partial: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    pub version: Version,
    pub status: u16,
    pub fields: Fields,
    pub partial: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Http10,
    Http11,
}

/// The fields of a head that anyone asked for, by lower-case name; see [`Wanted`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    pub host: Option<Bytes>,
    pub user_agent: Option<Bytes>,
    /// Joined by `,` when it came in several lines, which no valid value survives.
    pub traceparent: Option<Bytes>,
    /// Joined by `,` when it came in several lines.
    pub tracestate: Option<Bytes>,
    /// Trace contexts in other formats, in order of appearance.
    pub contexts: Vec<(propagation::Field, Bytes)>,
    /// As announced, when valid.
    pub content_length: Option<u64>,
    pub content_type: Option<Bytes>,
    pub upgrade: Option<Bytes>,
    /// Chosen fields: index into [`Wanted`] and value, in order of appearance.
    pub chosen: Vec<(u16, Bytes)>,
}

/// Lower-case names of the request fields to keep beside the ones that are always kept.
#[derive(Clone, Debug, Default)]
pub struct Wanted(pub std::sync::Arc<[String]>);

/// How much body a message had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Body {
    /// Payload bytes (chunk framing not counted), when known.
    pub bytes: Option<u64>,
    /// The end was not certain: found by the next head, the tail of a call or the end of the
    /// stream instead of the framing.
    pub inferred: bool,
    /// The stream ended before the framing said so.
    pub truncated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("not an HTTP/1 start line")]
    StartLine,
    #[error("malformed field line")]
    Field,
    #[error("head longer than {MAX_HEAD} bytes")]
    TooLong,
    #[error("malformed chunk")]
    Chunk,
    #[error("conflicting or invalid body length")]
    Length,
}

/// Bytes of the end of a call that suffice to see the last chunk.
pub const TAIL_BYTES: usize = 8;
/// Longest head that is parsed, bytes.
pub const MAX_HEAD: usize = 64 * 1024;
/// Longest request target that is kept, bytes.
pub const MAX_TARGET: usize = 8 * 1024;
