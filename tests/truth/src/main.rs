//! `weft-truth`: runs real programs under an agent and counts how much of its spans is true.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, bail};
use clap::{Parser, ValueEnum};
use tokio::task::block_in_place;

use weft_truth::agent::{AgentCommand, Ready};
use weft_truth::driver::Driver;
use weft_truth::members::Members;
use weft_truth::plan::{Amount, Plan};
use weft_truth::report::{self, Style};
use weft_truth::scenario::{Cast, Scenario};
use weft_truth::score::score;
use weft_truth::sink::Sink;
use weft_truth::truth::{IdSpace, ScenarioInfo, Truth};

/// Counts how much of what really happened an OTLP-emitting agent tells, and whether it is true.
///
/// Ends with 1 when a link, a method or a status is wrong, a span is duplicated, a trace mixes
/// requests, or less is covered than asked for.
#[derive(Debug, Parser)]
struct Arguments {
    /// The agent's command; OTEL_EXPORTER_OTLP_ENDPOINT and _PROTOCOL tell it where to export to
    /// [default: WEFT_BIN, or else target/release/weft, with `run --output otlp`]
    #[arg(last = true)]
    agent: Vec<String>,
    /// The agent is ready when it prints this.
    #[arg(long, default_value = "weft: ready", value_name = "TEXT")]
    ready: String,
    /// The agent is ready after this time, whatever it prints.
    #[arg(long, value_name = "SECONDS", conflicts_with = "ready")]
    ready_after: Option<f64>,
    #[arg(long, default_value = "grpc", value_parser = ["grpc", "http/protobuf"])]
    protocol: String,
    /// Time for the agent to export, between the last request and SIGTERM.
    #[arg(long, default_value_t = 0.5, value_name = "SECONDS")]
    linger: f64,
    /// A fifth of the requests, for every change.
    #[arg(long)]
    quick: bool,
    /// Only these scenarios.
    #[arg(long = "scenario", value_name = "NAME")]
    scenarios: Vec<String>,
    /// Concurrent clients, one run for each number.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8, 64])]
    clients: Vec<usize>,
    /// Concurrent streams on one connection, one run for each number.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100])]
    streams: Vec<usize>,
    /// Only with the agent there first, or only with the connections there first.
    #[arg(long, value_enum)]
    attach: Option<AttachArgument>,
    /// Least part of the expected spans, in percent.
    #[arg(long, default_value_t = 99.9, value_name = "PERCENT")]
    min_coverage: f64,
    /// Print the tables as Markdown.
    #[arg(long)]
    markdown: bool,
    /// Put the Markdown tables into this file, between the lines that mark their place.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "README.md")]
    readme: Option<PathBuf>,
    /// Print a row for each scenario, and what the agent prints.
    #[arg(long, short)]
    verbose: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AttachArgument {
    Early,
    Late,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("weft-truth: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn run(arguments: Arguments) -> Result<ExitCode> {
    let begin = Instant::now();
    eprintln!("truth: fetching the programs that are missing (nothing, the second time)");
    let workloads = block_in_place(Cast::fetch)?;
    let sink = Sink::start()
        .await
        .context("no port for the OTLP receiver")?;
    let agent = AgentCommand {
        words: command(&arguments.agent),
        protocol: arguments.protocol.clone(),
        ready: match arguments.ready_after {
            Some(seconds) => Ready::After(Duration::try_from_secs_f64(seconds)?),
            None => Ready::Says(arguments.ready.clone()),
        },
        verbose: arguments.verbose,
    };

    // Early: the agent is there before the programs are.
    let early = match arguments.attach {
        Some(AttachArgument::Late) => None,
        _ => Some(agent.start(&sink.endpoint()).await?),
    };
    let mut cast = block_in_place(|| Cast::start(&workloads))?;
    let scenarios = chosen(&cast, &arguments.scenarios)?;
    let driver = Driver::new(IdSpace::new(nonce()), cast.topology.clone());
    let members = Members::watch(&cast.topology);
    eprintln!(
        "truth: programs are running after {:.1} s",
        begin.elapsed().as_secs_f64()
    );

    // An agent that does not end well has still said something.
    let mut stopped = Vec::new();
    let plan = Plan {
        driver: &driver,
        clients: &arguments.clients,
        streams: &arguments.streams,
        amount: if arguments.quick {
            Amount::Quick
        } else {
            Amount::Full
        },
        linger: Duration::try_from_secs_f64(arguments.linger)?,
    };
    if let Some(agent) = early {
        stopped.extend(plan.early(&scenarios, agent).await.err());
    }
    if arguments.attach != Some(AttachArgument::Early) {
        let ended = plan.late(&scenarios, &agent, &sink).await?;
        stopped.extend(ended.into_iter().filter_map(Result::err));
    }
    block_in_place(|| cast.stop());
    eprintln!("truth: done after {:.1} s", begin.elapsed().as_secs_f64());

    let (spans, dropped) = sink.take();
    if dropped > 0 {
        bail!("{dropped} spans more than can be kept");
    }
    let truth = Truth {
        ids: driver.ids.clone(),
        programs: cast
            .topology
            .nodes()
            .map(|(_, node)| node.info.clone())
            .collect(),
        scenarios: cast
            .scenarios
            .iter()
            .map(|scenario| ScenarioInfo {
                name: scenario.name.to_owned(),
                sharing: scenario.protocol.sharing(),
            })
            .collect(),
        requests: driver.requests(),
        members: members.seen(),
    };
    let score = score(&truth, &spans);
    let style = if arguments.markdown {
        Style::Markdown
    } else {
        Style::Text
    };
    if arguments.verbose {
        eprintln!("{}\n", report::details(&truth, &score));
    }
    eprint!("{}", report::examples(&score));
    println!("{}", report::report(&truth, &score, style));
    if let Some(document) = &arguments.readme {
        report::insert(document, &report::report(&truth, &score, Style::Markdown))?;
    }

    let mut code = ExitCode::SUCCESS;
    for (failure, count) in driver.failures() {
        eprintln!("truth: failed: {count} requests: {failure}");
        code = ExitCode::FAILURE;
    }
    for error in stopped {
        eprintln!("truth: failed: {error}");
        code = ExitCode::FAILURE;
    }
    for failure in report::failures(&truth, &score, arguments.min_coverage) {
        eprintln!("truth: failed: {failure}");
        code = ExitCode::FAILURE;
    }
    Ok(code)
}

fn command(given: &[String]) -> Vec<String> {
    if !given.is_empty() {
        return given.to_vec();
    }
    let program = std::env::var("WEFT_BIN").unwrap_or_else(|_| "target/release/weft".to_owned());
    [&program, "run", "--output", "otlp"]
        .map(str::to_owned)
        .to_vec()
}

fn chosen(cast: &Cast, names: &[String]) -> Result<Vec<(usize, Arc<Scenario>)>> {
    let known: Vec<_> = cast
        .scenarios
        .iter()
        .map(|scenario| scenario.name)
        .collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("no scenario `{unknown}`; there are {}", known.join(", "));
    }
    let all = cast.scenarios.iter().cloned().map(Arc::new).enumerate();
    Ok(all
        .filter(|(_, s)| names.is_empty() || names.iter().any(|name| name == s.name))
        .collect())
}

/// Tells the ids of this run from those of others.
fn nonce() -> u32 {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    now.subsec_nanos() ^ std::process::id().rotate_left(16) ^ (now.as_secs() as u32)
}
