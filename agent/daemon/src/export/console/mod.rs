//! Finished traces as trees, for people.
//!
//! Spans of a trace come from several processes, each when its exchange ends: children before
//! their parents. A trace is shown when nothing came for a while and no parent is known to be
//! missing.

mod line;
mod style;
mod tree;

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tokio::time::Instant;
use weft_flow::span::Link;
use weft_proto::trace_context::{SpanId, TraceId};

pub(super) use self::style::Style;
use super::{clock::Clock, encode::Finished};

pub(super) struct Console {
    clock: Clock,
    style: Style,
    traces: HashMap<TraceId, Gathering>,
    /// Of all traces.
    spans: usize,
}

#[derive(Debug)]
struct Gathering {
    spans: Vec<Finished>,
    first: Instant,
    last: Instant,
}

/// Silence after which a trace is taken for finished.
const QUIET: Duration = Duration::from_secs(1);
/// How long a parent is waited for that must come: its exchange was seen by this agent.
const PATIENCE: Duration = Duration::from_secs(30);
/// Spans held at a time; over it the longest silent trace is shown as it is.
const SPANS: usize = 20_000;

impl Console {
    pub(super) fn new(clock: Clock, style: Style) -> Self {
        Self {
            clock,
            style,
            traces: HashMap::new(),
            spans: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.traces.is_empty()
    }

    pub(super) fn add(&mut self, spans: Vec<Finished>) {
        let now = Instant::now();
        self.spans += spans.len();
        for (span, resource) in spans {
            let new = || Gathering {
                spans: Vec::new(),
                first: now,
                last: now,
            };
            let trace = self.traces.entry(span.trace_id).or_insert_with(new);
            trace.last = now;
            trace.spans.push((span, resource));
        }
    }

    /// Text of the traces that are finished by now, and the number of spans in it.
    pub(super) fn finished(&mut self) -> (String, usize) {
        let now = Instant::now();
        let mut due: Vec<TraceId> = self
            .traces
            .iter()
            .filter(|(_, trace)| trace.is_finished(now))
            .map(|(id, _)| *id)
            .collect();
        let due_spans: usize = due.iter().map(|id| self.traces[id].spans.len()).sum();
        let mut over = (self.spans - due_spans).saturating_sub(SPANS);
        if over > 0 {
            let mut rest: Vec<_> = self
                .traces
                .iter()
                .filter(|(id, _)| !due.contains(id))
                .collect();
            rest.sort_by_key(|(_, trace)| trace.last);
            for (id, trace) in rest {
                if over == 0 {
                    break;
                }
                over = over.saturating_sub(trace.spans.len());
                due.push(*id);
            }
        }
        self.show(&due)
    }

    /// All that is left.
    pub(super) fn rest(&mut self) -> (String, usize) {
        let all: Vec<TraceId> = self.traces.keys().copied().collect();
        self.show(&all)
    }

    fn show(&mut self, due: &[TraceId]) -> (String, usize) {
        self.clock.refresh();
        let mut traces: Vec<Gathering> =
            due.iter().filter_map(|id| self.traces.remove(id)).collect();
        traces.sort_by_key(Gathering::start_ns);
        let mut text = String::new();
        let mut count = 0;
        for trace in &traces {
            count += trace.spans.len();
            tree::write(&trace.spans, &self.clock, self.style, &mut text);
        }
        self.spans -= count;
        (text, count)
    }
}

impl Gathering {
    fn is_finished(&self, now: Instant) -> bool {
        let quiet = now - self.last >= QUIET;
        quiet && (!self.lacks_parent() || now - self.first >= PATIENCE)
    }

    fn lacks_parent(&self) -> bool {
        let seen = |link| matches!(link, Link::Thread | Link::WirePosition);
        let known: HashSet<SpanId> = self.spans.iter().map(|(span, _)| span.span_id).collect();
        self.spans.iter().any(|(span, _)| {
            seen(span.link) && span.parent.is_some_and(|parent| !known.contains(&parent))
        })
    }

    fn start_ns(&self) -> u64 {
        self.spans
            .iter()
            .map(|(span, _)| span.start_ns)
            .min()
            .unwrap_or(0)
    }
}
