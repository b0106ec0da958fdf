//! The sockets behind a process's descriptors.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use procfs::{
    net::{TcpState, UnixState},
    process::{FDTarget, Process},
};

#[derive(Debug, Default)]
pub(super) struct Sockets {
    /// Addresses of servers.
    listening: BTreeSet<String>,
    /// Connections by their local port where a server listens on it, else as a client.
    served: BTreeMap<u16, usize>,
    called: usize,
    unix: usize,
    pub(super) udp: usize,
    pub(super) io_uring: bool,
    /// Descriptors cannot be read: the rest is empty for that reason.
    hidden: bool,
}

/// `SOCK_STREAM`.
const STREAM: u16 = 1;

impl Sockets {
    pub(super) fn of(pid: u32) -> Self {
        let mut sockets = Self::default();
        let process = Process::new(i32::try_from(pid).unwrap_or(i32::MAX));
        let Ok((process, descriptors)) =
            process.and_then(|process| process.fd().map(|descriptors| (process, descriptors)))
        else {
            sockets.hidden = true;
            return sockets;
        };
        // A socket may stand behind several descriptors.
        let mut inodes = BTreeSet::new();
        for descriptor in descriptors.flatten() {
            match descriptor.target {
                FDTarget::Socket(inode) => drop(inodes.insert(inode)),
                FDTarget::AnonInode(name) => sockets.io_uring |= name.contains("io_uring"),
                _ => {}
            }
        }
        sockets.count(&process, &inodes);
        sockets
    }

    fn count(&mut self, process: &Process, inodes: &BTreeSet<u64>) {
        let tables = [process.tcp(), process.tcp6()];
        let tcp: HashMap<u64, _> = tables
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| inodes.contains(&entry.inode))
            .map(|entry| (entry.inode, entry))
            .collect();
        let listens = |state: &TcpState| *state == TcpState::Listen;
        let ports: BTreeSet<u16> = tcp
            .values()
            .filter(|entry| listens(&entry.state))
            .map(|entry| entry.local_address.port())
            .collect();
        for entry in tcp.values() {
            let port = entry.local_address.port();
            if listens(&entry.state) {
                self.listening
                    .insert(format!("tcp {}", entry.local_address));
            } else if ports.contains(&port) {
                *self.served.entry(port).or_default() += 1;
            } else {
                self.called += 1;
            }
        }
        let udp = [process.udp(), process.udp6()];
        let udp = udp.into_iter().flatten().flatten();
        self.udp = udp.filter(|entry| inodes.contains(&entry.inode)).count();
        for entry in process.unix().into_iter().flatten() {
            if !inodes.contains(&entry.inode) {
                continue;
            }
            // A stream socket that is bound and not connected.
            let waits = entry.socket_type == STREAM && entry.state == UnixState::UNCONNECTED;
            match entry.path {
                Some(path) if waits => {
                    self.listening.insert(format!("unix {}", path.display()));
                }
                _ => self.unix += 1,
            }
        }
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = String> {
        let Self {
            listening,
            served,
            called,
            unix,
            udp,
            io_uring,
            hidden,
        } = self;
        let mut lines = Vec::new();
        if *hidden {
            lines.push("its descriptors cannot be read: ask as root".to_owned());
        }
        lines.extend(
            listening
                .iter()
                .map(|address| format!("listens on {address}")),
        );
        let serving =
            |(port, count): (&u16, &usize)| format!("{count} connections to its port {port}");
        lines.extend(served.iter().map(serving));
        for (count, what) in [
            (called, "TCP connections of its own"),
            (unix, "unix sockets"),
            (udp, "UDP sockets"),
        ] {
            if *count > 0 {
                lines.push(format!("{count} {what}"));
            }
        }
        if *io_uring {
            lines.push("io_uring".to_owned());
        }
        lines.into_iter()
    }
}
