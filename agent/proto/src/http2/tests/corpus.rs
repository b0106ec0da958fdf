//! Streams in `tests/corpus/http2`.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::corpus;
use crate::detect::{Verdict, sniff};
use crate::http2::fuzz;

#[test]
fn transcripts() {
    let mut names: Vec<PathBuf> = corpus::files("http2")
        .map(|path| path.with_extension(""))
        .collect();
    names.sort();
    names.dedup();
    assert!(names.len() >= 15, "the corpus is not there");
    for name in names {
        let path = name.with_extension("expected");
        let said = transcript(&name);
        if std::env::var_os("UPDATE_CORPUS").is_some() {
            fs::write(&path, &said).expect("the corpus can be written");
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(said, expected, "{}", path.display());
    }
}

/// From each frame on: what is said then is a part of what is said from the beginning.
#[test]
fn joined_at_each_frame() {
    for path in corpus::files("http2") {
        let sender = match path.extension().and_then(|extension| extension.to_str()) {
            Some("client") => Sender::Client,
            Some("server") => Sender::Server,
            _ => continue,
        };
        let stream = corpus::read(&path);
        let truth = whole(sender, &stream).1;
        let mut at = if sender == Sender::Client {
            PREFACE.len()
        } else {
            0
        };
        while at < stream.len() {
            let start = Start::Joined { offset: at as u64 };
            let mut parser = Parser::new(sender, wanted(), start);
            let mut transcript = Transcript::default();
            parser.feed(Piece::Bytes(&stream[at..]), true, &mut transcript);
            losses::check_lossy(&truth, &transcript)
                .unwrap_or_else(|error| panic!("{} at {at}: {error}", path.display()));
            let more = truth
                .blocks
                .iter()
                .filter(|(.., start)| *start >= at as u64);
            // Frames of pushed streams are not guessed.
            let pushes = truth.lines.iter().any(|line| line.contains("promised"));
            if more.count() > 1 && !pushes {
                assert!(!transcript.blocks.is_empty(), "{} at {at}", path.display());
            }
            let length = u32::from_be_bytes([0, stream[at], stream[at + 1], stream[at + 2]]);
            at += FRAME_HEADER + length as usize;
        }
    }
}

#[test]
fn recorded_streams_are_recognised() {
    for path in corpus::files("http2") {
        if path
            .extension()
            .is_some_and(|extension| extension == "client")
        {
            let first = sniff(&corpus::read(&path));
            assert_eq!(first, Verdict::Http2Preface, "{}", path.display());
        }
    }
}

#[test]
fn fuzz_frames() {
    corpus::each_input("http2", fuzz::fuzz_frames);
}

#[test]
fn fuzz_fields() {
    corpus::each_input("http2", fuzz::fuzz_fields);
}

#[test]
fn fuzz_sniff() {
    for area in ["http1", "http2"] {
        corpus::each_input(area, fuzz::fuzz_sniff);
    }
}

fn transcript(name: &Path) -> String {
    let mut said = String::new();
    for (sender, extension) in [(Sender::Client, "client"), (Sender::Server, "server")] {
        let path = name.with_extension(extension);
        if path.exists() {
            said.push_str(&format!("{extension}\n"));
            said.push_str(&whole(sender, &corpus::read(&path)).0);
        }
    }
    said
}

fn whole(sender: Sender, stream: &[u8]) -> (String, Transcript) {
    let start = Start::Preface { offset: 0 };
    let mut parser = Parser::new(sender, wanted(), start);
    let mut transcript = Transcript::default();
    parser.feed(Piece::Bytes(stream), true, &mut transcript);
    parser.end_of_stream(&mut transcript);
    let lines = transcript.lines.iter().map(|line| format!("  {line}\n"));
    (lines.collect(), transcript)
}
