//! Whether bytes that may be frames are frames: evidence, and events held back until it suffices.

use bytes::Bytes;

use super::reading::{Reading, Trust};
use super::{Block, Conversation, Ends, Malformed, Sender};
use crate::Piece;
use crate::http1::start_line::{is_text, is_token};

/// Reads on from where a frame may begin.
#[derive(Debug)]
pub(super) struct Guess {
    reading: Reading,
    held: Held,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    Open,
    Refuted,
    /// Behind so many bytes.
    Believed(usize),
}

/// Holds back what frames say that are only guessed.
///
/// Bound: frames are taken one by one until [`ENOUGH`] points are reached, and each that says
/// anything is worth one.
#[derive(Debug, Default)]
struct Held {
    events: Vec<Event>,
    refuted: bool,
}

#[derive(Debug)]
enum Event {
    Fields(u32, Box<Block>, Ends, u64, u64),
    /// The bytes themselves are not held back.
    Payload(u32, u64),
    Data(u32, Option<u64>, Ends, u64),
    Reset(u32, Option<u32>, u64),
    GoAway(u32, u32, u64),
    Promised(u32, u32, u64),
}

/// Points that make a guess a fact. A point stands for some 16 bits that chance would have to hit.
pub(super) const ENOUGH: u32 = 4;
/// A call ended where a frame did.
const EXACT: u32 = 2;
/// Of a head that makes sense.
const HEAD: u32 = 3;

/// Points of a field block; `None` if nobody would send it.
pub(super) fn sense(block: &Block, sender: Sender, ends: Ends) -> Option<u32> {
    let request = block.method.is_some()
        || block.path.is_some()
        || block.scheme.is_some()
        || block.protocol.is_some();
    let fits = match sender {
        Sender::Client => block.status.is_none(),
        Sender::Server => !request,
    };
    let method = |method: &Bytes| method.iter().copied().all(is_token) && !method.is_empty();
    let path = |path: &Bytes| matches!(path[..], [b'/', ..] | [b'*']) && is_text(path);
    let text = |text: &Bytes| is_text(text);
    let valid = block.method.as_ref().is_none_or(method)
        && block.path.as_ref().is_none_or(path)
        && block.scheme.as_ref().is_none_or(text)
        && block.authority.as_ref().is_none_or(text)
        && block.user_agent.as_ref().is_none_or(text)
        && block.content_type.as_ref().is_none_or(text)
        && block.status.is_none_or(|status| status < 600);
    if !fits || !valid {
        return None;
    }
    if is_head(block, sender) {
        return Some(HEAD);
    }
    let may_be_head = block.unknown > 0 || block.partial || request;
    (may_be_head || ends == Ends::Stream).then_some(1)
}

pub(super) fn is_head(block: &Block, sender: Sender) -> bool {
    match sender {
        Sender::Client => {
            block.method.is_some() && (block.path.is_some() || block.scheme.is_some())
        }
        Sender::Server => block.status.is_some(),
    }
}

// === impl Guess ===

impl Guess {
    pub(super) fn new(reading: Reading) -> Self {
        Self {
            reading,
            held: Held::default(),
        }
    }

    pub(super) fn is_between_frames(&self) -> bool {
        self.reading.is_between_frames()
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Judgement {
        let mut taken = 0;
        while taken < bytes.len() {
            taken += self.reading.step(&bytes[taken..], &mut self.held);
            if self.held.refuted {
                return Judgement::Refuted;
            }
            if self.reading.points >= ENOUGH {
                return Judgement::Believed(taken);
            }
        }
        Judgement::Open
    }

    /// Whether it is not refuted.
    pub(super) fn gap(&mut self, len: u64) -> bool {
        self.reading.gap(len, &mut self.held);
        !self.held.refuted
    }

    /// Whether it is believed.
    pub(super) fn end_of_call(&mut self) -> bool {
        if self.is_between_frames() {
            self.reading.points += EXACT;
        }
        self.reading.points >= ENOUGH
    }

    /// It was right.
    pub(super) fn tell<C: Conversation + ?Sized>(mut self, conversation: &mut C) -> Reading {
        for event in self.held.events {
            match event {
                Event::Fields(stream, block, ends, start, end) => {
                    conversation.fields(stream, *block, ends, start, end);
                }
                Event::Payload(stream, len) => conversation.payload(stream, Piece::Gap(len)),
                Event::Data(stream, bytes, ends, end) => {
                    conversation.data(stream, bytes, ends, end);
                }
                Event::Reset(stream, code, at) => conversation.reset(stream, code, at),
                Event::GoAway(last_stream, code, at) => {
                    conversation.go_away(last_stream, code, at);
                }
                Event::Promised(stream, promised, at) => {
                    conversation.promised(stream, promised, at);
                }
            }
        }
        self.reading.trust = Trust::Known;
        self.reading
    }

    /// Bytes of memory beside the value itself, but for kept values.
    pub(super) fn allocated(&self) -> usize {
        let events = &self.held.events;
        let blocks = events
            .iter()
            .filter(|event| matches!(event, Event::Fields(..)))
            .count();
        self.reading.allocated()
            + events.capacity() * size_of::<Event>()
            + blocks * size_of::<Block>()
    }
}

impl Conversation for Held {
    fn fields(&mut self, stream: u32, block: Block, ends: Ends, start: u64, end: u64) {
        self.events
            .push(Event::Fields(stream, Box::new(block), ends, start, end));
    }

    fn payload(&mut self, stream: u32, piece: Piece<'_>) {
        let more = match piece {
            Piece::Bytes(bytes) => bytes.len() as u64,
            Piece::Gap(len) => len,
        };
        if let Some(Event::Payload(_, len)) = self.events.last_mut() {
            *len += more;
        } else {
            self.events.push(Event::Payload(stream, more));
        }
    }

    fn data(&mut self, stream: u32, bytes: Option<u64>, ends: Ends, end: u64) {
        self.events.push(Event::Data(stream, bytes, ends, end));
    }

    fn reset(&mut self, stream: u32, code: Option<u32>, at: u64) {
        self.events.push(Event::Reset(stream, code, at));
    }

    fn go_away(&mut self, last_stream: u32, code: u32, at: u64) {
        self.events.push(Event::GoAway(last_stream, code, at));
    }

    fn promised(&mut self, stream: u32, promised: u32, at: u64) {
        self.events.push(Event::Promised(stream, promised, at));
    }

    fn malformed(&mut self, _: u64, _: Malformed) {
        self.refuted = true;
    }

    fn lost(&mut self, _: u64) {
        self.refuted = true;
    }
}
