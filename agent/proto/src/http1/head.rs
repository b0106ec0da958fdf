//! The field section of a head (RFC 9112 §5), line by line: what was asked for is kept, the rest
//! is dropped as it comes.

use bytes::Bytes;
use memchr::memchr;

use super::start_line::{is_text, is_token};
use super::{Fields, Malformed};
use crate::propagation;

/// Collects what is kept of one head.
///
/// Bound: `kept` grows by no more than the bytes of the head ([`MAX_HEAD`](super::MAX_HEAD)), so a
/// peer cannot make it larger by many or folded lines, `more` by [`MAX_MORE`] elements.
#[derive(Debug)]
pub struct Collector {
    /// Kept values, one behind the other.
    kept: Vec<u8>,
    /// Where the first value of each known name stands in `kept`.
    first: [Option<Span>; NAMES],
    /// Chosen fields, trace contexts, and further values of known names, in order of appearance.
    more: Vec<(Label, Span)>,
    open: Open,
    expects_continue: bool,
    overflown: bool,
}

/// What a line of a head is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// The empty one behind the last field.
    End,
    Field,
    /// Text that is no field; servers differ in whether they ignore it.
    Stray,
}

/// What a whole head amounts to.
#[derive(Debug)]
pub struct Head {
    kept: Bytes,
    pub(super) fields: Fields,
    pub(super) length: Length,
    /// `Expect: 100-continue`: the body may never be sent.
    pub(super) expects_continue: bool,
    /// Fields were left out because they were too many.
    pub(super) overflown: bool,
}

/// What the fields say of the body's length (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    Unsaid,
    Bytes(u64),
    Chunked,
    /// A transfer coding that does not delimit itself.
    Coded,
    Invalid,
}

/// A range of [`Collector::kept`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    len: u32,
}

/// Values of the field whose line came last, which a folded line continues. All of them end where
/// `kept` ends.
#[derive(Clone, Copy, Debug, Default)]
struct Open {
    first: Option<Name>,
    more_from: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Label {
    Known(Name),
    Chosen(u16),
    Context(propagation::Field),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Host,
    UserAgent,
    TraceParent,
    TraceState,
    ContentLength,
    ContentType,
    TransferEncoding,
    Upgrade,
}

const NAMES: usize = 8;
/// Most elements of [`Collector::more`].
const MAX_MORE: usize = 256;
/// Holds what is kept of a usual head.
const USUAL_KEPT: usize = 256;

// === impl Collector ===

impl Collector {
    pub(super) fn new() -> Self {
        Self {
            kept: Vec::with_capacity(USUAL_KEPT),
            first: [None; NAMES],
            more: Vec::new(),
            open: Open::default(),
            expects_continue: false,
            overflown: false,
        }
    }

    /// Takes a line without its end. `wanted`: lower-case names beside the known ones.
    pub(super) fn line(&mut self, line: &[u8], wanted: &[String]) -> Result<Line, Malformed> {
        let Some(first) = line.first() else {
            return Ok(Line::End);
        };
        if !is_text(line) {
            return Err(Malformed::Field);
        }
        if matches!(first, b' ' | b'\t') {
            self.fold(line.trim_ascii());
            return Ok(Line::Field);
        }
        self.close();
        let Some(colon) = memchr(b':', line) else {
            return Ok(Line::Stray);
        };
        let (name, value) = (
            line[..colon].trim_ascii_end(),
            line[colon + 1..].trim_ascii(),
        );
        if name.is_empty() || !name.iter().copied().all(is_token) {
            return Ok(Line::Stray);
        }
        self.field(name, value, wanted);
        Ok(Line::Field)
    }

    pub(super) fn keep(&mut self, value: &[u8]) -> Span {
        let span = Span {
            start: self.kept.len() as u32,
            len: value.len() as u32,
        };
        self.kept.extend_from_slice(value);
        span
    }

    pub(super) fn allocated(&self) -> usize {
        self.kept.capacity() + self.more.capacity() * size_of::<(Label, Span)>()
    }

    pub(super) fn finish(self) -> Head {
        let length = self.length();
        let kept = Bytes::from(self.kept);
        let mut fields = Fields {
            content_length: if let Length::Bytes(bytes) = length {
                Some(bytes)
            } else {
                None
            },
            ..Fields::default()
        };
        for (name, slot) in [
            (Name::Host, &mut fields.host),
            (Name::UserAgent, &mut fields.user_agent),
            (Name::TraceParent, &mut fields.traceparent),
            (Name::TraceState, &mut fields.tracestate),
            (Name::ContentType, &mut fields.content_type),
            (Name::Upgrade, &mut fields.upgrade),
        ] {
            *slot = self.first[name as usize].map(|span| span.of(&kept));
        }
        if !self.more.is_empty() {
            for (name, slot) in [
                (Name::TraceParent, &mut fields.traceparent),
                (Name::TraceState, &mut fields.tracestate),
            ] {
                join(slot, name, &self.more, &kept);
            }
            fields.chosen = self
                .more
                .iter()
                .filter_map(|&(label, span)| match label {
                    Label::Chosen(index) => Some((index, span.of(&kept))),
                    Label::Known(_) | Label::Context(_) => None,
                })
                .collect();
            fields.contexts = self
                .more
                .iter()
                .filter_map(|&(label, span)| match label {
                    Label::Context(field) => Some((field, span.of(&kept))),
                    Label::Known(_) | Label::Chosen(_) => None,
                })
                .collect();
        }
        Head {
            kept,
            fields,
            length,
            expects_continue: self.expects_continue,
            overflown: self.overflown,
        }
    }

    fn field(&mut self, name: &[u8], value: &[u8], wanted: &[String]) {
        let known = Name::of(name);
        let mut span = None;
        if let Some(name) = known {
            let kept = *span.get_or_insert_with(|| self.keep(value));
            match &mut self.first[name as usize] {
                Some(_) => self.push(Label::Known(name), kept),
                first => {
                    *first = Some(kept);
                    self.open.first = Some(name);
                }
            }
        } else if let Some(field) = propagation::Field::of(name) {
            let kept = *span.get_or_insert_with(|| self.keep(value));
            self.push(Label::Context(field), kept);
        }
        for (index, wanted) in (0_u16..).zip(wanted) {
            if name.eq_ignore_ascii_case(wanted.as_bytes()) {
                let kept = *span.get_or_insert_with(|| self.keep(value));
                self.push(Label::Chosen(index), kept);
            }
        }
        self.expects_continue |=
            name.eq_ignore_ascii_case(b"expect") && value.eq_ignore_ascii_case(b"100-continue");
    }

    fn push(&mut self, label: Label, span: Span) {
        if self.more.len() < MAX_MORE {
            self.more.push((label, span));
        } else {
            self.overflown = true;
        }
    }

    /// Continues the last field (obs-fold, RFC 9112 §5.2).
    fn fold(&mut self, value: &[u8]) {
        let Self {
            kept,
            first,
            more,
            open,
            ..
        } = self;
        let first = open.first.and_then(|name| first[name as usize].as_mut());
        let spans = first
            .into_iter()
            .chain(more[open.more_from..].iter_mut().map(|(_, span)| span));
        let mut spans = spans.peekable();
        if spans.peek().is_some() {
            kept.push(b' ');
            kept.extend_from_slice(value);
            spans.for_each(|span| span.len = kept.len() as u32 - span.start);
        }
    }

    /// Ends the last field: what comes is another one.
    fn close(&mut self) {
        self.open = Open {
            first: None,
            more_from: self.more.len(),
        };
    }

    fn length(&self) -> Length {
        // Transfer-Encoding overrides Content-Length.
        let codings = self.values(Name::TransferEncoding).flat_map(members);
        if let Some(last) = codings.last() {
            if last.eq_ignore_ascii_case(b"chunked") {
                return Length::Chunked;
            }
            if !last.eq_ignore_ascii_case(b"identity") {
                return Length::Coded;
            }
        }
        let mut length = Length::Unsaid;
        for value in self
            .values(Name::ContentLength)
            .flat_map(|value| value.split(|&b| b == b','))
        {
            let said = decimal(value.trim_ascii()).map_or(Length::Invalid, Length::Bytes);
            length = if length == Length::Unsaid || length == said {
                said
            } else {
                Length::Invalid
            };
        }
        length
    }

    fn values(&self, name: Name) -> impl Iterator<Item = &[u8]> {
        let more = self
            .more
            .iter()
            .filter(move |(label, _)| *label == Label::Known(name));
        let spans = self.first[name as usize]
            .into_iter()
            .chain(more.map(|&(_, span)| span));
        spans.map(|span| &self.kept[span.range()])
    }
}

// === impl Head ===

impl Head {
    pub(super) fn text(&self, span: Span) -> Bytes {
        span.of(&self.kept)
    }
}

// === impl Span ===

impl Span {
    fn of(self, kept: &Bytes) -> Bytes {
        kept.slice(self.range())
    }

    fn range(self) -> std::ops::Range<usize> {
        self.start as usize..(self.start + self.len) as usize
    }
}

// === impl Name ===

impl Name {
    fn of(name: &[u8]) -> Option<Self> {
        let (text, known): (&[u8], _) = match (name.len(), name[0] | 0x20) {
            (4, b'h') => (b"host", Self::Host),
            (10, b'u') => (b"user-agent", Self::UserAgent),
            (11, b't') => (b"traceparent", Self::TraceParent),
            (10, b't') => (b"tracestate", Self::TraceState),
            (14, b'c') => (b"content-length", Self::ContentLength),
            (12, b'c') => (b"content-type", Self::ContentType),
            (7, b'u') => (b"upgrade", Self::Upgrade),
            (17, b't') => (b"transfer-encoding", Self::TransferEncoding),
            _ => return None,
        };
        name.eq_ignore_ascii_case(text).then_some(known)
    }
}

/// Appends further values of `name` to its first.
fn join(slot: &mut Option<Bytes>, name: Name, more: &[(Label, Span)], kept: &Bytes) {
    let mut more = more
        .iter()
        .filter(|(label, _)| *label == Label::Known(name))
        .peekable();
    if let (Some(value), Some(_)) = (slot, more.peek()) {
        let mut joined = value.to_vec();
        for (_, span) in more {
            joined.push(b',');
            joined.extend_from_slice(&kept[span.range()]);
        }
        *value = joined.into();
    }
}

fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}
