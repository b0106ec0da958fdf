//! Which span is which exchange of one request.

use std::collections::HashMap;

use crate::span::Span;
use crate::truth::{Exchange, Process, Program};

pub(super) struct Matched<'a> {
    /// By exchange.
    pub(super) found: Vec<Option<&'a Span>>,
    /// Index of the exchange, and its further span.
    pub(super) duplicates: Vec<(usize, &'a Span)>,
    pub(super) unexpected: Vec<&'a Span>,
}

/// How surely a span is of the exchange's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// Nothing speaks against it.
    Possible,
    /// It is of the program.
    Program,
    /// It is of the process.
    Process,
}

/// Best fits first; among equals, the first span that came.
pub(super) fn matched<'a>(
    exchanges: &[Exchange],
    spans: &[&'a Span],
    members: &HashMap<u32, Program>,
) -> Matched<'a> {
    let mut pairs = Vec::new();
    for (exchange_index, exchange) in exchanges.iter().enumerate() {
        for (span_index, span) in spans.iter().enumerate() {
            if let Some(fit) = fit(exchange, span, members) {
                pairs.push((fit, exchange_index, span_index));
            }
        }
    }
    pairs.sort_by_key(|(fit, _, _)| std::cmp::Reverse(*fit));

    let mut found = vec![None; exchanges.len()];
    let mut spare: Vec<Option<&Span>> = spans.iter().copied().map(Some).collect();
    for (_, exchange, span) in &pairs {
        if found[*exchange].is_none() {
            found[*exchange] = spare[*span].take();
        }
    }
    let mut duplicates = Vec::new();
    for (_, exchange, span) in &pairs {
        if let Some(span) = spare[*span].take() {
            duplicates.push((*exchange, span));
        }
    }
    Matched {
        found,
        duplicates,
        unexpected: spare.into_iter().flatten().collect(),
    }
}

fn fit(exchange: &Exchange, span: &Span, members: &HashMap<u32, Program>) -> Option<Fit> {
    if span.kind != Some(exchange.kind) || span.path() != exchange.path {
        return None;
    }
    let Some(pid) = span.pid else {
        return Some(Fit::Possible);
    };
    match exchange.process {
        Process::Pid(named) => (named == pid).then_some(Fit::Process),
        Process::Unnamed => match members.get(&pid) {
            None => Some(Fit::Possible),
            Some(program) => (*program == exchange.program).then_some(Fit::Program),
        },
    }
}
