//! One direction of a connection: bytes and gaps in, frames and field blocks out.

use super::{Conversation, Sender, Start};
use crate::Piece;
use crate::http1::{Interest, Wanted};

/// Reads one direction.
#[derive(Debug)]
pub struct Parser {
    _sender: Sender,
    _wanted: Wanted,
    offset: u64,
}

/// Most memory a parser holds beside itself, bytes.
pub const MAX_ALLOCATED: usize = 256 * 1024;

// === impl Parser ===

impl Parser {
    /// `wanted`: names of fields to keep beside the ones that are always kept.
    pub fn new(sender: Sender, wanted: Wanted, start: Start) -> Self {
        let (Start::Preface { offset } | Start::Frame { offset } | Start::Joined { offset }) =
            start;
        Self {
            _sender: sender,
            _wanted: wanted,
            offset,
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
        let _ = (end_of_call, conversation);
        let len = match piece {
            Piece::Bytes(bytes) => bytes.len() as u64,
            Piece::Gap(len) => len,
        };
        self.offset = self.offset.saturating_add(len);
    }

    /// The direction ended: no piece follows.
    pub fn end_of_stream<C: Conversation + ?Sized>(&mut self, conversation: &mut C) {
        let _ = conversation;
        self.stop();
    }

    /// Takes no more.
    pub fn stop(&mut self) {}

    /// Stream offset behind the last piece.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Which bytes it can make use of next; never `Tail`.
    pub fn wants(&self) -> Interest {
        Interest::Now
    }

    /// Stream offset at which the next frame header begins, while frames are in step. It may lie
    /// before [`offset`](Self::offset) when part of that header has come.
    pub fn boundary(&self) -> Option<u64> {
        None
    }

    /// Bytes of memory beside the parser itself, never more than [`MAX_ALLOCATED`].
    pub fn allocated(&self) -> usize {
        0
    }
}
