//! HTTP/2 in the middle of a connection that nobody knows yet.

use super::guess::is_head;
use super::{Block, Conversation, Ends, Malformed, Parser, Sender, Start};
use crate::Piece;
use crate::http1::Wanted;

/// Judges the first bytes of a call of `call_len` bytes: whose they are, when they are whole frames
/// of HTTP/2 with the head of a request or of a response.
pub fn sniff(bytes: &[u8], call_len: usize) -> Option<Sender> {
    [Sender::Client, Sender::Server]
        .into_iter()
        .find(|&sender| sent(sender, bytes, call_len))
}

fn sent(sender: Sender, bytes: &[u8], call_len: usize) -> bool {
    let mut parser = Parser::new(sender, Wanted::default(), Start::Joined { offset: 0 });
    let mut heads = Heads {
        sender,
        found: false,
    };
    let more = call_len.saturating_sub(bytes.len()) as u64;
    parser.feed(Piece::Bytes(bytes), more == 0, &mut heads);
    if more > 0 {
        parser.feed(Piece::Gap(more), true, &mut heads);
    }
    heads.found
}

/// Only what is believed gets here.
struct Heads {
    sender: Sender,
    found: bool,
}

impl Conversation for Heads {
    fn fields(&mut self, _: u32, block: Block, _: Ends, _: u64, _: u64) {
        self.found |= is_head(&block, self.sender);
    }

    fn data(&mut self, _: u32, _: Option<u64>, _: Ends, _: u64) {}

    fn reset(&mut self, _: u32, _: Option<u32>, _: u64) {}

    fn go_away(&mut self, _: u32, _: u32, _: u64) {}

    fn promised(&mut self, _: u32, _: u32, _: u64) {}

    fn malformed(&mut self, _: u64, _: Malformed) {}

    fn lost(&mut self, _: u64) {}
}
