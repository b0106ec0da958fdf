//! nginx and wrk with nothing to hold them back but two cores that weft has to share.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail};
use weft_workloads::programs::{Nginx, Tls};
use weft_workloads::{Group, Running, Workloads};

use crate::lab::{Beside, Lab, Sampler};
use crate::load::{Figures, h2load, wrk};
use crate::measure::hooks;
use crate::plan::Plan;
use crate::report::{Cell, Report, Table};
use crate::samples::Samples;
use crate::watch::cpu::{self, Cpu, CpuUse};
use crate::watch::prometheus::OwnFigures;

/// Who is asked by what, and what the tables are called.
pub(super) struct Server<'a> {
    pub(super) running: &'a Running,
    pub(super) load: Load,
    /// Name of its spans' service.
    pub(super) service: &'static str,
    pub(super) rates: &'static str,
    pub(super) work: &'static str,
    pub(super) spans: &'static str,
}

pub(super) enum Load {
    /// Its URL.
    Wrk(String),
    /// What is asked for, the URL last.
    H2load(Vec<String>),
}

pub(super) const TURNS: [(&str, Beside); 3] = [
    ("without weft", Beside::Nothing),
    ("weft, every span", Beside::Weft(Sampler::All)),
    ("weft, 1 % sampled", Beside::Weft(Sampler::OnePercent)),
];

#[derive(Default)]
pub(super) struct Turn {
    rate: Samples,
    mean: Samples,
    p50: Samples,
    p99: Samples,
    errors: u64,
    expected: u64,
    received: u64,
    of_others: BTreeMap<String, u64>,
    /// Microseconds of CPU a request, of nginx and wrk with the hooks in them.
    programs_us: Samples,
    pub(super) weft_us: Samples,
    weft_cpu: Samples,
    sink_cpu: Samples,
    /// Of the last round.
    cpu: CpuUse,
    own: OwnFigures,
}

pub(crate) fn run(lab: &Lab, plan: &Plan, report: &mut Report) -> Result<()> {
    let server = Server {
        running: &lab.nginx,
        load: Load::Wrk(lab.nginx.url()),
        service: "nginx",
        rates: "nginx, small file, wrk with 32 connections: one worker and one thread on two cores",
        work: "CPU a request in these runs, µs (others at work on the machine matter less here)",
        spans: "spans of these runs",
    };
    let turns = server.turns(lab, plan, &TURNS, report)?;
    let [without, all, sampled] = turns.as_slice() else {
        bail!("{} turns", turns.len());
    };
    let fewer = |turn: &Turn| turn.fewer(without);
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
    let fewer = |turn: &Turn| turn.fewer_by_cpu(without);
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
    report.aim("spans lost at saturation", "%", 0.0, Some(all.lost()));
    Ok(())
}

/// The same through TLS: nginx with OpenSSL, and a server in Go.
pub(crate) fn run_tls(lab: &Lab, plan: &Plan, report: &mut Report) -> Result<()> {
    let workloads = Workloads::ensure(&[Group::Web, Group::Load, Group::Go])?;
    let nginx = workloads.spawn(&Nginx::new().tls()?)?;
    let go = workloads.spawn(&Tls::Go)?;
    let https = |running: &Running| format!("https://{}/", running.listen().text());
    let servers = [
        (
            25.0,
            "fewer requests at saturation, nginx with TLS",
            "the same by CPU a request, nginx with TLS",
            "kernel programs for each request, nginx with TLS, both ends",
            Server {
                running: &nginx,
                load: Load::Wrk(https(&nginx)),
                service: "nginx",
                rates: "nginx with TLS, the same otherwise",
                work: "CPU a request, µs, nginx with TLS",
                spans: "spans of these runs, nginx with TLS",
            },
        ),
        (
            20.0,
            "fewer requests at saturation, Go with TLS",
            "the same by CPU a request, Go with TLS",
            "kernel programs for each request, Go with TLS, both ends",
            Server {
                running: &go,
                load: Load::Wrk(https(&go)),
                service: "tls",
                rates: "net/http with TLS, wrk with 32 connections",
                work: "CPU a request, µs, Go with TLS",
                spans: "spans of these runs, Go with TLS",
            },
        ),
    ];
    for (at_most, by_rate, by_cpu, programs, server) in servers {
        let turns = server.turns(lab, plan, &TURNS[..2], report)?;
        if let [without, all] = turns.as_slice() {
            report.aim(by_rate, "%", at_most, all.fewer(without));
            report.aim(by_cpu, "%", at_most, all.fewer_by_cpu(without));
        }
        let programs = hooks::per_request(lab, plan, &https(server.running), programs)?;
        report.tables.push(programs);
    }
    Ok(())
}

// === impl Load ===

impl Load {
    fn run(&self, workloads: &Workloads, duration: Duration) -> Result<Figures> {
        match self {
            Self::Wrk(url) => wrk::run(workloads, url, duration),
            Self::H2load(options) => h2load::run(workloads, options, duration),
        }
    }

    /// Name of its spans' service.
    fn service(&self) -> &'static str {
        match self {
            Self::Wrk(_) => "wrk",
            Self::H2load(_) => "h2load",
        }
    }
}

type Beginning = (&'static str, Beside);

// === impl Server ===

impl Server<'_> {
    /// Takes turns, and tells of them.
    pub(super) fn turns(
        &self,
        lab: &Lab,
        plan: &Plan,
        kinds: &[Beginning],
        report: &mut Report,
    ) -> Result<Vec<Turn>> {
        let mut turns: Vec<Turn> = kinds.iter().map(|_| Turn::default()).collect();
        self.load.run(&lab.workloads, plan.saturation / 2)?;
        for _ in 0..plan.rounds {
            for ((_, beside), turn) in kinds.iter().zip(&mut turns) {
                turn.take(lab, self, plan, *beside)?;
            }
        }
        report.tables.push(rates(self, kinds, &turns));
        report.tables.push(work(self, kinds, &turns));
        report.tables.push(spans(self, kinds, &turns));
        for ((name, _), turn) in kinds.iter().zip(&turns).skip(1) {
            let moment = format!("{}, {name}", self.rates);
            report.own_figures.insert(moment, turn.own.clone());
        }
        Ok(turns)
    }

    /// CPU time of the server, and of all children of this process that have ended: the load is the only one in between.
    fn programs_time(&self) -> Result<Duration> {
        let mut time = cpu::of_ended_children()?;
        for pid in self.running.pids() {
            time += Cpu::of(pid)?.time();
        }
        Ok(time)
    }
}

fn rates(server: &Server<'_>, kinds: &[Beginning], turns: &[Turn]) -> Table {
    let mut table = Table::new(
        server.rates,
        &[
            "",
            "requests/s",
            "change %",
            "mean µs",
            "p50 µs",
            "p99 µs",
            "weft CPU %",
            "receiver CPU %",
            "errors",
        ],
    );
    let without = &turns[0];
    for ((name, beside), turn) in kinds.iter().zip(turns) {
        let change = match beside {
            Beside::Nothing => Cell::Empty,
            Beside::Weft(_) => turn.rate.change_from(&without.rate).into(),
        };
        table.row(
            *name,
            [
                Cell::from(&turn.rate),
                change,
                Cell::from(&turn.mean),
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

fn work(server: &Server<'_>, kinds: &[Beginning], turns: &[Turn]) -> Table {
    let mut table = Table::new(
        server.work,
        &["", "server and load", "change %", "weft", "all, change %"],
    );
    let without = &turns[0];
    for ((name, beside), turn) in kinds.iter().zip(turns) {
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

fn spans(server: &Server<'_>, kinds: &[Beginning], turns: &[Turn]) -> Table {
    let mut table = Table::new(
        server.spans,
        &["", "of requests", "received", "received %", "of others"],
    );
    for ((name, beside), turn) in kinds.iter().zip(turns) {
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
    table.note("of requests: two for each request that the load counted; those under way when it stops are received, too");
    table
}

// === impl Turn ===

impl Turn {
    /// By so much fewer requests a second were answered than without, %.
    pub(super) fn fewer(&self, without: &Turn) -> Option<f64> {
        let change = self.rate.change_from(&without.rate).summary();
        change.map(|change| -change.median)
    }

    /// So much of the work a request is more than without, %.
    pub(super) fn fewer_by_cpu(&self, without: &Turn) -> Option<f64> {
        let all = self.programs_us.plus(&self.weft_us);
        let change = without.programs_us.change_from(&all).summary();
        change.map(|change| -change.median)
    }

    /// Spans that did not come, %.
    pub(super) fn lost(&self) -> f64 {
        (100.0 * (1.0 - self.received as f64 / self.expected as f64)).max(0.0)
    }

    fn take(&mut self, lab: &Lab, server: &Server<'_>, plan: &Plan, beside: Beside) -> Result<()> {
        let mut traced = lab.start(beside)?;
        let before = traced
            .as_ref()
            .map(|traced| anyhow::Ok((Cpu::of(traced.pid())?, Cpu::of(traced.sink.pid())?)))
            .transpose()?;
        let programs = server.programs_time()?;
        let figures = server.load.run(&lab.workloads, plan.saturation)?;
        let per_request = |time: Duration| time.as_secs_f64() * 1e6 / figures.requests as f64;
        self.programs_us.push(per_request(
            server.programs_time()?.saturating_sub(programs),
        ));
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
                    name if name == server.service || name == server.load.service() => {
                        self.received += spans;
                    }
                    _ => *self.of_others.entry(service).or_default() += spans,
                }
            }
            self.own = traced.figures();
        }
        self.rate.push(figures.requests_per_second);
        for (samples, time) in [
            (&mut self.mean, figures.mean),
            (&mut self.p50, figures.p50),
            (&mut self.p99, figures.p99),
        ] {
            if let Some(time) = time {
                samples.push(time.as_secs_f64() * 1e6);
            }
        }
        self.errors += figures.errors;
        traced.map_or(Ok(()), |traced| traced.stop().map(drop))
    }
}
