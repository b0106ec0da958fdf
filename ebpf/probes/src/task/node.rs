//! Node.js: one thread runs the callbacks of all requests. Who is current there is told by three things
//! that `AsyncLocalStorage` is made of as well:
//!
//! - A callback that runs because bytes of a request were read is for that request.
//! - Async resources (ticks, timers, what connects, queued requests of an agent) have ids from one counter: those
//!   that are given while a request is current belong to it, and so does what runs under them.
//! - What a reaction of a promise runs belongs to whoever was current when it was asked for (`await`, `then`), not to
//!   whoever has resolved the promise.
//!
//! A connection's own callbacks belong to nobody: requests of others wait for it, too.

mod ids;
mod streams;
mod waits;

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use weft_abi::{
    CONNECTION_BIT, Counter, DataFlags, DataRecord, Descent, Direction, KeyKind, NodeRead,
    NodeThread, Runtime, RuntimeFlags, RuntimeKind, TaskKey,
};

use super::{Reads, now, with};
use crate::{
    caller,
    maps::{NODE_THREADS, TASKS, count},
};
use ids::{ONE, Running, believe, current, running, turn};

pub(crate) use streams::{sending, sent, submitted, submitting};
pub(crate) use waits::{asked, compacted, reacts, scavenged};

/// Fills in the task of a record that is made up for a whole call; gives flags of its own.
#[inline(never)]
pub(super) fn ask(record: &mut DataRecord, reads: Reads) -> u16 {
    if record.header.direction == Direction::Rx as u8 {
        return received(record, reads);
    }
    let Some(thread) = thread(record.header.tid) else {
        return 0;
    };
    if thread.session != 0 {
        record.task = thread.session;
        return DataFlags::CONTEXT | DataFlags::RESUMES;
    }
    let Some(running) = running(thread) else {
        count(Counter::TasksUnknown);
        return 0;
    };
    let descent = current(thread, &running);
    record.task = thread.born;
    record.descent = descent;
    DataFlags::CONTEXT | DataFlags::RESUMES
}

/// A request is named by its connection, and by the record in which it begins.
#[inline(always)]
fn received(record: &mut DataRecord, reads: Reads) -> u16 {
    let root = CONNECTION_BIT | record.cookie;
    let connection = TaskKey {
        id: root,
        tgid: record.header.tgid,
        kind: KeyKind::Scope as u32,
    };
    let mut read = Descent::default();
    let mut kind = NodeRead::Other;
    if reads == Reads::Beginning {
        read = Descent {
            root,
            left_ns: record.header.time_ns,
            request: record.header.time_ns,
        };
        with(&connection, |connection| connection.descent = read);
        kind = NodeRead::Request;
    } else if reads == Reads::Other
        && let Some(known) = TASKS.get_ptr_mut(connection)
    {
        // SAFETY: an element of the map; a connection is read by one thread at a time.
        read = unsafe { (*known).descent };
        kind = NodeRead::Request;
    }
    if let Some(thread) = thread(record.header.tid) {
        thread.read = read;
        let begins = thread.reads == NodeRead::Nothing as u32;
        thread.reads = kind as u32;
        thread.flushes = 0;
        if kind as u32 == NodeRead::Request as u32 {
            thread.response = 0;
        } else {
            if begins || thread.response != record.cookie {
                thread.response_ns = record.header.time_ns;
                thread.resumed = Descent::default();
            }
            thread.response = record.cookie;
        }
    }
    // Which of the streams a callback is for is not known.
    if reads == Reads::Frames {
        return 0;
    }
    record.task = root;
    DataFlags::CONTEXT
}

/// `InternalCallbackScope` is entered for the native object of `object`, a `Local<Object>`, with these ids: an
/// `async_context`.
#[inline(always)]
pub(crate) fn enters(scope: u64, environment: u64, object: u64, ids: u64) {
    let Some((runtime, tid)) = process() else {
        return;
    };
    let Some([id, trigger]) = caller::read::<[u64; 2]>(ids) else {
        return;
    };
    if let Some(thread) = thread_of(runtime, tid, environment) {
        let tagged = caller::read::<u64>(object).unwrap_or(0);
        begins(thread, scope, [id, trigger], is_one_shot(runtime, tagged));
    }
}

/// The same for a native object that is an `AsyncWrap`, on a thread that is known.
#[inline(always)]
pub(crate) fn enters_wrap(scope: u64, wrap: u64) {
    let Some((runtime, tid)) = process() else {
        return;
    };
    let ids = wrap.wrapping_add(u64::from(runtime.parent));
    if let Some(ids) = caller::read::<[u64; 2]>(ids)
        && let Some(thread) = thread(tid)
    {
        begins(thread, scope, ids, is_of(runtime, wrap));
    }
}

/// A callback begins, under these ids.
#[inline(always)]
fn begins(thread: &mut NodeThread, scope: u64, [id, trigger]: [u64; 2], one_shot: bool) {
    let Some(mut running) = running(thread) else {
        return;
    };
    let read = thread.reads;
    thread.reads = NodeRead::Nothing as u32;
    if read != NodeRead::Nothing as u32 {
        thread.scope = scope;
    } else if one_shot || id <= ONE || scope >= thread.scope {
        thread.response = 0;
    }
    running.id = id;
    running.trigger = trigger;
    let owner = if read == NodeRead::Nothing as u32 || one_shot {
        believe(thread, &running, one_shot)
    } else {
        let read = thread.read;
        ids::say(thread, id, &read);
        read
    };
    turn(thread, &running, &owner, id);
}

/// Its callback has returned: ticks that it has made follow, and reactions.
#[inline(always)]
pub(crate) fn leaves() {
    let Some((_, tid)) = process() else {
        return;
    };
    let Some(thread) = thread(tid) else {
        return;
    };
    let Some(running) = running(thread) else {
        return;
    };
    let owner = if running.id == thread.running {
        thread.owner
    } else {
        Descent::default()
    };
    turn(thread, &running, &owner, NodeThread::NOBODY);
}

/// No reactions are left.
#[inline(always)]
pub(crate) fn drained() {
    let Some((_, tid)) = process() else {
        return;
    };
    if let Some(thread) = thread(tid)
        && let Some(running) = running(thread)
    {
        turn(thread, &running, &Descent::default(), NodeThread::NOBODY);
    }
}

/// Whether a callback of the object belongs to who has made the object: it is no connection's.
///
/// `BaseObject` stands in the second field of its object of JavaScript, in the first before Node.js 16; three words
/// of V8's come before.
#[inline(always)]
fn is_one_shot(runtime: &Runtime, tagged: u64) -> bool {
    let Some([first, second]) = caller::read::<[u64; 2]>(tagged.wrapping_add(23)) else {
        return false;
    };
    is_of(runtime, second) || is_of(runtime, first)
}

#[inline(always)]
fn is_of(runtime: &Runtime, native: u64) -> bool {
    let class = caller::read::<u64>(native).unwrap_or(0);
    let [first, second, third] = runtime.one_shot;
    class != 0 && (class == first || class == second || class == third)
}

/// The thread's element, which is made anew for another environment.
#[inline(always)]
fn thread_of(runtime: &Runtime, tid: u32, environment: u64) -> Option<&'static mut NodeThread> {
    if let Some(thread) = thread(tid)
        && thread.environment == environment
    {
        return Some(thread);
    }
    let ids = caller::read::<u64>(environment.wrapping_add(u64::from(runtime.id)))?;
    let mut new = NodeThread {
        born: now(),
        environment,
        ids,
        running: NodeThread::NOBODY,
        ..NodeThread::default()
    };
    let Some(Running { given, .. }) = running(&new) else {
        count(Counter::TasksUnknown);
        return None;
    };
    new.noted = given;
    count(Counter::Tasks);
    if NODE_THREADS.insert(tid, new, 0).is_err() {
        count(Counter::TaskStateFailed);
    }
    thread(tid)
}

#[inline(always)]
fn thread(tid: u32) -> Option<&'static mut NodeThread> {
    // SAFETY: an element of the map, which its thread alone uses.
    NODE_THREADS.get_ptr_mut(tid).map(|it| unsafe { &mut *it })
}

#[inline(always)]
fn process() -> Option<(&'static Runtime, u32)> {
    let pid_tgid = bpf_get_current_pid_tgid();
    let runtime = super::runtime((pid_tgid >> 32) as u32, RuntimeKind::Node)?;
    if runtime.flags & RuntimeFlags::OFF != 0 {
        return None;
    }
    Some((runtime, pid_tgid as u32))
}
