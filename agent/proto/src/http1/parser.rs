//! One direction of a connection: bytes and gaps in, messages out.

use std::marker::PhantomData;

use super::{Conversation, Wanted};
use crate::Piece;

/// Reads the direction that carries requests.
pub type RequestParser = Parser<Request>;

/// Reads the direction that carries responses.
pub type ResponseParser = Parser<Response>;

/// See [`RequestParser`] and [`ResponseParser`].
#[derive(Debug)]
pub struct Parser<S> {
    wanted: Wanted,
    offset: u64,
    side: PhantomData<S>,
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

impl<S: Side> Parser<S> {
    /// `wanted` is of use to requests only.
    pub fn new(wanted: Wanted, start: Start) -> Self {
        let (Start::Fresh { offset } | Start::Joined { offset }) = start;
        Self {
            wanted,
            offset,
            side: PhantomData,
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
        let _ = (end_of_call, conversation, &self.wanted);
        self.offset += match piece {
            Piece::Bytes(bytes) => bytes.len() as u64,
            Piece::Gap(len) => len,
        };
    }

    /// The direction ended: no piece follows.
    pub fn end_of_stream<C: Conversation + ?Sized>(&mut self, conversation: &mut C) {
        let _ = conversation;
    }

    /// Takes no more: the other direction turned the connection into a tunnel.
    pub fn stop(&mut self) {}

    /// Stream offset behind the last piece.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    pub fn wants(&self) -> Interest {
        Interest::Now
    }

    /// A message has begun and is not complete.
    pub fn mid_message(&self) -> bool {
        false
    }
}

/// What differs between the two directions.
pub trait Side: sealed::Sealed {}

impl Side for Request {}
impl Side for Response {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Request {}
    impl Sealed for super::Response {}
}
