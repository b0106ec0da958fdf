//! Reactions of promises: who has asked for them. The objects that tell a reaction apart move when garbage is
//! collected, and are followed.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::BPF_ANY,
    helpers::{bpf_for_each_map_elem, bpf_get_current_pid_tgid},
};
use weft_abi::{
    Counter, DataFlags, Descent, Direction, NodeKey, NodeOwner, NodeThread, RecordKind, Runtime,
    StreamRecord,
};

use super::{
    ids::{current, running, turn},
    now, process, thread,
};
use crate::{
    caller, emit,
    maps::{NODE_WAITS, count},
};

/// From a context to its extension, which for `await` is the generator of the async function.
const EXTENSION: u64 = 0x1f;
/// From the context of an element's handler, which has the number of those that are left in the place of an extension, to
/// the capability of the whole; from there to its promise; from a promise to its first reaction while it is pending.
const CAPABILITY: u64 = 0x27;
const PROMISE: u64 = 0x7;
const REACTIONS: u64 = 0x17;
/// From an object to its first field.
const FIRST: u64 = 0x7;
/// An object that has moved so often stands among the old ones.
const OLD: u32 = 2;

/// Somebody asks for a reaction. `derived`: the promise that it resolves, or `undefined` for `await`.
#[inline(always)]
pub(crate) fn asked(derived: u64, handler: u64, root_register: Option<u64>) {
    let Some((runtime, tid)) = process() else {
        return;
    };
    let Some(thread) = thread(tid) else {
        return;
    };
    let Some(running) = running(thread) else {
        return;
    };
    let Some(waits) = waiting(runtime, derived, handler, root_register) else {
        return;
    };
    let key = NodeKey {
        what: waits.what,
        thread: thread.born,
    };
    // Also if that is nobody: what moves to where another object was has to take its place here, too.
    let owner = NodeOwner {
        descent: current(thread, &running),
        collection: thread.collections,
        ..NodeOwner::default()
    };
    if NODE_WAITS.insert(key, owner, u64::from(BPF_ANY)).is_err() {
        count(Counter::TaskStateFailed);
        let _absent = NODE_WAITS.remove(key);
    }
}

/// A reaction begins.
#[inline(always)]
pub(crate) fn reacts(derived: u64, handler: u64, root_register: u64) {
    let Some((runtime, tid)) = process() else {
        return;
    };
    let Some(thread) = thread(tid) else {
        return;
    };
    let Some(running) = running(thread) else {
        return;
    };
    let mut owner = Descent::default();
    let mut resumed = owner;
    if let Some(waits) = waiting(runtime, derived, handler, Some(root_register)) {
        let key = NodeKey {
            what: waits.what,
            thread: thread.born,
        };
        // SAFETY: copied at once.
        if let Some(known) = unsafe { NODE_WAITS.get(key) } {
            resumed = known.descent;
            if !waits.for_more {
                owner = resumed;
                let _gone = NODE_WAITS.remove(key);
            }
        }
    }
    turn(thread, &running, &owner, running.id);
    if thread.response != 0 && resumed.root != 0 && resumed != thread.resumed {
        thread.resumed = resumed;
        tell(thread);
    }
}

/// What was read goes on with something of a request.
#[inline(always)]
fn tell(thread: &NodeThread) {
    let pid_tgid = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((pid_tgid >> 32) as u32, pid_tgid as u32);
    let flags = DataFlags::CONTEXT;
    let record = StreamRecord {
        header: emit::header(RecordKind::Resumed, Direction::Rx, flags, tgid, tid, now()),
        writer: thread.response,
        task: thread.resumed.root,
        task_ns: thread.response_ns,
        descent: thread.resumed,
        stream: 0,
        reserved: 0,
    };
    emit::output(&record);
}

/// What tells a reaction apart.
struct Waits {
    /// The promise that it resolves, or what waits.
    what: u64,
    /// There may be more reactions of the same. What runs in one is V8's own and asks for nothing: what follows it
    /// unseen is not for whom it is.
    for_more: bool,
}

#[inline(always)]
fn waiting(
    runtime: &Runtime,
    derived: u64,
    handler: u64,
    root_register: Option<u64>,
) -> Option<Waits> {
    let mut what = derived;
    let mut for_more = false;
    if let Some(root) = root_register {
        let undefined = caller::read::<u64>(root.wrapping_add(u64::from(runtime.undefined)))?;
        if derived == undefined {
            let at = handler.wrapping_add(u64::from(runtime.function_context));
            let context = caller::read::<u64>(at)?;
            what = caller::read::<u64>(context.wrapping_add(EXTENSION))?;
            if what & 1 == 0 {
                what = whole(runtime, undefined, context)?;
                for_more = true;
            }
        }
    }
    (what & 1 != 0).then_some(Waits { what, for_more })
}

/// The handler of one element of `Promise.all` or its like: nobody is seen to ask for it. What waits for the whole
/// does, if that is one.
#[inline(always)]
fn whole(runtime: &Runtime, undefined: u64, context: u64) -> Option<u64> {
    let capability = caller::read::<u64>(context.wrapping_add(CAPABILITY))?;
    let promise = caller::read::<u64>(capability.wrapping_add(PROMISE))?;
    let reaction = caller::read::<u64>(promise.wrapping_add(REACTIONS))?;
    if reaction & 1 == 0 {
        return None;
    }
    // The next one (none: 0), handlers of rejection and of fulfilment, the derived promise; before or behind them what
    // the embedder keeps, which is a pointer.
    let words = caller::read::<[u64; 5]>(reaction.wrapping_add(FIRST))?;
    let [first, second, third, fourth, fifth] = words;
    let (next, handler, derived) = if first & 1 == 0 {
        (first, third, fourth)
    } else {
        (second, fourth, fifth)
    };
    if next != 0 {
        return None;
    }
    if derived != undefined {
        return Some(derived);
    }
    let at = handler.wrapping_add(u64::from(runtime.function_context));
    let context = caller::read::<u64>(at)?;
    caller::read::<u64>(context.wrapping_add(EXTENSION))
}

/// What a walk through all that waits is for.
struct Collection {
    thread: u64,
    number: u32,
    /// 1: of old objects, too, of which most stay where they are.
    whole: u32,
}

/// Young objects were collected: those that live have moved.
#[inline(always)]
pub(crate) fn scavenged() {
    collected(0);
}

/// All objects were collected.
#[inline(always)]
pub(crate) fn compacted() {
    collected(1);
}

#[inline(always)]
fn collected(whole: u32) {
    let Some((_, tid)) = process() else {
        return;
    };
    let Some(thread) = thread(tid) else {
        return;
    };
    thread.collections = thread.collections.wrapping_add(1);
    let mut collection = Collection {
        thread: thread.born,
        number: thread.collections,
        whole,
    };
    // SAFETY: the callback has the shape the helper wants, its context outlives the call.
    unsafe {
        bpf_for_each_map_elem(
            (&raw const NODE_WAITS).cast_mut().cast(),
            follow as *mut c_void,
            (&raw mut collection).cast(),
            0,
        )
    };
}

/// One element. Where an object was that has moved, a pointer to its new place stands in the place of its map's, which
/// has a tag. A young object that has not moved is dead when young objects were collected. A dead object's element does
/// no harm: what comes to its place, new or moved, has an element of its own.
#[inline(never)]
unsafe extern "C" fn follow(
    _: *mut c_void,
    key: *const NodeKey,
    owner: *const NodeOwner,
    collection: *const Collection,
) -> u64 {
    // SAFETY: what the helper passes: an element, and the context.
    let (key, mut owner, collection) = unsafe { (*key, *owner, &*collection) };
    if key.thread != collection.thread || owner.collection == collection.number {
        return 0;
    }
    let word = caller::read::<u64>(key.what.wrapping_sub(1)).unwrap_or(0);
    let moved = word & 1 == 0 && word != 0;
    if !moved && word != 0 && owner.moves >= OLD {
        return 0;
    }
    owner.collection = collection.number;
    if collection.whole != 0 {
        // What lives may stand among the old ones now, also where it was.
        owner.moves = OLD;
    } else {
        owner.moves += 1;
    }
    if !moved && word != 0 && collection.whole != 0 {
        let _gone = NODE_WAITS.insert(key, owner, u64::from(BPF_ANY));
        return 0;
    }
    let _gone = NODE_WAITS.remove(key);
    if !moved {
        count(Counter::WaitsDropped);
        return 0;
    }
    let key = NodeKey {
        what: word | 1,
        thread: key.thread,
    };
    if NODE_WAITS.insert(key, owner, u64::from(BPF_ANY)).is_err() {
        count(Counter::TaskStateFailed);
        let _absent = NODE_WAITS.remove(key);
    }
    0
}
