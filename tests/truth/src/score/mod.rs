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
//! | mixed trace | a trace with spans of more than one request |

mod matching;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, SystemTime};

use crate::span::Span;
use crate::truth::{Cell, Exchange, Kind, LinkClass, Program, Request, RequestId, Truth};

/// What came out, kept apart by conditions, program and kind.
#[derive(Clone, Debug, Default)]
pub struct Score {
    pub rows: BTreeMap<Row, Tally>,
    /// Examples of each kind of fault, the first few.
    pub examples: BTreeMap<Fault, Vec<String>>,
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

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub expected: u64,
    pub found: u64,
    pub duplicates: u64,
    pub unexpected: u64,
    pub wrong_method: u64,
    pub wrong_status: u64,
    /// Spans that lie outside the time of the request they belong to.
    pub wrong_time: u64,
    pub roots: Links,
    pub hops: Links,
    pub in_process: Links,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Links {
    pub right: u64,
    pub missed: u64,
    pub wrong: u64,
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

/// Examples kept of each kind of fault.
const EXAMPLES: usize = 8;
/// A server may be done a little after its client, and clocks are read at different places.
const TIME_SLACK: Duration = Duration::from_millis(250);

/// Holds `spans` against `truth`.
pub fn score(truth: &Truth, spans: &[Span]) -> Score {
    let mut score = Score::default();
    let mut by_request: HashMap<RequestId, Vec<&Span>> = HashMap::new();
    for span in spans {
        match truth.ids.find(&span.target) {
            Some(id) if (id.0 as usize) < truth.requests.len() => {
                by_request.entry(id).or_default().push(span);
            }
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
            score: &mut score,
        }
        .judge(found);
    }
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

    fn example(&mut self, fault: Fault, text: impl FnOnce() -> String) {
        let examples = self.examples.entry(fault).or_default();
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
            self.example(Fault::Mixed, || {
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

/// One request on trial.
struct Judge<'a> {
    truth: &'a Truth,
    id: RequestId,
    request: &'a Request,
    exchanges: &'a [Exchange],
    score: &'a mut Score,
}

/// What a span's parent turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Right,
    Missed,
    Wrong,
}

impl Judge<'_> {
    fn judge(mut self, spans: &[&Span]) {
        let matched = matching::matched(self.exchanges, spans, &self.truth.members);
        for (exchange, found) in self.exchanges.iter().zip(&matched.found) {
            let tally = self.tally(exchange.program, exchange.kind);
            tally.expected += 1;
            match found {
                None => self.fault(Fault::Missing, exchange, None),
                Some(span) => {
                    tally.found += 1;
                    self.content(exchange, span);
                    self.link(exchange, span, &matched.found, spans);
                }
            }
        }
        for (exchange, span) in matched.duplicates {
            let exchange = &self.exchanges[exchange];
            self.tally(exchange.program, exchange.kind).duplicates += 1;
            self.fault(Fault::Duplicate, exchange, Some(span));
        }
        for span in matched.unexpected {
            let program = span
                .pid
                .and_then(|pid| self.truth.members.get(&pid))
                .copied();
            // Not ours to name: counted where the request came in.
            let program = program.unwrap_or(self.exchanges[0].program);
            self.tally(program, span.kind.unwrap_or(Kind::Server))
                .unexpected += 1;
            let text = format!("{} {}", self.place(), self.show(span));
            self.score.example(Fault::Unexpected, || text);
        }
    }

    fn content(&mut self, exchange: &Exchange, span: &Span) {
        let begin = unix_ns(self.request.sent.checked_sub(TIME_SLACK));
        let end = unix_ns(self.request.answered.checked_add(TIME_SLACK));
        let mut wrong = |fault: Fault, field: fn(&mut Tally) -> &mut u64| {
            *field(self.tally(exchange.program, exchange.kind)) += 1;
            self.fault(fault, exchange, Some(span));
        };
        if span.method.as_deref() != Some(exchange.method.as_str()) {
            wrong(Fault::WrongMethod, |tally| &mut tally.wrong_method);
        }
        if exchange.status.is_some() && span.status != exchange.status {
            wrong(Fault::WrongStatus, |tally| &mut tally.wrong_status);
        }
        if span.start_ns < begin || span.end_ns > end || span.end_ns < span.start_ns {
            wrong(Fault::WrongTime, |tally| &mut tally.wrong_time);
        }
    }

    fn link(&mut self, exchange: &Exchange, span: &Span, found: &[Option<&Span>], all: &[&Span]) {
        let verdict = self.verdict(exchange, span, found, all);
        let links = self
            .tally(exchange.program, exchange.kind)
            .links_mut(exchange.link);
        match verdict {
            Verdict::Right => links.right += 1,
            Verdict::Missed => links.missed += 1,
            Verdict::Wrong => links.wrong += 1,
        }
        match (verdict, exchange.link) {
            (Verdict::Right, _) | (Verdict::Missed, LinkClass::Root) => {}
            (Verdict::Wrong, _) => self.fault(Fault::WrongLink, exchange, Some(span)),
            (Verdict::Missed, LinkClass::Hop) => self.fault(Fault::MissedHop, exchange, Some(span)),
            (Verdict::Missed, LinkClass::InProcess) => {
                self.fault(Fault::MissedInProcess, exchange, Some(span));
            }
        }
    }

    fn verdict(
        &self,
        exchange: &Exchange,
        span: &Span,
        found: &[Option<&Span>],
        all: &[&Span],
    ) -> Verdict {
        // The nearest cause that has a span is the right parent.
        let mut cause = exchange.parent;
        let mut direct = true;
        while let Some(index) = cause {
            let Some(parent) = found[index] else {
                cause = self.exchanges[index].parent;
                direct = false;
                continue;
            };
            return match &span.parent {
                None => Verdict::Missed,
                Some(id) if *id == parent.span_id && span.trace_id == parent.trace_id => {
                    Verdict::Right
                }
                // It may be the span of a cause in between that got lost.
                Some(id) if !direct && all.iter().all(|other| other.span_id != *id) => {
                    Verdict::Missed
                }
                Some(_) => Verdict::Wrong,
            };
        }
        match (&span.parent, exchange.parent) {
            (None, None) => Verdict::Right,
            (None, Some(_)) => Verdict::Missed,
            (Some(id), Some(_)) if all.iter().all(|other| other.span_id != *id) => Verdict::Missed,
            (Some(_), _) => Verdict::Wrong,
        }
    }

    fn tally(&mut self, program: Program, kind: Kind) -> &mut Tally {
        let row = Row {
            cell: self.request.cell,
            program,
            kind,
        };
        self.score.rows.entry(row).or_default()
    }

    fn fault(&mut self, fault: Fault, exchange: &Exchange, span: Option<&Span>) {
        let Self { truth, .. } = self;
        let name = &truth.programs[exchange.program.0].name;
        let (kind, process, path) = (exchange.kind, exchange.process, &exchange.path);
        let (method, status) = (&exchange.method, exchange.status);
        let place = self.place();
        let seen = span.map_or_else(|| "no span".to_owned(), |span| self.show(span));
        self.score.example(fault, || {
            format!("{place} {kind} {name} {process:?} {method} {path} {status:?}: {seen}")
        });
    }

    fn place(&self) -> String {
        let Cell {
            scenario,
            attach,
            clients,
        } = self.request.cell;
        let scenario = self
            .truth
            .scenarios
            .get(scenario)
            .map_or("?", String::as_str);
        format!(
            "[{scenario}, {attach}, {clients}] {}",
            self.truth.ids.text(self.id)
        )
    }

    fn show(&self, span: &Span) -> String {
        let kind = span
            .kind
            .map_or_else(|| "other".to_owned(), |kind| kind.to_string());
        format!(
            "span {} {kind} `{}` pid {:?} {} {} {:?} parent {} trace {} {}",
            hex(&span.span_id),
            span.service,
            span.pid,
            span.method.as_deref().unwrap_or("-"),
            span.target,
            span.status,
            span.parent.as_deref().map_or_else(|| "-".to_owned(), hex),
            hex(&span.trace_id),
            span.notes,
        )
    }
}

impl Tally {
    pub fn links(&self, class: LinkClass) -> &Links {
        match class {
            LinkClass::Root => &self.roots,
            LinkClass::Hop => &self.hops,
            LinkClass::InProcess => &self.in_process,
        }
    }

    fn links_mut(&mut self, class: LinkClass) -> &mut Links {
        match class {
            LinkClass::Root => &mut self.roots,
            LinkClass::Hop => &mut self.hops,
            LinkClass::InProcess => &mut self.in_process,
        }
    }

    pub fn wrong_links(&self) -> u64 {
        LinkClass::ALL
            .iter()
            .map(|class| self.links(*class).wrong)
            .sum()
    }

    /// Part of the expected spans that were found, in percent.
    pub fn coverage(&self) -> f64 {
        if self.expected == 0 {
            100.0
        } else {
            100.0 * self.found as f64 / self.expected as f64
        }
    }

    fn plus(self, other: &Tally) -> Tally {
        Tally {
            expected: self.expected + other.expected,
            found: self.found + other.found,
            duplicates: self.duplicates + other.duplicates,
            unexpected: self.unexpected + other.unexpected,
            wrong_method: self.wrong_method + other.wrong_method,
            wrong_status: self.wrong_status + other.wrong_status,
            wrong_time: self.wrong_time + other.wrong_time,
            roots: self.roots.plus(other.roots),
            hops: self.hops.plus(other.hops),
            in_process: self.in_process.plus(other.in_process),
        }
    }
}

impl Links {
    fn plus(self, other: Links) -> Links {
        Links {
            right: self.right + other.right,
            missed: self.missed + other.missed,
            wrong: self.wrong + other.wrong,
        }
    }
}

fn unix_ns(time: Option<SystemTime>) -> u64 {
    let since = time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    since
        .and_then(|since| u64::try_from(since.as_nanos()).ok())
        .unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
