//! What weft needs of a core while nginx serves a fixed number of requests a second, and while nothing happens.

use anyhow::Result;

use crate::lab::{Beside, Lab, Sampler};
use crate::load::pace;
use crate::plan::Plan;
use crate::report::{Cell, Report, Table};
use crate::samples::Samples;
use crate::watch::cpu::{Cpu, CpuUse};
use crate::watch::prometheus::OwnFigures;

const RATE: u32 = 10_000;

#[derive(Default)]
struct Turn {
    rate: Samples,
    p50: Samples,
    p99: Samples,
    errors: u64,
    weft: Samples,
    sink: Samples,
    idle: Samples,
    threads: CpuUse,
    expected: u64,
    received: u64,
    own: OwnFigures,
}

pub(crate) fn run(lab: &Lab, plan: &Plan, report: &mut Report) -> Result<()> {
    let mut without = Turn::default();
    let mut with = Turn::default();
    for _ in 0..plan.steady_rounds {
        without.take(lab, plan, Beside::Nothing)?;
        with.take(lab, plan, Beside::Weft(Sampler::All))?;
    }
    let mut table = Table::new(
        "10,000 requests a second over 32 kept connections",
        &[
            "",
            "requests/s",
            "p50 µs",
            "p99 µs",
            "weft CPU %",
            "weft idle CPU %",
            "receiver CPU %",
            "spans received %",
            "errors",
        ],
    );
    for (name, turn) in [("without weft", &without), ("weft, every span", &with)] {
        let share = match turn.expected {
            0 => Cell::Empty,
            expected => Cell::from(100.0 * turn.received as f64 / expected as f64),
        };
        table.row(
            name,
            [
                Cell::from(&turn.rate),
                Cell::from(&turn.p50),
                Cell::from(&turn.p99),
                Cell::from(&turn.weft),
                Cell::from(&turn.idle),
                Cell::from(&turn.sink),
                share,
                Cell::from(turn.errors),
            ],
        );
    }
    table.note(format!("threads of weft: {}", with.threads.by_thread()));
    table.note("idle: weft beside nginx that nobody asks; CPU in percent of one core, without what the hooks cost the programs");
    report.tables.push(table);
    report.own_figures.insert("steady".to_owned(), with.own);
    report.aim(
        "CPU of the agent at 10,000 requests/s",
        "% of a core",
        10.0,
        with.weft.quantile(0.5),
    );
    Ok(())
}

// === impl Turn ===

impl Turn {
    fn take(&mut self, lab: &Lab, plan: &Plan, beside: Beside) -> Result<()> {
        let mut traced = lab.start(beside)?;
        if let Some(traced) = &traced {
            let before = Cpu::of(traced.pid())?;
            std::thread::sleep(plan.idle);
            self.idle.push(Cpu::of(traced.pid())?.since(&before).whole);
        }
        let before = traced
            .as_ref()
            .map(|traced| anyhow::Ok((Cpu::of(traced.pid())?, Cpu::of(traced.sink.pid())?)))
            .transpose()?;
        let figures = pace::run(lab.nginx.address(), RATE, plan.steady)?;
        if let (Some(traced), Some((weft, sink))) = (&mut traced, &before) {
            self.threads = Cpu::of(traced.pid())?.since(weft);
            self.weft.push(self.threads.whole);
            self.sink
                .push(Cpu::of(traced.sink.pid())?.since(sink).whole);
            self.expected += 2 * figures.requests;
            self.received += traced.settled()?.total();
            self.own = traced.figures();
        }
        self.rate
            .push(figures.requests as f64 / figures.elapsed_ns as f64 * 1e9);
        self.p50.push(figures.p50_us);
        self.p99.push(figures.p99_us);
        self.errors += figures.errors;
        traced.map_or(Ok(()), |traced| traced.stop().map(drop))
    }
}
