//! One direction of a connection: bytes and gaps in, frames and field blocks out.

use super::guess::{Guess, Judgement};
use super::reading::{Phase, Reading};
use super::{Conversation, Sender, Start, block, hpack};
use crate::Piece;
use crate::http1::{Interest, Wanted};

/// Reads one direction.
///
/// Beside the sender's own table of fields, as far as anyone asked for their values, it holds no
/// more than what is kept of one block. Whatever a peer sends, [`MAX_ALLOCATED`] bounds it.
#[derive(Debug)]
pub struct Parser {
    reading: Reading,
    /// While it is out of step: what was read since calls began that may be in step, oldest first.
    guesses: Vec<Guess>,
    /// The next byte is the first of a call.
    at_call_start: bool,
    stopped: bool,
}

/// Most memory a parser holds beside itself, bytes.
pub const MAX_ALLOCATED: usize =
    (1 + MAX_GUESSES) * (hpack::MAX_ALLOCATED + block::MAX_ALLOCATED + 16 * 1024);
/// A guess may take payload for a long frame and wait for its end, while another is right.
const MAX_GUESSES: usize = 4;

// === impl Parser ===

impl Parser {
    /// `wanted`: names of fields to keep beside the ones that are always kept.
    pub fn new(sender: Sender, wanted: Wanted, start: Start) -> Self {
        let (offset, phase) = match (start, sender) {
            (Start::Preface { offset }, Sender::Client) => (offset, Phase::Preface { come: 0 }),
            (Start::Preface { offset } | Start::Frame { offset }, _) => (offset, Phase::HEADER),
            (Start::Joined { offset }, _) => (offset, Phase::Out),
        };
        let mut reading = Reading::new(sender, wanted, offset, phase);
        if matches!(start, Start::Preface { .. }) {
            reading.expect_first();
        }
        Self {
            reading,
            guesses: Vec::new(),
            at_call_start: true,
            stopped: false,
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
        let _ = conversation;
        self.stop();
    }

    /// Takes no more.
    pub fn stop(&mut self) {
        self.reading.leave();
        self.guesses = Vec::new();
        self.stopped = true;
    }

    /// Stream offset behind the last piece.
    pub fn offset(&self) -> u64 {
        self.reading.offset
    }

    /// Which bytes it can make use of next; never `Tail`. What lies before an `From` is payload, or
    /// of no use at all.
    pub fn wants(&self) -> Interest {
        if self.stopped {
            return Interest::Never;
        }
        match self.boundary() {
            Some(boundary) if self.reading.passes_over() => Interest::From(boundary),
            _ => Interest::Now,
        }
    }

    /// Stream offset at which the next frame header begins, while frames are in step. It lies
    /// before [`offset`](Self::offset) when a part of that header has come.
    pub fn boundary(&self) -> Option<u64> {
        self.reading.boundary()
    }

    /// Bytes of memory beside the parser itself, never more than [`MAX_ALLOCATED`].
    pub fn allocated(&self) -> usize {
        let guesses = self.guesses.iter().map(Guess::allocated).sum::<usize>();
        self.reading.allocated() + self.guesses.capacity() * size_of::<Guess>() + guesses
    }

    fn bytes<C: Conversation + ?Sized>(&mut self, mut bytes: &[u8], conversation: &mut C) {
        if self.at_call_start && !bytes.is_empty() && !self.stopped {
            self.guess();
        }
        self.at_call_start &= bytes.is_empty();
        if !self.guesses.is_empty() {
            let taken = self.try_guesses(bytes, conversation);
            bytes = &bytes[taken..];
        }
        while !bytes.is_empty() {
            let taken = self.reading.step(bytes, conversation);
            bytes = &bytes[taken..];
        }
    }

    fn gap<C: Conversation + ?Sized>(&mut self, len: u64, conversation: &mut C) {
        self.at_call_start &= len == 0;
        self.guesses.retain_mut(|guess| guess.gap(len));
        self.reading.gap(len, conversation);
    }

    fn end_of_call<C: Conversation + ?Sized>(&mut self, conversation: &mut C) {
        self.at_call_start = true;
        if let Some(right) = self.guesses.iter_mut().position(Guess::end_of_call) {
            self.believe(right, conversation);
        }
    }

    /// Guesses that a frame begins here, if nothing better is known.
    fn guess(&mut self) {
        if self.reading.boundary().is_some() || self.guesses.iter().any(Guess::is_between_frames) {
            return;
        }
        if self.guesses.len() == MAX_GUESSES {
            self.guesses.remove(0);
        }
        self.guesses.push(Guess::new(self.reading.anew()));
    }

    /// Takes bytes up to where a guess is believed; returns how many: all if none is.
    fn try_guesses<C: Conversation + ?Sized>(
        &mut self,
        bytes: &[u8],
        conversation: &mut C,
    ) -> usize {
        let mut first = (bytes.len(), None);
        let mut index = 0;
        while let Some(guess) = self.guesses.get_mut(index) {
            match guess.bytes(bytes) {
                Judgement::Refuted => {
                    self.guesses.remove(index);
                    continue;
                }
                Judgement::Open => {}
                Judgement::Believed(taken) if first.1.is_none() || taken < first.0 => {
                    first = (taken, Some(index));
                }
                Judgement::Believed(_) => {}
            }
            index += 1;
        }
        match first {
            (taken, Some(right)) => {
                self.believe(right, conversation);
                taken
            }
            (_, None) => 0,
        }
    }

    fn believe<C: Conversation + ?Sized>(&mut self, right: usize, conversation: &mut C) {
        let guess = self.guesses.swap_remove(right);
        self.guesses = Vec::new();
        self.reading = guess.tell(conversation);
    }
}
