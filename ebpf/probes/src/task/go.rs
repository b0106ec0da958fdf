//! Goroutines. `src/runtime/runtime2.go`, Go 1.18 to 1.27: `struct g` begins with the bounds of its
//! stack; the offsets of `goid` and `parentGoid` come from the program's code.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use weft_abi::{Runtime, RuntimeKind, TaskFlags};

use super::{hand_over, inherit, key, runtime, take_over, with};
use crate::caller;

/// Id of the running goroutine; 0: it cannot be told. Go code keeps its `g` in R14, also into a system
/// call; that the stack pointer lies within that one's stack proves that it is one, and the running.
#[inline(always)]
pub(super) fn current(runtime: &Runtime) -> u64 {
    let (g, stack) = caller::goroutine_and_stack();
    let Some([low, high]) = caller::read::<[u64; 2]>(g) else {
        return 0;
    };
    if low >= stack || stack > high {
        return 0;
    }
    field(g, runtime.id)
}

/// A goroutine was made: `g` is the new one.
#[inline(always)]
pub(crate) fn created(g: u64) {
    let tgid = tgid();
    let Some(runtime) = runtime(tgid, RuntimeKind::Go) else {
        return;
    };
    if runtime.parent != 0 {
        inherit(tgid, field(g, runtime.parent), || field(g, runtime.id));
    }
}

/// The goroutine `g` gives work away through `object`.
#[inline(always)]
pub(crate) fn gives(g: u64, object: u64) {
    if let Some((tgid, task)) = task(g) {
        hand_over(tgid, task, object);
    }
}

/// The goroutine `g` is about to send what was given away through `object`.
#[inline(always)]
pub(crate) fn takes(g: u64, object: u64) {
    if let Some((tgid, task)) = task(g) {
        take_over(tgid, task, object);
    }
}

/// The goroutine `g` belongs to a connection from now on.
#[inline(always)]
pub(crate) fn is_plumbing(g: u64) {
    if let Some((tgid, task)) = task(g) {
        with(&key(task, tgid), |task| {
            task.flags |= TaskFlags::PLUMBING;
            task.descent.root = 0;
        });
    }
}

#[inline(always)]
fn task(g: u64) -> Option<(u32, u64)> {
    let tgid = tgid();
    let runtime = runtime(tgid, RuntimeKind::Go)?;
    let id = field(g, runtime.id);
    (id != 0).then_some((tgid, id))
}

#[inline(always)]
fn field(g: u64, offset: u32) -> u64 {
    caller::read::<u64>(g.wrapping_add(u64::from(offset))).unwrap_or(0)
}

#[inline(always)]
fn tgid() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}
