//! What weft costs: the same work with and without it, by turns in one run.
//!
//! Nothing here passes or fails by time. It prints a table for people, and with `--json` the same figures for programs.

mod lab;
mod load;
mod machine;
mod measure;
mod plan;
mod report;
mod samples;
mod sink;
mod watch;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

use crate::lab::Lab;
use crate::load::{pace, pingpong};
use crate::machine::Machine;
use crate::measure::{Measure, inspect};
use crate::plan::Plan;
use crate::report::Report;

/// Measure what weft costs, with and without it by turns.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    helper: Option<Helper>,
    /// Take a minute and a half instead of eight, with figures to match.
    #[arg(long)]
    quick: bool,
    /// Write the figures into this file, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only these parts; all without it.
    #[arg(long, value_enum, value_name = "PART")]
    only: Vec<Measure>,
}

/// Processes that the bench starts for itself.
#[derive(Subcommand)]
enum Helper {
    /// One byte to and fro over loopback TCP.
    Pingpong(pingpong::Arguments),
    /// Requests at a fixed rate over kept connections.
    Pace(pace::Arguments),
    /// An OTLP receiver that counts spans and keeps nothing.
    Sink(sink::Arguments),
    /// One look into one file.
    Inspect(inspect::Arguments),
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match &arguments.helper {
        Some(Helper::Pingpong(arguments)) => pingpong::main(arguments),
        Some(Helper::Pace(arguments)) => pace::main(arguments),
        Some(Helper::Sink(arguments)) => sink::main(arguments),
        Some(Helper::Inspect(arguments)) => inspect::main(arguments),
        None => bench(&arguments),
    }
}

fn bench(arguments: &Arguments) -> Result<()> {
    let plan = if arguments.quick {
        Plan::quick()
    } else {
        Plan::full()
    };
    let mut report = Report {
        machine: Machine::look()?,
        ..Report::default()
    };
    let lab = Lab::open()?;
    for measure in Measure::all() {
        if arguments.only.is_empty() || arguments.only.contains(&measure) {
            eprintln!("==> {}", measure.title());
            measure
                .run(&lab, &plan, &mut report)
                .with_context(|| format!("{} could not be measured", measure.title()))?;
        }
    }
    println!("{report}");
    if let Some(file) = &arguments.json {
        std::fs::write(file, serde_json::to_vec_pretty(&report)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}
