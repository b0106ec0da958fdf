//! Tasks of Tokio that are made, and messages that are sent to them, at the sites that the agent has found in
//! each program. The attach cookie says what stands in which register.

use aya_ebpf::{
    EbpfContext as _, helpers::bpf_get_attach_cookie, macros::uprobe, programs::ProbeContext,
};
use weft_abi::TokioSite;

use super::tls::register;
use crate::task::tokio;

/// `task::Id::next`, with the new id.
#[uprobe]
fn tokio_drawn(ctx: ProbeContext) -> u32 {
    // SAFETY: the probe's own context.
    let site = TokioSite::from_cookie(unsafe { bpf_get_attach_cookie(ctx.as_ptr()) });
    tokio::drawn(register(ctx.regs, site.register));
    0
}

/// `AtomicWaker::wake`, with the state that the waker was in.
#[uprobe]
fn tokio_sends(ctx: ProbeContext) -> u32 {
    // SAFETY: as above.
    let site = TokioSite::from_cookie(unsafe { bpf_get_attach_cookie(ctx.as_ptr()) });
    // SAFETY: as above.
    let state = unsafe { (*ctx.regs).rax };
    tokio::sends(site, register(ctx.regs, site.register), state);
    0
}
