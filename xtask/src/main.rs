//! `cargo xtask`: set-up, build and proof of weft.
//!
//! Each command does all the set-up that it needs, in the cache directory (`$WEFT_CACHE`, else
//! `$XDG_CACHE_HOME/weft`, else `~/.cache/weft`), says what it installs, and does nothing the
//! second time.
#![forbid(unsafe_code)]

mod build;
mod cargo;
mod demo;
mod host;
mod lint;
mod package;
mod process;
mod setup;
mod stage;
mod step;
mod test;
mod tidy;
mod tls_table;
mod toolchain;

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Result, bail};

struct Command {
    name: &'static str,
    about: &'static str,
    run: fn(&[OsString]) -> Result<()>,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "demo",
        about: "run a small shop of unmodified services and show its traces",
        run: demo::run,
    },
    Command {
        name: "test",
        about: "run everything CI runs [--only STAGE]... [--skip STAGE]...",
        run: test::run,
    },
    Command {
        name: "build",
        about: "build target/{debug,release}/weft [--release]",
        run: build::run,
    },
    Command {
        name: "lint",
        about: "format, clippy for both targets, and the project's own rules",
        run: lint::run,
    },
    Command {
        name: "e2e",
        about: "end-to-end tests on real programs [cargo test's arguments]",
        run: stage::e2e,
    },
    Command {
        name: "truth",
        about: "count coverage, wrong and missed links [weft-truth's arguments]",
        run: stage::truth,
    },
    Command {
        name: "vm",
        about: "boot other kernels and trace in them [weft-vm's arguments]",
        run: stage::vm,
    },
    Command {
        name: "bench",
        about: "measure with and without weft [weft-bench's arguments]",
        run: stage::bench,
    },
    Command {
        name: "k8s",
        about: "weft in a real cluster [up|down|exec COMMAND|image|manifests|setup]",
        run: stage::k8s,
    },
    Command {
        name: "tls-table",
        about: "what is found in the tests' programs [--readme FILE]",
        run: tls_table::run,
    },
    Command {
        name: "package",
        about: "write target/package/weft-VERSION-TARGET.tar.gz and its checksum",
        run: package::run,
    },
    Command {
        name: "setup",
        about: "only the set-up that the other commands do by themselves",
        run: setup::run,
    },
];

fn main() -> ExitCode {
    match dispatch() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch() -> Result<()> {
    let mut arguments = env::args_os().skip(1);
    let Some(name) = arguments.next() else {
        print_help();
        bail!("no command given");
    };
    if ["help", "--help", "-h"].iter().any(|help| name == *help) {
        print_help();
        return Ok(());
    }
    let Some(command) = COMMANDS.iter().find(|command| name == command.name) else {
        print_help();
        bail!("there is no command `{}`", name.display());
    };
    (command.run)(&arguments.collect::<Vec<_>>())
}

fn print_help() {
    println!("usage: cargo xtask COMMAND [ARGUMENTS]\n");
    for Command { name, about, .. } in COMMANDS {
        println!("  {name:<9}  {about}");
    }
}
