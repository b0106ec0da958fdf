//! Plaintext at the border of TLS libraries, and the proof of which socket carries it.
//!
//! A session is bound to a socket by what is seen, in this order: a socket call made inside the TLS
//! call, by the same thread or goroutine, that moved a TLS record; ciphertext that the thread
//! received just before the session handed out plaintext of the fitting length, with no other
//! unclaimed ciphertext on that thread; ciphertext of the fitting length that the thread sends
//! after the session took plaintext. Without any of them a session stays without a socket.

mod proof;
mod session;
mod thread;

use core::{ffi::c_void, ptr};

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_get_current_task_btf, bpf_ktime_get_ns};
use weft_abi::{
    Connection, Control, Counter, DataFlags, Direction, GoKey, Missing, Mode, Plain, SessionFlags,
    SessionKey, Site, SiteFlags, Stage, TlsCall, TlsCallFlags, TlsThread,
};

use crate::{
    call::{self, Call, advance},
    caller::{self, Buffers},
    maps::{CONTROL, GO_CALLS, SESSIONS, count},
    select,
    walk::{self, Desk, Walk},
};

pub(crate) use proof::{Crossed, crossed, crossed_as_before, forget, is_secure};
pub(crate) use thread::{Registers, Storage};

/// Plaintext bytes of one call that are believed.
const MAX_MOVED: u64 = 1 << 30;
/// Register in which Go keeps the running goroutine (ABIInternal, `src/cmd/compile/abi-internal.md`).
pub(crate) const GOROUTINE: u8 = 1;

/// What a return site tells: bytes moved, 0 when none were.
pub(crate) struct Outcome {
    pub(crate) bytes: u64,
    pub(crate) success: u64,
}

/// A TLS call begins. `copy` fills in the registers.
#[inline(always)]
pub(crate) fn enter(site: Site, copy: impl Fn(&mut Registers)) {
    let Some(control) = CONTROL.get(0) else {
        return;
    };
    if control.mode == Mode::None as u32 {
        return;
    }
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if tgid == select::OWN_TGID.load() {
        return;
    }
    let is_go = site.flags & SiteFlags::GO != 0;
    if is_go && control.by_port == 0 && !select::selected(control, tgid, 0, 0) {
        return;
    }
    let Some(Storage {
        thread, registers, ..
    }) = thread::whole(task())
    else {
        return count(Counter::TlsStateFailed);
    };
    if is_go {
        copy(registers);
        let key = GoKey {
            g: registers.word(GOROUTINE),
            tgid,
            reserved: 0,
        };
        let call = call_at(site, |index| registers.word(index));
        if GO_CALLS.insert(key, call, 0).is_err() {
            count(Counter::TlsStateFailed);
        }
        return;
    }
    let judged = thread.allowed_tgid == tgid && thread.allowed_epoch == control.epoch;
    if !judged && control.by_port == 0 {
        if !select::selected(control, tgid, 0, 0) {
            return;
        }
        thread.allowed_tgid = tgid;
        thread.allowed_epoch = control.epoch;
    }
    copy(registers);
    thread.call = call_at(site, |index| registers.word(index));
}

/// Where the plaintext of a call stands.
#[inline(always)]
fn buffers(call: &Plain) -> Buffers {
    if call.call_flags & u32::from(SiteFlags::CHUNKS) == 0 {
        return Buffers::flat(call.buffer);
    }
    let Some([array, address, from, _]) = caller::read::<[u64; 4]>(call.buffer) else {
        return Buffers::missing(Missing::Fault);
    };
    if array == 0 {
        return Buffers::flat(address);
    }
    // The second word is the array's length here.
    if from != 0 {
        return Buffers::missing(Missing::Vector);
    }
    Buffers::vector(array, address)
}

/// A TLS call ends, or a part of it; or one that begins is known to succeed. True: plaintext stands
/// in the thread's storage, for [`data`]. `register` gives what stands in one now.
#[inline(always)]
pub(crate) fn leave(site: Site, outcome: &Outcome, register: impl Fn(u8) -> u64) -> bool {
    let is = |flag: u8| site.flags & flag != 0;
    let Some(thread) = thread::get_or_create(task()) else {
        count(Counter::TlsStateFailed);
        return false;
    };
    let mut call;
    if is(SiteFlags::GO) {
        let key = GoKey {
            g: register(GOROUTINE),
            tgid: (bpf_get_current_pid_tgid() >> 32) as u32,
            reserved: 0,
        };
        let Some(open) = GO_CALLS.get_ptr_mut(key) else {
            return false;
        };
        // SAFETY: the element is this goroutine's alone.
        let open = unsafe { &mut *open };
        call = *open;
        if is(SiteFlags::PART) {
            let moved = moved(&call, outcome);
            open.buffer = call.buffer.wrapping_add(u64::from(moved));
            open.length = call.length.wrapping_sub(u64::from(moved));
            open.time_ns = 0;
            open.flags = call.flags & !TlsCallFlags::SEQ;
        } else {
            let _gone = GO_CALLS.remove(key);
        }
    } else if is(SiteFlags::PAYLOAD) {
        call = call_at(site, register);
        let payload = call.buffer.wrapping_add(u64::from(site.bytes) * 8);
        let Some([_, address, bytes]) = caller::read::<[u64; 3]>(payload) else {
            count(Counter::MissingFault);
            return false;
        };
        call.buffer = address;
        call.length = bytes;
    } else {
        call = thread.call;
        thread.call.object = 0;
    }
    call.object != 0 && finish(&call, moved(&call, outcome), thread)
}

#[inline(always)]
fn moved(call: &TlsCall, outcome: &Outcome) -> u32 {
    let is = |flag: u8| call.flags & u32::from(flag) != 0;
    let bytes = if is(SiteFlags::PAYLOAD) {
        call.length
    } else if is(SiteFlags::POINTER) {
        if outcome.success as u32 != 1 {
            return 0;
        }
        caller::read::<u64>(call.pointer).unwrap_or(0)
    } else if is(SiteFlags::CHUNKS) {
        return if outcome.bytes < MAX_MOVED {
            outcome.bytes as u32
        } else {
            0
        };
    } else {
        // An `int`, or the lower half of a `ssize_t`.
        u64::from(outcome.bytes as u32)
    };
    // Negative results, and what no buffer holds.
    if bytes >= MAX_MOVED || bytes > call.length {
        0
    } else {
        bytes as u32
    }
}

#[inline(always)]
fn finish(call: &TlsCall, moved: u32, thread: &mut TlsThread) -> bool {
    let Some(control) = CONTROL.get(0) else {
        return false;
    };
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if control.mode == Mode::None as u32 || tgid == select::OWN_TGID.load() {
        return false;
    }
    let key = SessionKey {
        object: call.object,
        tgid,
        reserved: 0,
    };
    let writes = call.flags & u32::from(SiteFlags::WRITE) != 0;
    // A call that only found out that nothing is there: most that move nothing.
    if moved == 0 && call.socket == 0 && thread.received.socket == 0 {
        return false;
    }
    // SAFETY: an element of the map; a session is used by one thread at a time, as its library asks.
    let Some(session) = (unsafe { session::prepare(&key, call, control, moved).as_mut() }) else {
        return false;
    };
    if call.flags & TlsCallFlags::SEQ != 0 {
        if writes {
            session.tx_seq = call.end;
            session.flags |= SessionFlags::TX_SEQ;
        } else {
            session::received(session, call.seq, call.end);
        }
        session.data_flags = call.data_flags;
    }
    let is_go = call.flags & u32::from(SiteFlags::GO) != 0;
    // A goroutine may have changed its thread since it received: in Go, only its own calls prove.
    if !is_go && call.socket == 0 && session.socket == 0 {
        if writes {
            proof::wrote(thread, call.object, moved);
        } else {
            proof::took_in(thread, session, &key, call, moved);
        }
    }
    if moved == 0 {
        return false;
    }
    if !writes && session.flags & SessionFlags::FROM_MEMORY != 0 {
        session::handed_out(session, call, moved);
        if thread.received.socket == session.socket {
            thread.received.socket = 0;
        }
    }
    count(Counter::CallsSeen);
    let half = if writes {
        &mut session.state.tx
    } else {
        &mut session.state.rx
    };
    let (offset, _) = advance(half, moved, false, 0);
    let mut flags = session.data_flags as u16
        & (DataFlags::EPOLL | DataFlags::EPOLL_KNOWN | DataFlags::NONBLOCKING);
    let (mut seq, mut cipher_len) = (0, 0);
    if writes {
        if call.flags & TlsCallFlags::SEQ != 0 {
            flags |= DataFlags::SEQ;
            (seq, cipher_len) = (call.seq, call.end.wrapping_sub(call.seq));
        } else if session.flags & SessionFlags::TX_SEQ != 0 {
            flags |= DataFlags::SEQ;
            seq = session.tx_seq;
        }
    } else {
        if session.flags & SessionFlags::RX_SEQ != 0 {
            flags |= DataFlags::SEQ;
            (seq, cipher_len) = (session.rx_seq, session.rx_end.wrapping_sub(session.rx_seq));
        }
        session.flags |= SessionFlags::RX_TAKEN;
    }
    if session.state.stage == Stage::Muted as u32 || session.state.stage == Stage::Secure as u32 {
        count(Counter::CallsMuted);
        return false;
    }
    // A request begins when its first byte leaves, not when the library is done.
    let time_ns = if writes && call.time_ns != 0 {
        call.time_ns
    } else {
        // SAFETY: the helper takes no argument.
        unsafe { bpf_ktime_get_ns() }
    };
    thread.plain = Plain {
        object: call.object,
        buffer: call.buffer,
        offset,
        time_ns,
        moved,
        seq,
        cipher_len,
        call_flags: call.flags,
        data_flags: u32::from(flags),
        reserved: 0,
    };
    true
}

/// Makes records of the plaintext that [`leave`] has found. A program of its own: the verifier walks
/// every way through the one with every way through the other otherwise, and gives up on it.
#[inline(always)]
pub(crate) fn data() {
    let (Some(thread), Some(control)) = (thread::get(task()), CONTROL.get(0)) else {
        return;
    };
    let plain = &thread.plain;
    let pid_tgid = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((pid_tgid >> 32) as u32, pid_tgid as u32);
    let key = SessionKey {
        object: plain.object,
        tgid,
        reserved: 0,
    };
    let Some(session) = SESSIONS.get_ptr_mut(key) else {
        return;
    };
    let writes = plain.call_flags & TlsCallFlags::WRITE != 0;
    let call = Call {
        sk: ptr::null(),
        flags: plain.data_flags as u16,
        offset: plain.offset,
        seq: plain.seq,
        cipher_len: plain.cipher_len,
        moved: plain.moved,
        tgid,
        tid,
        time_ns: plain.time_ns,
        direction: if writes { Direction::Tx } else { Direction::Rx },
    };
    // SAFETY: an element of the map, as in `finish`.
    let state = unsafe { &mut (*session).state };
    let Some(source) = walk::source(Desk::Plain, buffers(plain)) else {
        return;
    };
    call::data(Desk::Plain, &call, source, state, control);
}

/// Where this task's walk stands.
#[inline(always)]
pub(crate) fn walk() -> Option<*mut Walk> {
    thread::walk(task())
}

#[inline(always)]
fn task() -> *const c_void {
    // SAFETY: the helper takes no argument.
    (unsafe { bpf_get_current_task_btf() }) as *const c_void
}

/// Registers of a site as a call, to be completed by what they hold.
#[inline(always)]
pub(crate) fn call_at(site: Site, register: impl Fn(u8) -> u64) -> TlsCall {
    let pointer = if site.flags & SiteFlags::POINTER != 0 {
        register(site.bytes)
    } else {
        0
    };
    TlsCall {
        object: register(site.session),
        buffer: register(site.buffer),
        // The upper half of a register that holds an `int` is undefined.
        length: register(site.length) & u64::from(u32::MAX),
        pointer,
        flags: u32::from(site.flags) | u32::from(site.stack) << TlsCallFlags::STACK_SHIFT,
        ..TlsCall::default()
    }
}

/// Whether the connection is one that a TLS session may be found on.
#[inline(always)]
pub(crate) fn concerns(control: &Control, state: &Connection) -> bool {
    control.tls != 0 && state.stage != Stage::Follow as u32
}
