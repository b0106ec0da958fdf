//! State of one connection, kept in the kernel's own socket.

use core::{ffi::c_void, ptr};

use aya_ebpf::helpers::{
    bpf_get_socket_cookie, bpf_skc_to_tcp_sock, generated::bpf_sk_storage_get,
};
use aya_log_ebpf::warn;
use weft_abi::{
    Connection, Control, Counter, Direction, Family, OpenFlags, OpenRecord, RecordKind, Stage,
};

use crate::{
    call::LAPSED,
    emit,
    kernel::{self, copy, load},
    maps::{self, CONNECTIONS, count},
    select::{self, OWN_TGID},
};

/// Bytes of a connection that travel each way before the agent has recognised it.
pub(crate) const FRESH_BUDGET: u32 = 2048;

const SOCK_STREAM: u16 = 1;
pub(crate) const RCV_SHUTDOWN: u8 = 1;
/// `TIME_WAIT`, `CLOSE`, `CLOSE_WAIT`, `LAST_ACK`, `CLOSING`.
const STATES_AFTER_FIN: u32 = 1 << 6 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 11;
const STORAGE_CREATE: u64 = 1;

/// The state of `sk`, if there is any.
#[inline(always)]
pub(crate) fn get(sk: *const c_void) -> Option<&'static mut Connection> {
    // SAFETY: the verifier checks `sk`; storage lives as long as the socket, which the hook holds.
    let state = unsafe {
        bpf_sk_storage_get(
            maps::pointer(&CONNECTIONS),
            sk.cast_mut(),
            ptr::null_mut(),
            0,
        )
    };
    // SAFETY: the map's value is a `Connection`, for which all-zero bytes are valid.
    unsafe { state.cast::<Connection>().as_mut() }
}

/// The state of `sk`, made when it is a stream socket of a family that weft knows.
#[inline(always)]
pub(crate) fn get_or_create(sk: *const c_void) -> Option<&'static mut Connection> {
    if let Some(state) = get(sk) {
        return Some(state);
    }
    // SAFETY: `sk` is a hook's argument.
    let (family, kind) = unsafe {
        (
            load::<u16>(sk, &kernel::SOCK_FAMILY),
            load::<u16>(sk, &kernel::SOCK_TYPE),
        )
    };
    let known = family == Family::Inet as u16
        || family == Family::Inet6 as u16
        || family == Family::Unix as u16;
    if kind != SOCK_STREAM || !known {
        return None;
    }
    // SAFETY: as in `get`.
    let state = unsafe {
        bpf_sk_storage_get(
            maps::pointer(&CONNECTIONS),
            sk.cast_mut(),
            ptr::null_mut(),
            STORAGE_CREATE,
        )
    };
    // SAFETY: as in `get`.
    let state = unsafe { state.cast::<Connection>().as_mut() };
    if state.is_none() {
        count(Counter::StorageFailed);
    }
    if state.is_none() && maps::is_milestone(Counter::StorageFailed) {
        warn!(&(), "no socket storage: a connection is not seen");
    }
    state
}

/// Positions of a TCP connection's two streams.
#[derive(Clone, Copy)]
pub(crate) struct Sequence {
    pub(crate) write: u32,
    pub(crate) copied: u32,
}

/// Null for sockets that are not plain TCP (unix, MPTCP); their sequence numbers are 0, and defined,
/// which an `Option` around them is not for the verifier.
#[inline(always)]
pub(crate) fn sequence(sk: *const c_void) -> (*const c_void, Sequence) {
    // SAFETY: the verifier checks `sk`.
    let tcp = unsafe { bpf_skc_to_tcp_sock(sk.cast_mut()) } as *const c_void;
    let mut sequence = Sequence {
        write: 0,
        copied: 0,
    };
    if !tcp.is_null() {
        // SAFETY: a `tcp_sock` by the helper's word, and a hook's `sock`.
        unsafe {
            sequence.write = load(tcp, &kernel::TCP_WRITE_SEQ);
            sequence.copied = load::<u32>(tcp, &kernel::TCP_COPIED_SEQ)
                .wrapping_sub(u32::from(fin_read(sk, tcp)));
        }
    }
    (tcp, sequence)
}

/// Whether the reader has taken in the other end's FIN, which counts as one in `copied_seq`.
///
/// # Safety
/// Both must be what the verifier knows them as: the hook's socket, and itself as a `tcp_sock`.
#[inline(always)]
unsafe fn fin_read(sk: *const c_void, tcp: *const c_void) -> bool {
    // SAFETY: the caller's word.
    unsafe {
        if load::<u8>(sk, &kernel::SOCK_SHUTDOWN) & RCV_SHUTDOWN == 0 {
            return false;
        }
        let state = load::<u8>(sk, &kernel::SOCK_STATE);
        let received = (1_u32 << (state & 31)) & STATES_AFTER_FIN != 0;
        received
            && load::<u32>(tcp, &kernel::TCP_COPIED_SEQ) == load::<u32>(tcp, &kernel::TCP_RCV_NXT)
    }
}

/// Decides anew what the connection is to the selection, and announces it when it is selected.
/// `moved`: bytes of the call in hand, already counted by the kernel.
#[inline(never)]
pub(crate) fn judge(sk: *const c_void, state: &mut Connection, control: &Control, call: &Judged) {
    state.epoch = control.epoch;
    state.tgid = call.tgid;
    if state.cookie == 0 {
        // SAFETY: the verifier checks `sk`.
        state.cookie = unsafe { bpf_get_socket_cookie(sk.cast_mut()) };
    }
    let local_port = copy::<u16>(sk, &kernel::SOCK_LOCAL_PORT, 0);
    let remote_port = u16::from_be(copy::<u16>(sk, &kernel::SOCK_REMOTE_PORT, 0));
    let own = call.tgid == OWN_TGID.load();
    if !own && !select::selected(control, call.tgid, local_port, remote_port) {
        state.stage = Stage::Unselected as u32;
        if state.announced != 0 {
            state.announced |= LAPSED;
        }
        return;
    }
    if state.stage == 0 || state.stage == Stage::Unselected as u32 {
        state.stage = if own { Stage::Muted } else { Stage::Fresh } as u32;
        state.rx.budget = FRESH_BUDGET;
        state.tx.budget = FRESH_BUDGET;
        state.rx.frame.known = 0;
        state.tx.frame.known = 0;
    }
    if state.announced == 0 || state.announced & LAPSED != 0 {
        let fresh = begin(state, call);
        let flags = if fresh { OpenFlags::FRESH } else { 0 } | if own { OpenFlags::OWN } else { 0 };
        if announce(sk, state.cookie, flags, local_port, remote_port, call) {
            state.announced = 1;
        }
    }
}

/// What `judge` needs to know of the call in hand.
pub(crate) struct Judged {
    pub(crate) tid: u32,
    pub(crate) tgid: u32,
    pub(crate) time_ns: u64,
    /// Null for sockets that are not plain TCP.
    pub(crate) tcp: *const c_void,
    pub(crate) sequence: Sequence,
    pub(crate) direction: Direction,
    /// Of sequence numbers: with what weft has written into the call.
    pub(crate) moved: u32,
}

/// Sets where both streams stand before the call in hand. True: nothing had crossed before (TCP).
#[inline(always)]
fn begin(state: &mut Connection, call: &Judged) -> bool {
    if call.tcp.is_null() {
        return false;
    }
    // What the kernel has counted includes the call in hand, in `write_seq` and `copied_seq`.
    let unread = copy::<u32>(call.tcp, &kernel::TCP_RCV_NXT, 0).wrapping_sub(call.sequence.copied);
    let unacked = call
        .sequence
        .write
        .wrapping_sub(copy::<u32>(call.tcp, &kernel::TCP_SND_UNA, 0));
    let received = copy::<u64>(call.tcp, &kernel::TCP_BYTES_RECEIVED, 0);
    let acked = copy::<u64>(call.tcp, &kernel::TCP_BYTES_ACKED, 0);
    let (rx_moved, tx_moved) = match call.direction {
        Direction::Rx => (call.moved, 0),
        Direction::Tx => (0, call.moved),
    };
    // A FIN takes a sequence number, and so does the SYN on the connecting side: off by one is none.
    let rx = received
        .wrapping_sub(u64::from(unread))
        .wrapping_sub(u64::from(rx_moved));
    let tx = acked
        .wrapping_add(u64::from(unacked))
        .wrapping_sub(u64::from(tx_moved));
    let none = |count: u64| count.wrapping_add(2) <= 4;
    let fresh = none(rx) && none(tx);
    state.rx.offset = if none(rx) { 0 } else { rx };
    state.tx.offset = if none(tx) { 0 } else { tx };
    state.rx.seq = call.sequence.copied.wrapping_sub(rx_moved);
    state.tx.seq = call.sequence.write.wrapping_sub(tx_moved);
    fresh
}

#[inline(always)]
fn announce(
    sk: *const c_void,
    cookie: u64,
    flags: u16,
    local_port: u16,
    remote_port: u16,
    call: &Judged,
) -> bool {
    let family = copy::<u16>(sk, &kernel::SOCK_FAMILY, 0);
    let net = copy::<*const c_void>(sk, &kernel::SOCK_NET, ptr::null());
    let socket = copy::<*const c_void>(sk, &kernel::SOCK_SOCKET, ptr::null());
    let file = copy::<*const c_void>(socket, &kernel::SOCKET_FILE, ptr::null());
    let inode = copy::<*const c_void>(file, &kernel::FILE_INODE, ptr::null());
    let mut record = OpenRecord {
        header: emit::header(
            RecordKind::Open,
            call.direction,
            flags,
            call.tgid,
            call.tid,
            call.time_ns,
        ),
        cookie,
        sk: sk as u64,
        peer: 0,
        inode: copy::<u64>(inode, &kernel::INODE_NUMBER, 0),
        family,
        local_port: 0,
        remote_port: 0,
        reserved: 0,
        netns: copy::<u32>(net, &kernel::NET_INUM, 0),
        reserved2: 0,
        local_addr: [0; 16],
        remote_addr: [0; 16],
    };
    if family == Family::Unix as u16 {
        record.peer = copy::<u64>(sk, &kernel::UNIX_PEER, 0);
    } else {
        record.local_port = local_port;
        record.remote_port = remote_port;
        if family == Family::Inet as u16 {
            record.local_addr = words(u64::from(copy::<u32>(sk, &kernel::SOCK_LOCAL_V4, 0)), 0);
            record.remote_addr = words(u64::from(copy::<u32>(sk, &kernel::SOCK_REMOTE_V4, 0)), 0);
        } else {
            let [a, b] = copy::<[u64; 2]>(sk, &kernel::SOCK_LOCAL_V6, [0; 2]);
            record.local_addr = words(a, b);
            let [a, b] = copy::<[u64; 2]>(sk, &kernel::SOCK_REMOTE_V6, [0; 2]);
            record.remote_addr = words(a, b);
        }
    }
    emit::output_in_place(&record)
}

/// 16 bytes from two loads: byte by byte, the verifier of Linux 6.12 and before runs out of stack.
#[inline(always)]
fn words(a: u64, b: u64) -> [u8; 16] {
    // SAFETY: plain integers of the same size.
    unsafe { core::mem::transmute([a, b]) }
}
