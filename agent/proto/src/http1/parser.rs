//! One direction of a connection: bytes and gaps in, messages out.

use std::mem;

use super::body::Body;
use super::candidate::{Basis, Candidate, Trial};
use super::chunked::Step;
use super::reading::{Progress, Reading};
use super::side::{self, Extent, Next};
use super::tail::Tail;
use super::{Body as Report, Conversation, MAX_HEAD, Malformed, Wanted};
use crate::Piece;

/// Reads the direction that carries requests.
pub type RequestParser = Parser<Request>;

/// Reads the direction that carries responses.
pub type ResponseParser = Parser<Response>;

/// See [`RequestParser`] and [`ResponseParser`].
///
/// While no head is being read it holds no memory beside itself; a head that comes in one piece is
/// not buffered at all. Whatever a peer sends, [`MAX_ALLOCATED`] bounds it.
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
    /// The connection was joined in the middle: reading begins with the first call that begins with
    /// a whole, valid start line (of a request: with a registered method).
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

/// Most memory a parser holds beside itself, bytes: a line and what is kept of a head, each up to
/// [`MAX_HEAD`] bytes in a vector that doubled, and the places of kept fields.
pub const MAX_ALLOCATED: usize = 4 * MAX_HEAD + 8 * 1024;

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
        if let Phase::Fields(head) = &self.phase
            && head.has_gap()
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

    /// Bytes of memory beside the parser itself, never more than [`MAX_ALLOCATED`].
    pub fn allocated(&self) -> usize {
        let head = if let Phase::Fields(head) = &self.phase {
            head.allocated()
        } else {
            0
        };
        self.partial.capacity() + head
    }

    fn bytes<C: Conversation + ?Sized>(&mut self, mut bytes: &[u8], conversation: &mut C) {
        self.tail.push(bytes);
        while !bytes.is_empty() {
            // Each turn takes bytes or leaves the phase for one that does.
            let taken = match self.phase {
                Phase::Seek => self.seek(bytes),
                Phase::StartLine(_) => self.start_line(bytes, conversation),
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
                    head.gap(self.offset.saturating_add(len));
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
        if let Phase::Fields(head) = &self.phase
            && head.has_gap()
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
        bytes: &[u8],
        conversation: &mut C,
    ) -> usize {
        let Phase::StartLine(candidate) = &mut self.phase else {
            return 0;
        };
        let (at_call_start, partial) = (self.at_call_start, &mut self.partial);
        let (taken, trial) = candidate.bytes(bytes, self.offset, at_call_start, partial);
        match trial {
            Trial::Open => {}
            Trial::Head(head) => self.phase = Phase::Fields(head),
            Trial::Not(why) => {
                if candidate.basis == Basis::Framing {
                    conversation.malformed(candidate.start, why);
                }
                self.seek_anew();
            }
        }
        taken
    }

    fn fields<C: Conversation + ?Sized>(&mut self, bytes: &[u8], conversation: &mut C) -> usize {
        let Phase::Fields(head) = &mut self.phase else {
            return 0;
        };
        let wanted: &[String] = if S::CHOSEN { &self.wanted.0 } else { &[] };
        match head.bytes(bytes, self.offset, &mut self.partial, wanted) {
            Progress::Open => bytes.len(),
            Progress::End(taken, extent) => {
                let end = self.offset.saturating_add(taken as u64);
                self.announce(end, extent, conversation);
                taken
            }
            Progress::EndedBefore => {
                let end = head.reached();
                self.announce(end, Extent::WithoutEnd, conversation);
                0
            }
            Progress::Malformed(why) => {
                conversation.malformed(head.start(), why);
                self.seek_anew();
                bytes.len()
            }
        }
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
        match head.announce(end, extent, conversation) {
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
        Self::StartLine(Candidate::new(start, basis))
    }
}
