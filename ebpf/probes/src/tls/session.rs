//! Sessions: made at their first call, replaced when their object turns up on another socket.

use core::ptr;

use aya_ebpf::{
    bindings::BPF_ANY,
    helpers::{bpf_get_current_pid_tgid, bpf_get_smp_processor_id, bpf_ktime_get_ns},
};
use weft_abi::{
    Control, Counter, DataFlags, DataRecord, Descent, Direction, Missing, RecordKind, SESSION_BIT,
    SecureRecord, Session, SessionFlags, SessionKey, SiteFlags, Stage, TAIL_BYTES, TlsCall,
    TlsCallFlags,
};

use crate::{
    connection::FRESH_BUDGET,
    emit,
    maps::{SESSIONS, count},
    select,
};

/// Header and tag of a record, which is what rustls hands out at a time: TLS 1.2 with ChaCha20-Poly1305
/// has the smallest.
const MIN_AROUND: u64 = 5 + 16;

/// The call's session, which is made when it is worth having, and put on the call's socket. Null:
/// there is none.
#[inline(never)]
pub(super) fn prepare(
    key: &SessionKey,
    call: &TlsCall,
    control: &Control,
    moved: u32,
) -> *mut Session {
    let mut gone = false;
    if let Some(found) = SESSIONS.get_ptr_mut(*key) {
        // SAFETY: an element of the map.
        let session = unsafe { &mut *found };
        let other = is_other(session, call, moved);
        if !other && (call.socket == 0 || session.socket == call.socket) {
            return if judged(session, call, control, key) {
                found
            } else {
                ptr::null_mut()
            };
        }
        if session.socket == 0 && !other {
            bind(session, call.socket, &Before::read(session, call));
            return if judged(session, call, control, key) {
                found
            } else {
                ptr::null_mut()
            };
        }
        gone = true;
    }
    if gone {
        count(Counter::SessionsReplaced);
        let _gone = SESSIONS.remove(*key);
    }
    // The socket's own hook has judged the process; it would not have noted the call otherwise.
    if call.socket == 0 && !select::selected(control, key.tgid, 0, 0) {
        return ptr::null_mut();
    }
    if call.socket == 0 && moved == 0 && call.flags & TlsCallFlags::WRITE != 0 {
        return ptr::null_mut();
    }
    let id = create(key, call, control);
    if id == 0 {
        count(Counter::TlsStateFailed);
        return ptr::null_mut();
    }
    count(Counter::Sessions);
    if call.socket != 0 {
        count(Counter::SessionsBound);
    }
    let stack = call.flags >> TlsCallFlags::STACK_SHIFT;
    announce(id, call.socket, stack, &Before::NOTHING);
    SESSIONS.get_ptr_mut(*key).unwrap_or_default()
}

/// What a session's element begins as: made on the stack, it would take half of that.
// SAFETY: plain integers, for which all-zero bytes are valid.
static EMPTY: Session = unsafe { core::mem::zeroed() };

/// Puts a session into the map; gives its id, 0 when there is no room.
#[inline(never)]
#[expect(
    clippy::needless_borrows_for_generic_args,
    reason = "by value it would stand on the stack"
)]
fn create(key: &SessionKey, call: &TlsCall, control: &Control) -> u64 {
    // SAFETY: the helpers take no argument.
    let (now, cpu) = unsafe { (bpf_ktime_get_ns(), bpf_get_smp_processor_id()) };
    let id = (now << 8 | u64::from(cpu & 0xff)) | SESSION_BIT;
    if SESSIONS.insert(*key, &EMPTY, u64::from(BPF_ANY)).is_err() {
        return 0;
    }
    let Some(session) = SESSIONS.get_ptr_mut(*key) else {
        return 0;
    };
    // SAFETY: an element of the map; a session is used by one thread at a time, as its library asks.
    let session = unsafe { &mut *session };
    session.state.cookie = id;
    session.state.stage = Stage::Fresh as u32;
    session.state.epoch = control.epoch;
    session.state.tgid = key.tgid;
    session.state.announced = 1;
    session.state.rx.budget = FRESH_BUDGET;
    session.state.tx.budget = FRESH_BUDGET;
    session.socket = call.socket;
    if call.flags & u32::from(SiteFlags::GO) != 0 {
        session.flags = SessionFlags::READS_SOCKET;
    }
    id
}

/// Whether it was another object that stood in this place: more plaintext is handed out than the
/// session's socket brought; or, in rustls, which moves its objects, the session was never put on a
/// socket and has only read, so that nothing ties what it reads now to what it read before.
#[inline(always)]
fn is_other(session: &Session, call: &TlsCall, moved: u32) -> bool {
    if call.flags & TlsCallFlags::WRITE != 0 {
        return false;
    }
    if session.socket != 0 {
        return session.flags & SessionFlags::FROM_MEMORY != 0 && u64::from(moved) > session.credit;
    }
    call.flags & u32::from(SiteFlags::PAYLOAD) != 0
        && session.state.tx.offset == 0
        && session.state.rx.offset != 0
}

/// Plaintext was handed out.
#[inline(always)]
pub(super) fn handed_out(session: &mut Session, call: &TlsCall, moved: u32) {
    let mut bytes = u64::from(moved);
    if call.flags & u32::from(SiteFlags::PAYLOAD) != 0 {
        bytes += MIN_AROUND;
    }
    session.credit = session.credit.saturating_sub(bytes);
}

/// Whether the session's process is selected still.
#[inline(always)]
fn judged(session: &mut Session, call: &TlsCall, control: &Control, key: &SessionKey) -> bool {
    if session.state.epoch != control.epoch {
        session.state.epoch = control.epoch;
        if call.socket == 0 && !select::selected(control, key.tgid, 0, 0) {
            // When it is selected again, it is a session that is older than the selection.
            let _gone = SESSIONS.remove(*key);
            return false;
        }
    }
    true
}

/// Where plaintext crossed that was seen before the proof, as a [`SecureRecord`] says it.
pub(super) struct Before {
    pub(super) direction: Direction,
    /// [`DataFlags::SEQ`], or 0: nothing is known.
    pub(super) flags: u16,
    pub(super) seq: u32,
    pub(super) len: u32,
}

impl Before {
    pub(super) const NOTHING: Self = Self {
        direction: Direction::Rx,
        flags: 0,
        seq: 0,
        len: 0,
    };

    /// The call proves the socket: what the session has read by then, outside of calls that asked
    /// the socket, stood in what that had received.
    #[inline(always)]
    fn read(session: &Session, call: &TlsCall) -> Self {
        if session.state.rx.offset == 0 || call.ahead_end == 0 {
            return Self::NOTHING;
        }
        Self {
            direction: Direction::Rx,
            flags: DataFlags::SEQ,
            seq: call.ahead_seq,
            len: call.ahead_end.wrapping_sub(call.ahead_seq),
        }
    }
}

/// The socket is proved.
#[inline(always)]
pub(super) fn bind(session: &mut Session, socket: u64, before: &Before) {
    session.socket = socket;
    session.candidate = 0;
    count(Counter::SessionsBound);
    announce(session.state.cookie, socket, 0, before);
}

#[inline(never)]
fn announce(id: u64, socket: u64, stack: u32, before: &Before) {
    let pid_tgid = bpf_get_current_pid_tgid();
    // SAFETY: the helper takes no argument.
    let now = unsafe { bpf_ktime_get_ns() };
    let record = SecureRecord {
        header: emit::header(
            RecordKind::Secure,
            before.direction,
            before.flags & DataFlags::SEQ,
            (pid_tgid >> 32) as u32,
            pid_tgid as u32,
            now,
        ),
        cookie: id,
        socket,
        seq: before.seq,
        len: before.len,
        stack,
        reserved: 0,
    };
    emit::output_in_place(&record);
}

/// Ciphertext came in: plaintext that is handed out from now on stands in it.
#[inline(always)]
pub(super) fn received(session: &mut Session, seq: u32, end: u32) {
    if session.flags & (SessionFlags::RX_SEQ | SessionFlags::RX_TAKEN) != SessionFlags::RX_SEQ {
        session.rx_seq = seq;
    }
    session.rx_end = end;
    session.flags = session.flags & !SessionFlags::RX_TAKEN | SessionFlags::RX_SEQ;
}

/// Ciphertext came in whose plaintext will not be seen: `len` bytes of it at most.
#[inline(never)]
pub(super) fn lost(session: &mut Session, len: u32) {
    let pid_tgid = bpf_get_current_pid_tgid();
    // SAFETY: the helper takes no argument.
    let now = unsafe { bpf_ktime_get_ns() };
    let record = DataRecord {
        header: emit::header(
            RecordKind::Data,
            Direction::Rx,
            DataFlags::CALL_START | DataFlags::CALL_END,
            (pid_tgid >> 32) as u32,
            pid_tgid as u32,
            now,
        ),
        cookie: session.state.cookie,
        offset: session.state.rx.offset,
        len,
        seq: 0,
        tail: [0; TAIL_BYTES],
        missing: Missing::NoBuffer as u8,
        reserved: [0; 3],
        cipher_len: 0,
        task: 0,
        task_ns: 0,
        descent: Descent::default(),
    };
    session.state.rx.offset = session.state.rx.offset.wrapping_add(u64::from(len));
    count(Counter::CallsSeen);
    count(Counter::MissingNoBuffer);
    count(if emit::output_in_place(&record) {
        Counter::CallsRecorded
    } else {
        Counter::CallsRingFull
    });
}
