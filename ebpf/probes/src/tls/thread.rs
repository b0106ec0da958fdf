//! What each thread does with TLS, in task storage.

use core::{ffi::c_void, ptr};

use aya_ebpf::helpers::generated::bpf_task_storage_get;
use weft_abi::TlsThread;

use crate::maps::{self, TLS_THREADS};

const CREATE: u64 = 1;

#[inline(always)]
pub(super) fn get(task: *const c_void) -> Option<&'static mut TlsThread> {
    storage(task, 0)
}

#[inline(always)]
pub(super) fn get_or_create(task: *const c_void) -> Option<&'static mut TlsThread> {
    storage(task, CREATE)
}

#[inline(always)]
fn storage(task: *const c_void, flags: u64) -> Option<&'static mut TlsThread> {
    // SAFETY: the current task; storage lives as long as it does.
    let thread = unsafe {
        bpf_task_storage_get(
            maps::pointer(&TLS_THREADS),
            task.cast_mut().cast(),
            ptr::null_mut(),
            flags,
        )
    };
    // SAFETY: the map's value is a `TlsThread`, for which all-zero bytes are valid.
    unsafe { thread.cast::<TlsThread>().as_mut() }
}
