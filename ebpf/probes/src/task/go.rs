//! Goroutines. `src/runtime/runtime2.go`, Go 1.18 to 1.27: `struct g` begins with the bounds of its
//! stack; the offsets of `goid` and `parentGoid` come from the program's code.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use weft_abi::{Runtime, RuntimeKind, TaskFlags};

use super::{hand_over, inherit, key, read_stream, runtime, send_stream, serve, take_over, with};
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

/// Who has created the running goroutine, which [`current`] has told; 0: not known.
#[inline(always)]
pub(super) fn current_parent(runtime: &Runtime) -> u64 {
    if runtime.parent == 0 {
        return 0;
    }
    field(caller::goroutine(), runtime.parent)
}

/// `runHandler` of net/http begins, in a goroutine of its own: it works on the stream of its
/// `*responseWriter`. The connection is read by another child of the same parent.
///
/// `responseWriter { rws }`, `responseWriterState { stream, .. }`, `stream { sc, id uint32, .. }`.
#[inline(always)]
pub(crate) fn serves_stream(g: u64, writer: u64) {
    let Some((tgid, task)) = task(g) else {
        return;
    };
    let Some(runtime) = runtime(tgid, RuntimeKind::Go) else {
        return;
    };
    let stream = field(field(writer, 0), 0);
    let id = caller::read::<u32>(stream.wrapping_add(8)).unwrap_or(0);
    if id != 0 && runtime.parent != 0 {
        serve(tgid, task, field(g, runtime.parent), id);
    }
}

/// `operateHeaders` of grpc-go begins, in the goroutine that reads the connection: with one of these
/// arguments as its frame (another one comes first since 2023).
///
/// `MetaHeadersFrame { *HeadersFrame, .. }`,
/// `FrameHeader { valid bool, Type uint8, Flags uint8, Length uint32, StreamID uint32 }`.
#[inline(always)]
pub(crate) fn reads_stream(g: u64, frames: [u64; 2]) {
    const HEADERS: u32 = 1;
    let Some((tgid, task)) = task(g) else {
        return;
    };
    for frame in frames {
        let Some([kind, _, id]) = caller::read::<[u32; 3]>(field(frame, 0)) else {
            continue;
        };
        // Whether it is valid is 0 by then: its own fields are used up.
        if kind & 0xfffe == HEADERS << 8 && id & 1 == 1 {
            return read_stream(tgid, task, id);
        }
    }
}

/// grpc-go: the goroutine `g` gives `item` to its connection's writer. What has a stream already is
/// no new request: `clientHeaders { streamID uint32, .. }`.
#[inline(always)]
pub(crate) fn queues(g: u64, item: u64) {
    if caller::read::<u32>(item) == Some(0) {
        gives(g, item);
    }
}

/// grpc-go: the writer `g` sends `item`, which has its stream by now.
#[inline(always)]
pub(crate) fn sends_stream(g: u64, item: u64) {
    let Some((tgid, task)) = task(g) else {
        return;
    };
    if let Some(stream) = caller::read::<u32>(item) {
        send_stream(tgid, task, item, stream);
    }
}

/// A goroutine was made: `g` is the new one. It is made on the thread's own stack, `system`, for the
/// one that the thread runs (`getg().m.curg`); since Go 1.21 it says itself by whom.
#[inline(always)]
pub(crate) fn created((system, g): (u64, u64)) {
    let tgid = tgid();
    let Some(runtime) = runtime(tgid, RuntimeKind::Go) else {
        return;
    };
    let parent = if runtime.parent != 0 {
        field(g, runtime.parent)
    } else if runtime.running != 0 {
        let creator = field(field(system, runtime.thread), runtime.running);
        field(creator, runtime.id)
    } else {
        return;
    };
    inherit(tgid, parent, || field(g, runtime.id));
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
