//! What differs between requests and responses.

use std::fmt::Debug;

use bytes::Bytes;
use memchr::memchr;

use super::body::{Body, Doubt, Framing};
use super::chunked::Chunks;
use super::head::{Collector, Head, Length, Span};
use super::start_line::{RequestLine, StatusLine, registered, trim_end};
use super::{
    Answers, Conversation, MAX_TARGET, Malformed, Request, RequestHead, Response, ResponseHead,
    Version,
};

pub trait Side: Debug {
    type Line: Debug;

    /// Whether fields are kept by choice.
    const CHOSEN: bool;

    /// Takes a whole start line.
    fn parse(line: &[u8], collector: &mut Collector) -> Option<Self::Line>;

    /// `prefix` may become a start line; of its first `known` bytes that is known.
    fn may_begin(prefix: &[u8], known: usize) -> bool;

    /// `prefix` has no unregistered method.
    fn is_usual(prefix: &[u8]) -> bool;

    /// `bytes` begin with a whole and usual start line.
    fn begins(bytes: &[u8]) -> bool;

    fn announce<C: Conversation + ?Sized>(
        line: &Self::Line,
        head: Head,
        seen: Seen,
        conversation: &mut C,
    ) -> Next;
}

/// Where a head stood, and how much of it was seen.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) extent: Extent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    Whole,
    /// A gap, and behind it the end.
    WithGap,
    /// A gap, in which the end may be.
    WithoutEnd,
}

/// What follows a head.
#[derive(Debug)]
pub enum Next {
    Body(Body),
    /// Another head of the same message.
    Head,
    Tunnel,
    /// Something that cannot be told from the next message.
    Unframed(Malformed),
}

// === impl Request ===

#[derive(Debug)]
pub struct Line {
    method: Result<&'static str, Span>,
    target: Span,
    version: Version,
}

impl Side for Request {
    type Line = Line;
    const CHOSEN: bool = true;

    fn parse(line: &[u8], collector: &mut Collector) -> Option<Line> {
        let RequestLine {
            method,
            target,
            version,
        } = RequestLine::parse(line)?;
        let method = registered(method).ok_or_else(|| collector.keep(method));
        let target = collector.keep(&target[..target.len().min(MAX_TARGET)]);
        Some(Line {
            method,
            target,
            version,
        })
    }

    fn may_begin(prefix: &[u8], known: usize) -> bool {
        RequestLine::may_begin(prefix, known)
    }

    fn is_usual(prefix: &[u8]) -> bool {
        RequestLine::may_be_registered(prefix)
    }

    fn begins(bytes: &[u8]) -> bool {
        Self::is_usual(bytes)
            && memchr(b'\n', bytes)
                .is_some_and(|end| RequestLine::parse(trim_end(&bytes[..=end])).is_some())
    }

    fn announce<C: Conversation + ?Sized>(
        line: &Line,
        head: Head,
        seen: Seen,
        conversation: &mut C,
    ) -> Next {
        let method = match line.method {
            Ok(registered) => Bytes::from_static(registered.as_bytes()),
            Err(span) => head.text(span),
        };
        let next = after_request(&method, &head, seen.extent);
        let head = RequestHead {
            method,
            target: head.text(line.target),
            version: line.version,
            partial: seen.extent != Extent::Whole || head.overflown,
            fields: head.fields,
        };
        conversation.request(head, seen.start, seen.end);
        next
    }
}

fn after_request(method: &[u8], head: &Head, extent: Extent) -> Next {
    let without_body = matches!(
        method,
        b"GET" | b"HEAD" | b"DELETE" | b"OPTIONS" | b"CONNECT" | b"TRACE"
    );
    let framing = match (head.length, extent) {
        _ if method == b"CONNECT" => Framing::None,
        (Length::Unsaid, Extent::Whole) => Framing::None,
        (Length::Unsaid, _) if without_body => Framing::None,
        (Length::Coded | Length::Invalid, Extent::Whole) => {
            return Next::Unframed(Malformed::Length);
        }
        (length, _) => framing(length, extent),
    };
    let doubt = match extent {
        Extent::Whole if head.expects_continue => Doubt::FirstByte,
        Extent::Whole => Doubt::Never,
        Extent::WithGap | Extent::WithoutEnd => Doubt::EachCall,
    };
    Next::Body(Body::new(framing, doubt))
}

// === impl Response ===

impl Side for Response {
    type Line = StatusLine;
    const CHOSEN: bool = false;

    fn parse(line: &[u8], _: &mut Collector) -> Option<StatusLine> {
        StatusLine::parse(line)
    }

    fn may_begin(prefix: &[u8], known: usize) -> bool {
        StatusLine::may_begin(prefix, known)
    }

    fn is_usual(_: &[u8]) -> bool {
        true
    }

    fn begins(bytes: &[u8]) -> bool {
        memchr(b'\n', bytes)
            .is_some_and(|end| StatusLine::parse(trim_end(&bytes[..=end])).is_some())
    }

    fn announce<C: Conversation + ?Sized>(
        line: &StatusLine,
        mut head: Head,
        seen: Seen,
        conversation: &mut C,
    ) -> Next {
        let &StatusLine { version, status } = line;
        let partial = seen.extent != Extent::Whole || head.overflown;
        let fields = std::mem::take(&mut head.fields);
        let response = ResponseHead {
            version,
            status,
            fields,
            partial,
        };
        let answers = conversation.response(response, seen.start, seen.end);
        after_response(status, answers, &head, seen.extent)
    }
}

fn after_response(status: u16, answers: Answers, head: &Head, extent: Extent) -> Next {
    let framing = match (status, answers, head.length, extent) {
        (101, ..) | (200..=299, Answers::Connect, ..) => return Next::Tunnel,
        (100..=199, ..) => return Next::Head,
        (204 | 304, ..) | (_, Answers::Head, ..) => Framing::None,
        (.., Length::Unsaid | Length::Coded, Extent::Whole) => Framing::Close,
        (.., Length::Invalid, Extent::Whole) => return Next::Unframed(Malformed::Length),
        (.., length, extent) => framing(length, extent),
    };
    let doubt = match (extent, answers) {
        (Extent::WithGap | Extent::WithoutEnd, _) => Doubt::EachCall,
        (_, Answers::Unknown) if framing == Framing::Close => Doubt::EachCall,
        (_, Answers::Unknown) => Doubt::FirstByte,
        (Extent::Whole, _) => Doubt::Never,
    };
    Next::Body(Body::new(framing, doubt))
}

fn framing(length: Length, extent: Extent) -> Framing {
    match (length, extent) {
        (Length::Bytes(left), Extent::Whole | Extent::WithGap) => Framing::Length { left },
        (Length::Chunked, Extent::Whole | Extent::WithGap) => Framing::Chunked(Chunks::START),
        (Length::Bytes(bytes), Extent::WithoutEnd) => Framing::Lost {
            announced: Some(bytes),
        },
        _ => Framing::Lost { announced: None },
    }
}
