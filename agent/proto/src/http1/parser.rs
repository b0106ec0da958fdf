//! One direction of a connection: bytes and gaps in, messages out.

use std::mem;

use memchr::memchr;

use super::body::Body;
use super::chunked::Step;
use super::head::{Collector, Line};
use super::side::{self, Extent, Next, Seen};
use super::start_line::trim_end;
use super::tail::Tail;
use super::{Body as Report, Conversation, MAX_HEAD, Malformed, Wanted};
use crate::Piece;

/// Reads the direction that carries requests.
pub type RequestParser = Parser<Request>;

/// Reads the direction that carries responses.
pub type ResponseParser = Parser<Response>;

/// See [`RequestParser`] and [`ResponseParser`].
///
/// Bound: between calls it holds at most a line (`partial`, up to [`MAX_HEAD`] bytes) and what is
/// kept of a head (again [`MAX_HEAD`]), and neither while no head is being read; a head that comes
/// in one piece is not buffered at all.
#[derive(Debug)]
pub struct Parser<S: Side> {
    wanted: Wanted,
    /// Stream offset behind the bytes taken so far.
    offset: u64,
    /// The next byte is the first of a call.
    at_call_start: bool,
    /// The beginning of a line whose end has not come.
    partial: Vec<u8>,
    tail: Tail,
    phase: Phase<S>,
}

/// Side of [`RequestParser`].
#[derive(Debug)]
pub enum Request {}

/// Side of [`ResponseParser`].
#[derive(Debug)]
pub enum Response {}

/// Where in a conversation a parser begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// A message begins at this stream offset.
    Fresh { offset: u64 },
    /// The connection was joined in the middle: the first call that begins with a whole, valid
    /// start line is where reading begins.
    Joined { offset: u64 },
}

/// Which bytes a parser can make use of next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// The very next ones.
    Now,
    /// Those from this stream offset on; what lies before is counted through, seen or not.
    From(u64),
    /// Of each call the last [`TAIL_BYTES`](super::TAIL_BYTES), and its beginning when that looks
    /// like a start line.
    Tail,
    /// None, ever.
    Never,
}

/// What differs between [`Request`] and [`Response`].
pub trait Side: side::Side {}

impl Side for Request {}
impl Side for Response {}

/// ```text
///           start line        empty line
///  StartLine ──────▶ Fields ────────▶ Body ──▶ Stopped
///   ▲  ▲ │             │              │ │      (tunnel, end of stream)
///   │  │ │             │              │ │
///   │  └─┼─────────────┼── complete ──┘ │
///   │    ▼  malformed  ▼                ▼
///   └── Seek ◀──────────────────────────┘ ended by inference
///   a call begins
/// ```
#[derive(Debug)]
enum Phase<S: Side> {
    /// Where the next head begins is not known; a call's beginning is worth a try.
    Seek,
    StartLine(Candidate),
    Fields(Reading<S>),
    Body(Body),
    Stopped,
}

/// A start line that is expected or tried.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    /// Offset of its first byte.
    start: u64,
    basis: Basis,
    /// Index in `partial` where the present call began.
    call: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Basis {
    /// The message before ended here.
    Framing,
    /// A call begins here, or a message that is not known well ended: to be dropped silently.
    Guess,
}

/// A head whose start line is known.
#[derive(Debug)]
struct Reading<S: Side> {
    start: u64,
    line: S::Line,
    fields: Collector,
    len: usize,
    gap: Gap,
    /// Offset behind what is of the head for sure, or its last gap.
    reached: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gap {
    None,
    /// The bytes up to the next line end are the rest of a line that was not seen.
    MidLine,
    Passed,
}

/// Of a message whose end was not found.
const UNKNOWN: Report = Report {
    bytes: None,
    inferred: true,
    truncated: false,
};

// === impl Parser ===

impl<S: Side> Parser<S> {
    /// `wanted` is of use to requests only.
    pub fn new(wanted: Wanted, start: Start) -> Self {
        let (offset, phase) = match start {
            Start::Fresh { offset } => (offset, Phase::expect(offset, Basis::Framing)),
            Start::Joined { offset } => (offset, Phase::Seek),
        };
        Self {
            wanted,
            offset,
            at_call_start: true,
            partial: Vec::new(),
            tail: Tail::default(),
            phase,
        }
    }

    /// Takes the next piece of the stream. `end_of_call`: it is the last piece of what one socket
    /// call moved (also when records of that call were lost and `piece` is the gap they left).
    pub fn feed<C: Conversation + ?Sized>(
        &mut self,
        piece: Piece<'_>,
        end_of_call: bool,
        conversation: &mut C,
    ) {
        match piece {
            Piece::Bytes(bytes) => self.bytes(bytes, conversation),
            Piece::Gap(len) => self.gap(len, conversation),
        }
        if end_of_call {
            self.end_of_call(conversation);
        }
    }

    /// The direction ended: no piece follows.
    pub fn end_of_stream<C: Conversation + ?Sized>(&mut self, conversation: &mut C) {
        if let Phase::Fields(Reading {
            gap: Gap::MidLine | Gap::Passed,
            ..
        }) = self.phase
        {
            self.announce(self.offset, Extent::WithoutEnd, conversation);
        }
        if let Phase::Body(body) = &self.phase {
            conversation.complete(self.offset, body.at_end_of_stream());
        }
        self.stop();
    }

    /// Takes no more: the other direction turned the connection into a tunnel.
    pub fn stop(&mut self) {
        self.phase = Phase::Stopped;
        self.forget_line();
    }

    /// Stream offset behind the last piece.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    pub fn wants(&self) -> Interest {
        match &self.phase {
            Phase::StartLine(_) | Phase::Fields(_) => Interest::Now,
            Phase::Seek => Interest::Tail,
            Phase::Body(body) => body.wants(self.offset),
            Phase::Stopped => Interest::Never,
        }
    }

    /// A message has begun and is not complete.
    pub fn mid_message(&self) -> bool {
        match &self.phase {
            Phase::StartLine(Candidate {
                basis: Basis::Framing,
                ..
            }) => !self.partial.is_empty(),
            Phase::Fields(_) | Phase::Body(_) => true,
            Phase::StartLine(_) | Phase::Seek | Phase::Stopped => false,
        }
    }

    fn bytes<C: Conversation + ?Sized>(&mut self, mut bytes: &[u8], conversation: &mut C) {
        self.tail.push(bytes);
        while !bytes.is_empty() {
            // Each turn takes bytes or leaves the phase for one that does.
            let taken = match self.phase {
                Phase::Seek => self.seek(bytes),
                Phase::StartLine(candidate) => self.start_line(candidate, bytes, conversation),
                Phase::Fields(_) => self.fields(bytes, conversation),
                Phase::Body(_) => self.body(bytes, conversation),
                Phase::Stopped => bytes.len(),
            };
            if taken > 0 {
                self.skip(taken as u64);
                bytes = &bytes[taken..];
            }
        }
    }

    fn gap<C: Conversation + ?Sized>(&mut self, mut len: u64, conversation: &mut C) {
        self.tail.clear();
        while len > 0 {
            let taken = match &mut self.phase {
                Phase::Body(body) => {
                    let taken = body.gap(len);
                    let body = *body;
                    if body.is_over() {
                        self.complete(self.offset.saturating_add(taken), body, conversation);
                    }
                    taken
                }
                Phase::StartLine(Candidate { start, .. }) => {
                    conversation.lost(*start);
                    self.seek_anew();
                    len
                }
                Phase::Fields(head) => {
                    head.gap = Gap::MidLine;
                    head.reached = self.offset.saturating_add(len);
                    self.forget_line();
                    len
                }
                Phase::Seek | Phase::Stopped => len,
            };
            self.skip(taken);
            len -= taken;
        }
    }

    fn end_of_call<C: Conversation + ?Sized>(&mut self, conversation: &mut C) {
        if let Phase::Fields(Reading {
            gap: Gap::MidLine | Gap::Passed,
            ..
        }) = self.phase
        {
            self.announce(self.offset, Extent::WithoutEnd, conversation);
        }
        if let Phase::Body(body) = &self.phase
            && body.ends_by_tail()
            && self.tail.ends_chunked()
        {
            conversation.complete(self.offset, body.inferred());
            self.seek_anew();
        }
        self.tail.clear();
        self.at_call_start = true;
    }

    fn seek(&mut self, bytes: &[u8]) -> usize {
        if self.at_call_start {
            self.phase = Phase::expect(self.offset, Basis::Guess);
            0
        } else {
            bytes.len()
        }
    }

    fn start_line<C: Conversation + ?Sized>(
        &mut self,
        mut candidate: Candidate,
        bytes: &[u8],
        conversation: &mut C,
    ) -> usize {
        let end = memchr(b'\n', bytes).map(|at| at + 1);
        let taken = end.unwrap_or(bytes.len());
        let mut known = self.partial.len();
        if self.at_call_start {
            candidate.call = known;
        }
        let buffered = known > 0 || end.is_none();
        if buffered {
            self.partial.extend_from_slice(&bytes[..taken]);
        }
        loop {
            let line = if buffered {
                &self.partial
            } else {
                &bytes[..taken]
            };
            let len = line.len();
            match judge::<S>(line, known, end.is_some(), candidate) {
                Judgement::Open => {
                    self.phase = Phase::StartLine(candidate);
                }
                Judgement::Blank => {
                    self.partial.clear();
                    let start = self.offset.saturating_add(taken as u64);
                    self.phase = Phase::StartLine(Candidate {
                        start,
                        call: 0,
                        ..candidate
                    });
                }
                Judgement::Line(line, fields) => {
                    self.phase = Phase::Fields(Reading {
                        start: candidate.start,
                        line,
                        fields,
                        len,
                        gap: Gap::None,
                        reached: self.offset.saturating_add(taken as u64),
                    });
                    self.partial.clear();
                }
                Judgement::Not(why) if candidate.basis == Basis::Framing => {
                    conversation.malformed(candidate.start, why);
                    self.seek_anew();
                }
                Judgement::Not(_) if candidate.call == 0 => self.seek_anew(),
                Judgement::Not(_) => {
                    // Not from there, perhaps from where the present call began.
                    self.partial.drain(..candidate.call);
                    candidate.start = candidate.start.saturating_add(candidate.call as u64);
                    candidate.call = 0;
                    known = 0;
                    continue;
                }
            }
            return taken;
        }
    }

    fn fields<C: Conversation + ?Sized>(&mut self, bytes: &[u8], conversation: &mut C) -> usize {
        let Phase::Fields(head) = &mut self.phase else {
            return 0;
        };
        let wanted: &[String] = if S::CHOSEN { &self.wanted.0 } else { &[] };
        let mut taken = 0;
        while let Some(end) = memchr(b'\n', &bytes[taken..]) {
            let line = &bytes[taken..=taken + end];
            taken += line.len();
            head.len += line.len();
            let end_of_line = self.offset.saturating_add(taken as u64);
            if head.len > MAX_HEAD {
                return self.malformed_head(bytes, Malformed::TooLong, conversation);
            }
            if head.gap == Gap::MidLine {
                head.gap = Gap::Passed;
                head.reached = end_of_line;
                continue;
            }
            let read = if self.partial.is_empty() {
                head.fields.line(trim_end(line), wanted)
            } else {
                self.partial.extend_from_slice(line);
                head.fields.line(trim_end(&self.partial), wanted)
            };
            match (read, head.gap) {
                (Ok(Line::End), gap) => {
                    let extent = if gap == Gap::None {
                        Extent::Whole
                    } else {
                        Extent::WithGap
                    };
                    self.announce(end_of_line, extent, conversation);
                    return taken;
                }
                (Ok(Line::Field), _) | (Ok(Line::Stray), Gap::None) => {
                    head.reached = end_of_line;
                    self.partial.clear();
                }
                (Err(why), Gap::None) => return self.malformed_head(bytes, why, conversation),
                // The head ended in the gap: this is of the body.
                (Ok(Line::Stray) | Err(_), _) => {
                    let end = head.reached;
                    self.announce(end, Extent::WithoutEnd, conversation);
                    return 0;
                }
            }
        }
        let rest = &bytes[taken..];
        head.len += rest.len();
        if head.len > MAX_HEAD {
            return self.malformed_head(bytes, Malformed::TooLong, conversation);
        }
        if head.gap != Gap::MidLine {
            self.partial.extend_from_slice(rest);
        }
        bytes.len()
    }

    fn body<C: Conversation + ?Sized>(&mut self, bytes: &[u8], conversation: &mut C) -> usize {
        let Phase::Body(body) = &mut self.phase else {
            return 0;
        };
        if body.is_doubtful(self.at_call_start) && S::begins(bytes) {
            conversation.complete(self.offset, body.inferred());
            self.phase = Phase::expect(self.offset, Basis::Framing);
            return 0;
        }
        let step = body.bytes(bytes);
        let body = *body;
        match step {
            Step::More => bytes.len(),
            Step::End(taken) => {
                self.complete(self.offset.saturating_add(taken as u64), body, conversation);
                taken
            }
            Step::Malformed(index) => {
                let at = self.offset.saturating_add(index as u64);
                conversation.complete(at, UNKNOWN);
                conversation.malformed(at, Malformed::Chunk);
                self.seek_anew();
                bytes.len()
            }
        }
    }

    /// Ends the phase `Fields`.
    fn announce<C: Conversation + ?Sized>(
        &mut self,
        end: u64,
        extent: Extent,
        conversation: &mut C,
    ) {
        let Phase::Fields(head) = mem::replace(&mut self.phase, Phase::Seek) else {
            return;
        };
        self.forget_line();
        let seen = Seen {
            start: head.start,
            end,
            extent,
        };
        match S::announce(&head.line, head.fields.finish(), seen, conversation) {
            Next::Body(body) if body.is_over() && extent == Extent::WithoutEnd => {
                conversation.complete(end, UNKNOWN);
            }
            Next::Body(body) if body.is_over() => self.complete(end, body, conversation),
            Next::Body(body) => self.phase = Phase::Body(body),
            Next::Head if extent == Extent::Whole => {
                self.phase = Phase::expect(end, Basis::Framing);
            }
            Next::Head => {}
            Next::Tunnel => {
                conversation.tunnel(end);
                self.stop();
            }
            Next::Unframed(why) => {
                conversation.complete(end, UNKNOWN);
                conversation.malformed(end, why);
            }
        }
    }

    /// Ends a body where its framing says.
    fn complete<C: Conversation + ?Sized>(&mut self, end: u64, body: Body, conversation: &mut C) {
        conversation.complete(end, body.complete());
        let basis = if body.is_certain() {
            Basis::Framing
        } else {
            Basis::Guess
        };
        self.phase = Phase::expect(end, basis);
    }

    fn malformed_head<C: Conversation + ?Sized>(
        &mut self,
        bytes: &[u8],
        why: Malformed,
        conversation: &mut C,
    ) -> usize {
        if let Phase::Fields(Reading { start, .. }) = self.phase {
            conversation.malformed(start, why);
        }
        self.seek_anew();
        bytes.len()
    }

    fn seek_anew(&mut self) {
        self.phase = Phase::Seek;
        self.forget_line();
    }

    fn forget_line(&mut self) {
        self.partial = Vec::new();
    }

    fn skip(&mut self, len: u64) {
        self.offset = self.offset.saturating_add(len);
        self.at_call_start = false;
    }
}

// === impl Phase ===

impl<S: Side> Phase<S> {
    fn expect(start: u64, basis: Basis) -> Self {
        Self::StartLine(Candidate {
            start,
            basis,
            call: 0,
        })
    }
}

enum Judgement<L> {
    /// It may yet become one.
    Open,
    /// An empty line, to be passed over (RFC 9112 §2.2).
    Blank,
    Line(L, Collector),
    Not(Malformed),
}

/// Whether `line` is a start line, or begins one if it is not `ended`.
fn judge<S: Side>(
    line: &[u8],
    known: usize,
    ended: bool,
    candidate: Candidate,
) -> Judgement<S::Line> {
    if line.len() > MAX_HEAD {
        return Judgement::Not(Malformed::TooLong);
    }
    // Two calls' ends put together may look like a start line that nobody sent.
    let split = candidate.basis == Basis::Guess && candidate.call > 0;
    if split && !S::may_begin_split(line) {
        return Judgement::Not(Malformed::StartLine);
    }
    if !ended {
        return match S::may_begin(line, known) {
            true => Judgement::Open,
            false => Judgement::Not(Malformed::StartLine),
        };
    }
    let line = trim_end(line);
    if line.is_empty() {
        return Judgement::Blank;
    }
    let mut fields = Collector::new();
    match S::parse(line, &mut fields) {
        Some(line) => Judgement::Line(line, fields),
        None => Judgement::Not(Malformed::StartLine),
    }
}
