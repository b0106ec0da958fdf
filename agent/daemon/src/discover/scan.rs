//! What was there before the agent.

use std::collections::HashSet;

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
    let mut namespaces = HashSet::new();
    let mut inodes = HashSet::new();
    let Ok(processes) = all_processes() else {
        return inodes;
    };
    for process in processes.flatten() {
        let namespace = std::fs::read_link(format!("/proc/{}/ns/net", process.pid));
        if !namespace.is_ok_and(|namespace| namespaces.insert(namespace)) {
            continue;
        }
        // Read by hand: a name of any bytes may stand at a line's end.
        let table = std::fs::read(format!("/proc/{}/net/unix", process.pid)).unwrap_or_default();
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

#[cfg(test)]
mod tests {
    use std::os::{fd::AsRawFd as _, unix::net::UnixStream};

    use super::*;

    #[test]
    fn finds_this_process_and_its_sockets() {
        let (one, _other) = UnixStream::pair().unwrap();
        let link = std::fs::read_link(format!("/proc/self/fd/{}", one.as_raw_fd())).unwrap();
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
