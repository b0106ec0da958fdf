//! The trace that a blocking worker's request belongs to, as its `traceparent` says: what the thread
//! sends for it carries it on.
//!
//! The agent names the processes whose threads have shown that they read a request, work on it alone and
//! answer it. Here such a thread is followed from the head that it reads to the first byte that it
//! answers. Whatever is not plain leaves the trace unknown, and then nothing is written.

use core::ffi::c_void;

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_loop, generated::bpf_probe_read_user};
use weft_abi::{DataFlags, HEAD_BYTES, Head, VALUE_BYTES, Work};

use super::head::word;
use crate::{
    call, caller, connection,
    maps::{HEADS, INJECT, WORK, WORKERS},
    sniff::{self, Start},
};

const MSG_PEEK: u32 = 2;
const NAME: u64 = word(b"eparent:");
const NAME_BEFORE: u64 = 0x0a_74_72_61_63;
const NAME_BEFORE_MASK: u64 = 0xff_ffff_ffff;

/// A task has received on a socket.
#[inline(always)]
pub(crate) fn received(sk: *const c_void, ret: i32, flags: u32) {
    if ret <= 0 || flags & MSG_PEEK != 0 || !is_on() {
        return;
    }
    let pid_tgid = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((pid_tgid >> 32) as u32, pid_tgid as u32);
    // SAFETY: the value is not read.
    if unsafe { WORKERS.get(tgid) }.is_none() {
        return;
    }
    let Some(state) = connection::get(sk) else {
        return;
    };
    let address = caller::received_at();
    let Some(first) = caller::read::<u64>(address) else {
        return;
    };
    if sniff::start(first) != Start::Request {
        return;
    }
    let mut work = Work {
        cookie: state.cookie,
        ..Work::default()
    };
    // SAFETY: read at once.
    let busy = unsafe { WORK.get(tid) }.is_some_and(|before| before.cookie != work.cookie);
    if !busy && call::epoll(sk) & DataFlags::EPOLL == 0 {
        read(address, ret as u32, &mut work);
    }
    let _full = WORK.insert(tid, work, 0);
}

/// A task has sent on a socket: if it has answered its request, it no longer works on it.
#[inline(always)]
pub(crate) fn sent(sk: *const c_void, ret: i32) {
    if ret <= 0 || !is_on() {
        return;
    }
    let tid = bpf_get_current_pid_tgid() as u32;
    // SAFETY: read at once.
    let Some(cookie) = (unsafe { WORK.get(tid) }).map(|work| work.cookie) else {
        return;
    };
    if connection::get(sk).is_some_and(|state| state.cookie == cookie) {
        let _gone = WORK.remove(tid);
    }
}

/// What the thread works on. No `Option`: the verifier refuses fields that one variant has not set.
#[inline(always)]
pub(super) fn of(tid: u32) -> Work {
    // SAFETY: read at once.
    match unsafe { WORK.get(tid) } {
        Some(work) => *work,
        None => Work::default(),
    }
}

fn is_on() -> bool {
    INJECT.get(0).is_some_and(|control| control.carry != 0)
}

/// Looks for the field, and takes its trace in.
#[inline(always)]
fn read(address: u64, moved: u32, work: &mut Work) {
    let Some(head) = HEADS.get_ptr_mut(0) else {
        return;
    };
    let len = if moved > HEAD_BYTES {
        HEAD_BYTES
    } else {
        moved
    };
    // SAFETY: the program's own element on this CPU, which no other hook interrupts; `len` bytes of it.
    unsafe {
        if bpf_probe_read_user((&raw mut (*head).bytes).cast(), len, address as *const _) != 0 {
            return;
        }
        (*head).last = 0;
        (*head).older = 0;
        (*head).found = 0;
        (*head).value_at = 0;
        (*head).bad = 0;
        let mut unused = 0_u32;
        bpf_loop(len, find as *mut c_void, (&raw mut unused).cast(), 0);
        let (found, at) = (
            (&raw const (*head).found).read_volatile(),
            (&raw const (*head).value_at).read_volatile(),
        );
        if found != 1 || at + VALUE_BYTES >= len {
            return;
        }
        bpf_loop(
            VALUE_BYTES,
            digit as *mut c_void,
            (&raw mut unused).cast(),
            0,
        );
        if (&raw const (*head).bad).read_volatile() != 0 {
            return;
        }
        let mut word = 0;
        let mut any = 0;
        while word < 4 {
            work.trace[word] = number(head, 3 + 8 * word);
            any |= work.trace[word];
            word += 1;
        }
        let parent = number(head, 36) | number(head, 44);
        let nibble = |at: usize| (&raw const (*head).digits[at]).read_volatile();
        // Version 00.
        if any == 0 || parent == 0 || nibble(0) | nibble(1) != 0 {
            return;
        }
        work.flags = u32::from(nibble(54));
        work.known = 1;
    }
}

/// Eight digits that have been taken in.
///
/// # Safety
/// `head`: the element.
#[inline(always)]
unsafe fn number(head: *mut Head, at: usize) -> u32 {
    let mut number = 0;
    let mut place = 0;
    while place < 8 {
        // SAFETY: the caller's word.
        let nibble = unsafe { (&raw const (*head).digits[at + place]).read_volatile() };
        number = number << 4 | u32::from(nibble);
        place += 1;
    }
    number
}

/// Looks at one byte of the head for the field's name; 1 ends it.
#[inline(never)]
unsafe extern "C" fn find(index: u64, _unused: *mut u32) -> u64 {
    let Some(head) = HEADS.get_ptr_mut(0) else {
        return 1;
    };
    // SAFETY: the program's own element; the index is within.
    unsafe {
        let byte = (&raw const (*head).bytes)
            .cast::<u8>()
            .add(index as usize & (HEAD_BYTES as usize - 1))
            .read_volatile();
        let lower = if byte.wrapping_sub(b'A') < 26 {
            byte | 0x20
        } else {
            byte
        };
        (*head).older = (*head).older << 8 | (*head).last >> 56;
        (*head).last = (*head).last << 8 | u64::from(lower);
        let last = (*head).last;
        if last as u32 == 0x0d0a_0d0a {
            return 1;
        }
        if last == NAME && (*head).older & NAME_BEFORE_MASK == NAME_BEFORE {
            (*head).found += 1;
            (*head).value_at = index as u32 + 1;
        }
        0
    }
}

/// Takes one byte of the value in: a digit, or what stands between them. 1 ends it.
#[inline(never)]
unsafe extern "C" fn digit(index: u64, _unused: *mut u32) -> u64 {
    let Some(head) = HEADS.get_ptr_mut(0) else {
        return 1;
    };
    // SAFETY: the program's own element; the indices are within.
    unsafe {
        let at = u64::from((*head).value_at) + index;
        let byte = (&raw const (*head).bytes)
            .cast::<u8>()
            .add(at as usize & (HEAD_BYTES as usize - 1))
            .read_volatile();
        // One space, as everybody writes it, the value, and the line's end.
        let place = index.wrapping_sub(1);
        if index == 0 {
            (*head).bad |= u32::from(byte ^ b' ');
        } else if index == u64::from(VALUE_BYTES) - 1 {
            (*head).bad |= u32::from(byte ^ b'\r');
        } else if place == 2 || place == 35 || place == 52 {
            (*head).bad |= u32::from(byte ^ b'-');
        } else if byte.wrapping_sub(b'0') < 10 {
            (*head).digits[place as usize & 63] = byte - b'0';
        } else if byte.wrapping_sub(b'a') < 6 {
            (*head).digits[place as usize & 63] = byte - b'a' + 10;
        } else {
            (*head).bad = 1;
        }
        0
    }
}
