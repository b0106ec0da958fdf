//! One trace, its spans indented below their parents.
//!
//! ```text
//! GET /checkout  48.2 ms  3 spans  2 services  14:02:31.120Z  4bf92f3577b34da6a3ce929d0e0e4736
//! edge        server  GET /checkout              200   48.2 ms  ████████████████
//! └ edge      client  GET cart.test/items        200   20.1 ms   ██████▌          thread
//!   └ cart    server  GET /items                 200  18.0 ms   ██████           wire-position
//! ```

use std::{
    collections::{HashMap, HashSet},
    fmt::Write as _,
};

use weft_flow::span::Span;
use weft_proto::trace_context::SpanId;

use super::{
    line,
    style::{Ink, Style},
};
use crate::{
    discover::Resource,
    export::{
        clock::Clock,
        encode::Finished,
        semantic::{Status, status},
    },
};

/// Lines of one trace; a person reads no more.
const LINES: usize = 500;
const DEEPEST: usize = 24;
const OUTCOME_WIDTH: usize = 7;
const DURATION_WIDTH: usize = 8;
const KIND_WIDTH: usize = 6;

struct Row<'a> {
    /// Branches to the left of the service.
    branch: String,
    span: &'a Span,
    service: String,
}

/// Columns in characters, wide enough for all rows as far as the terminal allows.
struct Columns {
    service: usize,
    request: usize,
    bar: usize,
    /// Start and length of the whole trace.
    start_ns: u64,
    length_ns: u64,
}

pub(super) fn write(spans: &[Finished], clock: &Clock, style: Style, text: &mut String) {
    let rows = rows(spans);
    let Some(root) = rows.first() else { return };
    let columns = Columns::fit(&rows, style.width);
    heading(root, &rows, &columns, clock, style, text);
    for row in rows.iter().take(LINES) {
        columns.write(row, style, text);
    }
    if rows.len() > LINES {
        let more = format!("and {} spans more", rows.len() - LINES);
        let _ = writeln!(text, "{}", style.paint(Ink::Dim, more));
    }
    text.push('\n');
}

fn heading(
    root: &Row<'_>,
    rows: &[Row<'_>],
    columns: &Columns,
    clock: &Clock,
    style: Style,
    text: &mut String,
) {
    let services: HashSet<&str> = rows.iter().map(|row| row.service.as_str()).collect();
    let errors = rows
        .iter()
        .filter(|row| status(row.span) == Status::Error)
        .count();
    let plural =
        |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    let request = line::request(root.span);
    let _ = write!(
        text,
        "{}  {}  {}  {}",
        style.paint(Ink::Bold, line::shortened(&request, style.width / 2)),
        line::duration(columns.length_ns),
        plural(rows.len(), "span"),
        plural(services.len(), "service"),
    );
    if errors > 0 {
        let _ = write!(text, "  {}", style.paint(Ink::Red, plural(errors, "error")));
    }
    let (start, _) = clock.unix_ns(columns.start_ns, columns.start_ns);
    let tail = format!("{}  {}", time_of_day(start), root.span.trace_id);
    let _ = writeln!(text, "  {}", style.paint(Ink::Dim, tail));
}

impl Columns {
    fn fit(rows: &[Row<'_>], width: usize) -> Self {
        let start_ns = rows.iter().map(|row| row.span.start_ns).min().unwrap_or(0);
        let end_ns = rows.iter().map(|row| row.span.end_ns).max().unwrap_or(0);
        let most = |length: &dyn Fn(&Row<'_>) -> usize| rows.iter().map(length).max().unwrap_or(0);
        let evidence = most(&|row| line::evidence(row.span).chars().count()).min(16);
        let fixed = KIND_WIDTH + OUTCOME_WIDTH + DURATION_WIDTH + evidence + 12;
        let free = width.saturating_sub(fixed);
        let service = most(&|row| row.branch.chars().count() + row.service.chars().count());
        let service = service.min(free / 2);
        let request = most(&|row| line::request(row.span).chars().count());
        let request = request.min((free - service) * 3 / 5);
        Self {
            service,
            request,
            bar: (free - service - request).clamp(8, 32),
            start_ns,
            length_ns: end_ns.saturating_sub(start_ns),
        }
    }

    fn write(&self, row: &Row<'_>, style: Style, text: &mut String) {
        let Row {
            branch,
            span,
            service,
        } = row;
        let room = self.service.saturating_sub(branch.chars().count());
        let name = line::shortened(service, room.max(1));
        let padding = room.saturating_sub(name.chars().count());
        let request = line::request(span);
        let request = line::shortened(&request, self.request);
        let (outcome, ink) = line::outcome(span);
        let share =
            |ns: u64| ns.saturating_sub(self.start_ns) as f64 / self.length_ns.max(1) as f64;
        let bar = line::bar(share(span.start_ns), share(span.end_ns), self.bar);
        let gap = self.bar.saturating_sub(bar.chars().count());
        let evidence = line::evidence(span);
        let duration = line::duration(span.end_ns.saturating_sub(span.start_ns));
        let start = text.len();
        let _ = write!(
            text,
            "{}{}{:padding$}  {:KIND_WIDTH$}  {:width$}  {:OUTCOME_WIDTH$}{:>DURATION_WIDTH$}  {}{:gap$}  {}",
            style.paint(Ink::Dim, branch),
            style.paint(Ink::of_service(service), name),
            "",
            style.paint(Ink::Dim, line::kind(span)),
            request,
            style.paint(ink, format_args!("{outcome:OUTCOME_WIDTH$}")),
            duration,
            style.paint(
                if ink == Ink::Red {
                    Ink::Red
                } else {
                    Ink::of_service(service)
                },
                bar
            ),
            "",
            style.paint(Ink::Dim, evidence),
            width = self.request,
        );
        let end = text.trim_end_matches(' ').len().max(start);
        text.truncate(end);
        text.push('\n');
    }
}

/// Depth first, siblings by start; a span whose parent is not here begins a tree.
fn rows(spans: &[Finished]) -> Vec<Row<'_>> {
    let mut ordered: Vec<&Finished> = spans.iter().collect();
    ordered.sort_by_key(|(span, _)| (span.start_ns, std::cmp::Reverse(span.end_ns)));
    let known: HashSet<SpanId> = spans.iter().map(|(span, _)| span.span_id).collect();
    let mut children: HashMap<SpanId, Vec<&Finished>> = HashMap::new();
    let mut roots: Vec<&Finished> = Vec::new();
    for finished in &ordered {
        match finished.0.parent.filter(|parent| known.contains(parent)) {
            Some(parent) => children.entry(parent).or_default().push(finished),
            None => roots.push(finished),
        }
    }
    let mut rows = Vec::with_capacity(spans.len());
    let mut shown: HashSet<*const Span> = HashSet::new();
    // Spans that are one another's parents have no root: they begin trees, too, where they remain.
    for root in roots.into_iter().chain(ordered) {
        let mut stack = vec![(root, String::new(), String::new())];
        while let Some((finished, branch, below)) = stack.pop() {
            let (span, resource) = finished;
            if !shown.insert(&raw const **span) {
                continue;
            }
            rows.push(Row {
                branch,
                span,
                service: service(resource),
            });
            let own = children.remove(&span.span_id).unwrap_or_default();
            let deep = below.chars().count() / 2 >= DEEPEST;
            for (index, child) in own.iter().enumerate().rev() {
                let last = index + 1 == own.len();
                let (corner, line) = if last {
                    ("└ ", "  ")
                } else {
                    ("├ ", "│ ")
                };
                let next = if deep {
                    below.clone()
                } else {
                    format!("{below}{line}")
                };
                stack.push((child, format!("{below}{corner}"), next));
            }
        }
    }
    rows
}

fn service(resource: &Resource) -> String {
    line::harmless(resource.service_name())
}

fn time_of_day(unix_ns: u64) -> String {
    let ms = unix_ns / 1_000_000 % 86_400_000;
    let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{:03}Z", ms % 1000)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use weft_flow::span::{Kind, Link, Outcome};

    use super::*;
    use crate::export::tests::{resource, span};

    fn shown(spans: &[Finished], width: usize) -> String {
        let mut text = String::new();
        write(spans, &Clock::start(), Style::plain(width), &mut text);
        text
    }

    fn named(kind: Kind, id: u8, parent: u8, ms: (u64, u64), path: &'static str) -> Box<Span> {
        let mut span = span(kind);
        span.span_id = SpanId([id; 8]);
        span.parent = (parent > 0).then_some(SpanId([parent; 8]));
        span.start_ns = 1_000_000_000 + ms.0 * 1_000_000;
        span.end_ns = 1_000_000_000 + ms.1 * 1_000_000;
        span.exchange.target = Bytes::from_static(path.as_bytes());
        span
    }

    #[test]
    fn a_trace() {
        let (edge, cart, till) = (resource("edge"), resource("cart"), resource("till"));
        let mut pay = named(Kind::Server, 6, 5, (22, 39), "/pay\x1b[2J");
        pay.exchange.status = Some(503);
        pay.link = Link::WirePosition;
        let mut failed = named(Kind::Client, 5, 1, (21, 40), "/pay");
        failed.exchange.status = None;
        failed.outcome = Outcome::ConnectionClosed;
        failed.partial.end = true;
        failed.link = Link::Thread;
        let mut items = named(Kind::Client, 2, 1, (2, 20), "/items?all=1");
        items.link = Link::Thread;
        let mut served = named(Kind::Server, 3, 2, (3, 19), "/items");
        served.link = Link::WirePosition;
        let spans = [
            (pay, till),
            (served, cart),
            (items, Arc::clone(&edge)),
            (failed, Arc::clone(&edge)),
            (named(Kind::Server, 1, 0, (0, 48), "/checkout"), edge),
        ];
        let text = shown(&spans, 120);
        let (heading, rest) = text.split_once('\n').unwrap();
        assert!(
            heading.starts_with("GET /checkout  48.0 ms  5 spans  3 services  2 errors  "),
            "{heading}"
        );
        assert!(
            heading.ends_with("Z  07070707070707070707070707070707"),
            "{heading}"
        );
        let expected = [
            "edge      server  GET /checkout             200     48.0 ms  ████████████████████████████████",
            "├ edge    client  GET shop.test:8080/items  200     18.0 ms   ████████████▍                    thread",
            "│ └ cart  server  GET /items                200     16.0 ms    ██████████▋                     wire-position",
            "└ edge    client  GET shop.test:8080/pay    closed  19.0 ms                ████████████▋       thread  partial: end",
            "  └ till  server  GET /pay·[2J              503     17.0 ms                ████████████        wire-position",
            "",
            "",
        ];
        for (line, expected) in rest.split('\n').zip(expected) {
            assert_eq!(line, expected);
        }
    }

    #[test]
    fn odd_families_are_shown_once_each() {
        let edge = resource("edge");
        // Two that claim each other, and a child of a parent that is elsewhere.
        let spans = [
            (named(Kind::Server, 1, 2, (0, 1), "/a"), Arc::clone(&edge)),
            (named(Kind::Server, 2, 1, (0, 1), "/b"), Arc::clone(&edge)),
            (named(Kind::Server, 3, 9, (0, 1), "/c"), edge),
        ];
        let text = shown(&spans, 80);
        for path in ["/a", "/b", "/c"] {
            let lines = text
                .lines()
                .skip(1)
                .filter(|line| line.contains(path))
                .count();
            assert_eq!(lines, 1, "{text}");
        }
    }

    #[test]
    fn deep_and_long_traces_end() {
        let edge = resource("edge");
        let spans: Vec<Finished> = (0_u64..3000)
            .map(|index| {
                let mut span = named(Kind::Server, 1, 0, (index, index + 1), "/deep");
                span.span_id = SpanId((index + 1).to_be_bytes());
                span.parent = (index > 0).then(|| SpanId(index.to_be_bytes()));
                (span, Arc::clone(&edge))
            })
            .collect();
        let text = shown(&spans, 100);
        assert_eq!(text.lines().count(), LINES + 3);
        assert!(text.contains("and 2500 spans more"));
    }
}
