//! CPython, greenlet and uvloop, at the functions that the agent has found in their files; C's own calling
//! convention.

use aya_ebpf::{
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};

use crate::task::cpython;

/// `PyContext_CopyCurrent`, and `tp_new` of `PyGreenlet_Type`, return a new object.
#[uretprobe]
fn py_made(ctx: RetProbeContext) -> u32 {
    // SAFETY: the probe's own context.
    cpython::made(unsafe { (*ctx.regs).rax });
    0
}

/// `tp_dealloc` of `PyContext_Type` or of `PyGreenlet_Type` begins.
#[uprobe]
fn py_freed(ctx: ProbeContext) -> u32 {
    // SAFETY: as above.
    cpython::freed(unsafe { (*ctx.regs).rdi });
    0
}

/// `socket._accept` returns, with an object unless it has failed.
#[uretprobe]
fn py_accepted(ctx: RetProbeContext) -> u32 {
    // SAFETY: as above.
    if unsafe { (*ctx.regs).rax } != 0 {
        cpython::accepted();
    }
    0
}

/// `__uv_stream_on_read(uv_stream_t *, ..)` of uvloop begins, or its sibling for buffered protocols.
#[uprobe]
fn uvloop_reads(ctx: ProbeContext) -> u32 {
    // SAFETY: as above.
    cpython::reads(unsafe { (*ctx.regs).rdi });
    0
}

/// `UVBaseTransport._call_connection_made(self)` begins.
#[uprobe]
fn uvloop_connected(ctx: ProbeContext) -> u32 {
    // SAFETY: as above.
    cpython::connected(unsafe { (*ctx.regs).rdi });
    0
}

/// One of these three returns.
#[uretprobe]
fn uvloop_called(_: RetProbeContext) -> u32 {
    cpython::called();
    0
}

/// `UVStream.write(self, ..)` begins, or `writelines`.
#[uprobe]
fn uvloop_writes(ctx: ProbeContext) -> u32 {
    // SAFETY: as above.
    cpython::writes(unsafe { (*ctx.regs).rdi });
    0
}
