//! Peers that mean harm: memory stays bounded, whatever they send.

use httlib_hpack::Encoder;

use super::super::{Block, Conversation, Ends, MAX_ALLOCATED, Malformed};
use super::*;

/// Counts what is said and how much memory is held meanwhile.
struct Watched {
    parser: Parser,
    said: Said,
    /// Most bytes that the parser held.
    most: usize,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    blocks: u32,
    partial: u32,
    unknown: u32,
    resets: u32,
    malformed: u32,
}

impl Watched {
    fn new(sender: Sender) -> Self {
        Self {
            parser: Parser::new(sender, wanted(), FRESH),
            said: Said::default(),
            most: 0,
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.parser.feed(Piece::Bytes(bytes), true, &mut self.said);
        self.most = self.most.max(self.parser.allocated());
    }

    #[track_caller]
    fn check(&self, most: usize, said: &Said) {
        assert_eq!(self.said, *said);
        assert!(self.most <= most.min(MAX_ALLOCATED), "{} bytes", self.most);
    }
}

const MANY: u32 = 4_000;

#[test]
fn rapid_resets() {
    let mut watched = Watched::new(Sender::Client);
    for stream in (0..MANY).map(|stream| 2 * stream + 1) {
        let path = hex(&format!("82 86 4405 2f{stream:08x}"));
        watched.feed(
            &[
                frame(1, 5, stream, &path),
                frame(3, 0, stream, &hex("00000008")),
            ]
            .concat(),
        );
    }
    let said = Said {
        blocks: MANY,
        resets: MANY,
        ..Said::default()
    };
    watched.check(8 * 1024, &said);
}

#[test]
fn flood_of_continuations() {
    // Each field is one that is kept.
    let field = hex("0004782d6964 05 6162636465");
    let fields = field.repeat(1000);
    let mut watched = Watched::new(Sender::Client);
    watched.feed(&frame(1, 0, 1, &fields));
    for _ in 0..1000 {
        watched.feed(&frame(9, 0, 1, &fields));
        watched.feed(&frame(9, 0, 1, b""));
    }
    watched.feed(&frame(9, 4, 1, b""));
    let said = Said {
        blocks: 1,
        partial: 1,
        ..Said::default()
    };
    watched.check(64 * 1024, &said);
    assert!(watched.parser.allocated() <= 4 * 1024);
}

#[test]
fn header_bomb() {
    // One entry of 4 kB, and a byte for each time it is to be told.
    let mut bomb = hex("4004 782d6964 7fc51e");
    bomb.extend([b'x'; 4036]);
    bomb.extend([0xbe; 12_000]);
    let mut watched = Watched::new(Sender::Client);
    for stream in [1, 3, 5] {
        watched.feed(&frame(1, 5, stream, &bomb));
    }
    let said = Said {
        blocks: 3,
        partial: 3,
        ..Said::default()
    };
    watched.check(200 * 1024, &said);
    assert!(watched.parser.allocated() <= 16 * 1024);
}

#[test]
fn large_table() {
    let mut encoder = Encoder::with_dynamic_size(1 << 20);
    let mut block = Vec::new();
    encoder
        .update_max_dynamic_size(1 << 20, &mut block)
        .expect("a size");
    let mut watched = Watched::new(Sender::Client);
    for number in 0..1000_u32 {
        let value = format!("/{number:01000}").into_bytes();
        encoder
            .encode((b":path".to_vec(), value, 0x14), &mut block)
            .expect("a field");
        watched.feed(&frame(1, 5, 2 * number + 1, &block));
        block.clear();
    }
    // Of an entry that we have dropped nothing is known.
    watched.feed(&frame(1, 5, 5001, &hex("ff 90 03")));
    let said = Said {
        blocks: 1001,
        unknown: 1,
        ..Said::default()
    };
    watched.check(200 * 1024, &said);
}

#[test]
fn many_small_entries() {
    let mut watched = Watched::new(Sender::Server);
    let mut block = hex("3fe1ff3f");
    block.extend(hex("400161 00").repeat(16_000 / 4));
    watched.feed(&frame(1, 5, 1, &block));
    let said = Said {
        blocks: 1,
        ..Said::default()
    };
    watched.check(64 * 1024, &said);
}

#[test]
fn long_strings() {
    // A value of 1 MiB, kept and not kept; in pieces that are never whole.
    for name in ["04", "0f 11"] {
        let mut block = hex("83");
        block.extend(hex(name));
        block.extend(hex("7f 81ff3f"));
        block.extend(vec![b'/'; 1 << 20]);
        block.extend(hex("86"));
        let bytes = frame(1, 5, 1, &block);
        let mut watched = Watched::new(Sender::Client);
        bytes.chunks(1400).for_each(|piece| watched.feed(piece));
        let said = Said {
            blocks: 1,
            unknown: u32::from(name == "04"),
            ..Said::default()
        };
        watched.check(64 * 1024, &said);
    }
    // A name.
    let mut block = hex("00 7f 81ff3f");
    block.extend(vec![b'a'; 1 << 20]);
    let mut watched = Watched::new(Sender::Client);
    watched.feed(&frame(1, 5, 1, &block));
    let said = Said {
        malformed: 1,
        ..Said::default()
    };
    watched.check(4 * 1024, &said);
}

#[test]
fn what_is_only_guessed() {
    // Nothing that is held back grows: heads that mean little, and long bodies.
    let mut parser = Parser::new(Sender::Server, wanted(), Start::Joined { offset: 0 });
    let mut said = Said::default();
    let mut most = 0;
    for _ in 0..MANY {
        parser.feed(
            Piece::Bytes(&hex("0fffff 00 00 00000001")),
            false,
            &mut said,
        );
        parser.feed(Piece::Bytes(&[b'x'; 100]), false, &mut said);
        parser.feed(Piece::Gap(20), true, &mut said);
        most = most.max(parser.allocated());
    }
    assert!(most <= 8 * 1024, "{most}");
}

impl Conversation for Said {
    fn fields(&mut self, _: u32, block: Block, _: Ends, _: u64, _: u64) {
        self.blocks += 1;
        self.partial += u32::from(block.partial);
        self.unknown += block.unknown;
    }

    fn data(&mut self, _: u32, _: Option<u64>, _: Ends, _: u64) {}

    fn reset(&mut self, _: u32, _: Option<u32>, _: u64) {
        self.resets += 1;
    }

    fn go_away(&mut self, _: u32, _: u32, _: u64) {}

    fn promised(&mut self, _: u32, _: u32, _: u64) {}

    fn malformed(&mut self, _: u64, _: Malformed) {
        self.malformed += 1;
    }

    fn lost(&mut self, _: u64) {}
}
