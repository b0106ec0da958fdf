//! The parts of a span's line.

use std::{borrow::Cow, fmt::Write as _};

use weft_flow::span::{Endpoint, Kind, Link, Outcome, Span};

use super::style::Ink;
use crate::export::{
    rpc,
    semantic::{self, path_and_query, text},
};

pub(super) fn kind(span: &Span) -> &'static str {
    match span.kind {
        Kind::Server => "server",
        Kind::Client => "client",
    }
}

/// Method and path; for a client, whom it asked, too.
pub(super) fn request(span: &Span) -> String {
    let exchange = &span.exchange;
    let target = text(&exchange.target);
    let path = path_and_query(&target).0.unwrap_or(&target);
    let mut line = text(&exchange.method).into_owned();
    line.push(' ');
    if span.kind == Kind::Client && path.starts_with('/') {
        match (&exchange.host, &span.peer) {
            (Some(host), _) => line.push_str(&text(host)),
            (None, Endpoint::Inet(address)) => {
                let _ = write!(line, "{address}");
            }
            (None, Endpoint::Unix) => line.push_str("unix"),
            (None, Endpoint::Unproved) => {}
        }
    }
    line.push_str(path);
    harmless(&line)
}

/// Status code, or why there is none.
pub(super) fn outcome(span: &Span) -> (String, Ink) {
    let bad = semantic::status(span) == semantic::Status::Error;
    let status = span.exchange.status;
    let call = span.exchange.call.as_ref();
    if let Some(name) = call.and_then(|call| rpc::status_name(span, call)) {
        return (name.to_owned(), if bad { Ink::Red } else { Ink::Green });
    }
    let words = match (span.outcome, status) {
        (Outcome::ConnectionClosed, _) => "closed".to_owned(),
        (Outcome::Timeout, _) => "timeout".to_owned(),
        (Outcome::Reset { .. }, _) => "reset".to_owned(),
        (Outcome::Open, _) => "open".to_owned(),
        (Outcome::Complete | Outcome::Upgraded, Some(status)) => status.to_string(),
        (Outcome::Complete | Outcome::Upgraded, None) => "-".to_owned(),
    };
    let ink = match status {
        _ if bad => Ink::Red,
        Some(400..) => Ink::Yellow,
        Some(300..400) => Ink::Cyan,
        _ => Ink::Green,
    };
    (words, ink)
}

/// What ties the span to its parent, and what it lacks.
pub(super) fn evidence(span: &Span) -> String {
    let mut words = match span.link {
        Link::None => String::new(),
        known => known.name().to_owned(),
    };
    let lacks = [
        ("request head", span.partial.request_head),
        ("response head", span.partial.response_head),
        ("end", span.partial.end),
    ];
    let lacks: Vec<&str> = lacks
        .iter()
        .filter(|(_, lacks)| *lacks)
        .map(|(name, _)| *name)
        .collect();
    if !lacks.is_empty() {
        let space = if words.is_empty() { "" } else { "  " };
        let _ = write!(words, "{space}partial: {}", lacks.join(", "));
    }
    words
}

/// Three digits, whatever the size.
pub(super) fn duration(ns: u64) -> String {
    let (value, unit) = match ns {
        0..1_000_000 => (ns as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => (ns as f64 / 1e6, "ms"),
        _ => (ns as f64 / 1e9, "s"),
    };
    let digits = match value {
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

/// A share of the trace's time, `width` cells wide, drawn to an eighth of a cell.
pub(super) fn bar(start: f64, end: f64, width: usize) -> String {
    const PARTS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let eighths = |share: f64| (share.clamp(0.0, 1.0) * (width * 8) as f64).round() as usize;
    let first = (eighths(start) / 8).min(width.saturating_sub(1));
    let length = eighths(end).saturating_sub(first * 8).max(1);
    let mut bar = " ".repeat(first);
    bar.extend(std::iter::repeat_n('█', length / 8));
    if length % 8 > 0 {
        bar.push(PARTS[length % 8]);
    }
    bar
}

/// What came over the network must not steer the terminal.
pub(super) fn harmless(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '·' } else { c })
        .collect()
}

/// At most `width` characters.
pub(super) fn shortened(text: &str, width: usize) -> Cow<'_, str> {
    if text.chars().count() <= width {
        return Cow::Borrowed(text);
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    Cow::Owned(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits() {
        for (ns, expected) in [
            (0, "0.00 µs"),
            (1_234, "1.23 µs"),
            (999_000, "999 µs"),
            (1_000_000, "1.00 ms"),
            (48_210_000, "48.2 ms"),
            (9_999_000_000, "10.0 s"),
            (120_000_000_000, "120 s"),
        ] {
            assert_eq!(duration(ns), expected);
        }
    }

    #[test]
    fn bars() {
        for (start, end, expected) in [
            (0.0, 1.0, "████"),
            (0.5, 1.0, "  ██"),
            (0.25, 0.375, " ▌"),
            (1.0, 1.0, "   █"),
            (0.0, 0.0, "▏"),
            (f64::NAN, f64::NAN, "▏"),
        ] {
            assert_eq!(bar(start, end, 4), expected, "{start} {end}");
        }
    }

    #[test]
    fn terminals_are_not_steered() {
        assert_eq!(harmless("/a\x1b[2J\u{9b}b"), "/a·[2J·b");
        assert_eq!(shortened("/abcdef", 4), "/ab…");
    }
}
