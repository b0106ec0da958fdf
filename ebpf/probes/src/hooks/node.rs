//! Node.js, at the functions that the agent has found in its file: C's own calling convention, and that of V8's
//! builtins.

use aya_ebpf::{
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};

use crate::{caller, task::node};

/// `InternalCallbackScope(Environment *, Local<Object>, async_context const &, int)` begins.
#[uprobe]
fn node_enters(ctx: ProbeContext) -> u32 {
    // SAFETY: the probe's own context.
    let (scope, environment, object, ids) = unsafe {
        let regs = ctx.regs;
        ((*regs).rdi, (*regs).rsi, (*regs).rdx, (*regs).rcx)
    };
    node::enters(scope, environment, object, ids);
    0
}

/// The same since Node.js 22: the object is a `variant<Local<Object>, Local<Object> *>`.
#[uprobe]
fn node_enters_variant(ctx: ProbeContext) -> u32 {
    // SAFETY: as above.
    let ([scope, environment], mut object, index, ids) = unsafe {
        let regs = ctx.regs;
        let objects = [(*regs).rdi, (*regs).rsi];
        (objects, (*regs).rdx, (*regs).rcx, (*regs).r8)
    };
    if index as u8 != 0 {
        object = caller::read::<u64>(object).unwrap_or(0);
    }
    node::enters(scope, environment, object, ids);
    0
}

/// `InternalCallbackScope(AsyncWrap *, int)` begins.
#[uprobe]
fn node_enters_wrap(ctx: ProbeContext) -> u32 {
    // SAFETY: as above.
    let (scope, wrap) = unsafe { ((*ctx.regs).rdi, (*ctx.regs).rsi) };
    node::enters_wrap(scope, wrap);
    0
}

/// `InternalCallbackScope::Close` begins.
#[uprobe]
fn node_leaves(_: ProbeContext) -> u32 {
    node::leaves();
    0
}

/// `MicrotaskQueue::OnCompleted` begins.
#[uprobe]
fn node_drained(_: ProbeContext) -> u32 {
    node::drained();
    0
}

/// V8's `PerformPromiseThen(promise, onFulfilled, onRejected, derived)` begins.
#[uprobe]
fn node_asked(ctx: ProbeContext) -> u32 {
    // SAFETY: as above.
    let (derived, handler, root) = unsafe { ((*ctx.regs).rdx, (*ctx.regs).rbx, (*ctx.regs).r13) };
    node::asked(derived, handler, Some(root));
    0
}

/// V8's `PromisePrototypeThen` is about to return the promise that it has made.
#[uprobe]
fn node_then(ctx: ProbeContext) -> u32 {
    // SAFETY: as above.
    node::asked(unsafe { (*ctx.regs).rax }, 0, None);
    0
}

/// V8's `PromiseFulfillReactionJob(argument, handler, derived)` begins, or its sibling for rejections.
#[uprobe]
fn node_reacts(ctx: ProbeContext) -> u32 {
    // SAFETY: as above.
    let (derived, handler, root) = unsafe { ((*ctx.regs).rcx, (*ctx.regs).rbx, (*ctx.regs).r13) };
    node::reacts(derived, handler, root);
    0
}

/// `Heap::Scavenge` returns.
#[uretprobe]
fn node_scavenged(_: RetProbeContext) -> u32 {
    node::scavenged();
    0
}

/// `Heap::MarkCompact` returns.
#[uretprobe]
fn node_compacted(_: RetProbeContext) -> u32 {
    node::compacted();
    0
}

/// `Http2Session::SubmitRequest(Http2Priority const &, Http2Headers const &, int *stream, int)` begins.
#[uprobe]
fn node_submitting(ctx: ProbeContext) -> u32 {
    // SAFETY: as above.
    let (session, stream) = unsafe { ((*ctx.regs).rdi, (*ctx.regs).rcx) };
    node::submitting(session, stream);
    0
}

/// It returns.
#[uretprobe]
fn node_submitted(_: RetProbeContext) -> u32 {
    node::submitted();
    0
}

/// `Http2Session::SendPendingData` begins.
#[uprobe]
fn node_sending(ctx: ProbeContext) -> u32 {
    // SAFETY: as above.
    node::sending(unsafe { (*ctx.regs).rdi });
    0
}

/// It returns.
#[uretprobe]
fn node_sent(_: RetProbeContext) -> u32 {
    node::sent();
    0
}
