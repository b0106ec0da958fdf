//! The node's file systems and interfaces. Both are in name spaces of the cluster's own processes, and gone with the last of them.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::{ADDRESS, Parts, text};
use crate::command::Run as _;

/// Directories of the node in memory: overlays are made in some, which cannot be on another one, and tens of thousands of small files
/// are then gone with the mount.
const IN_MEMORY: &[&str] = &[
    "var/lib/containerd",
    "var/lib/containers",
    "var/lib/kubelet",
    "var/lib/etcd",
    "run",
    "tmp",
    "var/tmp",
];

pub(crate) struct Place {
    /// Root of the node.
    pub(crate) root: PathBuf,
    /// What the cluster writes.
    pub(crate) run: PathBuf,
    pub(crate) bin: PathBuf,
}

impl Place {
    /// ```text
    /// root   overlay: the packages below, what this run writes above
    /// ├ dev proc sys     the machine's own
    /// ├ run tmp var/...  in memory
    /// ├ usr/local/bin    programs built of Go modules
    /// └ exchange         to hand files in and out
    /// ```
    pub(crate) fn make(parts: &Parts, run: &Path) -> Result<Self> {
        let place = Self {
            root: run.join("root"),
            run: run.to_owned(),
            bin: parts.bin.clone(),
        };
        for directory in ["root", "upper", "work", "log", "pki", "exchange"] {
            fs::create_dir_all(run.join(directory))?;
        }
        let layers = format!(
            "lowerdir={},upperdir={},workdir={}",
            parts.root.display(),
            run.join("upper").display(),
            run.join("work").display()
        );
        mount(&[
            "-t",
            "overlay",
            "-o",
            &layers,
            "overlay",
            &text(&place.root),
        ])?;
        for directory in ["dev", "proc", "sys"] {
            let source = format!("/{directory}");
            let target = text(&place.root.join(directory));
            mount(&["--rbind", &source, &target])?;
        }
        for directory in IN_MEMORY {
            let target = place.root.join(directory);
            fs::create_dir_all(&target)?;
            mount(&["-t", "tmpfs", "tmpfs", &text(&target)])?;
        }
        place.expose(&parts.bin, "usr/local/bin")?;
        place.expose(&run.join("exchange"), "exchange")?;
        // Volumes that kubelet mounts must be seen by containerd's children.
        mount(&["--make-rshared", &text(&place.root)])?;
        place.write("etc/hostname", super::NAME)?;
        place.write("etc/resolv.conf", "")?;
        fs::create_dir_all(place.root.join("run/netns"))?;
        network()?;
        Ok(place)
    }

    /// Shows a directory at a path of the node.
    pub(crate) fn expose(&self, source: &Path, inside: &str) -> Result<()> {
        let target = self.root.join(inside.trim_start_matches('/'));
        fs::create_dir_all(&target)?;
        mount(&["--bind", &text(source), &text(&target)])
    }

    /// Writes a file of the node.
    pub(crate) fn write(&self, inside: &str, text: &str) -> Result<()> {
        let path = self.root.join(inside.trim_start_matches('/'));
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// A command on the node.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, program: S) -> Command {
        let mut command = Command::new("chroot");
        command
            .arg(&self.root)
            .arg(program)
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/cni",
            )
            .env("HOME", "/root")
            .env("LANG", "C.UTF-8");
        command
    }
}

fn network() -> Result<()> {
    ip(&["link", "set", "lo", "up"])?;
    ip(&["link", "add", "node0", "type", "bridge"])?;
    ip(&["address", "add", &format!("{ADDRESS}/24"), "dev", "node0"])?;
    ip(&["link", "set", "node0", "up"])?;
    // Some daemons look for the address from which they would reach the world; there is none.
    ip(&["route", "add", "default", "dev", "node0"])?;
    for (name, value) in [
        ("ip_forward", "1"),
        ("conf/all/forwarding", "1"),
        ("conf/all/route_localnet", "1"),
    ] {
        fs::write(Path::new("/proc/sys/net/ipv4").join(name), value)
            .with_context(|| format!("cannot set net.ipv4.{name}"))?;
    }
    Ok(())
}

fn ip(arguments: &[&str]) -> Result<()> {
    Command::new("ip").args(arguments).read().map(drop)
}

fn mount(arguments: &[&str]) -> Result<()> {
    Command::new("mount").args(arguments).read().map(drop)
}
