//! Everything CI runs, in order, with a table at the end.

mod tally;

use std::env;
use std::ffi::OsString;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use self::tally::Tally;
use crate::build::{self, Profile};
use crate::cargo::{cargo, target_directory};
use crate::host;
use crate::lint::{self, Check};
use crate::setup;
use crate::stage::Stage;
use crate::step::{elapsed, step};
use crate::toolchain::Toolchain;

/// A stage of the test run.
struct Part {
    name: &'static str,
    run: fn(&mut Tally) -> Result<()>,
}

const PARTS: &[Part] = &[
    Part {
        name: "lint",
        run: lint,
    },
    Part {
        name: "build",
        run: build,
    },
    Part {
        name: "unit",
        run: unit,
    },
    Part {
        name: "e2e",
        run: |tally| crate_of_tests(tally, Stage::E2e, &[]),
    },
    Part {
        name: "truth",
        run: |tally| crate_of_tests(tally, Stage::Truth, &["--quick"]),
    },
    Part {
        name: "vm",
        run: |tally| crate_of_tests(tally, Stage::Vm, &[]),
    },
    Part {
        name: "k8s",
        run: |tally| crate_of_tests(tally, Stage::Cluster, &[]),
    },
    Part {
        name: "bench",
        run: |tally| crate_of_tests(tally, Stage::Bench, &["--quick"]),
    },
];

/// What CI may skip: (a part or a test, why).
const ALLOWED_SKIPS: &[(&str, &str)] = &[
    (
        "export::tests::encoding_cost",
        "a measurement, for release builds and by name",
    ),
    (
        "bpf::sites::tests::probes_come_and_go",
        "a measurement, by name",
    ),
    (
        "kubernetes::tests::size_of_a_large_cluster",
        "a measurement, by name",
    ),
];

struct Outcome {
    name: &'static str,
    tally: Tally,
    took: Duration,
}

pub(crate) fn run(arguments: &[OsString]) -> Result<()> {
    let chosen = Choice::parse(arguments)?;
    let mut outcomes = Vec::new();
    for Part { name, run } in PARTS {
        if !chosen.takes(name) {
            continue;
        }
        println!("\n######## {name}");
        let begun = Instant::now();
        let mut tally = Tally::new(name);
        if let Err(error) = run(&mut tally) {
            eprintln!("{name}: {error:#}");
            tally.fail();
        }
        outcomes.push(Outcome {
            name,
            tally,
            took: begun.elapsed(),
        });
    }
    report(&outcomes)
}

/// Prints the table and the closing line.
fn report(outcomes: &[Outcome]) -> Result<()> {
    let strict = env::var_os("CI").is_some_and(|value| value == "true");
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    println!(
        "\n{:<8} {:>8} {:>8} {:>8}   time",
        "stage", "passed", "failed", "skipped"
    );
    for Outcome { name, tally, took } in outcomes {
        println!(
            "{name:<8} {:>8} {:>8} {:>8}   {}",
            tally.passed,
            tally.failed,
            tally.skipped.len(),
            elapsed(*took)
        );
        passed += tally.passed;
        failed += tally.failed;
        skipped += tally.skipped.len();
    }
    for (part, skip) in outcomes.iter().flat_map(|outcome| {
        outcome
            .tally
            .skipped
            .iter()
            .map(|skip| (outcome.name, skip))
    }) {
        let allowed = ALLOWED_SKIPS.iter().find(|(name, _)| *name == skip.name);
        match allowed {
            Some((_, reason)) => println!("SKIPPED {part}: {}: {reason}", skip.name),
            None if strict => {
                failed += 1;
                println!(
                    "SKIPPED {part}: {}, a failure in CI: {}",
                    skip.name, skip.why
                );
            }
            None => println!("SKIPPED {part}: {}: {}", skip.name, skip.why),
        }
    }
    println!("\n{passed} passed, {failed} failed, {skipped} skipped");
    if failed > 0 {
        bail!("{failed} failed");
    }
    Ok(())
}

/// `--only STAGE` and `--skip STAGE`, each any number of times.
#[derive(Default)]
struct Choice {
    only: Vec<String>,
    skip: Vec<String>,
}

// === impl Choice ===

impl Choice {
    fn parse(arguments: &[OsString]) -> Result<Self> {
        let mut choice = Self::default();
        let mut arguments = arguments.iter();
        while let Some(option) = arguments.next() {
            let list = match option.to_str() {
                Some("--only") => &mut choice.only,
                Some("--skip") => &mut choice.skip,
                _ => bail!(
                    "`test` takes --only STAGE and --skip STAGE, not `{}`",
                    option.display()
                ),
            };
            let stage = arguments
                .next()
                .and_then(|stage| stage.clone().into_string().ok())
                .with_context(|| format!("{} needs a stage", option.display()))?;
            if !PARTS.iter().any(|part| part.name == stage) {
                let names: Vec<_> = PARTS.iter().map(|part| part.name).collect();
                bail!("no stage `{stage}`: there are {}", names.join(", "));
            }
            list.push(stage);
        }
        Ok(choice)
    }

    fn takes(&self, name: &str) -> bool {
        let Self { only, skip } = self;
        (only.is_empty() || only.iter().any(|stage| stage == name))
            && !skip.iter().any(|stage| stage == name)
    }
}

fn lint(tally: &mut Tally) -> Result<()> {
    Toolchain::ensure()?;
    for Check { name, run } in lint::checks() {
        match step(name, run) {
            Ok(()) => tally.pass(),
            Err(error) => {
                eprintln!("{error:#}");
                tally.fail();
            }
        }
    }
    Ok(())
}

fn build(tally: &mut Tally) -> Result<()> {
    step("building weft", || build::weft(Profile::Release))?;
    tally.pass();
    Ok(())
}

fn unit(tally: &mut Tally) -> Result<()> {
    tally.watch(
        cargo("test")
            .args(["--workspace", "--exclude", "weft-probes"])
            .args(["--exclude", "weft-e2e"])
            .env("WEFT_SKIP_EBPF", "1"),
    )
}

fn crate_of_tests(tally: &mut Tally, stage: Stage, arguments: &[&str]) -> Result<()> {
    if let Some(reason) = stage.missing() {
        tally.skip_all(&reason);
        return Ok(());
    }
    host::prepare()?;
    setup::workloads()?;
    let program = target_directory().join("release/weft");
    if !program.exists() {
        bail!("{} was not built", program.display());
    }
    let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
    tally.watch(&mut stage.command(&program, &arguments))
}
