mod corpus;
mod gaps;
mod messages;
mod splits;

use super::transcript::Transcript;
use super::{Answers, Parser, Request, Response, Side, Start, Wanted};
use crate::Piece;

/// Ends a call.
const CALL: char = '¦';
/// Ends the stream.
const END: char = '∎';

/// Feeds a stream written as text and compares what the parser says of it.
///
/// `¦` ends a call, `⟨123⟩` is a gap of so many bytes, `∎` is the end of the stream. Each row is
/// also fed byte by byte.
#[track_caller]
fn check_requests(input: &str, expected: &[&str]) {
    check_from::<Request>(Start::Fresh { offset: 0 }, input, &[], expected);
}

/// `answers`: what the responses of the stream answer; [`Answers::Other`] behind the last.
#[track_caller]
fn check_responses(input: &str, answers: &[Answers], expected: &[&str]) {
    check_from::<Response>(Start::Fresh { offset: 0 }, input, answers, expected);
}

#[track_caller]
fn check_from<S: Side>(start: Start, input: &str, answers: &[Answers], expected: &[&str]) {
    assert_eq!(
        read::<S>(start, input, answers, usize::MAX),
        expected,
        "{input:?}"
    );
    assert_eq!(
        read::<S>(start, input, answers, 1),
        expected,
        "{input:?}, byte by byte"
    );
}

fn read<S: Side>(start: Start, input: &str, answers: &[Answers], longest: usize) -> Vec<String> {
    let mut parser = Parser::<S>::new(wanted(), start);
    let mut transcript = Transcript::answering(answers);
    for call in input.split_inclusive([CALL, END]) {
        for part in call.split_inclusive('⟩') {
            let (bytes, gap) = part.split_once('⟨').unwrap_or((part, ""));
            for piece in bytes
                .trim_end_matches([CALL, END])
                .as_bytes()
                .chunks(longest)
            {
                parser.feed(Piece::Bytes(piece), false, &mut transcript);
            }
            if let Some(gap) = gap.strip_suffix('⟩') {
                parser.feed(
                    Piece::Gap(gap.parse().expect("a number")),
                    false,
                    &mut transcript,
                );
            }
        }
        parser.feed(Piece::Bytes(b""), true, &mut transcript);
        if call.ends_with(END) {
            parser.end_of_stream(&mut transcript);
        }
    }
    transcript.lines
}

fn wanted() -> Wanted {
    Wanted(["x-id".to_owned(), "host".to_owned()].into())
}
