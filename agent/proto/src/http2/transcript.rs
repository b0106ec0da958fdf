//! What a parser said, as text: for tests.

use std::fmt::Write;

use super::{Block, Conversation, Ends, Malformed};
use crate::Piece;
use crate::grpc::Messages;

/// One line for each event; and what a parser promises of their order is checked.
#[derive(Debug, Default)]
pub(super) struct Transcript {
    pub(super) lines: Vec<String>,
    /// The blocks among them: stream, block, and where it began.
    pub(super) blocks: Vec<(u32, Block, u64)>,
    /// No event may lie before.
    reached: u64,
    payload: u64,
    messages: Messages,
}

impl Transcript {
    fn line(&mut self, at: u64, text: &str) {
        assert!(at >= self.reached, "{at} {text} in {:?}", self.lines);
        self.reached = at;
        self.lines.push(format!("{at} {text}"));
    }
}

impl Conversation for Transcript {
    fn fields(&mut self, stream: u32, block: Block, ends: Ends, start: u64, end: u64) {
        assert!(start >= self.reached && end >= start, "{:?}", self.lines);
        let text = format!("..{end} fields {stream}{}{}", describe(&block), ended(ends));
        self.blocks.push((stream, block, start));
        self.reached = end;
        self.lines.push(format!("{start}{text}"));
    }

    fn payload(&mut self, _: u32, piece: Piece<'_>) {
        self.payload += match piece {
            Piece::Bytes(bytes) => bytes.len() as u64,
            Piece::Gap(len) => len,
        };
        self.messages.feed(piece);
    }

    fn data(&mut self, stream: u32, bytes: Option<u64>, ends: Ends, end: u64) {
        let payload = std::mem::take(&mut self.payload);
        assert!(bytes.is_none_or(|bytes| bytes == payload), "{payload}");
        let bytes = bytes.map_or("?".to_owned(), |bytes| bytes.to_string());
        self.line(end, &format!("data {stream} {bytes}{}", ended(ends)));
    }

    fn reset(&mut self, stream: u32, code: Option<u32>, at: u64) {
        let code = code.map_or("?".to_owned(), |code| code.to_string());
        self.line(at, &format!("reset {stream} {code}"));
    }

    fn go_away(&mut self, last_stream: u32, code: u32, at: u64) {
        self.line(at, &format!("go-away {last_stream} {code}"));
    }

    fn promised(&mut self, stream: u32, promised: u32, at: u64) {
        self.line(at, &format!("promised {stream} {promised}"));
    }

    fn malformed(&mut self, at: u64, why: Malformed) {
        self.payload = 0;
        self.line(at.max(self.reached), &why.to_string());
    }

    fn lost(&mut self, at: u64) {
        self.payload = 0;
        self.line(at, "lost");
    }
}

fn ended(ends: Ends) -> &'static str {
    match ends {
        Ends::Stream => " end",
        Ends::No => "",
    }
}

pub(super) fn describe(block: &Block) -> String {
    let Block {
        method,
        path,
        scheme,
        authority,
        protocol,
        status,
        user_agent,
        content_type,
        content_length,
        traceparent,
        tracestate,
        contexts,
        grpc_timeout,
        grpc_trace_bin,
        grpc_status,
        grpc_message,
        chosen,
        unknown,
        partial,
    } = block;
    let mut line = String::new();
    for (name, value) in [
        ("method", method),
        ("path", path),
        ("scheme", scheme),
        ("authority", authority),
        ("protocol", protocol),
        ("user-agent", user_agent),
        ("content-type", content_type),
        ("traceparent", traceparent),
        ("tracestate", tracestate),
        ("grpc-timeout", grpc_timeout),
        ("grpc-trace-bin", grpc_trace_bin),
        ("grpc-message", grpc_message),
    ] {
        if let Some(value) = value {
            let _ = write!(line, " {name}={}", value.escape_ascii());
        }
    }
    for (name, value) in [
        ("status", status.map(u64::from)),
        ("content-length", *content_length),
        ("grpc-status", grpc_status.map(u64::from)),
        ("unknown", (*unknown > 0).then_some(u64::from(*unknown))),
    ] {
        if let Some(value) = value {
            let _ = write!(line, " {name}={value}");
        }
    }
    for (name, value) in contexts {
        let _ = write!(line, " {name:?}={}", value.escape_ascii());
    }
    for (index, value) in chosen {
        let _ = write!(line, " [{index}]={}", value.escape_ascii());
    }
    if *partial {
        line.push_str(" partial");
    }
    line
}
