//! What is handed to users: one archive with the program and what explains it.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::build::{self, Profile};
use crate::cargo::{self, target_directory};
use crate::process::Run as _;

/// From the root of the work tree. Those that are not there yet are left out, and that is said.
const DOCUMENTS: &[&str] = &["README.md", "CHANGELOG.md", "LICENSE", "deploy/weft.yaml"];

pub(crate) fn run(arguments: &[OsString]) -> Result<()> {
    if let Some(argument) = arguments.first() {
        bail!("`package` takes no arguments, not `{}`", argument.display());
    }
    let program = build::weft(Profile::Release)?;
    let name = format!(
        "weft-{}-{}-linux",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::ARCH
    );
    let directory = target_directory().join("package");
    let content = directory.join(&name);
    if content.exists() {
        fs::remove_dir_all(&content)?;
    }
    fs::create_dir_all(&content)?;
    copy(&program, &content)?;
    for document in DOCUMENTS {
        let document = cargo::root().join(document);
        if document.exists() {
            copy(&document, &content)?;
        } else {
            eprintln!("==> left out: {} is not there", document.display());
        }
    }

    let archive = format!("{name}.tar.gz");
    // The same content gives the same archive.
    Command::new("tar")
        .args([
            "--create",
            "--gzip",
            "--sort=name",
            "--owner=0",
            "--group=0",
        ])
        .args(["--numeric-owner", "--mtime=@0", "--file", &archive, &name])
        .current_dir(&directory)
        .run_quietly()?;
    let checksum = Command::new("sha256sum")
        .arg(&archive)
        .current_dir(&directory)
        .read()?;
    fs::write(directory.join(format!("{archive}.sha256")), &checksum)?;
    eprintln!("==> {}", directory.join(&archive).display());
    print!("{checksum}");
    Ok(())
}

fn copy(file: &Path, directory: &Path) -> Result<()> {
    let name = file.file_name().context("a file without a name")?;
    fs::copy(file, directory.join(name))
        .with_context(|| format!("cannot copy {}", file.display()))?;
    Ok(())
}
