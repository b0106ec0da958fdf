//! bpf-linker, linked to the very LLVM that rustc runs on: no LLVM package is needed, and the two
//! cannot disagree about bitcode.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::rustc::Rustc;
use super::stamp::Stamp;
use crate::cargo::cargo;
use crate::process::Run as _;
use crate::step::step;

const VERSION: &str = "0.13.0";

/// Gives the directory that it lies in.
pub(super) fn ensure(rustc: &Rustc, directory: &Path) -> Result<PathBuf> {
    let Rustc {
        release,
        llvm_major,
        sysroot,
        ..
    } = rustc;
    let recipe = format!(
        "bpf-linker {VERSION} llvm-{llvm_major} {}",
        sysroot.display()
    );
    let stamp = Stamp::new(directory, "bpf-linker", recipe);
    let bin = directory.join("bin");
    let program = bin.join("bpf-linker");
    if stamp.is_current() && program.exists() {
        return Ok(bin);
    }
    let what = format!(
        "building bpf-linker {VERSION} for the LLVM {llvm_major} of rustc {release} in {}",
        bin.display()
    );
    step(&what, || {
        let work = directory.join("bpf-linker.work");
        let prefix = work.join("llvm");
        fs::create_dir_all(prefix.join("lib"))?;
        let link = prefix.join("lib/libLLVM.so");
        if link.symlink_metadata().is_ok() {
            fs::remove_file(&link)?;
        }
        symlink(rustc.llvm()?, &link)?;

        let mut search = OsString::from("-Clink-arg=-Wl,-rpath,");
        search.push(sysroot.join("lib"));
        cargo("install")
            .args(["bpf-linker", "--version", VERSION, "--force", "--locked"])
            .args(["--no-default-features", "--features"])
            .arg(format!("llvm-{llvm_major}"))
            .arg("--root")
            .arg(work.join("root"))
            .env("LLVM_PREFIX", &prefix)
            .env("CARGO_TARGET_DIR", work.join("target"))
            .env("CARGO_ENCODED_RUSTFLAGS", search)
            .run_quietly()?;

        fs::create_dir_all(&bin)?;
        fs::rename(work.join("root/bin/bpf-linker"), &program)
            .with_context(|| format!("cannot put {} in place", program.display()))?;
        fs::remove_dir_all(&work)?;
        stamp.write()
    })?;
    Ok(bin)
}
