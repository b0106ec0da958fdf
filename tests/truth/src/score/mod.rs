//! Spans held against the truth.
//!
//! | finding | is |
//! |---|---|
//! | found | an exchange that has a span |
//! | duplicate | a further span of an exchange |
//! | unexpected | a span that names a request, but no exchange of it |
//! | link right | its parent is the nearest cause that has a span; none where there is no cause |
//! | link missed | no parent, or one that never came while the cause has no span either |
//! | link wrong | any other parent, or the right one in another trace |
//! | nameless | a span of a stream older than the agent that does not know what was asked for |
//! | mixed trace | a trace with spans of more than one request |

mod judge;
mod matching;
mod nameless;
mod tally;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use self::judge::Judge;
use self::nameless::Nameless;
pub use self::tally::{Links, Tally};
use crate::span::Span;
use crate::truth::{Cell, Kind, Program, RequestId, Truth};

/// What came out, kept apart by conditions, program and kind.
#[derive(Clone, Debug, Default)]
pub struct Score {
    pub rows: BTreeMap<Row, Tally>,
    /// Examples of each kind of fault: the first few of each scenario.
    pub examples: BTreeMap<(Fault, usize), Vec<String>>,
    /// Traces with spans of several requests.
    pub mixed: u64,
    /// Spans that name no request of this run: ours to ignore.
    pub strangers: u64,
    /// Requests that were not scored.
    pub void: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Row {
    pub cell: Cell,
    pub program: Program,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    WrongLink,
    Mixed,
    Duplicate,
    Missing,
    Unexpected,
    MissedHop,
    MissedInProcess,
    WrongMethod,
    WrongStatus,
    WrongTime,
}

/// Examples kept of each kind of fault and scenario.
const EXAMPLES: usize = 2;
/// Holds `spans` against `truth`.
pub fn score(truth: &Truth, spans: &[Span]) -> Score {
    let mut score = Score::default();
    let nameless = Nameless::among(spans, truth);
    let mut by_request: HashMap<RequestId, Vec<&Span>> = HashMap::new();
    let mut by_id: HashMap<&[u8], &Span> = HashMap::new();
    for span in spans {
        by_id.insert(&span.span_id, span);
        match truth.ids.find(&span.target) {
            Some(id) if (id.0 as usize) < truth.requests.len() => {
                by_request.entry(id).or_default().push(span);
            }
            _ if nameless.get(&span.span_id).is_some() => {}
            _ => score.strangers += 1,
        }
    }
    for (id, request) in (0..).map(RequestId).zip(&truth.requests) {
        let Some(exchanges) = &request.exchanges else {
            score.void += 1;
            continue;
        };
        let found = by_request.get(&id).map(Vec::as_slice).unwrap_or_default();
        Judge {
            truth,
            id,
            request,
            exchanges,
            by_id: &by_id,
            nameless: &nameless,
            score: &mut score,
        }
        .judge(found);
    }
    nameless.count(&mut score);
    score.find_mixed(&by_request, truth);
    score
}

impl Score {
    pub fn total(&self) -> Tally {
        self.sum(|_| true)
    }

    pub fn sum(&self, mut keep: impl FnMut(&Row) -> bool) -> Tally {
        let kept = self.rows.iter().filter(|(row, _)| keep(row));
        kept.fold(Tally::default(), |sum, (_, tally)| sum.plus(tally))
    }

    fn example(&mut self, fault: Fault, scenario: usize, text: impl FnOnce() -> String) {
        let examples = self.examples.entry((fault, scenario)).or_default();
        if examples.len() < EXAMPLES {
            examples.push(text());
        }
    }

    fn find_mixed(&mut self, by_request: &HashMap<RequestId, Vec<&Span>>, truth: &Truth) {
        let mut requests: HashMap<&[u8], BTreeSet<RequestId>> = HashMap::new();
        for (id, spans) in by_request {
            for span in spans {
                requests.entry(&span.trace_id).or_default().insert(*id);
            }
        }
        for (trace, ids) in requests.into_iter().filter(|(_, ids)| ids.len() > 1) {
            self.mixed += 1;
            let first = ids.first().and_then(|id| truth.requests.get(id.0 as usize));
            let scenario = first.map_or(0, |request| request.cell.scenario);
            self.example(Fault::Mixed, scenario, || {
                let ids = ids.iter().take(4).map(|id| truth.ids.text(*id));
                format!(
                    "trace {}: {}",
                    hex(trace),
                    ids.collect::<Vec<_>>().join(" ")
                )
            });
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
