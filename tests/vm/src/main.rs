//! Kernel matrix: boots Debian's kernels in QEMU (emulated, so no `/dev/kvm` is needed), runs weft
//! and a few real HTTP requests in each, and checks what weft said about them.
//!
//! ```text
//! apt -> cache -> initramfs -> guest -> transcript -> smoke, verified -> table
//! ```
#![forbid(unsafe_code)]

mod apt;
mod cache;
mod guest;
mod initramfs;
mod matrix;
mod otlp;
mod smoke;
mod transcript;
mod verdict;
mod verified;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use crate::cache::Cache;
use crate::matrix::Kernel;
use crate::verdict::Verdict;
use crate::verified::{Bless, Record};

/// Boot weft under Debian's kernels and check a smoke trace in each.
#[derive(Parser)]
struct Arguments {
    /// Kernel to boot, or `all`.
    #[arg(long = "kernel", value_enum, default_value = "all")]
    selection: Selection,
    /// The self-contained program to test.
    #[arg(long, env = "WEFT_BIN", default_value = "target/release/weft")]
    weft: PathBuf,
    /// Record the verifier's instruction counts of this run.
    #[arg(long)]
    bless: bool,
    /// Look for newer kernels even if some are in the cache.
    #[arg(long)]
    refresh: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Selection {
    #[value(name = "6.1")]
    V6_1,
    #[value(name = "6.12")]
    V6_12,
    Newest,
    All,
}

impl Selection {
    fn kernels(self) -> &'static [Kernel] {
        match self {
            Self::V6_1 => &[Kernel::V6_1],
            Self::V6_12 => &[Kernel::V6_12],
            Self::Newest => &[Kernel::Newest],
            Self::All => &Kernel::ALL,
        }
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("vm: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool> {
    let cache = Cache::open()?;
    if arguments.refresh {
        cache.forget_kernels()?;
    }
    let qemu = cache.qemu()?;
    let busybox = cache.busybox()?;
    let initramfs = initramfs::build(&busybox, &arguments.weft)?;

    let mut record = Record::load()?;
    let mut verdicts = Vec::new();
    for &kernel in arguments.selection.kernels() {
        let image = cache.kernel(kernel)?;
        let directory = cache.run_directory(kernel)?;
        let boot = guest::boot(&qemu, &image, &initramfs, &directory)
            .with_context(|| format!("kernel {kernel}"))?;
        verdicts.push(Verdict::new(kernel, image.release, &boot, &mut record));
    }

    let bless = if arguments.bless {
        Bless::Yes
    } else {
        Bless::No
    };
    record.finish(bless)?;
    Ok(verdict::print(&verdicts))
}
