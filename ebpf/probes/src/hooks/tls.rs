//! Calls of TLS libraries, at the sites that the agent has found in each file. The attach cookie
//! (Linux 5.15) says what stands in which register.

use aya_ebpf::{
    EbpfContext as _,
    bindings::pt_regs,
    helpers::{
        bpf_get_attach_cookie, bpf_get_current_pid_tgid, bpf_ktime_get_ns, bpf_probe_read_kernel,
        generated,
    },
    macros::uprobe,
    programs::ProbeContext,
};
use weft_abi::{Counter, Direction, ProcessRecord, RecordKind, Site, SiteFlags};

use crate::{
    caller, emit,
    maps::{TLS_DATA, count},
    tls::{self, Outcome},
};

const STACK_POINTER: u8 = 19;

/// A call begins: its arguments stand in registers.
#[uprobe]
fn tls_enter(ctx: ProbeContext) -> u32 {
    // SAFETY: the probe's own context.
    let site = Site::from_cookie(unsafe { bpf_get_attach_cookie(ctx.as_ptr()) });
    tls::enter(site, |registers| {
        // SAFETY: the context of a probe is a `struct pt_regs`, which is longer; the helper checks it.
        unsafe {
            generated::bpf_probe_read_kernel(
                registers.0.as_mut_ptr().cast(),
                (size_of::<u64>() * (STACK_POINTER as usize + 1)) as u32,
                ctx.regs.cast(),
            )
        };
    });
    0
}

/// A call ends: at an instruction behind which the outcome stands in registers, or, as a return
/// probe, when the function has returned.
#[uprobe]
fn tls_leave(ctx: ProbeContext) -> u32 {
    // SAFETY: the probe's own context.
    let site = Site::from_cookie(unsafe { bpf_get_attach_cookie(ctx.as_ptr()) });
    let regs = ctx.regs;
    let bytes = if site.flags & SiteFlags::STACK != 0 {
        let address = register(regs, STACK_POINTER).wrapping_add(u64::from(site.on_stack()));
        caller::read(address).unwrap_or(0)
    } else {
        register(regs, site.bytes)
    };
    let success = if site.flags & SiteFlags::POINTER != 0 {
        register(regs, site.success)
    } else {
        0
    };
    if tls::leave(site, &Outcome { bytes, success }, |index| {
        register(regs, index)
    }) {
        // SAFETY: nothing is to be dropped; without that program the records are missing.
        unsafe { TLS_DATA.tail_call(&ctx, 0) };
        count(Counter::TlsStateFailed);
    }
    0
}

/// Goes on where `tls_leave` has found plaintext.
#[uprobe]
fn tls_data(_ctx: ProbeContext) -> u32 {
    tls::data();
    0
}

/// The dynamic loader of a process has mapped libraries, and has used none of them yet.
#[uprobe]
fn libraries_mapped(_ctx: ProbeContext) -> u32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((pid_tgid >> 32) as u32, pid_tgid as u32);
    // SAFETY: the helper takes no argument.
    let now = unsafe { bpf_ktime_get_ns() };
    let record = ProcessRecord {
        header: emit::header(RecordKind::Mapped, Direction::Rx, 0, tgid, tid, now),
        tgid,
        other: 0,
        comm: [0; 16],
    };
    emit::output(&record);
    0
}

/// A word of the saved registers. Copied, because the verifier wants constant offsets of a plain
/// load, and walks every one of a `match` with all that follows.
#[inline(always)]
pub(super) fn register(regs: *const pt_regs, index: u8) -> u64 {
    if index > STACK_POINTER {
        return 0;
    }
    // SAFETY: within the context of a probe, which is a `struct pt_regs`; the helper checks it.
    unsafe { bpf_probe_read_kernel(regs.cast::<u64>().add(usize::from(index))) }.unwrap_or(0)
}
