//! `weft`: zero-code distributed tracing for Linux.
//!
//! Exit codes: 0 ended as it should, 2 usage or configuration, 3 the kernel or the privileges do
//! not allow it, 1 anything else.

mod bpf;
mod cli;
mod config;
mod discover;
mod doctor;
mod export;
mod figures;
mod gate;
mod kubernetes;
mod peers;
mod pipeline;
mod policy;
mod reload;
mod run;
mod runtimes;
mod status;
mod telemetry;
mod tls;
mod why;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser as _;
use log::LevelFilter;

use cli::{Cli, Command};
use config::{Config, Environment};
use reload::Reload;

const OTHER: u8 = 1;
const USAGE: u8 = 2;
const KERNEL: u8 = 3;

fn main() -> ExitCode {
    // Ends with code 2 on wrong usage.
    let Cli { command, log_level } = Cli::parse();
    let env = Environment::of_this_process();
    let result = match command {
        Command::Run(run) => run.config(&env, log_level).map_or_else(
            |error| Err(Failure::from(error)),
            |config| {
                let read = || run.config(&env, log_level);
                let reload = Reload::new(run.source.config.as_deref(), &read);
                trace(&config, run.check, reload)
            },
        ),
        Command::Doctor(doctor) => examine(&doctor, &env, log_level),
        Command::Why(why) => explain(&why, &env, log_level),
        Command::Status(status) => tell(&status, &env, log_level),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, message }) => {
            eprintln!("weft: {message}");
            ExitCode::from(code)
        }
    }
}

/// What the user is told, and the exit code.
struct Failure {
    code: u8,
    message: String,
}

fn trace(config: &Config, check: bool, reload: Reload<'_>) -> Result<(), Failure> {
    if check {
        return print(&config.show());
    }
    log_to_stderr(config.log_level);
    run::run(config, reload)?;
    Ok(())
}

fn examine(
    doctor: &cli::Doctor,
    env: &Environment,
    log_level: Option<LevelFilter>,
) -> Result<(), Failure> {
    log_to_stderr(log_level.unwrap_or(LevelFilter::Warn));
    let mut config = doctor.source.config(env)?;
    config.kernel.door = doctor.door;
    config.kernel.uprobes = doctor.uprobes;
    // What could be switched on is tried, too.
    let options = bpf::Options {
        writes: true,
        ..run::options(&config)
    };
    let (mut capabilities, probes) = bpf::capabilities(options);
    capabilities.push(peers::capability(&config.peers));
    match &probes {
        Some(probes) if doctor.verifier => print(&doctor::verified(&probes.verified()))?,
        _ => print(&doctor::report(&capabilities))?,
    }
    match probes {
        Some(_) => Ok(()),
        None => Err(Failure {
            code: KERNEL,
            message: "cannot trace on this host: see what is off above".to_owned(),
        }),
    }
}

fn explain(
    why: &cli::Why,
    env: &Environment,
    log_level: Option<LevelFilter>,
) -> Result<(), Failure> {
    log_to_stderr(log_level.unwrap_or(LevelFilter::Warn));
    let config = why.source.of_running(env)?;
    print(&why::why(&why.target, why.json, &config)?)
}

fn tell(
    status: &cli::Status,
    env: &Environment,
    log_level: Option<LevelFilter>,
) -> Result<(), Failure> {
    log_to_stderr(log_level.unwrap_or(LevelFilter::Warn));
    let config = status.source.of_running(env)?;
    print(&why::status(status.json, &config)?)
}

/// Nobody reading is no failure.
fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure {
            code: OTHER,
            message: format!("standard output: {error}"),
        }),
        _ => Ok(()),
    }
}

fn log_to_stderr(level: LevelFilter) {
    let mut logger = env_logger::Builder::new();
    logger.filter_level(level).format_target(false);
    // What it says of each attempt is said once, by who asks it.
    if level < LevelFilter::Debug {
        logger.filter_module("kube", LevelFilter::Off);
        logger.filter_module("kube_client", LevelFilter::Off);
        logger.filter_module("kube_runtime", LevelFilter::Off);
    }
    logger.init();
}

impl From<config::Error> for Failure {
    fn from(error: config::Error) -> Self {
        Self {
            code: USAGE,
            message: error.to_string(),
        }
    }
}

impl From<run::Error> for Failure {
    fn from(error: run::Error) -> Self {
        let code = match error {
            run::Error::Kernel(_) => KERNEL,
            run::Error::Peers(peers::Error::Identity(_)) => USAGE,
            _ => OTHER,
        };
        Self {
            code,
            message: error.to_string(),
        }
    }
}

impl From<why::Error> for Failure {
    fn from(error: why::Error) -> Self {
        Self {
            code: OTHER,
            message: error.to_string(),
        }
    }
}
