//! Format, clippy for both targets and the project's own rules.

use std::ffi::OsString;

use anyhow::{Result, bail};

use crate::cargo::{cargo, target_directory};
use crate::process::Run as _;
use crate::step::step;
use crate::tidy;
use crate::toolchain::Toolchain;

pub(crate) fn run(arguments: &[OsString]) -> Result<()> {
    if let Some(argument) = arguments.first() {
        bail!("`lint` takes no arguments, not `{}`", argument.display());
    }
    Toolchain::ensure()?;
    let mut failed = 0;
    for Check { name, run } in checks() {
        if let Err(error) = step(name, run) {
            eprintln!("{error:#}");
            failed += 1;
        }
    }
    if failed > 0 {
        bail!("{failed} checks failed");
    }
    Ok(())
}

pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) run: fn() -> Result<()>,
}

pub(crate) fn checks() -> impl Iterator<Item = Check> {
    let tools = [
        Check {
            name: "format",
            run: || cargo("fmt").args(["--all", "--check", "--", "-l"]).run(),
        },
        Check {
            name: "clippy",
            run: clippy,
        },
        Check {
            name: "clippy for the BPF target",
            run: clippy_for_bpf,
        },
    ];
    tools.into_iter().chain(tidy::checks())
}

fn clippy() -> Result<()> {
    cargo("clippy")
        .args(["--workspace", "--exclude", "weft-probes", "--all-targets"])
        .args(["--", "-D", "warnings"])
        .env("WEFT_SKIP_EBPF", "1")
        .run()
}

fn clippy_for_bpf() -> Result<()> {
    let mut command = cargo("clippy");
    command.args(["--package", "weft-probes", "--release"]);
    // Another environment than the host's builds have: each would undo the other's work.
    command
        .arg("--target-dir")
        .arg(target_directory().join("lint-bpf"));
    Toolchain::ensure()?.for_bpf(&mut command)?;
    command.args(["--", "-D", "warnings"]).run()
}
