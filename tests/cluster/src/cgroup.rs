//! The control group of everything that belongs to the cluster: what is in it can be ended at once.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Name in each hierarchy; kubelet puts the pods below it.
pub(crate) const NAME: &str = "weft-cluster";

const GONE_LIMIT: Duration = Duration::from_secs(15);

/// Directories of the group, one for each mounted hierarchy, the one of version 2 first.
pub(crate) struct Group {
    unified: PathBuf,
    legacy: Vec<PathBuf>,
}

impl Group {
    pub(crate) fn make() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let mut unified = None;
        let mut legacy = Vec::new();
        for (kind, place) in mounts.lines().filter_map(mount) {
            match kind {
                "cgroup2" => unified = unified.or(Some(Path::new(place).join(NAME))),
                // The named hierarchy of systemd has no controller, but kubelet looks there too.
                "cgroup" => legacy.push(Path::new(place).join(NAME)),
                _ => {}
            }
        }
        let unified = unified.context("cgroup2 is not mounted")?;
        let group = Self { unified, legacy };
        for place in group.places() {
            fs::create_dir_all(place)
                .with_context(|| format!("cannot make the control group {}", place.display()))?;
        }
        // A new group of this controller allows nothing until it is told what.
        for place in &group.legacy {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if let Some(parent) = place.parent()
                    && let Ok(all) = fs::read_to_string(parent.join(file))
                {
                    fs::write(place.join(file), all).ok();
                }
            }
        }
        fs::create_dir_all(group.daemons())?;
        Ok(group)
    }

    /// Where the daemons are: in version 2 no process may stand beside groups of pods.
    fn daemons(&self) -> PathBuf {
        self.unified.join("daemons")
    }

    /// A process that writes its number here belongs to the cluster, with all that it starts.
    pub(crate) fn door(&self) -> PathBuf {
        self.daemons().join("cgroup.procs")
    }

    /// Ends every process of the group, and waits until they are gone.
    pub(crate) fn kill(&self) -> Result<()> {
        let places: Vec<&Path> = self.places().map(PathBuf::as_path).collect();
        kill(&places)
    }

    /// The same for pods only.
    pub(crate) fn kill_pods(&self) -> Result<()> {
        let places: Vec<PathBuf> = self.places().map(|place| place.join("kubepods")).collect();
        kill(&places.iter().map(PathBuf::as_path).collect::<Vec<_>>())
    }

    /// Removes the groups, which must be empty.
    pub(crate) fn remove(&self) {
        for place in self.places() {
            let mut groups = below(place);
            groups.reverse();
            for group in groups {
                fs::remove_dir(group).ok();
            }
        }
    }

    fn places(&self) -> impl Iterator<Item = &PathBuf> {
        std::iter::once(&self.unified).chain(&self.legacy)
    }
}

fn kill(places: &[&Path]) -> Result<()> {
    let begin = Instant::now();
    loop {
        let processes = processes(places);
        if processes.is_empty() {
            return Ok(());
        }
        if begin.elapsed() > GONE_LIMIT {
            bail!("processes do not end: {processes:?}");
        }
        for place in places {
            // Of version 2: all at once, also what is started meanwhile.
            fs::write(place.join("cgroup.kill"), "1").ok();
        }
        for pid in processes {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            if let Some(pid) = pid {
                kill_process(pid, Signal::KILL).ok();
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// In a hybrid tree some may be known to the older hierarchies only.
fn processes(places: &[&Path]) -> Vec<u32> {
    let mut pids: Vec<u32> = places
        .iter()
        .flat_map(|place| below(place))
        .filter_map(|group| fs::read_to_string(group.join("cgroup.procs")).ok())
        .flat_map(|text| {
            text.lines()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// A group and all groups in it, parents first.
fn below(place: &Path) -> Vec<PathBuf> {
    if !place.is_dir() {
        return Vec::new();
    }
    let mut groups = vec![place.to_owned()];
    let mut next = 0;
    while let Some(group) = groups.get(next) {
        let inner: Vec<PathBuf> = fs::read_dir(group)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path())
            .collect();
        groups.extend(inner);
        next += 1;
    }
    groups
}

/// Kind and place of a line of `/proc/self/mountinfo`, see proc(5).
fn mount(line: &str) -> Option<(&str, &str)> {
    let (front, back) = line.split_once(" - ")?;
    Some((back.split(' ').next()?, front.split(' ').nth(4)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_read() {
        let line = "36 35 98:0 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory";
        assert_eq!(mount(line), Some(("cgroup", "/sys/fs/cgroup/memory")));
    }
}
