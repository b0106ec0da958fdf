//! One boot: kernel and initramfs in, what the guest printed out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::cache::Image;
use crate::transcript::Transcript;

pub(crate) enum Qemu {
    Installed(PathBuf),
    /// Root of an unpacked closure with its own loader and libraries.
    Unpacked(PathBuf),
}

/// What a guest left behind.
pub(crate) struct Boot {
    pub(crate) end: End,
    pub(crate) transcript: Transcript,
    /// Both consoles are here.
    pub(crate) directory: PathBuf,
    pub(crate) seconds: f32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The init script ran to its last line.
    Finished,
    /// QEMU ended before that: the guest panicked or QEMU failed.
    Died,
    TimedOut,
}

/// A guest takes 40 s on an idle machine; the emulated verifier is what takes long on a busy one.
const LIMIT: Duration = Duration::from_secs(480);
const MEMORY: &str = "1024M";
/// With `cx16` QEMU's emulator corrupts guests at random.
const PROCESSOR: &str = "max,cx16=off";
/// Without `cx16` the allocator that socket storage uses since Linux 7 (`kmalloc_nolock`) gives
/// memory only from caches that are checked, hence `slab_debug`.
const COMMAND_LINE: &str = "console=ttyS0 loglevel=4 panic=-1 slab_debug=F rdinit=/init";

/// Boots once; a second time only if emulation broke the guest before weft had started.
pub(crate) fn boot(qemu: &Qemu, image: &Image, initramfs: &[u8], directory: &Path) -> Result<Boot> {
    eprintln!(
        "vm: booting {} (limit {} s)",
        image.release,
        LIMIT.as_secs()
    );
    let first = boot_once(qemu, image, initramfs, directory)?;
    let broken = first.end != End::Finished && !first.transcript.has_begun();
    if broken && first.console()?.lines().any(is_kernel_death) {
        eprintln!(
            "vm: WARNING: {} died before weft started (emulation, not weft); booting it ONCE more",
            image.release
        );
        return boot_once(qemu, image, initramfs, directory);
    }
    Ok(first)
}

fn boot_once(qemu: &Qemu, image: &Image, initramfs: &[u8], directory: &Path) -> Result<Boot> {
    let archive = directory.join("initramfs.gz");
    fs::write(&archive, initramfs)?;
    let results = directory.join(RESULTS);
    for console in [RESULTS, CONSOLE] {
        fs::write(directory.join(console), "")?;
    }

    let started = Instant::now();
    let mut child = qemu
        .command()
        .args([
            "-accel", "tcg", "-cpu", PROCESSOR, "-smp", "2", "-m", MEMORY,
        ])
        .args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
        ])
        .arg("-serial")
        .arg(format!("file:{}", directory.join(CONSOLE).display()))
        .arg("-serial")
        .arg(format!("file:{}", results.display()))
        .arg("-kernel")
        .arg(&image.path)
        .arg("-initrd")
        .arg(&archive)
        .args(["-append", COMMAND_LINE])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context("cannot start QEMU")?;
    let in_time = ends_within(&mut child, LIMIT)?;

    let transcript = Transcript::parse(&read_lossy(&results)?);
    let end = match (transcript.is_finished(), in_time) {
        (true, _) => End::Finished,
        (false, true) => End::Died,
        (false, false) => End::TimedOut,
    };
    Ok(Boot {
        end,
        transcript,
        directory: directory.to_owned(),
        seconds: started.elapsed().as_secs_f32(),
    })
}

const CONSOLE: &str = "console.log";
const RESULTS: &str = "results.log";

// === impl Boot ===

impl Boot {
    /// The kernel's own messages.
    pub(crate) fn console(&self) -> Result<String> {
        read_lossy(&self.directory.join(CONSOLE))
    }
}

// === impl Qemu ===

impl Qemu {
    fn command(&self) -> Command {
        match self {
            Self::Installed(program) => Command::new(program),
            Self::Unpacked(root) => {
                let mut command = Command::new(root.join("lib64/ld-linux-x86-64.so.2"));
                let libraries = root.join("usr/lib/x86_64-linux-gnu");
                command
                    .arg("--library-path")
                    .arg(format!(
                        "{}:{}",
                        root.join("lib/x86_64-linux-gnu").display(),
                        libraries.display()
                    ))
                    .arg(root.join("usr/bin/qemu-system-x86_64"))
                    .env("QEMU_MODULE_DIR", libraries.join("qemu"));
                for data in ["usr/share/qemu", "usr/share/seabios"] {
                    command.arg("-L").arg(root.join(data));
                }
                command
            }
        }
    }
}

fn ends_within(child: &mut Child, limit: Duration) -> Result<bool> {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if child.try_wait()?.is_some() {
            return Ok(true);
        }
        thread::sleep(Duration::from_millis(100));
    }
    child.kill()?;
    child.wait()?;
    Ok(false)
}

pub(crate) fn is_kernel_death(line: &str) -> bool {
    [
        "Kernel panic",
        "BUG:",
        "Oops",
        "bad RIP",
        "general protection fault",
    ]
    .iter()
    .any(|sign| line.contains(sign))
}

fn read_lossy(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
