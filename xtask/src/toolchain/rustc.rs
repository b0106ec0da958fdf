//! The compiler in use.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::cargo;
use crate::process::Run as _;

pub(super) struct Rustc {
    /// `1.95.0`, `1.97.0-nightly`.
    pub(super) release: String,
    /// `x86_64-unknown-linux-gnu`.
    pub(super) host: String,
    pub(super) llvm_major: u32,
    pub(super) sysroot: PathBuf,
}

// === impl Rustc ===

impl Rustc {
    pub(super) fn ask() -> Result<Self> {
        let rustc = || {
            let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()));
            command.current_dir(cargo::root());
            command
        };
        let version = rustc().arg("-vV").read()?;
        let sysroot = rustc().args(["--print", "sysroot"]).read()?;
        let field = |name: &str| {
            let mut fields = version.lines().filter_map(|line| line.split_once(": "));
            fields
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.to_owned())
                .with_context(|| format!("`rustc -vV` does not name its {name}"))
        };
        let llvm = field("LLVM version")?;
        let llvm_major = llvm.split('.').next().and_then(|major| major.parse().ok());
        Ok(Self {
            release: field("release")?,
            host: field("host")?,
            llvm_major: llvm_major.with_context(|| format!("no LLVM version: `{llvm}`"))?,
            sysroot: PathBuf::from(sysroot.trim()),
        })
    }

    pub(super) fn architecture(&self) -> &str {
        self.host.split('-').next().unwrap_or(&self.host)
    }

    /// The shared LLVM that this rustc itself runs on. Beside it lies a linker script of nearly the
    /// same name, a few bytes long.
    pub(super) fn llvm(&self) -> Result<PathBuf> {
        let directory = self.sysroot.join("lib");
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with("libLLVM") && name.contains(".so") {
                let mut magic = [0; 4];
                let mut file = fs::File::open(&path)?;
                if std::io::Read::read_exact(&mut file, &mut magic).is_ok() && magic == *b"\x7fELF"
                {
                    return Ok(path);
                }
            }
        }
        anyhow::bail!(
            "{} has no shared libLLVM to link bpf-linker to: use the rustc of rustup",
            directory.display()
        )
    }
}
