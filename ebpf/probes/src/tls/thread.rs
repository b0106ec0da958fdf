//! What each thread does with TLS, in task storage.

use core::{ffi::c_void, ptr};

use aya_ebpf::helpers::generated::bpf_task_storage_get;
use weft_abi::TlsThread;

use crate::{
    maps::{self, TLS_THREADS},
    walk::Walk,
};

const CREATE: u64 = 1;

/// Value of the map.
pub(crate) struct Storage {
    thread: TlsThread,
    walk: Walk,
}

#[inline(always)]
pub(super) fn get(task: *const c_void) -> Option<&'static mut TlsThread> {
    Some(&mut storage(task, 0)?.thread)
}

#[inline(always)]
pub(super) fn get_or_create(task: *const c_void) -> Option<&'static mut TlsThread> {
    Some(&mut storage(task, CREATE)?.thread)
}

#[inline(always)]
pub(super) fn walk(task: *const c_void) -> Option<*mut Walk> {
    Some(&raw mut storage(task, 0)?.walk)
}

#[inline(always)]
fn storage(task: *const c_void, flags: u64) -> Option<&'static mut Storage> {
    // SAFETY: the current task; storage lives as long as it does.
    let storage = unsafe {
        bpf_task_storage_get(
            maps::pointer(&TLS_THREADS),
            task.cast_mut().cast(),
            ptr::null_mut(),
            flags,
        )
    };
    // SAFETY: the map's value is a `Storage`, for which all-zero bytes are valid.
    unsafe { storage.cast::<Storage>().as_mut() }
}
