//! What tracing needs of the machine.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::process::Run as _;

/// Makes sure that programs can be traced here, mounts what is absent, or says why it cannot be.
pub(crate) fn prepare() -> Result<()> {
    require_root()?;
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        bail!(
            "this kernel has no type information at /sys/kernel/btf/vmlinux: weft needs one built with CONFIG_DEBUG_INFO_BTF"
        );
    }
    mount_missing("tracefs", &["/sys/kernel/tracing"])?;
    mount_missing("bpf", &["/sys/fs/bpf"])?;
    mount_missing("cgroup2", &["/sys/fs/cgroup", "/sys/fs/cgroup/unified"])
}

fn require_root() -> Result<()> {
    let status = fs::read_to_string("/proc/self/status")?;
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .and_then(|ids| ids.split_whitespace().nth(1));
    if effective != Some("0") {
        bail!("not root: loading eBPF programs needs it, so run this command by `sudo -E`");
    }
    Ok(())
}

/// Mounts a file system at the first of `places` that is not a mount point of another one.
fn mount_missing(kind: &str, places: &[&str]) -> Result<()> {
    let mounted = fs::read_to_string("/proc/self/mountinfo")?;
    let mounts: Vec<Mount> = mounted.lines().filter_map(Mount::parse).collect();
    if mounts.iter().any(|mount| mount.kind == kind) {
        return Ok(());
    }
    let place = places
        .iter()
        .find(|place| mounts.iter().all(|mount| mount.place != **place))
        .with_context(|| format!("{kind} is not mounted and {} are taken", places.join(", ")))?;
    fs::create_dir_all(place).with_context(|| format!("no place to mount {kind}"))?;
    Command::new("mount")
        .args(["-t", kind, kind, place])
        .run_quietly()?;
    eprintln!("==> mounted {kind} at {place} (it was not)");
    Ok(())
}

#[derive(Debug, PartialEq)]
struct Mount<'a> {
    place: &'a str,
    kind: &'a str,
}

impl<'a> Mount<'a> {
    /// A line of `/proc/self/mountinfo`, see proc(5).
    fn parse(line: &'a str) -> Option<Self> {
        let (front, back) = line.split_once(" - ")?;
        Some(Self {
            place: front.split(' ').nth(4)?,
            kind: back.split(' ').next()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_read() {
        let line = "36 35 98:0 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate";
        let expected = Mount {
            place: "/sys/fs/cgroup/unified",
            kind: "cgroup2",
        };
        assert_eq!(Mount::parse(line), Some(expected));
    }
}
