//! Memory of weft: its own pages, what its programs and maps hold in the kernel, and the memory cgroup's figure for both.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use procfs::process::{MMapPath, MemoryMap, Process};

use super::kernel::Objects;

/// A memory cgroup that is removed when dropped.
pub(crate) struct MemoryGroup {
    dir: PathBuf,
    parent: PathBuf,
    version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// In bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) resident: u64,
    /// Of the resident pages those of maps: a ring buffer is mapped twice over.
    pub(crate) mapped: u64,
    pub(crate) programs: u64,
    pub(crate) maps: u64,
    pub(crate) group: Option<GroupMemory>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupMemory {
    /// User and kernel memory together, page cache too.
    pub(crate) used: u64,
    pub(crate) kernel: u64,
    pub(crate) peak: Option<u64>,
}

// === impl Memory ===

impl Memory {
    pub(crate) fn of(pid: u32, group: Option<&MemoryGroup>) -> Result<Self> {
        let process = Process::new(i32::try_from(pid)?)?;
        let status = process.status()?;
        let of_a_map = |mapping: &MemoryMap| match &mapping.pathname {
            MMapPath::Other(name) => name.contains("bpf-map"),
            MMapPath::Path(path) => path.to_string_lossy().contains("bpf-map"),
            _ => false,
        };
        let mapped = process
            .smaps()?
            .into_iter()
            .filter(of_a_map)
            .filter_map(|mapping| mapping.extension.map.get("Rss").copied())
            .sum();
        let objects = Objects::of(pid)?;
        Ok(Self {
            resident: status.vmrss.context("no resident size")? * 1024,
            mapped,
            programs: objects.program_bytes(),
            maps: objects.map_bytes(),
            group: group.map(MemoryGroup::read).transpose()?,
        })
    }

    /// What is spent in all, by the process's and the kernel's own books; a page of a map counts once.
    pub(crate) fn sum(&self) -> u64 {
        self.resident.saturating_sub(self.mapped) + self.programs + self.maps
    }
}

// === impl MemoryGroup ===

impl MemoryGroup {
    /// `None` where no memory controller lets us in.
    pub(crate) fn make() -> Result<Option<Self>> {
        let Some((mount, version)) = controller()? else {
            return Ok(None);
        };
        let parent = mount.join(own_group(version)?.trim_start_matches('/'));
        let dir = parent.join(format!("weft-bench-{}", std::process::id()));
        if fs::create_dir(&dir).is_err() {
            return Ok(None);
        }
        Ok(Some(Self {
            dir,
            parent,
            version,
        }))
    }

    /// Runs `start` inside the group, so that what it starts belongs to the group from its first page.
    pub(crate) fn start<T>(&self, start: impl FnOnce() -> Result<T>) -> Result<T> {
        let me = std::process::id().to_string();
        let enter = |dir: &Path| {
            fs::write(dir.join("cgroup.procs"), &me)
                .with_context(|| format!("cannot enter {}", dir.display()))
        };
        enter(&self.dir)?;
        let started = start();
        enter(&self.parent)?;
        started
    }

    fn read(&self) -> Result<GroupMemory> {
        let number = |name: &str| -> Result<u64> {
            Ok(fs::read_to_string(self.dir.join(name))?.trim().parse()?)
        };
        Ok(match self.version {
            Version::One => GroupMemory {
                used: number("memory.usage_in_bytes")?,
                kernel: number("memory.kmem.usage_in_bytes")?,
                peak: number("memory.max_usage_in_bytes").ok(),
            },
            Version::Two => GroupMemory {
                used: number("memory.current")?,
                kernel: fs::read_to_string(self.dir.join("memory.stat"))?
                    .lines()
                    .find_map(|line| line.strip_prefix("kernel ")?.parse().ok())
                    .unwrap_or_default(),
                peak: number("memory.peak").ok(),
            },
        })
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        fs::remove_dir(&self.dir).ok();
    }
}

/// Where the memory controller is mounted.
fn controller() -> Result<Option<(PathBuf, Version)>> {
    for mount in Process::myself()?.mountinfo()? {
        let place = mount.mount_point;
        let version = match mount.fs_type.as_str() {
            "cgroup" if mount.super_options.contains_key("memory") => Version::One,
            "cgroup2"
                if fs::read_to_string(place.join("cgroup.subtree_control"))
                    .is_ok_and(|names| names.split_whitespace().any(|name| name == "memory")) =>
            {
                Version::Two
            }
            _ => continue,
        };
        return Ok(Some((place, version)));
    }
    Ok(None)
}

/// Our group in this hierarchy.
fn own_group(version: Version) -> Result<String> {
    let groups = Process::myself()?.cgroups()?;
    groups
        .into_iter()
        .find(|group| match version {
            Version::One => group.controllers.iter().any(|name| name == "memory"),
            Version::Two => group.hierarchy == 0,
        })
        .map(|group| group.pathname)
        .context("no memory cgroup of our own")
}
