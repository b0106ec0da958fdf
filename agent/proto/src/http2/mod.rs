//! HTTP/2 (RFC 9113) from one direction of a connection, with gaps.

mod block;
mod frame;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod guess;
mod hpack;
mod parser;
mod reading;
mod sniff;
#[cfg(test)]
mod tests;
#[cfg(any(test, feature = "fuzz"))]
mod transcript;

use bytes::Bytes;

pub use parser::{MAX_ALLOCATED, Parser};
pub use sniff::sniff;

use crate::{Piece, propagation};

/// Whose bytes a direction carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    Client,
    Server,
}

/// Where in a conversation a parser begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The connection begins at this stream offset: a client's with [`PREFACE`], a server's with
    /// its first frame.
    Preface { offset: u64 },
    /// A frame begins at this stream offset and no field block was sent before.
    Frame { offset: u64 },
    /// The connection was joined in the middle: reading begins with the first call that holds
    /// whole frames, and what the tables hold is not known.
    Joined { offset: u64 },
}

/// What one direction of a connection turned out to hold, in stream order.
pub trait Conversation {
    /// A field block is complete: HEADERS with its CONTINUATIONs. `start` is the offset of the
    /// first byte of the HEADERS frame, `end` that behind the last byte of the block.
    fn fields(&mut self, stream: u32, block: Block, ends: Ends, start: u64, end: u64);

    /// Bytes of a DATA frame, without padding, as they come.
    fn payload(&mut self, stream: u32, piece: Piece<'_>) {
        let _ = (stream, piece);
    }

    /// A DATA frame is over; `bytes` of it were no padding. `None`: how many of them are padding
    /// was not seen, and some that were told to be payload may have been none. `end` is the offset
    /// behind the last of those bytes.
    fn data(&mut self, stream: u32, bytes: Option<u64>, ends: Ends, end: u64);

    /// RST_STREAM; `code`: if it was seen. `at`: offset of the frame's first byte, here and below.
    fn reset(&mut self, stream: u32, code: Option<u32>, at: u64);

    /// GOAWAY: no stream above `last_stream` was or will be processed. Not told when a gap hides it.
    fn go_away(&mut self, last_stream: u32, code: u32, at: u64);

    /// PUSH_PROMISE: the server will answer on stream `promised` a request that nobody sent.
    fn promised(&mut self, stream: u32, promised: u32, at: u64);

    /// Bytes that are no HTTP/2. The parser goes on with the next call that holds whole frames;
    /// what [`lost`](Self::lost) says holds until then.
    fn malformed(&mut self, at: u64, why: Malformed);

    /// From `at` on frames of any kind and of any stream may have passed unseen, until the next
    /// event.
    fn lost(&mut self, at: u64);
}

/// Whether a frame carries END_STREAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// It is the stream's last of this direction.
    Stream,
    No,
}

impl Ends {
    fn of(ends: bool) -> Self {
        if ends { Self::Stream } else { Self::No }
    }
}

/// The fields of a block that anyone asked for; the values are slices of one buffer.
///
/// Of a field that comes more than once the first value is kept, of those that carry a trace context
/// all, joined by `,`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    pub method: Option<Bytes>,
    /// Cut at [`MAX_TARGET`](crate::http1::MAX_TARGET) bytes.
    pub path: Option<Bytes>,
    pub scheme: Option<Bytes>,
    /// Of `:authority`, or of `host` where there is none.
    pub authority: Option<Bytes>,
    /// Of an extended CONNECT (RFC 8441).
    pub protocol: Option<Bytes>,
    pub status: Option<u16>,
    pub user_agent: Option<Bytes>,
    pub content_type: Option<Bytes>,
    pub content_length: Option<u64>,
    pub traceparent: Option<Bytes>,
    pub tracestate: Option<Bytes>,
    /// Trace contexts in other formats.
    pub contexts: Vec<(propagation::Field, Bytes)>,
    /// As sent, see [`timeout_ns`](crate::grpc::timeout_ns).
    pub grpc_timeout: Option<Bytes>,
    /// As sent, see [`trace_parent`](crate::grpc::trace_parent).
    pub grpc_trace_bin: Option<Bytes>,
    pub grpc_status: Option<u32>,
    /// As sent: percent-encoded.
    pub grpc_message: Option<Bytes>,
    /// Chosen fields: index into [`Wanted`](crate::http1::Wanted) and value, in order of
    /// appearance.
    pub chosen: Vec<(u16, Bytes)>,
    /// Fields whose name or value cannot be known: they refer to an entry of the table that was
    /// sent before anything was seen, or in a piece that was lost. Each may be any of the above.
    pub unknown: u32,
    /// Bytes of the block were not seen, or not kept: any field may lack.
    pub partial: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("not the client's connection preface")]
    Preface,
    #[error("frame length that its type does not allow")]
    Length,
    #[error("padding longer than the frame")]
    Padding,
    #[error("stream that the frame's type or sender does not allow")]
    Stream,
    #[error("frame in the middle of a field block, or a continuation of none")]
    Continuation,
    #[error("malformed field block")]
    Compression,
}

/// What a client sends first (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Length of a frame's header, bytes.
pub const FRAME_HEADER: usize = 9;
