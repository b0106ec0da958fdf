//! Commands whose work is done by crates under `tests/`.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::build::{self, Profile};
use crate::cargo::{self, cargo, target_directory};
use crate::host;
use crate::process::Run as _;

pub(crate) fn e2e(arguments: &[OsString]) -> Result<()> {
    run_whole(Stage::E2e, arguments)
}

pub(crate) fn truth(arguments: &[OsString]) -> Result<()> {
    run_whole(Stage::Truth, arguments)
}

pub(crate) fn vm(arguments: &[OsString]) -> Result<()> {
    run_whole(Stage::Vm, arguments)
}

pub(crate) fn bench(arguments: &[OsString]) -> Result<()> {
    run_whole(Stage::Bench, arguments)
}

pub(crate) fn k8s(arguments: &[OsString]) -> Result<()> {
    /// They look at nothing that is built of weft.
    const WITHOUT_WEFT: [&str; 4] = ["down", "exec", "manifests", "setup"];
    let without = arguments
        .first()
        .is_some_and(|word| WITHOUT_WEFT.iter().any(|known| word == known));
    if !without {
        return run_whole(Stage::Cluster, arguments);
    }
    let program = target_directory().join("release/weft");
    Stage::Cluster.command(&program, arguments).run()
}

fn run_whole(stage: Stage, arguments: &[OsString]) -> Result<()> {
    if let Some(reason) = stage.missing() {
        bail!("{reason}");
    }
    host::prepare()?;
    let program = build::weft(Profile::Release)?;
    stage.command(&program, arguments).run()
}

/// A crate of proofs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    E2e,
    Truth,
    Vm,
    Bench,
    Cluster,
}

// === impl Stage ===

impl Stage {
    fn directory(self) -> &'static str {
        match self {
            Self::E2e => "tests/e2e",
            Self::Truth => "tests/truth",
            Self::Vm => "tests/vm",
            Self::Bench => "tests/bench",
            Self::Cluster => "tests/cluster",
        }
    }

    /// Why there is nothing to run.
    pub(crate) fn missing(self) -> Option<String> {
        let directory = cargo::root().join(self.directory());
        let begins = match self {
            Self::E2e => has_tests(directory.join("tests")),
            Self::Truth | Self::Vm | Self::Bench | Self::Cluster => {
                directory.join("src/main.rs").exists()
            }
        };
        (!begins).then(|| format!("{} has nothing to run yet", self.directory()))
    }

    /// The crate's command for the program that was built.
    pub(crate) fn command(self, program: &Path, arguments: &[OsString]) -> Command {
        let mut command = match self {
            Self::E2e => {
                // With the whole workspace the features of dependencies are those of the unit
                // tests, so that nothing is compiled twice.
                let mut command = cargo("test");
                command.args(["--workspace", "--exclude", "weft-probes", "--test", "e2e"]);
                command.env("WEFT_SKIP_EBPF", "1");
                command
            }
            Self::Truth => run_release("weft-truth"),
            Self::Vm => run_release("weft-vm"),
            Self::Bench => run_release("weft-bench"),
            Self::Cluster => run_release("weft-cluster"),
        };
        command.args(arguments).env("WEFT_BIN", program);
        command
    }
}

fn run_release(package: &str) -> Command {
    let mut command = cargo("run");
    command.args(["--quiet", "--release", "--package", package, "--"]);
    command
}

fn has_tests(directory: PathBuf) -> bool {
    fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some())
}
