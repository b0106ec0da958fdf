//! The node's file systems and interfaces. Both are in name spaces of the cluster's own processes, and gone with the last of them.

use std::ffi::OsStr;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

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
    /// Root of the node, as this process sees it.
    pub(crate) root: PathBuf,
    /// Holds the mount name space in which it is the root of all.
    holder: Child,
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
    /// └ exchange images  to hand files in and out
    /// ```
    /// Not a `chroot`: who enters a container's mount name space later stands at the root of all, which must be the container's.
    pub(crate) fn make(parts: &Parts, run: &Path) -> Result<Self> {
        let root = run.join("root");
        for directory in ["root", "upper", "work", "log", "pki", "exchange"] {
            fs::create_dir_all(run.join(directory))?;
        }
        let layers = format!(
            "lowerdir={},upperdir={},workdir={}",
            parts.root.display(),
            run.join("upper").display(),
            run.join("work").display()
        );
        mount(&["-t", "overlay", "-o", &layers, "overlay", &text(&root)])?;
        for directory in ["dev", "proc", "sys"] {
            let source = format!("/{directory}");
            let target = text(&root.join(directory));
            mount(&["--rbind", &source, &target])?;
        }
        for directory in IN_MEMORY {
            let target = root.join(directory);
            fs::create_dir_all(&target)?;
            mount(&["-t", "tmpfs", "tmpfs", &text(&target)])?;
        }
        fs::create_dir_all(root.join("mnt"))?;
        for (source, inside) in [
            (&parts.bin, "usr/local/bin"),
            (&parts.images, "images"),
            (&run.join("exchange"), "exchange"),
            (&run.join("pki"), "etc/kubernetes"),
        ] {
            let target = root.join(inside);
            fs::create_dir_all(&target)?;
            mount(&["--bind", &text(source), &text(&target)])?;
        }
        let place = Self {
            holder: hold(&root)?,
            root,
            run: run.to_owned(),
            bin: parts.bin.clone(),
        };
        place.write("etc/hostname", super::NAME)?;
        place.write("etc/resolv.conf", "")?;
        fs::create_dir_all(place.root.join("run/netns"))?;
        network()?;
        Ok(place)
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
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.holder.id().to_string(), "--mount", "--"])
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

/// A process that sleeps in a mount name space whose root is `root`. Volumes that kubelet mounts there are seen by containerd's children.
fn hold(root: &Path) -> Result<Child> {
    const SCRIPT: &str = r#"cd "$1" && pivot_root . mnt && exec /bin/busybox chroot . /bin/busybox sh -c '
/bin/busybox umount -l /mnt && /bin/mount --make-rshared / && echo ready && exec /bin/busybox sleep 2147483647'"#;
    let mut holder = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--"])
        .args(["/bin/sh", "-c", SCRIPT, "sh"])
        .arg(root)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run unshare")?;
    let mut ready = [0; 5];
    let output = holder.stdout.as_mut().context("no output")?;
    output
        .read_exact(&mut ready)
        .context("the node's root cannot be made the root of a mount name space")?;
    Ok(holder)
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
