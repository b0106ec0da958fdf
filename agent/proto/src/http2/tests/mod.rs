mod abuse;
mod blocks;
mod compression;
mod corpus;
mod differential;
mod frames;
mod joined;
mod losses;
mod sniffed;
mod stories;

use super::transcript::Transcript;
use super::{FRAME_HEADER, PREFACE, Parser, Sender, Start};
use crate::Piece;
use crate::http1::Wanted;

const FRESH: Start = Start::Frame { offset: 0 };

/// What an event of a direction is made of.
#[derive(Clone, Debug)]
enum Part {
    Bytes(Vec<u8>),
    Gap(u64),
    /// The call ends.
    Call,
}

/// Feeds parts and compares what the parser says of them; also byte by byte.
#[track_caller]
fn check(sender: Sender, start: Start, parts: &[Part], expected: &[&str]) {
    assert_eq!(read(sender, start, parts, usize::MAX), expected);
    assert_eq!(read(sender, start, parts, 1), expected, "byte by byte");
}

fn read(sender: Sender, start: Start, parts: &[Part], longest: usize) -> Vec<String> {
    let mut parser = Parser::new(sender, wanted(), start);
    let mut transcript = Transcript::default();
    for part in parts {
        match part {
            Part::Bytes(bytes) => bytes
                .chunks(longest)
                .for_each(|piece| parser.feed(Piece::Bytes(piece), false, &mut transcript)),
            Part::Gap(len) => parser.feed(Piece::Gap(*len), false, &mut transcript),
            Part::Call => parser.feed(Piece::Bytes(b""), true, &mut transcript),
        }
    }
    parser.feed(Piece::Bytes(b""), true, &mut transcript);
    parser.end_of_stream(&mut transcript);
    transcript.lines
}

fn wanted() -> Wanted {
    Wanted(["x-id".to_owned(), "accept-language".to_owned()].into())
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Bytes written as hexadecimal digits, with any blanks.
pub(super) fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u32> = digits
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .collect();
    digits
        .chunks(2)
        .map(|pair| (pair[0] << 4 | pair[1]) as u8)
        .collect()
}
