//! uvloop. All connections of a server share one context, and libuv reads before that is entered: what is
//! made while a transport's callback runs works for its connection. What a task gives to a transport may
//! be sent later, by nobody in particular.

use aya_ebpf::bindings::BPF_ANY;
use weft_abi::{Counter, Descent, HandOff, KeyKind, Task, TaskKey};

use super::{get, insert, key, memory::field, note, now, process, with, worker};
use crate::{
    caller,
    maps::{HAND_OFFS, count},
};

/// A callback begins that works for the transport of this `uv_stream_t`, whose first word it is.
#[inline(always)]
pub(crate) fn reads(stream: u64) {
    let transport = field(stream, 0);
    let Some((_, tgid, tid)) = process() else {
        return;
    };
    let thread = key(u64::from(tid), tgid, KeyKind::Thread);
    let object = key(transport, tgid, KeyKind::Transport);
    let scope = match get(&object) {
        Some(known) => known.scope,
        None => scoped(&object, tgid),
    };
    let mut read = Descent::default();
    if let Some(thread) = get(&thread) {
        read = thread.descent;
        thread.descent.root = 0;
        thread.scope = scope;
    } else {
        with(&thread, |thread| thread.scope = scope);
    }
    if read.root != 0 {
        note(scope, tgid, &read);
    }
}

/// The protocol of a new transport is called for the first time.
#[inline(always)]
pub(crate) fn connected(transport: u64) {
    let Some((_, tgid, tid)) = process() else {
        return;
    };
    let scope = scoped(&key(transport, tgid, KeyKind::Transport), tgid);
    with(&key(u64::from(tid), tgid, KeyKind::Thread), |thread| {
        thread.scope = scope;
    });
}

/// Such a callback ends.
#[inline(always)]
pub(crate) fn called() {
    if let Some((_, tgid, tid)) = process()
        && let Some(thread) = get(&key(u64::from(tid), tgid, KeyKind::Thread))
    {
        thread.scope = 0;
    }
}

/// What runs gives bytes to a transport, which sends them later.
///
/// `UVHandle { .., _handle }`; `uv_stream_t { data, loop, type, .., io_watcher.fd }` (libuv 1).
#[inline(always)]
pub(crate) fn writes(transport: u64) {
    const HANDLE: u32 = 24;
    const FILE: u64 = 184;
    const NAMED_PIPE: u32 = 7;
    const TCP: u32 = 12;
    let Some((runtime, tgid, tid)) = process() else {
        return;
    };
    // What has brought a request is sent the response: nobody asks for whom.
    if let Some(known) = get(&key(transport, tgid, KeyKind::Transport))
        && let Some(scope) = get(&key(known.scope, tgid, KeyKind::Scope))
        && scope.descent.root != 0
    {
        return;
    }
    let handle = field(transport, HANDLE);
    let Some([data, _, kind]) = caller::read::<[u64; 3]>(handle) else {
        return;
    };
    if data != transport || (kind as u32 != TCP && kind as u32 != NAMED_PIPE) {
        return;
    }
    let Some(file) = caller::read::<u32>(handle.wrapping_add(FILE)) else {
        return;
    };
    let worker = worker(runtime, tgid, tid);
    let file = key(u64::from(file), tgid, KeyKind::File);
    // SAFETY: read at once.
    let before = (unsafe { HAND_OFFS.get(file) }).map_or(0, |before| before.task);
    let hand_off = HandOff {
        task: worker.id,
        time_ns: now(),
        descent: worker.descent,
        shared: u64::from(before != 0 && before != worker.id),
    };
    count(Counter::HandOffs);
    if HAND_OFFS
        .insert(file, hand_off, u64::from(BPF_ANY))
        .is_err()
    {
        count(Counter::TaskStateFailed);
        let _gone = HAND_OFFS.remove(file);
    }
}

/// A new scope for what is at this key; gives its id.
#[inline(always)]
fn scoped(object: &TaskKey, tgid: u32) -> u64 {
    let scope = now();
    let transport = Task {
        scope,
        ..Task::default()
    };
    insert(object, &transport);
    note(scope, tgid, &Descent::default());
    scope
}
