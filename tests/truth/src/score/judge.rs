//! One request on trial.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use super::nameless::Nameless;
use super::{Fault, Row, Score, Tally, hex, matching};
use crate::span::Span;
use crate::truth::{Cell, Exchange, Kind, LinkClass, Program, Request, RequestId, Status, Truth};

pub(super) struct Judge<'a> {
    pub(super) truth: &'a Truth,
    pub(super) id: RequestId,
    pub(super) request: &'a Request,
    pub(super) exchanges: &'a [Exchange],
    /// All spans of the run, to name a wrong parent.
    pub(super) by_id: &'a HashMap<&'a [u8], &'a Span>,
    pub(super) nameless: &'a Nameless<'a>,
    pub(super) score: &'a mut Score,
}

/// A server may be done a little after its client, and clocks are read at different places.
const TIME_SLACK: Duration = Duration::from_millis(250);

/// What a span's parent turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Right,
    Missed,
    Wrong,
}

impl Judge<'_> {
    pub(super) fn judge(mut self, spans: &[&Span]) {
        let matched = matching::matched(self.exchanges, spans, &self.truth.members);
        for (exchange, found) in self.exchanges.iter().zip(&matched.found) {
            let tally = self.tally(exchange.program, exchange.kind);
            tally.expected += 1;
            match found {
                None => self.fault(Fault::Missing, exchange, None),
                Some(span) => {
                    tally.found += 1;
                    tally.partial += u64::from(span.partial);
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
            let scenario = self.request.cell.scenario;
            self.score.example(Fault::Unexpected, scenario, || text);
        }
    }

    fn content(&mut self, exchange: &Exchange, span: &Span) {
        let may_lack = self.truth.is_late_stream(&self.request.cell);
        let begin = unix_ns(self.request.sent.checked_sub(TIME_SLACK));
        let end = unix_ns(self.request.answered.checked_add(TIME_SLACK));
        let mut wrong = |fault: Fault, field: fn(&mut Tally) -> &mut u64| {
            *field(self.tally(exchange.program, exchange.kind)) += 1;
            self.fault(fault, exchange, Some(span));
        };
        let lacks = may_lack && span.partial;
        let method = span.method.as_deref();
        if method != Some(exchange.method.as_str()) && !(lacks && method.is_none()) {
            wrong(Fault::WrongMethod, |tally| &mut tally.wrong_method);
        }
        let is_less = match (&exchange.status, &span.status) {
            (_, None) => true,
            // That it is a call is not known.
            (Some(Status::Rpc(_)), Some(Status::Http(status))) => *status == 200,
            _ => false,
        };
        if exchange.status.is_some() && span.status != exchange.status && !(lacks && is_less) {
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
                // Nameless parents are told by where they are.
                let missing = &self.exchanges[index];
                let other = span.parent.as_deref().and_then(|id| self.nameless.get(id));
                if let Some(other) = other.filter(|_| direct) {
                    let fits = other.place == (missing.program, missing.kind)
                        && other.span.trace_id == span.trace_id;
                    return if fits { Verdict::Right } else { Verdict::Wrong };
                }
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
        let (method, status) = (&exchange.method, &exchange.status);
        let place = self.place();
        let mut seen = span.map_or_else(|| "no span".to_owned(), |span| self.show(span));
        let parent = span.and_then(|span| self.by_id.get(span.parent.as_deref()?));
        if let (Fault::WrongLink, Some(parent)) = (fault, parent) {
            seen = format!("{seen}\n    its parent: {}", self.show(parent));
        }
        let scenario = self.request.cell.scenario;
        self.score.example(fault, scenario, || {
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
            .map_or("?", |scenario| &scenario.name);
        format!(
            "[{scenario}, {attach}, {clients}] {}",
            self.truth.ids.text(self.id)
        )
    }

    /// Milliseconds since the driver sent the request.
    fn after_sent(&self, time_ns: u64) -> f64 {
        (i128::from(time_ns) - i128::from(unix_ns(Some(self.request.sent)))) as f64 / 1e6
    }

    fn show(&self, span: &Span) -> String {
        let kind = span
            .kind
            .map_or_else(|| "other".to_owned(), |kind| kind.to_string());
        format!(
            "span {} {:+.1}..{:+.1} ms {kind} `{}` pid {:?} {} {} {:?} parent {} trace {} {}",
            hex(&span.span_id),
            self.after_sent(span.start_ns),
            self.after_sent(span.end_ns),
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

pub(super) fn unix_ns(time: Option<SystemTime>) -> u64 {
    let since = time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    since
        .and_then(|since| u64::try_from(since.as_nanos()).ok())
        .unwrap_or_default()
}
