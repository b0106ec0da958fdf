//! What holds for any bytes, cut in any way.

use super::transcript::Transcript;
use super::{MAX_ALLOCATED, Parser, Request, Response, Side, Start, Wanted};
use crate::Piece;
use crate::dice::Dice;

pub fn fuzz_requests(input: &[u8]) {
    any_split_says_the_same::<Request>(input);
    any_loss_is_survived::<Request>(input);
}

pub fn fuzz_responses(input: &[u8]) {
    any_split_says_the_same::<Response>(input);
    any_loss_is_survived::<Response>(input);
}

/// Where one call's bytes are cut makes no difference.
fn any_split_says_the_same<S: Side>(input: &[u8]) {
    // Whether a head stands instead of a promised body is judged by what comes in one piece.
    if input
        .windows(12)
        .any(|window| window.eq_ignore_ascii_case(b"100-continue"))
    {
        return;
    }
    let mut dice = Dice::new(input);
    let whole = run::<S>([input].into_iter());
    let bytes = run::<S>(input.chunks(1));
    let mut rest = input;
    let pieces = run::<S>(std::iter::from_fn(|| {
        let (piece, after) = rest.split_at(rest.len().min(1 + dice.roll(40)));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    }));
    assert_eq!(whole, bytes, "{}", input.escape_ascii());
    assert_eq!(whole, pieces, "{}", input.escape_ascii());

    fn run<'a, S: Side>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
        let (mut parser, mut transcript) = (fresh::<S>(), Transcript::default());
        pieces.for_each(|piece| parser.feed(Piece::Bytes(piece), false, &mut transcript));
        parser.end_of_stream(&mut transcript);
        transcript.lines
    }
}

/// Whatever is lost and wherever calls end, the promises of [`Conversation`] are kept (the
/// transcript asserts them) and nothing is said of bytes that have not come.
///
/// [`Conversation`]: super::Conversation
fn any_loss_is_survived<S: Side>(input: &[u8]) {
    let mut dice = Dice::new(input);
    let start = match dice.roll(2) {
        0 => Start::Fresh { offset: 7 },
        _ => Start::Joined { offset: 7 },
    };
    let mut parser = Parser::<S>::new(wanted(), start);
    let mut transcript = Transcript::default();
    let (mut rest, mut offset) = (input, 7_u64);
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.len().min(1 + dice.roll(60)));
        rest = after;
        let (piece, len) = match dice.roll(8) {
            0 => (Piece::Gap(piece.len() as u64), piece.len() as u64),
            1 => (Piece::Gap(dice.roll(100_000) as u64), 0),
            _ => (Piece::Bytes(piece), piece.len() as u64),
        };
        let len = if let Piece::Gap(gap) = piece {
            gap
        } else {
            len
        };
        parser.feed(piece, dice.roll(3) == 0, &mut transcript);
        offset += len;
        assert_eq!(parser.offset(), offset);
        assert!(parser.allocated() <= MAX_ALLOCATED);
    }
    if dice.roll(16) == 0 {
        parser.feed(Piece::Gap(u64::MAX), true, &mut transcript);
    }
    parser.end_of_stream(&mut transcript);
}

fn fresh<S: Side>() -> Parser<S> {
    Parser::new(wanted(), Start::Fresh { offset: 0 })
}

fn wanted() -> Wanted {
    Wanted(["x-id".to_owned(), "host".to_owned()].into())
}
