//! Nanoseconds of each kernel program as the kernel counts them, less those of an empty program at the same hook.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::lab::{Lab, Sampler};
use crate::load::pingpong::{self, Ends};
use crate::load::wrk;
use crate::plan::Plan;
use crate::report::{Cell, Report, Table};
use crate::samples::Samples;
use crate::watch::empty::EmptyPrograms;
use crate::watch::kernel::{Objects, Program, Statistics};

/// What an empty program and the statistics cost where it cannot be measured.
const ASSUMED_EMPTY_NS: f64 = 45.0;

#[derive(Clone, Copy, Debug)]
enum Load {
    Nginx,
    PingPong,
}

/// Of time in which runs are counted: others that interrupt spoil some, not all.
const SLICE: Duration = Duration::from_millis(50);

/// Fewer runs in a slice say nothing.
const BUSY: u64 = 200;

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
            "",
            "runs",
            "runs/s",
            "mean ns",
            "ns, slices",
            "less empty",
            "core %",
        ],
    );
    let captured = under(lab, plan, Load::Nginx, Sampler::All, &mut table)?;
    let sampled = under(lab, plan, Load::Nginx, Sampler::OnePercent, &mut table)?;
    let muted = under(lab, plan, Load::PingPong, Sampler::All, &mut table)?;
    report.aim("captured socket call under load", "ns", 250.0, captured);
    report.aim("sampled-out socket call under load", "ns", 250.0, sampled);
    report.aim("muted socket call", "ns", 80.0, muted);
    table.note("slices: mean of each 50 ms, median (lowest … highest); less empty: the same less the median of empty programs at the hooks, which holds the statistics' own cost");
    report.tables.push(table);
    Ok(())
}

/// How often each kernel program runs for a request, and how long: both ends are traced. With the
/// statistics' own cost in each.
pub(crate) fn per_request(lab: &Lab, plan: &Plan, url: &str, title: &'static str) -> Result<Table> {
    let _statistics = Statistics::on()?;
    let traced = lab.trace(Sampler::All, None)?;
    let (workloads, duration) = (&lab.workloads, plan.statistics);
    let mut requests = 0;
    let observed = observe(traced.pid(), || {
        requests = wrk::run(workloads, url, duration)?.requests;
        Ok(())
    })?;
    traced.stop()?;
    let mut table = Table::new(title, &["", "runs a request", "mean ns", "ns a request"]);
    let per_request = |count: u64| count as f64 / requests as f64;
    let (mut runs, mut time_ns) = (0, 0);
    for program in &observed.programs {
        runs += program.runs;
        time_ns += program.run_time_ns;
        table.row(
            program.name.clone(),
            [
                Cell::from(per_request(program.runs)),
                Cell::from(program.ns_per_run()),
                Cell::from(per_request(program.run_time_ns)),
            ],
        );
    }
    table.row(
        "all",
        [
            Cell::from(per_request(runs)),
            Cell::Empty,
            Cell::from(per_request(time_ns)),
        ],
    );
    table.note("a probe's trap comes on top of its program: `weft doctor` measures it");
    Ok(table)
}

/// Own nanoseconds of a socket call.
fn under(
    lab: &Lab,
    plan: &Plan,
    load: Load,
    sampler: Sampler,
    table: &mut Table,
) -> Result<Option<f64>> {
    let label = match sampler {
        Sampler::All => format!("{load:?}"),
        Sampler::OnePercent => format!("{load:?}, 1 % sampled"),
    };
    let empty_ns = match empty(lab, plan, load) {
        Ok(observed) => {
            let ns = observed.calls.quantile(0.5).unwrap_or(ASSUMED_EMPTY_NS);
            observed.add_to(table, &label, None);
            ns
        }
        Err(error) => {
            table.note(format!(
                "{label}: {error:#}; an empty program is taken to cost {ASSUMED_EMPTY_NS} ns"
            ));
            ASSUMED_EMPTY_NS
        }
    };
    let traced = lab.trace(sampler, None)?;
    let work = load.work(lab, plan);
    let observed = observe(traced.pid(), work)?;
    traced.stop()?;
    observed.add_to(table, &label, Some(empty_ns));
    let own = observed.calls.map(|ns| ns - empty_ns);
    Ok(own.quantile(0.5))
}

/// Programs that do nothing, under the same load.
fn empty(lab: &Lab, plan: &Plan, load: Load) -> Result<Observed> {
    let _programs = EmptyPrograms::attach()?;
    let work = load.work(lab, plan);
    let observed = observe(std::process::id(), work)?;
    ensure!(!observed.programs.is_empty(), "an empty program never ran");
    Ok(observed)
}

/// Programs of a process while it is under load.
struct Observed {
    seconds: f64,
    programs: Vec<Program>,
    /// Nanoseconds a run, of each slice of time, by name.
    slices: BTreeMap<String, Samples>,
    /// The same for all that see socket calls.
    calls: Samples,
}

fn observe(pid: u32, work: impl FnOnce() -> Result<()> + Send) -> Result<Observed> {
    let first = Objects::of(pid)?;
    let begun = Instant::now();
    let mut slices: BTreeMap<String, Samples> = BTreeMap::new();
    let mut calls = Samples::default();
    let last = std::thread::scope(|scope| {
        let work = scope.spawn(work);
        let mut before = first.clone();
        while !work.is_finished() {
            std::thread::sleep(SLICE);
            let now = Objects::of(pid)?;
            let ran = now.since(&before);
            for program in &ran {
                let samples = slices.entry(program.name.clone()).or_default();
                samples.push(program.ns_per_run());
            }
            let all = socket_calls(&ran);
            if all.runs >= BUSY {
                calls.push(all.ns_per_run());
            }
            before = now;
        }
        work.join().ok().context("the load is lost")??;
        anyhow::Ok(before)
    })?;
    Ok(Observed {
        seconds: begun.elapsed().as_secs_f64(),
        programs: last.since(&first),
        slices,
        calls,
    })
}

fn socket_calls(programs: &[Program]) -> Program {
    let sees_calls = |program: &&Program| {
        let name = program.name.as_str();
        SOCKET_CALLS.iter().any(|call| name.starts_with(call))
    };
    programs
        .iter()
        .filter(sees_calls)
        .fold(Program::default(), |sum, program| Program {
            runs: sum.runs + program.runs,
            run_time_ns: sum.run_time_ns + program.run_time_ns,
            ..sum
        })
}

// === impl Observed ===

impl Observed {
    /// One row for each program and one for all socket calls; empty programs have nothing to be less than.
    fn add_to(&self, table: &mut Table, label: &str, empty_ns: Option<f64>) {
        let mut row = |name: &str, program: &Program, slices: &Samples| {
            let own = empty_ns.map(|empty_ns| slices.map(|ns| ns - empty_ns));
            table.row(
                format!("{label}: {name}"),
                [
                    Cell::from(program.runs),
                    Cell::from(program.runs as f64 / self.seconds),
                    Cell::from(program.ns_per_run()),
                    Cell::from(slices),
                    own.map_or(Cell::Empty, Cell::from),
                    Cell::from(program.run_time_ns as f64 / self.seconds / 1e7),
                ],
            );
        };
        let all = socket_calls(&self.programs);
        if empty_ns.is_none() {
            return row("empty programs", &all, &self.calls);
        }
        for program in &self.programs {
            if let Some(slices) = self.slices.get(&program.name) {
                row(&program.name, program, slices);
            }
        }
        row("all socket calls", &all, &self.calls);
    }
}

// === impl Load ===

impl Load {
    fn work(self, lab: &Lab, plan: &Plan) -> impl FnOnce() -> Result<()> + Send {
        let (workloads, url, duration) = (&lab.workloads, lab.nginx.url(), plan.statistics);
        move || match self {
            Self::Nginx => wrk::run(workloads, &url, duration).map(drop),
            Self::PingPong => pingpong::run(Ends::OneThread, duration).map(drop),
        }
    }
}
