//! HotSpot, at the native method by which `java.util.concurrent` wakes threads.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};

use crate::task::jvm;

/// `Unsafe_Unpark(JNIEnv *, jobject unsafe, jobject thread)` begins.
#[uprobe]
fn jvm_wakes(ctx: ProbeContext) -> u32 {
    // SAFETY: the probe's own context.
    jvm::wakes(unsafe { (*ctx.regs).rdx });
    0
}
