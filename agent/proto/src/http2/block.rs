//! A field block on its way out of the decoder: what was asked for is kept, the rest dropped.

use std::ops::Range;

use bytes::Bytes;

use super::Block;
use super::hpack::{Field, KEPT_FIELDS, Label};
use crate::http1::MAX_TARGET;
use crate::http1::start_line::is_token;

/// Collects what is kept of one block.
///
/// Bound: kept values have [`MAX_KEPT`] bytes together, however often a short index repeats a long
/// value, and `more` has [`MAX_MORE`] elements.
#[derive(Debug, Default)]
pub(super) struct Collector {
    /// Kept values, one behind the other; behind them the string that is being decoded.
    buffer: Vec<u8>,
    /// Where the first value of each kept name stands in `buffer`.
    first: [Option<Span>; KEPT_FIELDS],
    /// Chosen fields, and further values of those that carry a trace context, in order of appearance.
    more: Vec<(More, Span)>,
    unknown: u32,
    /// Bits of kept names of which a value is not known.
    lacking: u32,
    partial: bool,
    /// No sender that keeps the rules would send it.
    pub(super) odd: bool,
    /// A field has come that is no pseudo-field.
    regular: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum More {
    Chosen(u16),
    /// Joined to the first value.
    Joined(Field),
}

/// A range of [`Collector::buffer`].
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    len: u32,
}

const CONTEXTS: [Field; 7] = [
    Field::B3,
    Field::B3TraceId,
    Field::B3SpanId,
    Field::B3Sampled,
    Field::B3Flags,
    Field::UberTraceId,
    Field::AmznTraceId,
];
/// Most bytes of kept values of a block.
const MAX_KEPT: usize = 64 * 1024;
/// Most elements of [`Collector::more`].
const MAX_MORE: usize = 256;
/// More memory is given back behind a block, bytes.
const USUAL_BUFFER: usize = 1024;
/// Most memory that a collector holds beside itself, bytes. One more value may stand behind the
/// kept ones: of the table, or decoded.
pub(super) const MAX_ALLOCATED: usize =
    2 * (2 * MAX_KEPT + 8 * 1024) + 2 * MAX_MORE * size_of::<(More, Span)>();

// === impl Collector ===

impl Collector {
    /// Takes a field whose value comes in two parts.
    pub(super) fn field(&mut self, label: Label, first: &[u8], second: &[u8]) {
        if !label.is_kept() {
            self.unknown(label);
            return;
        }
        let start = self.begin();
        self.buffer.extend_from_slice(first);
        self.buffer.extend_from_slice(second);
        self.end(label, start);
    }

    /// Takes a field whose name or value is not known. It counts if anyone might have asked for it.
    pub(super) fn unknown(&mut self, label: Label) {
        self.judge(label);
        if label.is_kept() || label.field == Field::Unknown {
            self.unknown = self.unknown.saturating_add(1);
            self.lacking |= 1 << label.field as u32;
        }
    }

    /// A string follows: it is to be appended to [`buffer`](Self::buffer).
    pub(super) fn begin(&self) -> usize {
        self.buffer.len()
    }

    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// The string that began at `start` was a name.
    pub(super) fn end_name(&mut self, start: usize) {
        let name = &self.buffer[start..];
        let token = name.strip_prefix(b":").unwrap_or(name);
        self.odd |= token.is_empty()
            || !token
                .iter()
                .all(|&byte| is_token(byte) && !byte.is_ascii_uppercase());
        self.buffer.truncate(start);
    }

    /// The string that began at `start` was the value of a field.
    pub(super) fn end(&mut self, label: Label, start: usize) {
        let len = (self.buffer.len() - start) as u32;
        self.judge(label);
        if label.field == Field::Unknown {
            self.unknown = self.unknown.saturating_add(1);
        }
        let span = Span {
            start: start as u32,
            len,
        };
        let keeps = label.is_kept() && {
            let fits = self.buffer.len() <= MAX_KEPT;
            self.partial |= !fits;
            fits && self.keep(label, span)
        };
        if !keeps {
            self.buffer.truncate(start);
        }
    }

    /// Bytes of the block were not seen.
    pub(super) fn cut(&mut self) {
        self.partial = true;
    }

    /// Bytes of memory beside the collector itself, never more than [`MAX_ALLOCATED`].
    pub(super) fn allocated(&self) -> usize {
        self.buffer.capacity() + self.more.capacity() * size_of::<(More, Span)>()
    }

    /// The block is over; what comes is another one.
    pub(super) fn finish(&mut self) -> Block {
        let kept = Bytes::copy_from_slice(&self.buffer);
        let span = |field: Field| {
            self.first[field as usize].filter(|_| self.lacking & 1 << field as u32 == 0)
        };
        let text = |field: Field| span(field).map(|span| kept.slice(span.range()));
        let digits = |field: Field| span(field).map(|span| &self.buffer[span.range()]);
        let joined = |field| {
            let first = text(field)?;
            let mut more = self
                .more
                .iter()
                .filter(|&&(more, _)| more == More::Joined(field))
                .peekable();
            if more.peek().is_none() {
                return Some(first);
            }
            let mut joined = first.to_vec();
            for (_, span) in more {
                joined.push(b',');
                joined.extend_from_slice(&kept[span.range()]);
            }
            Some(joined.into())
        };
        let is_complete = self.unknown == 0 && !self.partial;
        let host = || text(Field::Host).filter(|_| is_complete);
        let chosen = |&(more, span): &(More, Span)| match more {
            More::Chosen(index) => Some((index, kept.slice(span.range()))),
            More::Joined(_) => None,
        };
        let block = Block {
            method: text(Field::Method),
            path: text(Field::Path).map(|mut path| {
                path.truncate(MAX_TARGET);
                path
            }),
            scheme: text(Field::Scheme),
            authority: text(Field::Authority).or_else(host),
            protocol: text(Field::Protocol),
            status: digits(Field::Status).and_then(|status| match status {
                [b'1'..=b'9', _, _] => number(status)?.try_into().ok(),
                _ => None,
            }),
            user_agent: text(Field::UserAgent),
            content_type: text(Field::ContentType),
            content_length: digits(Field::ContentLength).and_then(number),
            traceparent: joined(Field::TraceParent),
            tracestate: joined(Field::TraceState),
            contexts: CONTEXTS
                .into_iter()
                .filter_map(|field| Some((field.context()?, joined(field)?)))
                .collect(),
            grpc_timeout: text(Field::GrpcTimeout),
            grpc_trace_bin: text(Field::GrpcTraceBin),
            grpc_status: digits(Field::GrpcStatus).and_then(|code| number(code)?.try_into().ok()),
            grpc_message: text(Field::GrpcMessage),
            chosen: self.more.iter().filter_map(chosen).collect(),
            unknown: self.unknown,
            partial: self.partial,
        };
        self.clear();
        block
    }

    /// Drops what there is of the block.
    pub(super) fn clear(&mut self) {
        let (mut buffer, mut more) = (
            std::mem::take(&mut self.buffer),
            std::mem::take(&mut self.more),
        );
        buffer.clear();
        buffer.shrink_to(USUAL_BUFFER);
        more.clear();
        more.shrink_to(0);
        *self = Self {
            buffer,
            more,
            ..Self::default()
        };
    }

    /// Whether anything refers to it now.
    fn keep(&mut self, label: Label, span: Span) -> bool {
        let mut refers = false;
        let mut again = false;
        if let Some(first) = self.first.get_mut(label.field as usize) {
            again = first.is_some();
            if !again {
                *first = Some(span);
                refers = true;
            }
        }
        let joins = again && label.field.is_context();
        let joined = joins.then_some(More::Joined(label.field));
        for more in label.chosen().map(More::Chosen).into_iter().chain(joined) {
            if self.more.len() < MAX_MORE {
                self.more.push((more, span));
                refers = true;
            } else {
                self.partial = true;
            }
        }
        refers
    }

    fn judge(&mut self, label: Label) {
        if label.field.is_pseudo() {
            let again = self
                .first
                .get(label.field as usize)
                .is_some_and(Option::is_some);
            self.odd |= self.regular || again || label.field == Field::Pseudo;
        } else if label.field != Field::Unknown {
            self.regular = true;
        }
    }
}

// === impl Span ===

impl Span {
    fn range(self) -> Range<usize> {
        self.start as usize..(self.start + self.len) as usize
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}
