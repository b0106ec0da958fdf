//! Whether a task's sockets are looked at: decided once for each connection, process and epoch.

use aya_ebpf::{Global, helpers::bpf_get_current_cgroup_id};
use weft_abi::{Control, Mode, Verdict};

use crate::maps::{CGROUPS, PORTS, PROCESSES};

/// weft's own process: never traced.
#[unsafe(no_mangle)]
pub(crate) static OWN_TGID: Global<u32> = Global::new(0);

/// The cheapest key first: mode, process, port, cgroup.
#[inline(always)]
pub(crate) fn selected(control: &Control, tgid: u32, local_port: u16, remote_port: u16) -> bool {
    if let Some(verdict) = selected_by(control, tgid, local_port, remote_port) {
        return verdict;
    }
    // SAFETY: the helper takes no argument.
    let cgroup = unsafe { bpf_get_current_cgroup_id() };
    // SAFETY: values are plain and read at once.
    unsafe { CGROUPS.get(cgroup) }.copied() == Some(ALLOW)
}

/// Whether the agent lets nothing be written into what a process sends.
#[inline(always)]
pub(crate) fn is_unwritten(tgid: u32) -> bool {
    // SAFETY: values are plain and read at once.
    unsafe { PROCESSES.get(tgid) }.copied() == Some(UNWRITTEN)
}

/// The same where the control group cannot be asked; `None`: it would decide.
#[inline(always)]
pub(crate) fn selected_by(
    control: &Control,
    tgid: u32,
    local_port: u16,
    remote_port: u16,
) -> Option<bool> {
    // SAFETY: values are plain and read at once.
    match unsafe { PROCESSES.get(tgid) }.copied() {
        Some(ALLOW | UNWRITTEN) => return Some(true),
        Some(_) => return Some(false),
        None => {}
    }
    if control.by_port != 0 {
        // SAFETY: as above.
        let verdict = unsafe { PORTS.get(local_port).or_else(|| PORTS.get(remote_port)) }.copied();
        if let Some(verdict) = verdict {
            return Some(verdict == ALLOW);
        }
    }
    (control.mode == Mode::All as u32).then_some(true)
}

const ALLOW: u32 = Verdict::Allow as u32;
const UNWRITTEN: u32 = Verdict::Unwritten as u32;
