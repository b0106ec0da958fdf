//! The interpreter's own memory, read as it stands.
//!
//! `PyThreadState.context`, `struct _pycontextobject` (3.7 to 3.14): `ob_refcnt`, `ob_type`, `ctx_prev`,
//! `ctx_vars`, `ctx_weakreflist`, `ctx_entered`. A thread's state stands in its thread-specific data also
//! while it does not hold the GIL. glibc: `struct pthread` has its first 32 values at 0x310.

use weft_abi::{Counter, Runtime};

use crate::{caller, maps::count};

const THREAD_SPECIFIC: u64 = 0x310;
const THREAD_SPECIFIC_KEYS: u32 = 32;

/// The context that this thread has entered; 0: none. One that is only the thread's own says nothing of
/// what it works on.
#[inline(always)]
pub(super) fn context(runtime: &Runtime) -> u64 {
    let key = caller::read::<u32>(runtime.thread_key).unwrap_or(THREAD_SPECIFIC_KEYS);
    if key >= THREAD_SPECIFIC_KEYS {
        count(Counter::TasksUnknown);
        return 0;
    }
    let value = THREAD_SPECIFIC + u64::from(key) * 16 + 8;
    let state = caller::read::<u64>(caller::thread_pointer().wrapping_add(value)).unwrap_or(0);
    let context = field(state, runtime.id);
    let Some([_, kind, _, _, _, entered]) = caller::read::<[u64; 6]>(context) else {
        return 0;
    };
    if kind != runtime.context_type {
        count(Counter::TasksUnknown);
        return 0;
    }
    if entered as u32 == 1 { context } else { 0 }
}

/// The greenlet that runs on this thread, unless it is the thread's first one.
///
/// Thread-local storage as the ABI has it: the thread pointer's second word leads to the vector of the
/// modules' blocks. greenlet 2 and later: `ThreadState { main_greenlet, current_greenlet, .. }`.
#[inline(always)]
pub(super) fn greenlet(runtime: &Runtime) -> u64 {
    if runtime.greenlet_module == 0 {
        return 0;
    }
    let module = field(runtime.greenlet_module, 0);
    let vector = field(caller::thread_pointer(), 8);
    let block = caller::read::<u64>(vector.wrapping_add(module << 4)).unwrap_or(0);
    let state = caller::read::<u64>(block.wrapping_add(runtime.greenlet_offset)).unwrap_or(0);
    let Some([first, current]) = caller::read::<[u64; 2]>(state) else {
        return 0;
    };
    if first == current { 0 } else { current }
}

#[inline(always)]
pub(super) fn field(base: u64, offset: u32) -> u64 {
    caller::read::<u64>(base.wrapping_add(u64::from(offset))).unwrap_or(0)
}
