//! `weft`: zero-code distributed tracing for Linux.
//!
//! Exit codes: 0 ended as it should, 2 usage or configuration, 3 the kernel or the privileges do
//! not allow it, 1 anything else.
#![expect(dead_code, reason = "being wired")]

mod bpf;
mod cli;
mod config;
mod discover;
mod export;
mod figures;
mod pipeline;
mod run;
mod telemetry;

use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Command};
use config::Environment;

const OTHER: u8 = 1;
const USAGE: u8 = 2;
const KERNEL: u8 = 3;

fn main() -> ExitCode {
    // Ends with code 2 on wrong usage.
    let cli = Cli::parse();
    let env = Environment::of_this_process();
    match cli.command {
        Command::Run(run) => {
            let config = match run.config(&env, cli.log_level) {
                Ok(config) => config,
                Err(error) => return fault(&error),
            };
            if run.check {
                print!("{}", config.show());
                return ExitCode::SUCCESS;
            }
            log_to_stderr(config.log_level);
            match run::run(&config) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("weft: {error}");
                    ExitCode::from(if matches!(error, run::Error::Kernel(_)) { KERNEL } else { OTHER })
                }
            }
        }
        Command::Doctor(_) | Command::Why(_) => ExitCode::FAILURE,
    }
}

fn fault(error: &config::Error) -> ExitCode {
    eprintln!("weft: {error}");
    ExitCode::from(USAGE)
}

fn log_to_stderr(level: log::LevelFilter) {
    env_logger::Builder::new().filter_level(level).format_target(false).init();
}
