//! All set-up of the other commands, for a machine that is to lose its network.

use std::ffi::OsString;

use anyhow::{Result, bail};
use weft_workloads::{Group, Workloads};

use crate::cargo::cargo;
use crate::host;
use crate::process::Run as _;
use crate::stage;
use crate::step::step;
use crate::toolchain::Toolchain;

pub(crate) fn run(arguments: &[OsString]) -> Result<()> {
    if let Some(argument) = arguments.first() {
        bail!("`setup` takes no arguments, not `{}`", argument.display());
    }
    host::prepare()?;
    Toolchain::ensure()?;
    step("fetching the crates that weft depends on", || {
        cargo("fetch").arg("--locked").run_quietly()
    })?;
    workloads()?;
    stage::k8s(&["setup".into()])?;
    eprintln!(
        "==> all is there: {}",
        weft_workloads::cache_dir().display()
    );
    Ok(())
}

pub(crate) fn workloads() -> Result<()> {
    let groups = Group::obtainable();
    for group in Group::ALL {
        if let Some(client) = group.lacks() {
            eprintln!("SKIPPED programs of {}: no `{client}` here", group.name());
        }
    }
    if Workloads::has(&groups) {
        Workloads::ensure(&groups)?;
        return Ok(());
    }
    let what = format!(
        "installing the programs that weft is tried on in {}",
        weft_workloads::cache_dir().join("rootfs").display()
    );
    step(&what, || Workloads::ensure(&groups).map(drop))
}
