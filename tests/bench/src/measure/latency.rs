//! How soon weft is ready, and how soon a lone request's spans are with the receiver.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

use crate::lab::{Lab, Sampler};
use crate::load::http::Connection;
use crate::plan::Plan;
use crate::report::{Cell, Report, Table};
use crate::samples::Samples;

const MARK: &str = "probe=";
const PAUSE: Duration = Duration::from_millis(100);
/// Starts of weft that are timed at least.
const STARTS: usize = 5;

pub(crate) fn run(lab: &Lab, plan: &Plan, report: &mut Report) -> Result<()> {
    let mut ends = Vec::new();
    let mut traced = lab.trace(Sampler::All, Some(MARK))?;
    for number in 0..plan.probes {
        let mut connection = Connection::open(lab.nginx.address())?;
        connection.get(&format!("/index.html?{MARK}{number}"))?;
        ends.push(now_ns()?);
        drop(connection);
        std::thread::sleep(PAUSE);
    }
    let counts = traced.settled()?;
    let mut stops = Samples::from_iter([traced.stop()?.as_secs_f64() * 1e3]);
    while lab.starts().ready.len() < STARTS {
        stops.push(lab.trace(Sampler::All, None)?.stop()?.as_secs_f64() * 1e3);
    }
    // The later one of a request's two spans.
    let mut times = Samples::default();
    let mut single = 0_u64;
    for (number, end) in (0..).zip(&ends) {
        let of_this = counts.marked.iter().filter(|span| span.number == number);
        let arrivals: Vec<_> = of_this.map(|span| span.arrived_ns).collect();
        match arrivals.iter().max() {
            Some(last) if arrivals.len() >= 2 => {
                times.push(last.saturating_sub(*end) as f64 / 1e6);
            }
            _ => single += 1,
        }
    }
    let starts = lab.starts();
    let ready = starts.ready.map(|seconds| seconds * 1e3);
    let mut table = Table::new(
        "start and delivery, ms",
        &["", "count", "median (lowest … highest)"],
    );
    let mut row = |name: &str, samples: &Samples| {
        table.row(
            name,
            [Cell::from(samples.len() as u64), Cell::from(samples)],
        );
    };
    row("start to `weft: ready`", &ready);
    row(
        "of it CPU of weft",
        &starts.cpu.map(|seconds| seconds * 1e3),
    );
    row("SIGTERM to exit", &stops);
    row("end of a request to its last span at the receiver", &times);
    if single > 0 {
        table.note(format!(
            "{single} of {} requests did not bring both spans",
            ends.len()
        ));
    }
    report.tables.push(table);
    report.aim(
        "start to ready, median",
        "s",
        1.0,
        ready.quantile(0.5).map(|ms| ms / 1e3),
    );
    report.aim(
        "request end to receiver, longest",
        "s",
        2.0,
        times.quantile(1.0).map(|ms| ms / 1e3),
    );
    Ok(())
}

fn now_ns() -> Result<u64> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock stands before 1970")?;
    Ok(u64::try_from(now.as_nanos())?)
}
