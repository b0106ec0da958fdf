//! Goroutines that are made, and work that they hand over, at the sites that the agent has found in
//! each program; registers are those of Go's own calling convention.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};

use crate::task;

/// `runtime.newproc.func1`, at the call of `runqput`: its second argument is the new `g`.
#[uprobe]
fn go_created(ctx: ProbeContext) -> u32 {
    // SAFETY: the probe's own context.
    task::created(unsafe { ((*ctx.regs).r14, (*ctx.regs).rbx) });
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

/// net/http: a goroutine begins to serve a request of HTTP/2.
#[uprobe]
fn go_serves(ctx: ProbeContext) -> u32 {
    // SAFETY: as above.
    let (g, writer) = unsafe { ((*ctx.regs).r14, (*ctx.regs).rbx) };
    task::serves_stream(g, writer);
    0
}

/// grpc-go: a connection's reader has read a request.
#[uprobe]
fn go_reads(ctx: ProbeContext) -> u32 {
    // SAFETY: as above.
    let (g, frames) = unsafe { ((*ctx.regs).r14, [(*ctx.regs).rdi, (*ctx.regs).rbx]) };
    task::reads_stream(g, frames);
    0
}

/// grpc-go: a goroutine queues something for its connection's writer.
#[uprobe]
fn go_queues(ctx: ProbeContext) -> u32 {
    // SAFETY: as above.
    let (g, item) = unsafe { ((*ctx.regs).r14, (*ctx.regs).rdi) };
    task::queues(g, item);
    0
}

/// grpc-go: a connection's writer sends a request.
#[uprobe]
fn go_sends(ctx: ProbeContext) -> u32 {
    // SAFETY: as above.
    let (g, item) = unsafe { ((*ctx.regs).r14, (*ctx.regs).rbx) };
    task::sends_stream(g, item);
    0
}
