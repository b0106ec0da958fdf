//! Streams in `tests/corpus/http1`.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::corpus;
use crate::detect::{Verdict, sniff};
use crate::http1::fuzz;

#[test]
fn transcripts() {
    let mut names: Vec<PathBuf> = corpus::files("http1")
        .map(|path| path.with_extension(""))
        .collect();
    names.sort();
    names.dedup();
    assert!(names.len() > 20, "the corpus is not there");
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

#[test]
fn recorded_streams_are_recognised() {
    for path in corpus::files("http1") {
        let recorded = !path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("hand"));
        let expected = match path.extension().and_then(|extension| extension.to_str()) {
            Some("request") if recorded => Verdict::Http1Request,
            Some("response") if recorded => Verdict::Http1Response,
            _ => continue,
        };
        assert_eq!(sniff(&corpus::read(&path)), expected, "{}", path.display());
    }
}

#[test]
fn fuzz_requests() {
    corpus::each_input("http1", fuzz::fuzz_requests);
}

#[test]
fn fuzz_responses() {
    corpus::each_input("http1", fuzz::fuzz_responses);
}

/// What a well-known parser takes for a whole request is one here, and the same one.
#[test]
fn agrees_with_httparse() {
    corpus::each_input("http1", |input| {
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut theirs = httparse::Request::new(&mut fields);
        let Ok(httparse::Status::Complete(end)) = theirs.parse(input) else {
            return;
        };
        let (method, target) = (
            theirs.method.unwrap_or_default(),
            theirs.path.unwrap_or_default(),
        );
        if method.len() > 32 || input.starts_with(b"\r") || input.starts_with(b"\n") {
            return;
        }
        let mut transcript = Transcript::default();
        let mut parser = Parser::<Request>::new(Wanted::default(), Start::Fresh { offset: 0 });
        parser.feed(Piece::Bytes(&input[..end]), true, &mut transcript);
        let (method, target) = (method.escape_default(), target.as_bytes().escape_ascii());
        let ours = transcript
            .lines
            .first()
            .map(String::as_str)
            .unwrap_or_default();
        let expected = format!(
            "0..{end} {method} {target} 1.{}",
            theirs.version.unwrap_or_default()
        );
        assert!(
            ours.starts_with(&expected),
            "{ours}\n{expected}\n{}",
            input.escape_ascii()
        );
    });
}

fn transcript(name: &Path) -> String {
    let mut said = String::new();
    let mut answers = Vec::new();
    if let Some(stream) = stream(name, "request") {
        let lines = whole::<Request>(&stream, &[]);
        answers = lines.iter().filter_map(|line| answer(line)).collect();
        said.extend(["requests\n".to_owned()].into_iter().chain(lines));
    }
    if let Some(stream) = stream(name, "response") {
        said.extend(
            ["responses\n".to_owned()]
                .into_iter()
                .chain(whole::<Response>(&stream, &answers)),
        );
    }
    said
}

fn stream(name: &Path, extension: &str) -> Option<Vec<u8>> {
    let path = name.with_extension(extension);
    path.exists().then(|| corpus::read(&path))
}

fn whole<S: Side>(stream: &[u8], answers: &[Answers]) -> Vec<String> {
    let mut parser = Parser::<S>::new(wanted(), Start::Fresh { offset: 0 });
    let mut transcript = Transcript::answering(answers);
    parser.feed(Piece::Bytes(stream), true, &mut transcript);
    parser.end_of_stream(&mut transcript);
    transcript
        .lines
        .into_iter()
        .map(|line| format!("  {line}\n"))
        .collect()
}

/// What the response to an announced request answers.
fn answer(line: &str) -> Option<Answers> {
    let (range, rest) = line.trim_start().split_once(' ')?;
    range.contains("..").then(|| match rest.split(' ').next() {
        Some("HEAD") => Answers::Head,
        Some("CONNECT") => Answers::Connect,
        _ => Answers::Other,
    })
}
