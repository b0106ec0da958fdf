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
    pub(super) thread: TlsThread,
    pub(super) registers: Registers,
    walk: Walk,
}

/// Saved registers of a probe, which are copied at once: for each by itself, the helper would take as long.
/// Those that no site names stay 0.
pub(crate) struct Registers(pub(crate) [u64; REGISTERS]);

const REGISTERS: usize = 32;

impl Registers {
    #[inline(always)]
    pub(super) fn word(&self, index: u8) -> u64 {
        self.0[usize::from(index) % REGISTERS]
    }
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
pub(super) fn whole(task: *const c_void) -> Option<&'static mut Storage> {
    storage(task, CREATE)
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
