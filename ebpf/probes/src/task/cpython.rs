//! CPython: what runs on a thread is a context of `contextvars`, entered by asyncio for each task and
//! each callback, or a greenlet. Both are objects whose addresses are used again: what frees them is
//! watched, so that an element of `TASKS` is of the living one.

mod memory;
mod uvloop;

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use weft_abi::{
    CONNECTION_BIT, DataFlags, DataRecord, Descent, Direction, HandOff, KeyKind, MAX_DEPTH,
    Runtime, RuntimeFlags, RuntimeKind, Task, TaskFlags, TaskKey,
};

use super::{Reads, insert, now, with};
use crate::{
    caller,
    maps::{HAND_OFFS, TASKS},
};
use memory::{context, greenlet};

pub(crate) use uvloop::{called, connected, reads, writes};

/// Fills in the task of a record that is made up for a whole call; gives flags of its own.
#[inline(never)]
pub(super) fn ask(record: &mut DataRecord, runtime: &Runtime, reads: Reads) -> u16 {
    if runtime.flags & RuntimeFlags::OFF != 0 {
        return 0;
    }
    if record.header.direction == Direction::Rx as u8 {
        return received(record, runtime, reads);
    }
    sent(record, runtime)
}

/// A request is named by its connection, and by the record in which it begins.
#[inline(always)]
fn received(record: &mut DataRecord, runtime: &Runtime, reads: Reads) -> u16 {
    // Which of the streams a task is for is not known.
    if reads == Reads::Frames {
        return 0;
    }
    let (tgid, tid) = (record.header.tgid, record.header.tid);
    let context = context(runtime);
    let running = if context == 0 {
        greenlet(runtime)
    } else {
        context
    };
    let root = CONNECTION_BIT | record.cookie;
    let uvloop = runtime.flags & RuntimeFlags::UVLOOP != 0;
    if running == 0 && !uvloop {
        return 0;
    }
    record.task = root;
    if reads != Reads::Beginning {
        if context != 0 && record.header.flags & DataFlags::EPOLL != 0 {
            serves_connection(&task(context, tgid));
        }
        return DataFlags::CONTEXT;
    }
    let descent = Descent {
        root,
        left_ns: 0,
        request: record.header.time_ns,
    };
    let thread = key(u64::from(tid), tgid, KeyKind::Thread);
    let scope = if uvloop { scope_of(&thread) } else { 0 };
    if scope != 0 {
        note(scope, tgid, &descent);
    } else if running != 0 {
        let mut scope = 0;
        let task = task(running, tgid);
        if let Some(task) = get(&task) {
            task.descent = descent;
            task.request = descent.request;
            task.flags = 0;
            scope = task.scope;
        } else {
            let new = Task {
                descent,
                request: descent.request,
                born: descent.request,
                ..Task::default()
            };
            insert(&task, &new);
        }
        if scope != 0 {
            note(scope, tgid, &descent);
        }
    } else {
        // libuv reads before it calls the transport.
        with(&thread, |thread| thread.descent = descent);
    }
    DataFlags::CONTEXT
}

/// A callback of an event loop that reads something else than requests: it belongs to the connection, and
/// not to who has made that.
#[inline(always)]
fn serves_connection(key: &TaskKey) {
    if let Some(task) = get(key)
        && task.request == 0
        && task.descent.root != 0
    {
        task.descent.root = 0;
        task.flags |= TaskFlags::PLUMBING;
    }
}

#[inline(always)]
fn sent(record: &mut DataRecord, runtime: &Runtime) -> u16 {
    let tgid = record.header.tgid;
    let worker = worker(runtime, tgid, record.header.tid);
    if let Some(task) = running(runtime, tgid) {
        task.flags |= TaskFlags::SENT;
    }
    let mut handed = HandOff::default();
    if runtime.flags & RuntimeFlags::UVLOOP != 0
        && let Some(file) = caller::file()
    {
        let file = key(u64::from(file), tgid, KeyKind::File);
        // SAFETY: copied at once.
        if let Some(found) = unsafe { HAND_OFFS.get(file) } {
            handed = *found;
            let _gone = HAND_OFFS.remove(file);
        }
    }
    if worker.descent.root != 0 {
        record.task = worker.id;
        if !worker.is_next {
            record.descent = worker.descent;
        }
        return DataFlags::CONTEXT;
    }
    if handed.descent.root == 0 {
        return 0;
    }
    record.task = handed.task;
    record.task_ns = handed.time_ns;
    record.descent = handed.descent;
    let shared = if handed.shared == 0 {
        0
    } else {
        DataFlags::SHARED
    };
    DataFlags::CONTEXT | DataFlags::HANDED | shared
}

/// Who runs on a thread.
struct Worker {
    /// 0: nobody that is known.
    id: u64,
    descent: Descent,
    scope: u64,
    depth: u32,
    /// What it makes is the next one's turn in a queue, maybe.
    makes_next: bool,
    /// It is such a turn.
    is_next: bool,
}

#[inline(always)]
fn worker(runtime: &Runtime, tgid: u32, tid: u32) -> Worker {
    let mut worker = Worker {
        id: 0,
        descent: Descent::default(),
        scope: 0,
        depth: 0,
        makes_next: false,
        is_next: false,
    };
    if runtime.flags & RuntimeFlags::UVLOOP != 0 {
        let scope = scope_of(&key(u64::from(tid), tgid, KeyKind::Thread));
        worker.id = scope;
        worker.scope = scope;
    }
    if worker.scope == 0 {
        let Some(task) = running(runtime, tgid) else {
            return worker;
        };
        worker.id = task.born;
        worker.descent = task.descent;
        worker.scope = task.scope;
        worker.depth = task.depth;
        // A request's own first descendant is who works on it: frameworks run handlers so.
        let by_request = task.descent.left_ns == 0 || task.descent.left_ns == task.born;
        worker.is_next = task.flags & TaskFlags::NEXT != 0;
        worker.makes_next = worker.is_next || task.flags & TaskFlags::SENT != 0 && !by_request;
    }
    if worker.descent.root == 0
        && worker.scope != 0
        && let Some(scope) = get(&key(worker.scope, tgid, KeyKind::Scope))
    {
        worker.descent = scope.descent;
    }
    worker
}

/// `object`, a context or a greenlet, was made by what runs.
#[inline(always)]
pub(crate) fn made(object: u64) {
    let Some((runtime, tgid, tid)) = process() else {
        return;
    };
    if object == 0 {
        return;
    }
    let mut worker = worker(runtime, tgid, tid);
    let now = now();
    let thread = key(u64::from(tid), tgid, KeyKind::Thread);
    if let Some(thread) = get(&thread)
        && thread.flags & TaskFlags::ACCEPTED != 0
    {
        thread.flags = 0;
        worker.scope = now;
        worker.descent.root = 0;
        worker.makes_next = false;
        note(now, tgid, &worker.descent);
    }
    if worker.descent.root != 0 {
        worker.scope = 0;
        if worker.descent.left_ns == 0 {
            worker.descent.left_ns = now;
        }
    } else if worker.scope == 0 {
        return;
    }
    if worker.depth >= MAX_DEPTH {
        return;
    }
    let new = Task {
        descent: worker.descent,
        depth: worker.depth + 1,
        born: now,
        scope: worker.scope,
        flags: if worker.makes_next {
            TaskFlags::NEXT
        } else {
            0
        },
        ..Task::default()
    };
    insert(&task(object, tgid), &new);
}

/// A context or a greenlet is no more.
#[inline(always)]
pub(crate) fn freed(object: u64) {
    if let Some((_, tgid, _)) = process() {
        let _absent = TASKS.remove(task(object, tgid));
    }
}

/// The thread has accepted a connection: asyncio makes a task for it at once, and in that one's context all
/// that works for the connection.
#[inline(always)]
pub(crate) fn accepted() {
    if let Some((_, tgid, tid)) = process() {
        with(&key(u64::from(tid), tgid, KeyKind::Thread), |thread| {
            thread.flags |= TaskFlags::ACCEPTED;
        });
    }
}

/// What the scope works for from now on.
#[inline(always)]
fn note(scope: u64, tgid: u32, descent: &Descent) {
    with(&key(scope, tgid, KeyKind::Scope), |scope| {
        scope.descent = *descent;
    });
}

#[inline(always)]
fn scope_of(thread: &TaskKey) -> u64 {
    get(thread).map_or(0, |thread| thread.scope)
}

/// The context or the greenlet that runs on this thread, if either is known.
#[inline(always)]
fn running(runtime: &Runtime, tgid: u32) -> Option<&'static mut Task> {
    let context = context(runtime);
    if context != 0
        && let Some(task) = get(&task(context, tgid))
    {
        return Some(task);
    }
    let greenlet = greenlet(runtime);
    if greenlet == 0 {
        return None;
    }
    get(&task(greenlet, tgid))
}

#[inline(always)]
fn process() -> Option<(&'static Runtime, u32, u32)> {
    let pid_tgid = bpf_get_current_pid_tgid();
    let tgid = (pid_tgid >> 32) as u32;
    let runtime = super::runtime(tgid, RuntimeKind::CPython)?;
    if runtime.flags & RuntimeFlags::OFF != 0 {
        return None;
    }
    Some((runtime, tgid, pid_tgid as u32))
}

#[inline(always)]
fn get(key: &TaskKey) -> Option<&'static mut Task> {
    // SAFETY: an element of the map; what it is about runs on one thread at a time.
    TASKS.get_ptr_mut(*key).map(|task| unsafe { &mut *task })
}

#[inline(always)]
fn task(address: u64, tgid: u32) -> TaskKey {
    key(address, tgid, KeyKind::Task)
}

#[inline(always)]
fn key(id: u64, tgid: u32, kind: KeyKind) -> TaskKey {
    TaskKey {
        id,
        tgid,
        kind: kind as u32,
    }
}
