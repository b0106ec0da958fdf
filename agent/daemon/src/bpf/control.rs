//! What the agent writes for the kernel programs: the selection, wake-up mode and hints.

use weft_abi::{Control, Hint, Mode, Verdict, Wake};

use super::{Error, Probes};

/// [`Control`] as a map value.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(super) struct PodControl(Control);

// SAFETY: plain integers without padding, all bit patterns valid.
unsafe impl aya::Pod for PodControl {}

/// [`Hint`] as a map value.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(super) struct PodConnectionHint(Hint);

// SAFETY: plain integers without padding, all bit patterns valid.
unsafe impl aya::Pod for PodConnectionHint {}

/// Whose sockets are looked at; takes effect with the next call on each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    /// Every process, or only those allowed.
    pub(crate) all: bool,
    /// Ports, local or remote, whose connections are looked at whatever the process.
    pub(crate) ports: Vec<u16>,
}

impl Probes {
    /// Replaces the general selection; judged processes and cgroups stay.
    pub(crate) fn select(&mut self, selection: &Selection) -> Result<(), Error> {
        for &port in &selection.ports {
            let put = self.ports.insert(port, Verdict::Allow as u32, 0);
            put.map_err(|source| Error::Map {
                map: "PORTS",
                source,
            })?;
        }
        self.current.mode = if selection.all {
            Mode::All
        } else {
            Mode::Listed
        } as u32;
        self.current.by_port = u32::from(!selection.ports.is_empty());
        self.judge_anew()
    }

    /// Allows or denies one process and what it forks.
    pub(crate) fn judge_process(&mut self, tgid: u32, verdict: Verdict) -> Result<(), Error> {
        let put = self.processes.insert(tgid, verdict as u32, 0);
        put.map_err(|source| Error::Map {
            map: "PROCESSES",
            source,
        })
    }

    /// Allows or denies a cgroup of the unified hierarchy, by its id (inode number).
    pub(crate) fn judge_cgroup(&mut self, cgroup: u64, verdict: Verdict) -> Result<(), Error> {
        let put = self.cgroups.insert(cgroup, verdict as u32, 0);
        put.map_err(|source| Error::Map {
            map: "CGROUPS",
            source,
        })
    }

    /// Makes every connection judge itself anew at its next call.
    pub(crate) fn judge_anew(&mut self) -> Result<(), Error> {
        self.current.epoch += 1;
        self.write_control()
    }

    /// Requests are dropped before their bytes are copied but for this share of them.
    pub(crate) fn sample_early(&mut self, ratio: f64) -> Result<(), Error> {
        self.current.sample_below = (ratio.clamp(0.0, 1.0) * (1_u64 << 32) as f64) as u64;
        self.write_control()
    }

    pub(crate) fn wake(&mut self, wake: Wake) -> Result<(), Error> {
        self.current.wake = wake as u32;
        self.write_control()
    }

    /// Tells the kernel programs about one connection. False: too many hints wait already.
    pub(crate) fn hint(&mut self, cookie: u64, hint: Hint) -> bool {
        self.hints
            .insert(cookie, PodConnectionHint(hint), 0)
            .is_ok()
    }

    pub(super) fn write_control(&mut self) -> Result<(), Error> {
        let put = self.control.set(0, PodControl(self.current), 0);
        put.map_err(|source| Error::Map {
            map: "CONTROL",
            source,
        })
    }
}
