//! nginx and wrk with nothing to hold them back but two cores that weft has to share.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;

use crate::lab::{Beside, Lab, Sampler};
use crate::load::wrk;
use crate::plan::Plan;
use crate::report::{Cell, Report, Table};
use crate::samples::Samples;
use crate::watch::cpu::{self, Cpu, CpuUse};
use crate::watch::prometheus::OwnFigures;

const TURNS: [(&str, Beside); 3] = [
    ("without weft", Beside::Nothing),
    ("weft, every span", Beside::Weft(Sampler::All)),
    ("weft, 1 % sampled", Beside::Weft(Sampler::OnePercent)),
];

#[derive(Default)]
struct Turn {
    rate: Samples,
    p50: Samples,
    p99: Samples,
    errors: u64,
    expected: u64,
    received: u64,
    of_others: BTreeMap<String, u64>,
    /// Microseconds of CPU a request, of nginx and wrk with the hooks in them.
    programs_us: Samples,
    weft_us: Samples,
    weft_cpu: Samples,
    sink_cpu: Samples,
    /// Of the last round.
    cpu: CpuUse,
    own: OwnFigures,
}

pub(crate) fn run(lab: &Lab, plan: &Plan, report: &mut Report) -> Result<()> {
    let mut turns: [Turn; TURNS.len()] = Default::default();
    wrk::run(&lab.workloads, &lab.nginx.url(), plan.saturation / 2)?;
    for _ in 0..plan.rounds {
        for ((_, beside), turn) in TURNS.into_iter().zip(&mut turns) {
            turn.take(lab, plan, beside)?;
        }
    }
    let [without, all, sampled] = &turns;
    report.tables.push(rates(&turns));
    report.tables.push(work(&turns));
    report.tables.push(spans(&turns));
    let fewer = |turn: &Turn| {
        let change = turn.rate.change_from(&without.rate).summary();
        change.map(|change| -change.median)
    };
    report.aim(
        "fewer requests at saturation, every span",
        "%",
        30.0,
        fewer(all),
    );
    report.aim(
        "fewer requests at saturation, 1 % sampled",
        "%",
        12.0,
        fewer(sampled),
    );
    // On a busy machine the rate says little, the work does: cores that are full serve as many requests as it leaves room for.
    let fewer = |turn: &Turn| {
        let all = turn.programs_us.plus(&turn.weft_us);
        let change = without.programs_us.change_from(&all).summary();
        change.map(|change| -change.median)
    };
    report.aim(
        "the same by CPU a request, every span",
        "%",
        30.0,
        fewer(all),
    );
    report.aim(
        "the same by CPU a request, 1 % sampled",
        "%",
        12.0,
        fewer(sampled),
    );
    for ((name, _), turn) in TURNS.into_iter().zip(&turns).skip(1) {
        let moment = format!("saturation, {name}");
        report.own_figures.insert(moment, turn.own.clone());
    }
    let lost = 100.0 * (1.0 - all.received as f64 / all.expected as f64);
    report.aim("spans lost at saturation", "%", 0.0, Some(lost.max(0.0)));
    Ok(())
}

fn rates(turns: &[Turn; TURNS.len()]) -> Table {
    let mut table = Table::new(
        "nginx, small file, wrk with 32 connections: one worker and one thread on two cores",
        &[
            "",
            "requests/s",
            "change %",
            "p50 µs",
            "p99 µs",
            "weft CPU %",
            "receiver CPU %",
            "errors",
        ],
    );
    let [without, ..] = turns;
    for ((name, beside), turn) in TURNS.iter().zip(turns) {
        let change = match beside {
            Beside::Nothing => Cell::Empty,
            Beside::Weft(_) => turn.rate.change_from(&without.rate).into(),
        };
        table.row(
            *name,
            [
                Cell::from(&turn.rate),
                change,
                Cell::from(&turn.p50),
                Cell::from(&turn.p99),
                Cell::from(&turn.weft_cpu),
                Cell::from(&turn.sink_cpu),
                Cell::from(turn.errors),
            ],
        );
        if !turn.cpu.threads.is_empty() {
            table.note(format!("threads, {name}: {}", turn.cpu.by_thread()));
        }
    }
    table.note("median (lowest … highest) of the rounds; changes are taken round by round; CPU in percent of one core");
    table
}

fn work(turns: &[Turn; TURNS.len()]) -> Table {
    let mut table = Table::new(
        "CPU a request in these runs, µs (others at work on the machine matter less here)",
        &["", "nginx and wrk", "change %", "weft", "all, change %"],
    );
    let [without, ..] = turns;
    for ((name, beside), turn) in TURNS.iter().zip(turns) {
        let change = |samples: &Samples| match beside {
            Beside::Nothing => Cell::Empty,
            Beside::Weft(_) => samples.change_from(&without.programs_us).into(),
        };
        table.row(
            *name,
            [
                Cell::from(&turn.programs_us),
                change(&turn.programs_us),
                Cell::from(&turn.weft_us),
                change(&turn.programs_us.plus(&turn.weft_us)),
            ],
        );
    }
    table
}

fn spans(turns: &[Turn; TURNS.len()]) -> Table {
    let mut table = Table::new(
        "spans of these runs",
        &["", "of requests", "received", "received %", "of others"],
    );
    for ((name, beside), turn) in TURNS.iter().zip(turns) {
        if *beside == Beside::Nothing {
            continue;
        }
        table.row(
            *name,
            [
                Cell::from(turn.expected),
                Cell::from(turn.received),
                Cell::from(100.0 * turn.received as f64 / turn.expected as f64),
                Cell::from(turn.of_others.values().sum::<u64>()),
            ],
        );
        if !turn.of_others.is_empty() {
            table.note(format!("{name}, others: {:?}", turn.of_others));
        }
        for (figure, value) in turn.own.losses() {
            table.note(format!("{name}, last round: {figure} {value}"));
        }
    }
    table.note("of requests: two for each request that wrk counted; those under way when it stops are received, too");
    table
}

/// CPU time of nginx, and of all children of this process that have ended: wrk is the only one in between.
fn programs_time(lab: &Lab) -> Result<Duration> {
    let mut time = cpu::of_ended_children()?;
    for pid in lab.nginx.pids() {
        time += Cpu::of(pid)?.time();
    }
    Ok(time)
}

// === impl Turn ===

impl Turn {
    fn take(&mut self, lab: &Lab, plan: &Plan, beside: Beside) -> Result<()> {
        let mut traced = lab.start(beside)?;
        let before = traced
            .as_ref()
            .map(|traced| anyhow::Ok((Cpu::of(traced.pid())?, Cpu::of(traced.sink.pid())?)))
            .transpose()?;
        let programs = programs_time(lab)?;
        let figures = wrk::run(&lab.workloads, &lab.nginx.url(), plan.saturation)?;
        let per_request = |time: Duration| time.as_secs_f64() * 1e6 / figures.requests as f64;
        self.programs_us
            .push(per_request(programs_time(lab)?.saturating_sub(programs)));
        if let (Some(traced), Some((weft, sink))) = (&mut traced, &before) {
            let now = Cpu::of(traced.pid())?;
            self.weft_us.push(per_request(now.time_since(weft)));
            self.cpu = now.since(weft);
            self.weft_cpu.push(self.cpu.whole);
            self.sink_cpu
                .push(Cpu::of(traced.sink.pid())?.since(sink).whole);
            let counts = traced.settled()?;
            self.expected += 2 * figures.requests;
            for (service, spans) in counts.spans {
                match service.as_str() {
                    "nginx" | "wrk" => self.received += spans,
                    _ => *self.of_others.entry(service).or_default() += spans,
                }
            }
            self.own = traced.figures();
        }
        self.rate.push(figures.requests_per_second);
        self.p50.push(figures.p50.as_secs_f64() * 1e6);
        self.p99.push(figures.p99.as_secs_f64() * 1e6);
        self.errors += figures.errors;
        traced.map_or(Ok(()), |traced| traced.stop().map(drop))
    }
}
