//! Which logical task a call is made by, or for: asked of the runtime's own memory at that moment.
//!
//! A task that reads a request is a root. What it creates descends from it, and so on; what a task
//! hands over is done for it. The agent, which knows when each root has read which request, judges.

pub(crate) mod cpython;
mod go;
pub(crate) mod jvm;
pub(crate) mod node;
pub(crate) mod tokio;

use aya_ebpf::{bindings::BPF_ANY, helpers::bpf_get_current_pid_tgid};
use weft_abi::{
    Counter, DataFlags, DataRecord, Descent, Direction, HandOff, KeyKind, MAX_DEPTH, RecordKind,
    Runtime, RuntimeKind, STREAM_BIT, StreamRecord, Task, TaskKey, UNKNOWN_TASK,
};

use crate::{
    emit::{self, now},
    maps::{HAND_OFFS, RUNTIMES, TASKS, count},
};

pub(crate) use go::{
    created, gives, is_plumbing, queues, reads_stream, sends_stream, serves_stream, takes,
};

/// What a task reads with a call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reads {
    /// A request, from its beginning or nearly so.
    Beginning,
    /// Frames of HTTP/2.
    Frames,
    Other,
}

/// Fills in the task of a record that is made up for a whole call; gives flags of its own. Each runtime's
/// share is called from here and not from one another: their stacks would add up.
#[inline(always)]
pub(crate) fn ask(record: &mut DataRecord, reads: Reads) -> u16 {
    // SAFETY: a plain value, read at once.
    let Some(runtime) = (unsafe { RUNTIMES.get(record.header.tgid) }) else {
        return 0;
    };
    let kind = runtime.kind;
    if kind == RuntimeKind::Proxy as u32 {
        DataFlags::FORWARDS
    } else if kind == RuntimeKind::CPython as u32 {
        cpython::ask(record, runtime, reads)
    } else if kind == RuntimeKind::Jvm as u32 {
        ask_thread_of_jvm(record, runtime, reads)
    } else if kind == RuntimeKind::Tokio as u32 {
        tokio::ask(record, runtime, reads)
    } else if kind == RuntimeKind::Node as u32 {
        node::ask(record, reads)
    } else {
        ask_goroutine(record, runtime, reads)
    }
}

#[inline(never)]
fn ask_thread_of_jvm(record: &mut DataRecord, runtime: &Runtime, reads: Reads) -> u16 {
    let id = jvm::current(runtime);
    if id == 0 {
        return jvm::ask(record, reads);
    }
    record.task = id;
    if id == UNKNOWN_TASK {
        count(Counter::TasksUnknown);
    } else if reads != Reads::Frames {
        ask_task(record, id, reads);
    }
    DataFlags::CONTEXT
}

#[inline(never)]
fn ask_goroutine(record: &mut DataRecord, runtime: &Runtime, reads: Reads) -> u16 {
    let id = if runtime.kind == RuntimeKind::Go as u32 {
        go::current(runtime)
    } else {
        0
    };
    if id == 0 {
        count(Counter::TasksUnknown);
        return 0;
    }
    record.task = id;
    let receives = record.header.direction == Direction::Rx as u8;
    if receives && reads == Reads::Frames {
        record.descent.root = go::current_parent(runtime);
        return 0;
    }
    ask_task(record, id, reads)
}

/// What is known of the task that makes the call.
#[inline(always)]
fn ask_task(record: &mut DataRecord, id: u64, reads: Reads) -> u16 {
    let receives = record.header.direction == Direction::Rx as u8;
    let key = key(id, record.header.tgid);
    let is_request = reads == Reads::Beginning;
    let Some(task) = TASKS.get_ptr_mut(key) else {
        if receives && is_request {
            let task = Task {
                request: record.header.time_ns,
                ..Task::default()
            };
            insert(&key, &task);
        }
        return 0;
    };
    // SAFETY: an element of the map; a task runs on one thread at a time.
    let task = unsafe { &mut *task };
    if receives {
        if is_request {
            task.request = record.header.time_ns;
        }
        return 0;
    }
    if task.handed.task != 0 {
        record.task = task.handed.task;
        record.task_ns = task.handed.time_ns;
        record.descent = task.handed.descent;
        // For one call only: of the next one it would have to be said anew.
        task.handed.task = 0;
        return DataFlags::HANDED;
    }
    record.descent = descent(id, task, 0);
    0
}

/// For whom a task works: of what has come to itself, if anything has.
#[inline(always)]
fn descent(id: u64, task: &Task, left_ns: u64) -> Descent {
    if task.request == 0 {
        return task.descent;
    }
    Descent {
        root: id,
        left_ns,
        request: task.request,
    }
}

/// `parent` has created `child`, which inherits where it comes from.
#[inline(always)]
fn inherit(tgid: u32, parent: u64, child: impl Fn() -> u64) {
    let Some(task) = TASKS.get_ptr_mut(key(parent, tgid)) else {
        return;
    };
    // SAFETY: an element of the map; a task runs on one thread at a time.
    let task = unsafe { &*task };
    let descent = descent(parent, task, now());
    let depth = if task.request == 0 { task.depth + 1 } else { 1 };
    if descent.root == 0 || depth > MAX_DEPTH {
        return;
    }
    let id = child();
    if id == 0 {
        return;
    }
    let task = Task {
        descent,
        depth,
        ..Task::default()
    };
    insert(&key(id, tgid), &task);
}

/// A task gives work away through `object`; who takes it there does it for that task.
#[inline(always)]
fn hand_over(tgid: u32, id: u64, object: u64) {
    let mut hand_off = HandOff {
        task: id,
        time_ns: now(),
        descent: Descent::default(),
        shared: 0,
    };
    if let Some(task) = TASKS.get_ptr_mut(key(id, tgid)) {
        // SAFETY: an element of the map; a task runs on one thread at a time.
        hand_off.descent = descent(id, unsafe { &*task }, 0);
    }
    count(Counter::HandOffs);
    if HAND_OFFS
        .insert(key(object, tgid), hand_off, u64::from(BPF_ANY))
        .is_err()
    {
        count(Counter::TaskStateFailed);
        // What stood there is another's.
        let _gone = HAND_OFFS.remove(key(object, tgid));
    }
}

/// A task takes what was given away through `object`, if anything was: for its next call.
#[inline(always)]
fn take_over(tgid: u32, task: u64, object: u64) {
    let object = key(object, tgid);
    // SAFETY: copied at once.
    let handed = (unsafe { HAND_OFFS.get(object) }).copied();
    let _gone = HAND_OFFS.remove(object);
    with(&key(task, tgid), |task| {
        task.handed = handed.unwrap_or_default();
    });
}

/// A task works on a stream of the connection that `root`, or who is created by that, reads.
#[inline(always)]
fn serve(tgid: u32, id: u64, root: u64, stream: u32) {
    with(&key(id, tgid), |task| {
        task.request = 0;
        task.descent = Descent {
            root,
            left_ns: 0,
            request: STREAM_BIT | u64::from(stream),
        };
    });
}

/// A task has read a request on a stream; what it creates from now on is for that.
#[inline(always)]
fn read_stream(tgid: u32, id: u64, stream: u32) {
    with(&key(id, tgid), |task| {
        task.request = STREAM_BIT | u64::from(stream);
    });
}

/// A task sends on `stream` what was given away through `object`.
#[inline(always)]
fn send_stream(tgid: u32, writer: u64, object: u64, stream: u32) {
    let object = key(object, tgid);
    // SAFETY: copied at once.
    let Some(handed) = (unsafe { HAND_OFFS.get(object) }).copied() else {
        return;
    };
    let _gone = HAND_OFFS.remove(object);
    let tid = bpf_get_current_pid_tgid() as u32;
    let record = StreamRecord {
        header: emit::header(RecordKind::Stream, Direction::Tx, 0, tgid, tid, now()),
        writer,
        task: handed.task,
        task_ns: handed.time_ns,
        descent: handed.descent,
        stream,
        reserved: 0,
    };
    emit::output(&record);
}

/// Changes a task's element, which is made if there is none.
#[inline(always)]
fn with(key: &TaskKey, change: impl Fn(&mut Task)) {
    if let Some(task) = TASKS.get_ptr_mut(*key) {
        // SAFETY: an element of the map; a task runs on one thread at a time.
        return change(unsafe { &mut *task });
    }
    let mut task = Task::default();
    change(&mut task);
    insert(key, &task);
}

#[inline(always)]
fn insert(key: &TaskKey, task: &Task) {
    count(Counter::Tasks);
    if TASKS.insert(*key, *task, u64::from(BPF_ANY)).is_err() {
        count(Counter::TaskStateFailed);
    }
}

#[inline(always)]
fn key(id: u64, tgid: u32) -> TaskKey {
    TaskKey {
        id,
        tgid,
        kind: KeyKind::Task as u32,
    }
}

#[inline(always)]
fn runtime(tgid: u32, kind: RuntimeKind) -> Option<&'static Runtime> {
    // SAFETY: elements are plain values that the agent writes whole.
    let runtime = unsafe { RUNTIMES.get(tgid) }?;
    (runtime.kind == kind as u32).then_some(runtime)
}
