//! Threads of HotSpot, JDK 17 to 25, and its virtual threads.
//!
//! The JVM's code keeps its `JavaThread` in R15, also into the functions of its own libraries that make the
//! system call; that this one's `OSThread` has the thread pointer (`pthread_t`) of the calling thread proves
//! it. `_threadObj` and `_vthread` are handles: pointers to pointers to the `java.lang.Thread` of the thread
//! itself, and of what runs on it. The first fields of that object are `eetop`, which is the address of its
//! `JavaThread`, and zero in a virtual thread, and `tid`, a number that is not used twice.

mod wakes;

use weft_abi::{Runtime, UNKNOWN_TASK};

use crate::caller;

pub(super) use wakes::ask;
pub(crate) use wakes::{begins, connects, received_nothing, wakes};

/// `java.lang.Thread.eetop`, behind the object's header.
const EETOP: u64 = 16;

/// `Thread.threadId()` of the virtual thread that runs; 0: none, but a thread of the system's;
/// [`UNKNOWN_TASK`]: neither is proved.
#[inline(always)]
pub(super) fn current(runtime: &Runtime) -> u64 {
    let [os_thread, pthread, own, running] = runtime.jvm_fields;
    let thread = caller::thread_of_jvm();
    let pthread = field(field(thread, os_thread), pthread);
    if pthread == 0 || pthread != caller::thread_pointer() {
        return UNKNOWN_TASK;
    }
    let mut own = word(field(thread, own));
    let coloured = !is_of(own, thread);
    if coloured {
        own = uncoloured(own);
        if !is_of(own, thread) {
            return UNKNOWN_TASK;
        }
    }
    if running == 0 {
        return 0;
    }
    let mut running = word(field(thread, running));
    if coloured {
        running = uncoloured(running);
    }
    if own == running {
        return 0;
    }
    match caller::read::<[u64; 2]>(running.wrapping_add(EETOP)) {
        Some([0, id]) if id != 0 && id < UNKNOWN_TASK => id,
        _ => UNKNOWN_TASK,
    }
}

/// The thread pointer of the system's thread that a `java.lang.Thread` is; 0: that is not proved.
#[inline(always)]
fn thread_pointer(runtime: &Runtime, object: u64) -> u64 {
    let [os_thread, pthread, own, _] = runtime.jvm_fields;
    let mut thread = word(object.wrapping_add(EETOP));
    let mut known = word(field(thread, own));
    if !is_of(known, thread) {
        known = uncoloured(known);
        if !is_of(known, thread) {
            thread = word(uncoloured(object).wrapping_add(EETOP));
            known = uncoloured(word(field(thread, own)));
            if !is_of(known, thread) {
                return 0;
            }
        }
    }
    field(field(thread, os_thread), pthread)
}

/// Whether this is the `java.lang.Thread` of a `JavaThread`.
#[inline(always)]
fn is_of(object: u64, thread: u64) -> bool {
    object != 0 && thread != 0 && word(object.wrapping_add(EETOP)) == thread
}

/// The address in a pointer of generational ZGC (`zAddress.hpp`): it stands above the one of bits 12 to 15 that
/// is set.
#[inline(always)]
fn uncoloured(pointer: u64) -> u64 {
    match pointer >> 12 & 0xf {
        1 => pointer >> 13,
        2 => pointer >> 14,
        4 => pointer >> 15,
        8 => pointer >> 16,
        _ => 0,
    }
}

/// A field of an object of the JVM's; `offset`: address at which it keeps the field's offset.
#[inline(always)]
fn field(object: u64, offset: u64) -> u64 {
    word(object.wrapping_add(word(offset)))
}

#[inline(always)]
fn word(address: u64) -> u64 {
    caller::read::<u64>(address).unwrap_or(0)
}
