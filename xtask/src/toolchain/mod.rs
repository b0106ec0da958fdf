//! What it takes to build for the BPF target with a stable rustc that stays untouched.
//!
//! ```text
//! <cache>/toolchain/rustc-1.95.0/
//!     library/          sources of `core`, unless the sysroot has them
//!     bin/bpf-linker    linked to rustc's own LLVM
//! ```
//! `agent/daemon/build.rs` reads this layout.

mod bpf_linker;
mod rust_src;
mod rustc;
mod stamp;

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use self::rustc::Rustc;

/// A tool chain that is complete.
pub(crate) struct Toolchain {
    rustc: Rustc,
    library: PathBuf,
    bin: PathBuf,
}

impl Toolchain {
    /// Installs what is missing; does nothing, and needs no network, when all is there.
    pub(crate) fn ensure() -> Result<Self> {
        let rustc = Rustc::ask()?;
        let directory = weft_workloads::cache_dir()
            .join("toolchain")
            .join(format!("rustc-{}", rustc.release));
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let lock = File::create(directory.join("lock"))?;
        lock.lock().context("cannot lock the cache directory")?;
        Ok(Self {
            library: rust_src::ensure(&rustc, &directory)?,
            bin: bpf_linker::ensure(&rustc, &directory)?,
            rustc,
        })
    }

    /// Makes a cargo command one for the BPF target.
    pub(crate) fn for_bpf(&self, command: &mut Command) -> Result<()> {
        command
            .args(["--target", "bpfel-unknown-none", "-Z", "build-std=core"])
            .env("PATH", self.search_path()?)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("__CARGO_TESTS_ONLY_SRC_ROOT", &self.library)
            .env(
                "CARGO_ENCODED_RUSTFLAGS",
                format!("--cfg=bpf_target_arch=\"{}\"", self.rustc.architecture()),
            );
        Ok(())
    }

    fn search_path(&self) -> Result<OsString> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let directories = std::env::split_paths(&path);
        Ok(std::env::join_paths(
            std::iter::once(self.bin.clone()).chain(directories),
        )?)
    }
}
