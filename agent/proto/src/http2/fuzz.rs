//! What holds for any bytes, cut in any way.

use super::block::{self, Collector};
use super::hpack::{self, Decoder, Error};
use super::transcript::Transcript;
use super::{Block, MAX_ALLOCATED, Parser, Sender, Start, sniff};
use crate::Piece;
use crate::dice::Dice;
use crate::http1::Wanted;

pub fn fuzz_frames(input: &[u8]) {
    for sender in [Sender::Client, Sender::Server] {
        any_split_says_the_same(sender, input);
        any_loss_is_survived(sender, input);
    }
}

/// Each two bytes of a length and so many bytes are a block.
pub fn fuzz_fields(input: &[u8]) {
    let wanted = wanted();
    let (mut whole, mut bytes, mut joined) = (Fields::new(), Fields::new(), Fields::new());
    joined.decoder.forget();
    let mut rest = input;
    while let [high, low, after @ ..] = rest {
        let len = usize::from(*high & 0x1f) << 8 | usize::from(*low);
        let (block, behind) = after.split_at(after.len().min(len));
        rest = behind;
        let told = whole.decode(block, usize::MAX, &wanted);
        let again = bytes.decode(block, 1, &wanted);
        assert_eq!(told, again, "{block:02x?}");
        let less = joined.decode(block, usize::MAX, &wanted);
        let Ok(told) = told else {
            return;
        };
        let less = less.expect("what is not known is no error");
        let mut all = told.chosen.iter();
        let right = less
            .chosen
            .iter()
            .all(|field| all.any(|told| told == field));
        assert!(right, "{less:?} {told:?}");
        if less.unknown == 0 && !less.partial {
            assert_eq!(less, told);
        }
    }
}

/// What is HTTP/2 in the middle is nothing else.
pub fn fuzz_sniff(input: &[u8]) {
    use crate::detect::{Verdict, sniff as first};

    let verdict = sniff(input, input.len());
    let more = sniff(input, input.len().saturating_mul(3));
    if verdict.or(more).is_some() {
        let other = matches!(
            first(input),
            Verdict::Http1Request | Verdict::Http1Response | Verdict::Tls
        );
        assert!(!other, "{input:02x?}");
        // A frame begins with a length of less than 1 MiB.
        assert!(input[0] <= 0x10);
    }
}

fn any_split_says_the_same(sender: Sender, input: &[u8]) {
    let mut dice = Dice::new(input);
    let start = start(dice.roll(3));
    let mut calls = Vec::new();
    let mut rest = input;
    while !rest.is_empty() {
        let (call, after) = rest.split_at(rest.len().min(1 + dice.roll(400)));
        calls.push(call);
        rest = after;
    }
    let run = |longest: usize| {
        let mut parser = Parser::new(sender, wanted(), start);
        let mut transcript = Transcript::default();
        for call in &calls {
            for piece in call.chunks(longest) {
                parser.feed(Piece::Bytes(piece), false, &mut transcript);
            }
            parser.feed(Piece::Bytes(b""), true, &mut transcript);
        }
        transcript.lines
    };
    let whole = run(usize::MAX);
    assert_eq!(whole, run(1), "{start:?} {input:02x?}");
    assert_eq!(whole, run(1 + dice.roll(30)), "{start:?} {input:02x?}");
}

/// Whatever is lost and wherever calls end, the promises of `Conversation` are kept (the transcript
/// asserts them) and nothing is said of bytes that have not come.
fn any_loss_is_survived(sender: Sender, input: &[u8]) {
    let mut dice = Dice::new(input);
    let mut parser = Parser::new(sender, wanted(), start(dice.roll(3)));
    let mut transcript = Transcript::default();
    let (mut rest, mut offset) = (input, parser.offset());
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.len().min(1 + dice.roll(60)));
        rest = after;
        let (piece, len) = match dice.roll(8) {
            0 => (Piece::Gap(piece.len() as u64), piece.len() as u64),
            1 => {
                let len = dice.roll(100_000) as u64;
                (Piece::Gap(len), len)
            }
            _ => (Piece::Bytes(piece), piece.len() as u64),
        };
        parser.feed(piece, dice.roll(3) == 0, &mut transcript);
        offset += len;
        assert_eq!(parser.offset(), offset);
        assert!(parser.allocated() <= MAX_ALLOCATED);
        assert!(
            parser
                .boundary()
                .is_none_or(|boundary| boundary + 9 > offset)
        );
    }
    if dice.roll(16) == 0 {
        parser.feed(Piece::Gap(u64::MAX), true, &mut transcript);
    }
    parser.end_of_stream(&mut transcript);
}

struct Fields {
    decoder: Decoder,
    fields: Collector,
}

impl Fields {
    fn new() -> Self {
        Self {
            decoder: Decoder::new(),
            fields: Collector::default(),
        }
    }

    fn decode(&mut self, block: &[u8], longest: usize, wanted: &Wanted) -> Result<Block, Error> {
        for piece in block.chunks(longest) {
            self.decoder.bytes(piece, &wanted.0, &mut self.fields)?;
            assert!(self.decoder.allocated() <= hpack::MAX_ALLOCATED);
            assert!(self.fields.allocated() <= block::MAX_ALLOCATED);
        }
        self.decoder.end()?;
        Ok(self.fields.finish())
    }
}

fn start(choice: usize) -> Start {
    match choice {
        0 => Start::Preface { offset: 7 },
        1 => Start::Frame { offset: 7 },
        _ => Start::Joined { offset: 7 },
    }
}

fn wanted() -> Wanted {
    let names = ["x-id", "cookie", ":path", "user-agent", "grpc-status"];
    Wanted(names.map(str::to_owned).into())
}
