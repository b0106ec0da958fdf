//! Spans that do not know what was asked for.
//!
//! HTTP/2 refers to what was sent before. An agent that came later may see a request and not know its path; it
//! does well to say so. Such a span cannot be matched by id; it is told by process, kind and time.

use std::collections::HashMap;

use super::judge::unix_ns;
use super::{Row, Score};
use crate::span::Span;
use crate::truth::{Cell, Kind, Program, Truth};

#[derive(Debug, Default)]
pub(super) struct Nameless<'a>(HashMap<&'a [u8], Found<'a>>);

#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) place: (Program, Kind),
    pub(super) span: &'a Span,
    cell: Cell,
}

impl<'a> Nameless<'a> {
    /// Those that were sent while requests on streams were, which are older than the agent.
    pub(super) fn among(spans: &'a [Span], truth: &Truth) -> Self {
        let mut times: HashMap<Cell, (u64, u64)> = HashMap::new();
        for request in &truth.requests {
            if truth.is_late_stream(&request.cell) && request.exchanges.is_some() {
                let begin = unix_ns(Some(request.sent));
                let time = times.entry(request.cell).or_insert((begin, begin));
                time.0 = time.0.min(begin);
                time.1 = time.1.max(unix_ns(Some(request.answered)));
            }
        }
        let found = spans.iter().filter(|span| !span.named && span.partial);
        let found = found.filter_map(|span| {
            let place = (*truth.members.get(&span.pid?)?, span.kind?);
            let mut cells = times.iter();
            let during = |time: &(u64, u64)| time.0 <= span.start_ns && span.start_ns <= time.1;
            let cell = *cells.find(|(_, time)| during(time))?.0;
            Some((&span.span_id[..], Found { place, span, cell }))
        });
        Self(found.collect())
    }

    pub(super) fn get(&self, id: &[u8]) -> Option<&Found<'a>> {
        self.0.get(id)
    }

    /// No more than there are exchanges without a span: the others are unexpected.
    pub(super) fn count(&self, score: &mut Score) {
        for found in self.0.values() {
            let (program, kind) = found.place;
            let row = Row {
                cell: found.cell,
                program,
                kind,
            };
            let tally = score.rows.entry(row).or_default();
            if tally.found + tally.nameless < tally.expected {
                tally.nameless += 1;
            } else {
                tally.unexpected += 1;
            }
        }
    }
}
