//! What the agent writes for the kernel programs: the selection, wake-up mode and hints.

use aya::maps::MapError;
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    /// Every process, or only those allowed.
    pub(crate) all: bool,
    /// Nobody at all.
    pub(crate) none: bool,
    /// Ports, local or remote, whose connections are looked at or not, of processes that were not judged.
    pub(crate) ports: Vec<(u16, Verdict)>,
}

impl Probes {
    /// Replaces the general selection; judged processes and cgroups stay.
    pub(crate) fn select(&mut self, selection: &Selection) -> Result<(), Error> {
        let failed = |source| Error::Map {
            map: "PORTS",
            source,
        };
        let before: Vec<u16> = self.ports.keys().flatten().collect();
        for port in before {
            if selection.ports.iter().all(|(kept, _)| *kept != port) {
                self.ports.remove(&port).map_err(failed)?;
            }
        }
        for &(port, verdict) in &selection.ports {
            self.ports.insert(port, verdict as u32, 0).map_err(failed)?;
        }
        self.current.mode = match selection {
            Selection { none: true, .. } => Mode::None,
            Selection { all: true, .. } => Mode::All,
            Selection { .. } => Mode::Listed,
        } as u32;
        self.current.by_port = u32::from(!selection.ports.is_empty());
        self.judge_anew()
    }

    /// What the kernel programs know of a process: said by us, or handed on by its parent.
    pub(crate) fn verdict(&self, tgid: u32) -> Option<Verdict> {
        match self.processes.get(&tgid, 0) {
            Ok(verdict) if verdict == Verdict::Allow as u32 => Some(Verdict::Allow),
            Ok(verdict) if verdict == Verdict::Unwritten as u32 => Some(Verdict::Unwritten),
            Ok(_) => Some(Verdict::Deny),
            Err(_absent) => None,
        }
    }

    /// Allows or denies one process and what it forks; `None`: the general selection counts.
    pub(crate) fn judge_process(
        &mut self,
        tgid: u32,
        verdict: Option<Verdict>,
    ) -> Result<(), Error> {
        let put = match verdict {
            Some(verdict) => self.processes.insert(tgid, verdict as u32, 0),
            None => match self.processes.remove(&tgid) {
                Err(MapError::KeyNotFound) => Ok(()),
                removed => removed,
            },
        };
        put.map_err(|source| Error::Map {
            map: "PROCESSES",
            source,
        })
    }

    /// Allows these cgroups of the unified hierarchy, by their ids (inode numbers), and no others.
    pub(crate) fn set_cgroups(&mut self, cgroups: &[u64]) -> Result<(), Error> {
        let failed = |source| Error::Map {
            map: "CGROUPS",
            source,
        };
        let before: Vec<u64> = self.cgroups.keys().flatten().collect();
        for cgroup in before.iter().filter(|known| !cgroups.contains(known)) {
            self.cgroups.remove(cgroup).map_err(failed)?;
        }
        for cgroup in cgroups.iter().filter(|id| !before.contains(id)) {
            self.cgroups
                .insert(cgroup, Verdict::Allow as u32, 0)
                .map_err(failed)?;
        }
        Ok(())
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
