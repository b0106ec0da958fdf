//! One `traceparent` written into the first request of a connection.
//!
//! A socket in a map of sockets is not quite the same to its program: on some kernels it tells that
//! nothing waits to be read (`FIONREAD`), and it cannot be put there but when it connects. So it
//! stays there from then to the first acknowledgement, and only on the way to where plaintext
//! requests have gone before; what is received is never touched.

mod field;
mod head;
pub(crate) mod work;

use core::{ffi::c_void, ptr};

use aya_ebpf::{
    bindings::{BPF_NOEXIST, bpf_sock_ops, sk_msg_md},
    helpers::{
        bpf_get_current_pid_tgid, bpf_get_socket_cookie, bpf_ktime_get_ns, bpf_loop,
        bpf_msg_pop_data, bpf_msg_push_data, bpf_skc_to_tcp_sock, bpf_sock_hash_update,
        bpf_sock_ops_cb_flags_set,
        generated::{
            bpf_get_current_task, bpf_get_prandom_u32, bpf_map_delete_elem, bpf_msg_pull_data,
            bpf_sk_storage_get,
        },
    },
};
use weft_abi::{
    Connection, Counter, Destination, Direction, INJECTED_BYTES, InjectControl, InjectedRecord,
    Injection, InjectionStage, RecordKind, Work,
};

use crate::{
    connection, emit,
    kernel::{self, ABSENT, copy, load},
    maps::{
        self, CONNECTIONS, CONTROL, DESTINATIONS, INJECT, INJECTIONS, SERVES, SOCKETS, WORKERS,
        count,
    },
    select::{self, OWN_TGID},
};

const SK_DROP: u32 = 0;
const SK_PASS: u32 = 1;
const STORAGE_CREATE: u64 = 1;
const AF_INET6: u32 = 10;
const BY_SELECTED: u32 = 1;
const BY_WEFT: u32 = 2;
/// `BPF_SOCK_OPS_RETRANS_CB_FLAG`, `BPF_SOCK_OPS_RTT_CB_FLAG`.
const CALLBACKS: u32 = 1 << 1 | 1 << 3;
/// With the header one page: TCP accounts for memory in pages, so once it has taken the first byte of
/// such a message it takes all of it, and no program is told of a part.
const MAX_HEAD: u32 = 4096 - INJECTED_BYTES;
/// Room that a socket must have for bytes to be sent.
const MIN_SNDBUF: i32 = 32 << 10;
const RANDOM_HIGH: u32 = 0x00ff_ffff;

/// The process has read a request: what it sends may belong to one.
#[inline(never)]
pub(crate) fn serves(tgid: u32) {
    // SAFETY: the value is not read.
    if unsafe { SERVES.get(tgid) }.is_none() {
        let _full = SERVES.insert(tgid, 1, 0);
    }
}

/// Another program runs in the process, or none.
#[inline(always)]
pub(crate) fn forget(tgid: u32) {
    let _absent = SERVES.remove(tgid);
    let _absent = WORKERS.remove(tgid);
}

/// A task connects, in its own context.
#[inline(always)]
pub(crate) fn connects(ops: *mut bpf_sock_ops) {
    let Some(control) = INJECT.get(0) else {
        return;
    };
    if control.mode == 0 || kernel::ICSK_ULP_OPS.load() == ABSENT {
        return;
    }
    // SAFETY: the helper takes no argument; `bpf_get_current_pid_tgid` is not for these programs.
    let task = unsafe { bpf_get_current_task() } as *const c_void;
    let tgid = copy::<u32>(task, &kernel::TASK_TGID, 0);
    // SAFETY: fields of the context.
    let (port, local_port) = unsafe {
        (
            u16::from_be(((*ops).remote_port >> 16) as u16),
            (*ops).local_port as u16,
        )
    };
    if !may_write(control, tgid, local_port, port) {
        return;
    }
    let to = destination(ops, port);
    // SAFETY: the value is not read.
    if unsafe { DESTINATIONS.get(to) }.is_none() {
        return;
    }
    // SAFETY: a field of the context.
    let sk = unsafe { (*ops).__bindgen_anon_2.sk };
    if sk.is_null() {
        return;
    }
    // SAFETY: the verifier checks `sk`.
    let tcp = unsafe { bpf_skc_to_tcp_sock(sk.cast()) } as *const c_void;
    if tcp.is_null() {
        return;
    }
    // SAFETY: a `tcp_sock` by the helper's word, which begins with an `inet_connection_sock`.
    if !unsafe { load::<*const c_void>(tcp, &kernel::ICSK_ULP_OPS) }.is_null() {
        return;
    }
    let Some(injection) = injection(sk.cast(), STORAGE_CREATE) else {
        return count(Counter::InjectFailed);
    };
    injection.tgid = tgid;
    // SAFETY: the context.
    injection.cookie = unsafe { bpf_get_socket_cookie(ops.cast()) };
    injection.stage = InjectionStage::Selected as u32;
}

/// The connection that a task asked for is there.
#[inline(always)]
pub(crate) fn connected(ops: *mut bpf_sock_ops) {
    // SAFETY: a field of the context.
    let sk = unsafe { (*ops).__bindgen_anon_2.sk };
    if sk.is_null() {
        return;
    }
    let Some(injection) = injection(sk.cast(), 0) else {
        return;
    };
    if injection.stage != InjectionStage::Selected as u32 {
        return;
    }
    injection.stage = InjectionStage::Over as u32;
    // SAFETY: a field of the context.
    let before = unsafe { (*ops).bpf_sock_ops_cb_flags };
    // SAFETY: the context. The way out of the map comes first.
    if unsafe { bpf_sock_ops_cb_flags_set(ops, (before | CALLBACKS) as i32) } != 0 {
        return count(Counter::InjectFailed);
    }
    injection.callbacks = CALLBACKS & !before;
    let mut cookie = injection.cookie;
    // SAFETY: the context, and a key on the stack.
    let failed = unsafe {
        bpf_sock_hash_update(
            ops,
            maps::pointer(&SOCKETS),
            (&raw mut cookie).cast(),
            u64::from(BPF_NOEXIST),
        )
    };
    if failed != 0 {
        // Full, or another program's already.
        return count(Counter::InjectFailed);
    }
    injection.stage = InjectionStage::Waits as u32;
}

/// Something that was sent has arrived, or has not: the socket leaves the map.
#[inline(always)]
pub(crate) fn over(ops: *mut bpf_sock_ops) {
    // SAFETY: a field of the context.
    let sk = unsafe { (*ops).__bindgen_anon_2.sk };
    if sk.is_null() {
        return;
    }
    let Some(injection) = injection(sk.cast(), 0) else {
        return;
    };
    if injection.callbacks == 0 {
        return;
    }
    let mut cookie = injection.cookie;
    // SAFETY: a key on the stack, and the context.
    unsafe {
        bpf_map_delete_elem(maps::pointer(&SOCKETS), (&raw mut cookie).cast());
        let flags = (*ops).bpf_sock_ops_cb_flags & !injection.callbacks;
        bpf_sock_ops_cb_flags_set(ops, flags as i32);
    }
    injection.callbacks = 0;
    injection.stage = InjectionStage::Over as u32;
}

/// A task sends on a socket of the map.
#[inline(always)]
pub(crate) fn sends(msg: *mut sk_msg_md) -> u32 {
    // SAFETY: a field of the context.
    let sk: *mut c_void = unsafe { (*msg).__bindgen_anon_3.sk }.cast();
    let Some(injection) = injection(sk, 0) else {
        return SK_PASS;
    };
    if injection.stage != InjectionStage::Waits as u32 {
        return SK_PASS;
    }
    // The first call decides.
    injection.stage = InjectionStage::Over as u32;
    let (Some(control), Some(general)) = (INJECT.get(0), CONTROL.get(0)) else {
        return SK_PASS;
    };
    let pid_tgid = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((pid_tgid >> 32) as u32, pid_tgid as u32);
    // SAFETY: the value is not read.
    let serves = unsafe { SERVES.get(tgid) }.is_some();
    let mut cause = Work::default();
    if serves {
        cause = work::of(tid);
    }
    if tgid != injection.tgid || (serves && cause.known == 0) {
        count(Counter::InjectServes);
        return SK_PASS;
    }
    if control.mode == 0 || (control.mode == BY_SELECTED && general.mode == 0) {
        return SK_PASS;
    }
    // SAFETY: a field of the context.
    let size = unsafe { (&raw const (*msg).size).read_volatile() };
    let Some(seq) = position(sk) else {
        count(Counter::InjectHead);
        return SK_PASS;
    };
    if !(18..=MAX_HEAD).contains(&size) {
        count(Counter::InjectHead);
        return SK_PASS;
    }
    // SAFETY: the context.
    if unsafe { bpf_msg_pull_data(msg, 0, size, 0) } != 0 {
        count(Counter::InjectFailed);
        return SK_PASS;
    }
    let mut scan = head::Scan { msg, injection };
    // SAFETY: the callback has the shape the helper wants, `scan` outlives the call.
    unsafe { bpf_loop(size, head::step as *mut c_void, (&raw mut scan).cast(), 0) };
    // SAFETY: the socket's own element; volatile, because the callback has written there.
    let (head_len, refused) = unsafe {
        (
            (&raw const (*scan.injection).head_len).read_volatile(),
            (&raw const (*scan.injection).refused).read_volatile(),
        )
    };
    if refused != 0 {
        count(if refused == head::CARRIES {
            Counter::InjectCarries
        } else {
            Counter::InjectHead
        });
        return SK_PASS;
    }
    if head_len < 18 || head_len > size {
        count(Counter::InjectHead);
        return SK_PASS;
    }
    let context = context(control, &cause);
    write(msg, sk, head_len - 2, seq, &context, (tgid, tid))
}

/// A send call has failed, and what was written into it with it.
#[inline(always)]
pub(crate) fn took_nothing(sk: *const c_void) {
    if INJECT.get(0).is_some_and(|control| control.mode != 0)
        && let Some(state) = connection::get(sk)
    {
        state.inserted = 0;
    }
}

/// Whether the process may write at all.
#[inline(always)]
fn may_write(control: &InjectControl, tgid: u32, local_port: u16, remote_port: u16) -> bool {
    let own = tgid == OWN_TGID.load();
    if own || control.mode == BY_WEFT {
        return own && control.mode == BY_WEFT;
    }
    // SAFETY: the values are not read.
    if unsafe { SERVES.get(tgid).is_some() && WORKERS.get(tgid).is_none() } {
        return false;
    }
    let Some(general) = CONTROL.get(0) else {
        return false;
    };
    if select::is_unwritten(tgid) {
        return false;
    }
    // Who is selected by control group alone is left out.
    general.mode != 0 && select::selected_by(general, tgid, local_port, remote_port) == Some(true)
}

#[inline(always)]
fn destination(ops: *mut bpf_sock_ops, port: u16) -> Destination {
    // SAFETY: fields of the context, each read by itself: the verifier takes no computed place there.
    unsafe {
        let v4 = (&raw const (*ops).remote_ip4).read_volatile();
        let v6 = (&raw const (*ops).remote_ip6).cast::<u32>();
        let v6 = [
            v6.read_volatile(),
            v6.add(1).read_volatile(),
            v6.add(2).read_volatile(),
            v6.add(3).read_volatile(),
        ];
        let words = if (&raw const (*ops).family).read_volatile() == AF_INET6 {
            v6
        } else {
            [0, 0, 0xffff_0000, v4]
        };
        Destination {
            // Plain integers of the same size.
            address: core::mem::transmute::<[u32; 4], [u8; 16]>(words),
            port: u32::from(port),
        }
    }
}

#[inline(always)]
fn injection(sk: *mut c_void, flags: u64) -> Option<&'static mut Injection> {
    // SAFETY: the verifier checks `sk`; storage lives as long as the socket. All-zero bytes are valid.
    unsafe {
        bpf_sk_storage_get(maps::pointer(&INJECTIONS), sk, ptr::null_mut(), flags)
            .cast::<Injection>()
            .as_mut()
    }
}

/// Sequence number of the next byte, if it is the connection's first and nothing else is under way.
#[inline(always)]
fn position(sk: *mut c_void) -> Option<u32> {
    // SAFETY: the verifier checks `sk`.
    let tcp = unsafe { bpf_skc_to_tcp_sock(sk) } as *const c_void;
    if tcp.is_null() {
        return None;
    }
    // SAFETY: a `tcp_sock` by the helper's word, which begins with a `sock`.
    unsafe {
        let write = load::<u32>(tcp, &kernel::TCP_WRITE_SEQ);
        let first = write == load::<u32>(tcp, &kernel::TCP_SND_UNA)
            && load::<u64>(tcp, &kernel::TCP_BYTES_ACKED) <= 1;
        (first && load::<i32>(tcp, &kernel::SOCK_SNDBUF) >= MIN_SNDBUF).then_some(write)
    }
}

/// What is written.
struct Context {
    trace: [u32; 4],
    span: [u32; 2],
    flags: u32,
}

/// In the trace of `cause` if there is one, or in a new one.
#[inline(always)]
fn context(control: &InjectControl, cause: &Work) -> Context {
    let chance = || {
        // SAFETY: the helper takes no argument.
        unsafe { bpf_get_prandom_u32() }
    };
    // Never all zero.
    let span = [chance() | 1, chance()];
    let mut trace = [chance() | 1, chance(), chance(), chance()];
    if cause.known != 0 {
        trace = cause.trace;
    }
    let random = u64::from(trace[2] & RANDOM_HIGH) << 32 | u64::from(trace[3]);
    let mut flags = u32::from(random >= control.keep_from);
    if cause.known != 0 && control.parent_based != 0 {
        flags = cause.flags & 1;
    }
    Context { trace, span, flags }
}

/// Inserts the field before the head's last line end and tells the agent.
#[inline(always)]
fn write(
    msg: *mut sk_msg_md,
    sk: *mut c_void,
    at: u32,
    seq: u32,
    context: &Context,
    (tgid, tid): (u32, u32),
) -> u32 {
    // The send hook, which comes next, must know of it.
    // SAFETY: as in `injection`.
    let connection = unsafe {
        bpf_sk_storage_get(
            maps::pointer(&CONNECTIONS),
            sk,
            ptr::null_mut(),
            STORAGE_CREATE,
        )
        .cast::<Connection>()
        .as_mut()
    };
    let (Some(connection), Some(injection)) = (connection, injection(sk, 0)) else {
        count(Counter::InjectFailed);
        return SK_PASS;
    };
    let Some(slot) = emit::reserve::<InjectedRecord>() else {
        count(Counter::InjectFailed);
        return SK_PASS;
    };
    let Context { trace, span, flags } = *context;
    // SAFETY: the context; the new bytes are checked before they are written to.
    let written = unsafe {
        if bpf_msg_push_data(msg, at, INJECTED_BYTES, 0) != 0 {
            emit::discard(slot);
            count(Counter::InjectFailed);
            return SK_PASS;
        }
        let pulled = bpf_msg_pull_data(msg, at, at + INJECTED_BYTES, 0);
        let data = (*msg).__bindgen_anon_1.data as usize;
        let end = (*msg).__bindgen_anon_2.data_end as usize;
        pulled == 0 && data + INJECTED_BYTES as usize <= end && {
            field::write(data as *mut u8, &trace, &span, flags);
            true
        }
    };
    if !written {
        emit::discard(slot);
        count(Counter::InjectFailed);
        // SAFETY: the context. What cannot be taken back must not leave.
        return if unsafe { bpf_msg_pop_data(msg, at, INJECTED_BYTES, 0) } == 0 {
            SK_PASS
        } else {
            SK_DROP
        };
    }
    connection.inserted = INJECTED_BYTES;
    // SAFETY: the helper takes no argument.
    let time_ns = unsafe { bpf_ktime_get_ns() };
    let mut record = InjectedRecord {
        header: emit::header(RecordKind::Injected, Direction::Tx, 0, tgid, tid, time_ns),
        cookie: injection.cookie,
        seq,
        flags,
        trace_id: [0; 16],
        span_id: [0; 8],
    };
    // SAFETY: plain integers of the same size.
    unsafe {
        record.trace_id = core::mem::transmute::<[u32; 4], [u8; 16]>(trace.map(u32::to_be));
        record.span_id = core::mem::transmute::<[u32; 2], [u8; 8]>(span.map(u32::to_be));
    }
    emit::submit(slot, &record);
    count(Counter::Injected);
    SK_PASS
}
