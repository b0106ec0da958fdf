//! The program itself: one self-contained file with the kernel object inside.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use crate::cargo::{cargo, target_directory};
use crate::process::Run as _;
use crate::toolchain::Toolchain;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    Debug,
    Release,
}

/// What a node is asked to download.
const RELEASE_BYTES: u64 = 15 << 20;

pub(crate) fn run(arguments: &[OsString]) -> Result<()> {
    let mut profile = Profile::Debug;
    for argument in arguments {
        match argument.to_str() {
            Some("--release" | "-r") => profile = Profile::Release,
            _ => bail!("`build` takes only --release, not `{}`", argument.display()),
        }
    }
    let program = weft(profile)?;
    eprintln!("==> {}", program.display());
    Ok(())
}

/// Sets up the tool chain, builds the program and gives its path.
pub(crate) fn weft(profile: Profile) -> Result<PathBuf> {
    Toolchain::ensure()?;
    let mut command = cargo("rustc");
    command.args(["--package", "weft", "--bin", "weft"]);
    if profile == Profile::Release {
        command.arg("--release");
    }
    // For the last link only: among the host's flags it would keep proc-macros from loading.
    command.args(["--", "-C", "target-feature=+crt-static"]);
    command.run()?;

    let program = target_directory()
        .join(match profile {
            Profile::Debug => "debug",
            Profile::Release => "release",
        })
        .join("weft");
    check(&program, profile)?;
    Ok(program)
}

fn check(program: &Path, profile: Profile) -> Result<()> {
    /// The name of the dynamic loader stands before the code.
    const LOADER_WITHIN: usize = 4096;
    let bytes = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    let head = &bytes[..bytes.len().min(LOADER_WITHIN)];
    ensure!(
        !head.windows(4).any(|window| window == b"/ld-"),
        "{} is not self-contained: it names a dynamic loader",
        program.display()
    );
    ensure!(
        profile == Profile::Debug || bytes.len() as u64 <= RELEASE_BYTES,
        "{} has {} bytes, {RELEASE_BYTES} are allowed",
        program.display(),
        bytes.len()
    );
    Ok(())
}
