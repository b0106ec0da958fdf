//! Links of a perf event each: what kernels before 6.6 have.
//!
//! aya 0.14 attaches a program only while it holds the program as its own, and to be handed one it asks the kernel by the program's
//! number, which takes CAP_SYS_ADMIN. Attaching what this process has loaded takes CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN again on
//! kernels that want it for such events (6.16, and stable versions of that time).

use std::{
    ffi::CStr,
    fs, io,
    mem::{size_of, zeroed},
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
};

use aya::programs::ProbeKind;
use aya_obj::generated::{bpf_attach_type::BPF_PERF_EVENT, bpf_attr, bpf_cmd, perf_event_attr};

use super::{Place, multi::descriptor};

/// `PERF_FLAG_FD_CLOEXEC` of `linux/perf_event.h`.
const CLOSE_ON_EXEC: u64 = 1 << 3;

/// The kernel's source of such events.
pub(super) struct Source {
    /// `perf_event_attr.type`
    kind: u32,
    /// `perf_event_attr.config` of a function's return.
    returning: u64,
}

/// A probe, until it is dropped.
pub(super) struct Link(#[expect(dead_code, reason = "closed when dropped")] OwnedFd);

impl Source {
    pub(super) fn open() -> io::Result<Self> {
        const DIRECTORY: &str = "/sys/bus/event_source/devices/uprobe";
        let invalid =
            |what: &str| io::Error::other(format!("{DIRECTORY}/{what} is not understood"));
        let kind = fs::read_to_string(format!("{DIRECTORY}/type"))?;
        // `config:0`
        let format = fs::read_to_string(format!("{DIRECTORY}/format/retprobe"))?;
        let bit = format.trim().strip_prefix("config:");
        let bit = bit.and_then(|bit| bit.parse::<u32>().ok());
        let returning = bit.and_then(|bit| 1_u64.checked_shl(bit));
        Ok(Self {
            kind: kind.trim().parse().map_err(|_| invalid("type"))?,
            returning: returning.ok_or_else(|| invalid("format/retprobe"))?,
        })
    }

    pub(super) fn link(
        &self,
        program: BorrowedFd<'_>,
        kind: ProbeKind,
        path: &CStr,
        place: &Place,
    ) -> io::Result<Link> {
        let event = self.event(kind, path, place.offset)?;
        // SAFETY: plain integers, for which all-zero bytes are valid.
        let mut attr: bpf_attr = unsafe { zeroed() };
        attr.link_create.__bindgen_anon_1.prog_fd = program.as_raw_fd().cast_unsigned();
        attr.link_create.__bindgen_anon_2.target_fd = event.as_raw_fd().cast_unsigned();
        attr.link_create.attach_type = BPF_PERF_EVENT as u32;
        attr.link_create.__bindgen_anon_3.perf_event.bpf_cookie = place.site.cookie();
        // The link keeps its event.
        descriptor(bpf_cmd::BPF_LINK_CREATE, &attr).map(Link)
    }

    /// In whatever process executes the place.
    fn event(&self, kind: ProbeKind, path: &CStr, offset: u64) -> io::Result<OwnedFd> {
        // SAFETY: plain integers, for which all-zero bytes are valid.
        let mut attr: perf_event_attr = unsafe { zeroed() };
        attr.size = size_of::<perf_event_attr>() as u32;
        attr.type_ = self.kind;
        attr.config = match kind {
            ProbeKind::Entry => 0,
            ProbeKind::Return => self.returning,
        };
        attr.__bindgen_anon_3.uprobe_path = path.as_ptr() as u64;
        attr.__bindgen_anon_4.probe_offset = offset;
        let (every_process, first_cpu, no_group) = (-1, 0, -1);
        // SAFETY: the attributes and the path in them are borrowed until this returns.
        let event = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                &raw const attr,
                every_process,
                first_cpu,
                no_group,
                CLOSE_ON_EXEC,
            )
        };
        if event < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a new descriptor, which nobody else knows.
        Ok(unsafe { OwnedFd::from_raw_fd(event as RawFd) })
    }
}
