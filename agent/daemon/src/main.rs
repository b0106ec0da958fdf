//! `weft`: zero-code distributed tracing for Linux.
//!
//! Exit codes: 0 ended as it should, 2 usage or configuration, 3 the kernel or the privileges do
//! not allow it, 1 anything else.
#![expect(dead_code, reason = "being wired")]

mod cli;
mod config;
mod discover;
mod export;
mod telemetry;

use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Command};
use config::Environment;

const USAGE: u8 = 2;

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
            ExitCode::FAILURE
        }
        Command::Doctor(_) | Command::Why(_) => ExitCode::FAILURE,
    }
}

fn fault(error: &config::Error) -> ExitCode {
    eprintln!("weft: {error}");
    ExitCode::from(USAGE)
}
