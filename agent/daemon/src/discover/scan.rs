//! What was there before the agent.

use std::{collections::HashSet, fs, io, os::unix::fs::MetadataExt as _, path::PathBuf};

use procfs::process::all_processes;

use super::ProcessFacts;

/// Every process that runs now but kernel threads.
pub(crate) fn scan() -> Vec<ProcessFacts> {
    let Ok(processes) = all_processes() else {
        return Vec::new();
    };
    processes
        .filter_map(|process| ProcessFacts::read(process.ok()?.pid.unsigned_abs()).ok())
        .filter(|facts| !facts.is_kernel_thread())
        .collect()
}

/// Inode numbers of the unix sockets of all network namespaces that a process lives in. A
/// connection on one of them is older than the agent.
pub(crate) fn unix_socket_inodes() -> HashSet<u64> {
    let Ok(processes) = all_processes() else {
        return HashSet::new();
    };
    let pids = processes
        .flatten()
        .map(|process| process.pid.unsigned_abs());
    unix_socket_inodes_of(&pids.collect::<Vec<_>>())
}

/// The same of the network namespaces of these processes.
pub(crate) fn unix_socket_inodes_of(pids: &[u32]) -> HashSet<u64> {
    let mut namespaces = HashSet::new();
    let mut inodes = HashSet::new();
    for pid in pids {
        let namespace = fs::read_link(format!("/proc/{pid}/ns/net"));
        if !namespace.is_ok_and(|namespace| namespaces.insert(namespace)) {
            continue;
        }
        // Read by hand: a name of any bytes may stand at a line's end.
        let table = fs::read(format!("/proc/{pid}/net/unix")).unwrap_or_default();
        let fields = table.split(|byte| *byte == b'\n').skip(1);
        inodes.extend(fields.filter_map(|line| {
            let text = std::str::from_utf8(line.get(..line.len().min(96))?);
            let text = text.unwrap_or_else(|error| {
                std::str::from_utf8(&line[..error.valid_up_to()]).unwrap_or_default()
            });
            text.split_ascii_whitespace().nth(6)?.parse::<u64>().ok()
        }));
    }
    inodes
}

/// Ids (inode numbers) of control groups of the unified hierarchy, and of all below them.
///
/// # Errors
/// The unified hierarchy is not mounted, or has no such group.
pub(crate) fn cgroup_ids(groups: &[PathBuf]) -> io::Result<Vec<u64>> {
    if groups.is_empty() {
        return Ok(Vec::new());
    }
    let mount = cgroup_root()?;
    let mut ids = Vec::new();
    let below = |group: &PathBuf| mount.join(group.strip_prefix("/").unwrap_or(group));
    let mut waiting: Vec<PathBuf> = groups.iter().map(below).collect();
    while let Some(group) = waiting.pop() {
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("{}: {error}", group.display()))
        };
        ids.push(fs::metadata(&group).map_err(named)?.ino());
        let children = fs::read_dir(&group).map_err(named)?.flatten();
        waiting.extend(
            children
                .map(|child| child.path())
                .filter(|path| path.is_dir()),
        );
    }
    Ok(ids)
}

/// Where the unified hierarchy is mounted.
///
/// # Errors
/// Nowhere.
pub(crate) fn cgroup_root() -> io::Result<PathBuf> {
    let mounts = procfs::process::Process::myself().and_then(|own| own.mountinfo());
    let mounts = mounts.map_err(|error| io::Error::other(error.to_string()))?;
    let mount = mounts.into_iter().find(|mount| mount.fs_type == "cgroup2");
    let mount = mount.ok_or_else(|| io::Error::other("no cgroup2 is mounted"))?;
    Ok(mount.mount_point)
}

#[cfg(test)]
mod tests {
    use std::os::{fd::AsRawFd as _, unix::net::UnixStream};

    use super::*;

    #[test]
    fn finds_this_process_and_its_sockets() {
        let (one, _other) = UnixStream::pair().unwrap();
        let link = fs::read_link(format!("/proc/self/fd/{}", one.as_raw_fd())).unwrap();
        let inode = link
            .to_str()
            .unwrap()
            .trim_matches(|c: char| !c.is_ascii_digit())
            .parse()
            .unwrap();
        assert!(unix_socket_inodes().contains(&inode));
        assert!(scan().iter().any(|facts| facts.pid == std::process::id()));
    }
}
