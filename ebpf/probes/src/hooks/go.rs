//! Goroutines that are made, and work that they hand over, at the sites that the agent has found in
//! each program; registers are those of Go's own calling convention.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};

use crate::task;

/// `runtime.newproc.func1`, at the call of `runqput`: its second argument is the new `g`.
#[uprobe]
fn go_created(ctx: ProbeContext) -> u32 {
    // SAFETY: the probe's own context.
    task::created(unsafe { (*ctx.regs).rbx });
    0
}

/// A method begins that gives work to the goroutine of its receiver.
#[uprobe]
fn go_gives(ctx: ProbeContext) -> u32 {
    // SAFETY: as above.
    let (g, receiver) = unsafe { ((*ctx.regs).r14, (*ctx.regs).rax) };
    task::gives(g, receiver);
    0
}

/// A method begins in which the receiver's goroutine sends what it was given.
#[uprobe]
fn go_takes(ctx: ProbeContext) -> u32 {
    // SAFETY: as above.
    let (g, receiver) = unsafe { ((*ctx.regs).r14, (*ctx.regs).rax) };
    task::takes(g, receiver);
    0
}

/// A function begins whose goroutine belongs to a connection.
#[uprobe]
fn go_plumbing(ctx: ProbeContext) -> u32 {
    // SAFETY: as above.
    task::is_plumbing(unsafe { (*ctx.regs).r14 });
    0
}
