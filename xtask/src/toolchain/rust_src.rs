//! Sources of the standard library, of exactly the rustc in use: `core` is built from them for the
//! BPF target.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use weft_workloads::apt::PrivateApt;

use super::rustc::Rustc;
use super::stamp::Stamp;
use crate::process::{self, Run as _};
use crate::step::step;

/// Suites of Debian and of Ubuntu that may have a newer rustc than the machine's own.
const SUITES: &[&[&str]] = &[
    &[],
    &["trixie-backports"],
    &["forky-backports"],
    &["forky"],
    &["sid"],
    &["plucky"],
    &["questing"],
    &["resolute"],
];

pub(super) fn ensure(rustc: &Rustc, directory: &Path) -> Result<PathBuf> {
    let own = rustc.sysroot.join("lib/rustlib/src/rust/library");
    if is_library(&own) {
        return Ok(own);
    }
    let library = directory.join("library");
    let stamp = Stamp::new(directory, "rust-src", format!("rust-src {}", rustc.release));
    if stamp.is_current() && is_library(&library) {
        return Ok(library);
    }
    let what = format!(
        "installing rust-src {} in {}",
        rustc.release,
        library.display()
    );
    step(&what, || {
        let work = directory.join("rust-src.work");
        clear(&work)?;
        let found = fetch(rustc, &work)?;
        clear(&library)?;
        fs::rename(&found, &library)?;
        clear(&work)?;
        stamp.write()
    })?;
    Ok(library)
}

fn is_library(directory: &Path) -> bool {
    directory.join("core/src/lib.rs").exists()
}

fn clear(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory)
            .with_context(|| format!("cannot remove {}", directory.display()))?;
    }
    Ok(())
}

fn fetch(rustc: &Rustc, work: &Path) -> Result<PathBuf> {
    let by_rustup = match by_rustup(rustc, work) {
        Ok(library) => return Ok(library),
        Err(error) => error,
    };
    eprintln!("    not from rustup, trying the distribution's packages");
    let by_apt = match by_apt(rustc, work) {
        Ok(library) => return Ok(library),
        Err(error) => error,
    };
    bail!(
        "rust-src {} cannot be had, neither from rustup ({by_rustup:#}) nor from the distribution's packages ({by_apt:#})",
        rustc.release
    )
}

/// A second toolchain in a place of its own: the user's stays as it is.
fn by_rustup(rustc: &Rustc, work: &Path) -> Result<PathBuf> {
    const SECONDS: &str = "300";
    let home = work.join("rustup");
    let channel = &rustc.release;
    if channel.contains('-') {
        bail!("rustup has a pre-release only by its date");
    }
    Command::new("timeout")
        .args([SECONDS, "rustup", "toolchain", "install", channel])
        .args(["--profile", "minimal", "--component", "rust-src"])
        .args(["--no-self-update"])
        .env("RUSTUP_HOME", &home)
        .env_remove("RUSTUP_TOOLCHAIN")
        .run_quietly()?;
    let mut library = home.join("toolchains");
    library.push(format!("{channel}-{}", rustc.host));
    library.push("lib/rustlib/src/rust/library");
    if !is_library(&library) {
        bail!("rustup left nothing at {}", library.display());
    }
    Ok(library)
}

fn by_apt(rustc: &Rustc, work: &Path) -> Result<PathBuf> {
    if !process::exists("apt-get") {
        bail!("this machine has no apt");
    }
    let package = format!("rust-src={}*", rustc.release);
    let mut reasons = Vec::new();
    for (index, suites) in SUITES.iter().enumerate() {
        // One view for each: a suite that the mirror lacks fails the whole update.
        let fetched =
            PrivateApt::open(&work.join(format!("apt-{index}")), suites).and_then(|apt| {
                apt.update()?;
                apt.download(&[&package])
            });
        let archives = match fetched {
            Ok(archives) => archives,
            Err(error) => {
                reasons.push(format!(
                    "{}: {error:#}",
                    suites.first().unwrap_or(&"own suite")
                ));
                continue;
            }
        };
        let unpacked = work.join("unpacked");
        fs::create_dir_all(&unpacked)?;
        for archive in &archives {
            Command::new("dpkg-deb")
                .arg("-x")
                .args([archive, &unpacked])
                .run_quietly()?;
        }
        let library = unpacked.join(format!("usr/src/rustc-{}/library", rustc.release));
        if is_library(&library) {
            return Ok(library);
        }
        reasons.push(format!("{} has no sources", archives.len()));
    }
    bail!("{}", reasons.join("; "))
}
