//! Tasks of Tokio. While a thread polls one its id stands in the thread's own data. Ids are drawn from one
//! counter, so that a child's is larger than its creator's, and are not used again.
//!
//! A connection to a server is most often a task of its own, which sends what others hand to it through a
//! channel: who has sent it the last message, and that alone since it waited for one, has the request sent.

use core::ptr;

use aya_ebpf::bindings::BPF_ANY;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use weft_abi::{
    Counter, DataFlags, DataRecord, Descent, Direction, HandOff, KeyKind, MAX_DEPTH, Runtime,
    RuntimeKind, SESSION_BIT, Task, TaskFlags, TaskKey, TokioSite,
};

use super::{Reads, descent, insert, key, now, with};
use crate::{
    caller,
    maps::{HAND_OFFS, TASKS, count},
};

/// Id of the task that the thread polls; 0: none.
#[inline(always)]
fn current(runtime: &Runtime) -> u64 {
    let thread = caller::thread_pointer();
    if thread == 0 {
        return 0;
    }
    caller::read::<u64>(thread.wrapping_add(runtime.current)).unwrap_or(0)
}

/// Fills in the task of a record that is made up for a whole call; gives flags of its own. Of a connection
/// that several send on it is not known for whom: `SHARED` says so to the agent.
#[inline(never)]
pub(super) fn ask(record: &mut DataRecord, runtime: &Runtime, reads: Reads) -> u16 {
    const FLAGS: u16 = DataFlags::CONTEXT | DataFlags::SHARED;
    let id = current(runtime);
    if id == 0 {
        count(Counter::TasksUnknown);
        return 0;
    }
    record.task = id;
    let task = key(id, record.header.tgid);
    if record.header.direction == Direction::Rx as u8 {
        received(&task, record.header.time_ns, reads);
        return DataFlags::CONTEXT;
    }
    let Some(task) = get(&task) else {
        return FLAGS;
    };
    if task.request != 0 || task.flags & TaskFlags::PLUMBING == 0 {
        record.descent = works_for(id, task, 0);
        return FLAGS;
    }
    if !serves(task, record.cookie) {
        return FLAGS;
    }
    let handed = handed(task);
    if handed.task == 0 {
        return FLAGS;
    }
    record.task = handed.task;
    record.task_ns = handed.time_ns;
    record.descent = handed.descent;
    FLAGS | DataFlags::HANDED
}

/// For whom a task works of itself. One that others send to works for them, and may do so for several at once.
#[inline(always)]
fn works_for(id: u64, task: &Task, left_ns: u64) -> Descent {
    if task.request == 0 && task.flags & TaskFlags::PLUMBING != 0 {
        return Descent::default();
    }
    descent(id, task, left_ns)
}

/// What the task was sent, if that is all that it was sent. Another thread may be sending.
#[inline(always)]
fn handed(task: &Task) -> HandOff {
    // SAFETY: an element of the map.
    let sender = || unsafe { ptr::read_volatile(&raw const task.handed.task) };
    let before = sender();
    // SAFETY: as above.
    let handed = unsafe { ptr::read_volatile(&raw const task.handed) };
    if handed.shared != 0 || before != handed.task || before != sender() {
        return HandOff::default();
    }
    handed
}

/// The sender comes last, so that nobody takes a part for the whole.
#[inline(always)]
fn hand(task: &mut Task, handed: &HandOff) {
    let to = &raw mut task.handed;
    // SAFETY: an element of the map.
    unsafe {
        ptr::write_volatile(&raw mut (*to).task, 0);
        ptr::write_volatile(&raw mut (*to).time_ns, handed.time_ns);
        ptr::write_volatile(&raw mut (*to).descent, handed.descent);
        ptr::write_volatile(&raw mut (*to).shared, handed.shared);
        ptr::write_volatile(&raw mut (*to).task, handed.task);
    }
}

#[inline(always)]
fn received(key: &TaskKey, time_ns: u64, reads: Reads) {
    let is_request = reads == Reads::Beginning;
    if let Some(task) = get(key) {
        if is_request {
            task.request = time_ns;
        } else {
            // Whatever it was sent before has been sent on: this is the answer.
            task.handed.task = 0;
        }
    } else if is_request {
        let task = Task {
            request: time_ns,
            ..Task::default()
        };
        insert(key, &task);
    }
}

/// Whether the task sends on this connection alone. A session is put on its socket's connection.
#[inline(always)]
fn serves(task: &mut Task, cookie: u64) -> bool {
    if task.flags & TaskFlags::MANY != 0 {
        return false;
    }
    if task.scope == cookie {
        return true;
    }
    let begins = task.scope == 0 || (task.scope & SESSION_BIT == 0 && cookie & SESSION_BIT != 0);
    if begins {
        task.scope = cookie;
    } else if task.scope & SESSION_BIT == 0 || cookie & SESSION_BIT != 0 {
        task.flags |= TaskFlags::MANY;
    }
    begins
}

/// A new task gets this id. Other things have ids of the same make: those are smaller.
#[inline(always)]
pub(crate) fn drawn(id: u64) {
    let Some((runtime, tgid)) = process() else {
        return;
    };
    let creator = current(runtime);
    if creator == 0 || id <= creator {
        return;
    }
    let Some(task) = get(&key(creator, tgid)) else {
        return;
    };
    let descent = works_for(creator, task, now());
    let depth = if task.request == 0 { task.depth + 1 } else { 1 };
    if descent.root == 0 || depth > MAX_DEPTH {
        return;
    }
    let child = Task {
        descent,
        depth,
        ..Task::default()
    };
    insert(&key(id, tgid), &child);
}

/// Something was sent to whoever waits at this waker, whose state was `state` before.
///
/// `AtomicWaker { waker: { vtable, data }, state }`; `Header { state, queue_next, vtable, .. }`.
#[inline(always)]
pub(crate) fn sends(site: TokioSite, register: u64, state: u64) {
    const TABLE: u64 = 16;
    let waker = register.wrapping_add(u64::from(site.offset));
    let Some((runtime, tgid)) = process() else {
        return;
    };
    let channel = TaskKey {
        id: waker,
        tgid,
        kind: KeyKind::Channel as u32,
    };
    let [vtable, header] = caller::read::<[u64; 2]>(waker).unwrap_or([0; 2]);
    if state != 0 || vtable != runtime.wakers {
        return queues(&channel);
    }
    let table = caller::read::<u64>(header.wrapping_add(TABLE)).unwrap_or(0);
    let offset = caller::read::<u64>(table.wrapping_add(u64::from(runtime.id))).unwrap_or(0);
    let receiver = caller::read::<u64>(header.wrapping_add(offset)).unwrap_or(0);
    let sender = current(runtime);
    if offset == 0 || receiver == 0 || receiver == sender {
        return;
    }
    let mut handed = HandOff {
        task: sender,
        time_ns: now(),
        descent: Descent::default(),
        shared: 0,
    };
    if sender != 0
        && let Some(task) = get(&key(sender, tgid))
    {
        handed.descent = works_for(sender, task, 0);
    }
    count(Counter::HandOffs);
    with(&key(receiver, tgid), |task| {
        let own = task.flags & TaskFlags::PLUMBING == 0
            && task.descent.root == handed.descent.root
            && task.descent.request == handed.descent.request;
        if own && handed.descent.root != 0 {
            return;
        }
        // One that waits has taken all that came before on this channel.
        if task.handed.task != 0 && task.handed.task != sender && task.born != waker {
            task.handed.shared = 1;
        } else {
            hand(task, &handed);
            task.born = waker;
        }
        task.flags |= TaskFlags::PLUMBING;
    });
    remember(&channel, receiver);
}

/// The receiver has something else to do than to wait, so that it may get to this one later.
#[inline(always)]
fn queues(channel: &TaskKey) {
    // SAFETY: read at once.
    let Some(receiver) = (unsafe { HAND_OFFS.get(channel) }).map(|it| it.task) else {
        return;
    };
    if let Some(task) = get(&key(receiver, channel.tgid)) {
        task.handed.shared = 1;
    }
}

/// Who waits at a channel, for when it does not.
#[inline(always)]
fn remember(channel: &TaskKey, receiver: u64) {
    // SAFETY: read at once.
    if (unsafe { HAND_OFFS.get(channel) }).is_some_and(|it| it.task == receiver) {
        return;
    }
    let known = HandOff {
        task: receiver,
        ..HandOff::default()
    };
    if HAND_OFFS
        .insert(channel, known, u64::from(BPF_ANY))
        .is_err()
    {
        count(Counter::TaskStateFailed);
    }
}

#[inline(always)]
fn process() -> Option<(&'static Runtime, u32)> {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    Some((super::runtime(tgid, RuntimeKind::Tokio)?, tgid))
}

#[inline(always)]
fn get(key: &TaskKey) -> Option<&'static mut Task> {
    // SAFETY: an element of the map. Who sends to a task may write it while that runs: words are whole.
    TASKS.get_ptr_mut(*key).map(|task| unsafe { &mut *task })
}
