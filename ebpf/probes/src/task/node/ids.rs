//! Ids of async resources: whom they belong to.

use aya_ebpf::bindings::BPF_ANY;
use weft_abi::{Counter, Descent, NodeKey, NodeOwner, NodeRead, NodeThread};

use crate::{
    caller,
    maps::{NODE_IDS, count},
};

/// `AsyncHooks::async_id_fields_`: what runs, what has triggered it, the last id that was given.
pub(super) struct Running {
    pub(super) id: u64,
    pub(super) trigger: u64,
    pub(super) given: u64,
}

/// 2^53 and 1, as `double`s.
const TOO_LARGE: u64 = 0x4340_0000_0000_0000;
pub(super) const ONE: u64 = 0x3ff0_0000_0000_0000;
/// Ids that are noted of one run at most.
const MAX_NOTED: u32 = 64;

#[inline(always)]
pub(super) fn running(thread: &NodeThread) -> Option<Running> {
    let [id, trigger, given] = caller::read::<[u64; 3]>(thread.ids)?;
    if !(ONE..TOO_LARGE).contains(&given) {
        return None;
    }
    Some(Running { id, trigger, given })
}

/// Whom what runs now belongs to.
#[inline(always)]
pub(super) fn current(thread: &NodeThread, running: &Running) -> Descent {
    // What follows a read was not seen: it is not known what runs.
    if thread.reads != NodeRead::Nothing as u32 {
        return Descent::default();
    }
    if running.id == thread.running {
        return thread.owner;
    }
    believe(thread, running, true)
}

/// The same by the id alone. `by_making`: also by what has made the resource.
#[inline(always)]
pub(super) fn believe(thread: &NodeThread, running: &Running, by_making: bool) -> Descent {
    let nobody = Descent::default();
    let own = find(thread, running.id);
    if own.said != 0 {
        return own.descent;
    }
    if !by_making {
        return nobody;
    }
    let certain = own.descent.root != 0 && own.made_in == running.trigger;
    if certain {
        return own.descent;
    }
    let trigger = find(thread, running.trigger).descent;
    if own.descent.root == 0 || trigger.root == 0 || own.made_in == NodeThread::NOBODY {
        return trigger;
    }
    if own.descent == trigger {
        return trigger;
    }
    count(Counter::TasksContradict);
    nobody
}

#[inline(always)]
fn find(thread: &NodeThread, id: u64) -> NodeOwner {
    if id == 0 {
        return NodeOwner::default();
    }
    // SAFETY: copied at once.
    let known = unsafe { NODE_IDS.get(key(thread, number(id))) };
    if let Some(known) = known {
        return *known;
    }
    if id > thread.noted {
        return NodeOwner {
            descent: thread.owner,
            made_in: thread.running,
            ..NodeOwner::default()
        };
    }
    NodeOwner::default()
}

/// What was read says for whom callbacks under this id are, from now on.
#[inline(always)]
pub(super) fn say(thread: &NodeThread, id: u64, descent: &Descent) {
    if id == 0 {
        return;
    }
    let owner = NodeOwner {
        descent: *descent,
        said: 1,
        ..NodeOwner::default()
    };
    insert(&key(thread, number(id)), &owner);
}

/// From now on others run: ids that were given until now belong to who ran.
#[inline(always)]
pub(super) fn turn(thread: &mut NodeThread, running: &Running, owner: &Descent, next: u64) {
    if thread.owner.root != 0 && running.given > thread.noted {
        let of = NodeOwner {
            descent: thread.owner,
            made_in: thread.running,
            ..NodeOwner::default()
        };
        let last = number(running.given);
        let mut id = number(thread.noted);
        for _ in 0..MAX_NOTED {
            if id >= last {
                break;
            }
            id += 1;
            insert(&key(thread, id), &of);
        }
        if id < last {
            count(Counter::TaskStateFailed);
        }
    }
    thread.noted = running.given;
    thread.owner = *owner;
    thread.running = next;
}

#[inline(always)]
fn insert(key: &NodeKey, owner: &NodeOwner) {
    if NODE_IDS.insert(*key, *owner, u64::from(BPF_ANY)).is_err() {
        count(Counter::TaskStateFailed);
    }
}

#[inline(always)]
fn key(thread: &NodeThread, what: u64) -> NodeKey {
    NodeKey {
        what,
        thread: thread.born,
    }
}

/// A positive whole `double`, below 2^53, as an integer: IEEE 754, 52 bits behind the leading one.
#[inline(always)]
fn number(bits: u64) -> u64 {
    let exponent = (bits >> 52).wrapping_sub(1023);
    if exponent > 52 {
        return 0;
    }
    let digits = (bits & ((1 << 52) - 1)) | (1 << 52);
    digits >> ((52 - exponent) & 63)
}
