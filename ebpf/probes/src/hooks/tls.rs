//! Calls of TLS libraries, at the sites that the agent has found in each file. The attach cookie
//! (Linux 5.15) says what stands in which register.

use aya_ebpf::{
    EbpfContext as _, bindings::pt_regs, helpers::bpf_get_attach_cookie, macros::uprobe,
    programs::ProbeContext,
};
use weft_abi::{Site, SiteFlags};

use crate::{
    caller,
    tls::{self, Outcome},
};

/// Where Go keeps the running goroutine (ABIInternal, `src/cmd/compile/abi-internal.md`).
const GOROUTINE: u8 = 1;
const STACK_POINTER: u8 = 19;

/// A call begins: its arguments stand in registers.
#[uprobe]
fn tls_enter(ctx: ProbeContext) -> u32 {
    // SAFETY: the probe's own context.
    let site = Site::from_cookie(unsafe { bpf_get_attach_cookie(ctx.as_ptr()) });
    let call = tls::call_at(site, |index| register(ctx.regs, index));
    tls::enter(&call, register(ctx.regs, GOROUTINE));
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
    let outcome = Outcome {
        bytes,
        success: register(regs, site.success),
    };
    let begins = tls::call_at(site, |index| register(regs, index));
    tls::leave(site, &outcome, &begins, register(regs, GOROUTINE));
    0
}

/// A word of the saved registers. The verifier wants constant offsets.
#[inline(always)]
fn register(regs: *const pt_regs, index: u8) -> u64 {
    // SAFETY: the context of a probe is a `struct pt_regs`.
    let regs = unsafe { &*regs };
    match index {
        0 => regs.r15,
        1 => regs.r14,
        2 => regs.r13,
        3 => regs.r12,
        4 => regs.rbp,
        5 => regs.rbx,
        6 => regs.r11,
        7 => regs.r10,
        8 => regs.r9,
        9 => regs.r8,
        10 => regs.rax,
        11 => regs.rcx,
        12 => regs.rdx,
        13 => regs.rsi,
        14 => regs.rdi,
        19 => regs.rsp,
        _ => 0,
    }
}
