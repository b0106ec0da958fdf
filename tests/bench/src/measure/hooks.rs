//! Nanoseconds of each kernel program as the kernel counts them, less those of an empty program at the same hook.

use std::time::Instant;

use anyhow::{Result, ensure};

use crate::lab::{Lab, Sampler};
use crate::load::pingpong::{self, Ends};
use crate::load::wrk;
use crate::plan::Plan;
use crate::report::{Cell, Report, Table};
use crate::watch::empty::EmptyPrograms;
use crate::watch::kernel::{Objects, Program, Statistics};

/// What an empty program and the statistics cost where it cannot be measured.
const ASSUMED_EMPTY_NS: f64 = 45.0;

#[derive(Clone, Copy, Debug)]
enum Load {
    Nginx,
    PingPong,
}

/// The hooks that every socket call passes; the others are rare.
const SOCKET_CALLS: [&str; 6] = [
    "sock_send_length",
    "sock_recv_length",
    "tcp_sendmsg",
    "tcp_sendpage",
    "unix_stream_se",
    "sock_recvmsg",
];

pub(crate) fn run(lab: &Lab, plan: &Plan, report: &mut Report) -> Result<()> {
    let _statistics = Statistics::on()?;
    let mut table = Table::new(
        "own time of the kernel programs",
        &[
            "", "runs", "runs/s", "ns/run", "empty ns", "own ns", "core %",
        ],
    );
    let captured = under(lab, plan, Load::Nginx, Sampler::All, &mut table)?;
    let sampled = under(lab, plan, Load::Nginx, Sampler::OnePercent, &mut table)?;
    let muted = under(lab, plan, Load::PingPong, Sampler::All, &mut table)?;
    report.aim("captured socket call under load", "ns", 250.0, captured);
    report.aim("sampled-out socket call under load", "ns", 250.0, sampled);
    report.aim("muted socket call", "ns", 80.0, muted);
    report.tables.push(table);
    Ok(())
}

/// Own nanoseconds of a socket call.
fn under(
    lab: &Lab,
    plan: &Plan,
    load: Load,
    sampler: Sampler,
    table: &mut Table,
) -> Result<Option<f64>> {
    let empty_ns = match empty(lab, plan, load) {
        Ok(program) => {
            let cells = [
                Cell::from(program.runs),
                Cell::Empty,
                Cell::from(program.ns_per_run()),
            ];
            table.row(format!("{load:?}: empty program"), cells);
            program.ns_per_run()
        }
        Err(error) => {
            table.note(format!(
                "{load:?}: {error:#}; an empty program is taken to cost {ASSUMED_EMPTY_NS} ns"
            ));
            ASSUMED_EMPTY_NS
        }
    };
    let traced = lab.trace(sampler, None)?;
    let (ran, seconds) = observe(traced.pid(), || load.put(lab, plan))?;
    traced.stop()?;
    let label = match sampler {
        Sampler::All => format!("{load:?}"),
        Sampler::OnePercent => format!("{load:?}, 1 % sampled"),
    };
    let row = |table: &mut Table, name: &str, program: &Program| {
        let own = program.ns_per_run() - empty_ns;
        table.row(
            format!("{label}: {name}"),
            [
                Cell::from(program.runs),
                Cell::from(program.runs as f64 / seconds),
                Cell::from(program.ns_per_run()),
                Cell::from(empty_ns),
                Cell::from(own),
                Cell::from(program.run_time_ns as f64 / seconds / 1e7),
            ],
        );
        own
    };
    for program in &ran {
        row(table, &program.name, program);
    }
    let calls = ran.iter().filter(|program| {
        SOCKET_CALLS
            .iter()
            .any(|name| program.name.starts_with(name))
    });
    let calls = total(calls);
    Ok((calls.runs > 0).then(|| row(table, "all socket calls", &calls)))
}

/// What the kernel counts for programs that do nothing, under the same load.
fn empty(lab: &Lab, plan: &Plan, load: Load) -> Result<Program> {
    let _programs = EmptyPrograms::attach()?;
    let (ran, _) = observe(std::process::id(), || load.put(lab, plan))?;
    let all = total(&ran);
    ensure!(all.runs > 0, "an empty program never ran");
    Ok(all)
}

fn observe(pid: u32, work: impl FnOnce() -> Result<()>) -> Result<(Vec<Program>, f64)> {
    let before = Objects::of(pid)?;
    let begun = Instant::now();
    work()?;
    let seconds = begun.elapsed().as_secs_f64();
    Ok((Objects::of(pid)?.since(&before), seconds))
}

fn total<'a>(programs: impl IntoIterator<Item = &'a Program>) -> Program {
    programs
        .into_iter()
        .fold(Program::default(), |sum, program| Program {
            runs: sum.runs + program.runs,
            run_time_ns: sum.run_time_ns + program.run_time_ns,
            ..sum
        })
}

// === impl Load ===

impl Load {
    fn put(self, lab: &Lab, plan: &Plan) -> Result<()> {
        match self {
            Self::Nginx => wrk::run(&lab.workloads, &lab.nginx.url(), plan.statistics).map(drop),
            Self::PingPong => pingpong::run(Ends::OneThread, plan.statistics).map(drop),
        }
    }
}
