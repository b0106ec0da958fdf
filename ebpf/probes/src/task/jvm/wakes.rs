//! Who wakes whom among the threads of a JVM: a call is handed to the thread that sends it, and its response goes
//! on with whom the thread that has read it wakes, or answers.
//!
//! Each alone may lead astray: a thread takes something else from a queue than what it was woken for, or releases
//! what another one waits for. So both are told to the agent, which believes what they agree on.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::BPF_ANY,
    helpers::{bpf_get_current_pid_tgid, bpf_get_socket_cookie},
};
use weft_abi::{
    CONNECTION_BIT, Counter, DataFlags, DataRecord, Descent, Direction, JavaThread, KeyKind,
    RecordKind, RuntimeKind, StreamRecord, Task, TaskFlags, TaskKey, UNKNOWN_TASK,
};

use super::{current, thread_pointer};
use crate::{
    caller, connection, emit,
    kernel::{self, ABSENT, load},
    maps::{JAVA_THREADS, TASKS, count},
    task::{self, Reads},
};

/// Fills in for whom the thread makes the call, as far as wakes tell; gives flags of its own. A request is named
/// by its connection.
#[inline(always)]
pub(in crate::task) fn ask(record: &mut DataRecord, reads: Reads) -> u16 {
    let connection = TaskKey {
        id: CONNECTION_BIT | record.cookie,
        tgid: record.header.tgid,
        kind: KeyKind::Scope as u32,
    };
    let thread = key(record.header.tgid, caller::thread_pointer());
    if record.header.direction == Direction::Tx as u8 {
        sends(record, &connection, &thread)
    } else {
        receives(record, &connection, &thread, reads)
    }
}

#[inline(always)]
fn sends(record: &mut DataRecord, server: &TaskKey, thread: &TaskKey) -> u16 {
    let thread = get(thread);
    // SAFETY: copied at once.
    if let Some(request) = unsafe { TASKS.get(server) }.map(|it| it.descent) {
        if let Some(thread) = thread {
            // What it was woken with goes on with the request that it answers. What it has read itself may not: a
            // loop may have got the answer from anybody.
            if thread.woken != 0 {
                tell(thread, &request, 0);
            }
            *thread = JavaThread::default();
        }
        return 0;
    }
    let taken = taken(record.header.tgid, record.cookie);
    // SAFETY: copied at once.
    if let Some(taker) = (unsafe { TASKS.get(taken) }).copied() {
        // For the next request it is taken anew.
        let _gone = TASKS.remove(taken);
        return is_for(record, &taker.descent, taker.flags);
    }
    let Some(thread) = thread else {
        return 0;
    };
    let descent = thread.descent;
    if thread.reads == 0 {
        // For one call only: of the next one it would have to be said anew.
        thread.descent = Descent::default();
    }
    is_for(record, &descent, 0)
}

/// The call is made for `descent`.
#[inline(always)]
fn is_for(record: &mut DataRecord, descent: &Descent, flags: u32) -> u16 {
    const FLAGS: u16 = DataFlags::CONTEXT | DataFlags::HANDED;
    if descent.root == 0 {
        return 0;
    }
    record.task = descent.root;
    record.task_ns = record.header.time_ns;
    record.descent = *descent;
    if flags & TaskFlags::VIRTUAL != 0 {
        return FLAGS;
    }
    FLAGS | DataFlags::THREAD | DataFlags::RESUMES
}

#[inline(always)]
fn receives(record: &mut DataRecord, connection: &TaskKey, thread: &TaskKey, reads: Reads) -> u16 {
    const READS: u16 = DataFlags::CONTEXT | DataFlags::THREAD;
    let root = connection.id;
    let mut state = JavaThread::default();
    if reads == Reads::Beginning {
        let descent = Descent {
            root,
            left_ns: 0,
            request: record.header.time_ns,
        };
        let request = Task {
            descent,
            ..Task::default()
        };
        task::insert(connection, &request);
        state.descent = descent;
        state.reads = 1;
        set(thread, &state);
        record.task = root;
        return READS;
    }
    if let Some(known) = get(thread) {
        if known.reads != 0 && known.descent.root == root {
            record.task = root;
            return READS;
        }
        known.response = record.cookie;
        known.response_ns = record.header.time_ns;
        known.woken = 0;
        return 0;
    }
    state.response = record.cookie;
    state.response_ns = record.header.time_ns;
    set(thread, &state);
    0
}

/// A thread begins to make a connection. Who has it made sends the first request on it.
#[inline(always)]
pub(crate) fn connects(sk: *const c_void) {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if task::runtime(tgid, RuntimeKind::Jvm).is_some() {
        // SAFETY: `sk` is a hook's argument.
        takes(tgid, unsafe { bpf_get_socket_cookie(sk.cast_mut()) });
    }
}

/// A call has received nothing. The JDK's `HttpClient` reads a single byte of a connection that it takes from its pool, to
/// see that it is open: who does so has it for the next request.
#[inline(always)]
pub(crate) fn received_nothing(sk: *const c_void) {
    if caller::size() != Some(1) {
        return;
    }
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if task::runtime(tgid, RuntimeKind::Jvm).is_some()
        && let Some(state) = connection::get(sk)
    {
        takes(tgid, state.cookie);
    }
}

#[inline(always)]
fn takes(tgid: u32, cookie: u64) {
    let Some(runtime) = task::runtime(tgid, RuntimeKind::Jvm) else {
        return;
    };
    let mut taker = Task::default();
    let running = current(runtime);
    if running == 0 {
        if let Some(thread) = get(&key(tgid, caller::thread_pointer())) {
            taker.descent = thread.descent;
            if thread.reads == 0 {
                thread.descent = Descent::default();
            }
        }
    } else if running != UNKNOWN_TASK
        && let Some(task) = TASKS.get_ptr_mut(task::key(running, tgid))
    {
        // SAFETY: an element of the map; a task runs on one thread at a time.
        taker.descent = task::descent(running, unsafe { &*task }, 0);
        taker.flags = TaskFlags::VIRTUAL;
    }
    task::insert(&taken(tgid, cookie), &taker);
}

/// A thread wakes another one, of which this is a handle.
#[inline(always)]
pub(crate) fn wakes(handle: u64) {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let Some(runtime) = task::runtime(tgid, RuntimeKind::Jvm) else {
        return;
    };
    let object = caller::read::<u64>(handle).unwrap_or(0);
    let woken = thread_pointer(runtime, object);
    if woken != 0 {
        hand_on(tgid, caller::thread_pointer(), woken);
    }
}

/// A thread makes another one, a task of the kernel's.
#[inline(always)]
pub(crate) fn begins(tgid: u32, child: *const c_void) {
    if kernel::TASK_FSBASE.load() == ABSENT || task::runtime(tgid, RuntimeKind::Jvm).is_none() {
        return;
    }
    // SAFETY: the caller's argument is a task.
    let new = unsafe { load::<u64>(child, &kernel::TASK_FSBASE) };
    // Another thread may have stood there.
    let _absent = JAVA_THREADS.remove(key(tgid, new));
    hand_on(tgid, caller::thread_pointer(), new);
}

/// What `from` works for, and has read, goes on in `to`.
#[inline(always)]
fn hand_on(tgid: u32, from: u64, to: u64) {
    let to = key(tgid, to);
    let Some(from) = get(&key(tgid, from)) else {
        if let Some(to) = get(&to)
            && to.reads == 0
        {
            *to = JavaThread::default();
        }
        return;
    };
    let woken = JavaThread {
        reads: 0,
        woken: 1,
        ..*from
    };
    if let Some(to) = get(&to) {
        if to.reads != 0 {
            // Whether it works on that still, its answer will show.
            tell(from, &to.descent, DataFlags::THREAD);
        } else {
            *to = woken;
        }
    } else if from.descent.root != 0 || from.response != 0 {
        set(&to, &woken);
    }
    // It goes on in one of them.
    from.response = 0;
}

/// What the thread has read goes on with something of a request.
#[inline(always)]
fn tell(thread: &JavaThread, request: &Descent, flags: u16) {
    if thread.response == 0 {
        return;
    }
    count(Counter::HandOffs);
    let pid_tgid = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((pid_tgid >> 32) as u32, pid_tgid as u32);
    let flags = flags | DataFlags::CONTEXT;
    let now = task::now();
    let record = StreamRecord {
        header: emit::header(RecordKind::Resumed, Direction::Rx, flags, tgid, tid, now),
        writer: thread.response,
        task: request.root,
        task_ns: thread.response_ns,
        descent: *request,
        stream: 0,
        reserved: 0,
    };
    emit::output(&record);
}

#[inline(always)]
fn get(key: &TaskKey) -> Option<&'static mut JavaThread> {
    // SAFETY: an element of the map. Who wakes a thread may write while that runs: words are whole.
    JAVA_THREADS
        .get_ptr_mut(*key)
        .map(|thread| unsafe { &mut *thread })
}

#[inline(always)]
fn set(key: &TaskKey, thread: &JavaThread) {
    if JAVA_THREADS
        .insert(*key, *thread, u64::from(BPF_ANY))
        .is_err()
    {
        count(Counter::TaskStateFailed);
    }
}

/// A connection that is taken.
#[inline(always)]
fn taken(tgid: u32, cookie: u64) -> TaskKey {
    TaskKey {
        id: cookie,
        tgid,
        kind: KeyKind::Taken as u32,
    }
}

/// A thread by its thread pointer.
#[inline(always)]
fn key(tgid: u32, id: u64) -> TaskKey {
    TaskKey {
        id,
        tgid,
        kind: KeyKind::Thread as u32,
    }
}
