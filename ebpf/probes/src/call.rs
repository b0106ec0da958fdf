//! One socket call that moved bytes: the shared handler behind both doors.

use core::ffi::c_void;

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, generated::bpf_get_prandom_u32};
use weft_abi::{
    CloseRecord, Connection, Control, Counter, DataFlags, DataRecord, Descent, Direction, Half,
    Missing, Mode, RecordKind, Stage, TAIL_BYTES,
};

use crate::{
    caller::{self, Buffers},
    connection::{self, Judged, RCV_SHUTDOWN},
    emit::{self, Piece},
    frames, inject,
    kernel::{self, ABSENT, load},
    maps::{CONTROL, HINTS, count},
    sniff::{self, Start},
    task::{Reads, jvm},
    tls,
    walk::{self, Desk, Source, walk},
};

/// `-EAGAIN`
const NOTHING_YET: i32 = -11;
const MSG_OOB: u32 = 1;
const MSG_PEEK: u32 = 2;
const MSG_TRUNC: u32 = 0x20;
const MSG_DONTWAIT: u32 = 0x40;
const MSG_ERRQUEUE: u32 = 0x2000;

/// Bytes captured of one call, by what the call begins with.
const REQUEST_BYTES: u32 = 64 << 10;
const RESPONSE_BYTES: u32 = 8 << 10;
const CONTINUATION_BYTES: u32 = 4 << 10;
/// Bytes captured in one direction from one message start to the next.
const MESSAGE_BUDGET: u32 = 64 << 10;
/// What is left for a message of which no call shows that it begins, at least.
const NEXT_BUDGET: u32 = 16 << 10;
/// On a connection of which nothing new is expected, one call in this many plus one looks for a hint.
const RARE_HINT_MASK: u32 = 15;
/// Bytes that travel each way of a connection that may turn out to be HTTP/2.
const HEADERS_BUDGET: u32 = 16 << 10;
/// Bytes from which `sniff` tells what a call begins.
const MIN_TOLD: u32 = 8;
/// `Connection::announced`, second bit: the sampler left the request in hand out.
const ANNOUNCED: u32 = 1;
const SAMPLED_OUT: u32 = 2;
/// Third bit: the last receive call brought too little to tell what it begins.
const SHORT: u32 = 4;
/// Fourth bit: its process was not selected for a time, in which nothing was counted.
pub(crate) const LAPSED: u32 = 8;
/// Fifth bit, with `SAMPLED_OUT`: it was received.
const REQUESTS_RX: u32 = 16;

/// `ret`: what the call returned. `flags`: of a receive call, as the kernel saw them.
#[inline(always)]
pub(crate) fn socket_call(
    desk: Desk,
    sk: *const c_void,
    ret: i32,
    flags: u32,
    direction: Direction,
) {
    let receives = direction as u8 == Direction::Rx as u8;
    if ret < 0 && !receives {
        return inject::took_nothing(sk);
    }
    if ret == NOTHING_YET && receives {
        jvm::received_nothing(sk);
    }
    if ret < 0
        || (receives && flags & (MSG_PEEK | MSG_OOB | MSG_ERRQUEUE) != 0)
        || (!receives && ret == 0)
    {
        return;
    }
    let Some(control) = CONTROL.get(0) else {
        return;
    };
    if control.mode == Mode::None as u32 {
        return;
    }
    let Some(state) = connection::get_or_create(sk) else {
        return;
    };
    let pid_tgid = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((pid_tgid >> 32) as u32, pid_tgid as u32);
    let judged = state.epoch == control.epoch && state.tgid == tgid;
    if judged && state.stage == Stage::Unselected as u32 {
        return;
    }
    // A muted TCP connection's position is found again by its sequence numbers.
    if judged && state.stage == Stage::Muted as u32 {
        count(Counter::CallsSeen);
        return count(Counter::CallsMuted);
    }
    let moved = ret as u32;
    let (tcp, sequence) = connection::sequence(sk);
    let mut inserted = 0;
    if !receives {
        inserted = state.inserted;
        state.inserted = 0;
    }
    if !judged || state.announced & ANNOUNCED == 0 {
        let call = Judged {
            tid,
            tgid,
            time_ns: emit::now(),
            tcp,
            sequence,
            direction,
            moved: moved.wrapping_add(inserted),
        };
        connection::judge(sk, state, control, &call);
        if state.stage == Stage::Unselected as u32 {
            return;
        }
    }
    if ret == 0 {
        // SAFETY: `sk` is a hook's argument.
        if unsafe { load::<u8>(sk, &kernel::SOCK_SHUTDOWN) } & RCV_SHUTDOWN != 0 {
            closed(state, Direction::Rx, false, tgid, tid, emit::now());
        }
        return;
    }
    count(Counter::CallsSeen);
    let half = if receives {
        &mut state.rx
    } else {
        &mut state.tx
    };
    let end = if receives {
        sequence.copied
    } else {
        sequence.write
    };
    let is_tcp = !tcp.is_null();
    let (offset, seq) = advance(half, moved, is_tcp, end.wrapping_sub(inserted));
    half.seq = half.seq.wrapping_add(inserted);
    if state.stage == Stage::Muted as u32 {
        return count(Counter::CallsMuted);
    }
    // Only where requests come from may the next one end it.
    let sampled_out = state.announced & SAMPLED_OUT != 0 && state.stage == Stage::Follow as u32;
    if sampled_out && receives != (state.announced & REQUESTS_RX != 0) {
        if receives {
            note_length(state, moved);
        }
        return count(Counter::CallsSampledOut);
    }
    if state.stage == Stage::Secure as u32 && control.tls == 0 {
        return count(Counter::CallsSecure);
    }
    let mut data_flags = 0;
    if is_tcp {
        data_flags |= DataFlags::SEQ;
    }
    if flags & MSG_DONTWAIT != 0 {
        data_flags |= DataFlags::NONBLOCKING;
    }
    if state.stage == Stage::Secure as u32 {
        let crossed = tls::Crossed {
            receives,
            tcp: is_tcp,
            seq,
            moved,
            tgid,
            data_flags: u32::from(data_flags | epoll(sk)),
            time_ns: emit::now(),
            first: 0,
            address: 0,
        };
        if tls::crossed_as_before(&crossed, state) {
            return count(Counter::CallsSecure);
        }
    }
    let truncated = receives && flags & MSG_TRUNC != 0;
    let buffers = if truncated {
        Buffers::missing(Missing::NoBuffer)
    } else {
        caller::buffers(direction, moved, state)
    };
    let Some(source) = walk::source(desk, buffers) else {
        return;
    };
    let concerns = tls::concerns(control, state);
    if concerns {
        let crossed = tls::Crossed {
            receives,
            tcp: is_tcp,
            seq,
            moved,
            tgid,
            data_flags: u32::from(data_flags | epoll(sk)),
            time_ns: emit::now(),
            first: source.first,
            address: source.first_address,
        };
        if tls::crossed(&crossed, state, control) {
            return count(Counter::CallsSecure);
        }
    }
    let call = Call {
        sk,
        flags: data_flags,
        offset,
        seq,
        cipher_len: 0,
        moved,
        tgid,
        tid,
        time_ns: 0,
        direction,
    };
    data(desk, &call, source, state, control);
    // The agent is told of it; what follows is for the sessions, which cannot wait for its answer.
    if concerns && tls::is_secure(source.first) {
        state.stage = Stage::Secure as u32;
    }
}

/// Moves a stream's position over a call of `moved` bytes, of TCP up to sequence number `end`;
/// gives where the call began.
#[inline(always)]
pub(crate) fn advance(half: &mut Half, moved: u32, is_tcp: bool, end: u32) -> (u64, u32) {
    if !is_tcp {
        let offset = half.offset;
        half.offset = offset.wrapping_add(u64::from(moved));
        return (offset, 0);
    }
    let seq = end.wrapping_sub(moved);
    // What the hooks did not see (a missed hook, zero-copy receive) shows as a jump.
    let jump = i64::from(seq.wrapping_sub(half.seq) as i32);
    if jump != 0 {
        // Backwards, it passes more than any frame has.
        frames::pass(&mut half.frame, jump as u32);
    }
    let offset = half.offset.wrapping_add(jump as u64);
    half.offset = offset.wrapping_add(u64::from(moved));
    half.seq = end;
    (offset, seq)
}

/// Bytes of one stream, of a socket or of a TLS session.
pub(crate) struct Call {
    /// Null: of a session, whose `flags` are whole.
    pub(crate) sk: *const c_void,
    /// Bits of [`DataFlags`] that all its records have.
    pub(crate) flags: u16,
    pub(crate) offset: u64,
    /// With [`DataFlags::SEQ`].
    pub(crate) seq: u32,
    pub(crate) cipher_len: u32,
    pub(crate) moved: u32,
    pub(crate) tgid: u32,
    pub(crate) tid: u32,
    /// 0: now.
    pub(crate) time_ns: u64,
    pub(crate) direction: Direction,
}

/// A call on a connection that is not muted: what of it travels?
#[inline(always)]
pub(crate) fn data(
    desk: Desk,
    call: &Call,
    source: Source,
    state: &mut Connection,
    control: &Control,
) {
    let receives = call.direction as u8 == Direction::Rx as u8;
    let mut start = if state.stage == Stage::Frames as u32 {
        Start::Other
    } else {
        sniff::start(source.first)
    };
    if receives && control.inject != 0 && start != Start::Response && start != Start::Other {
        inject::serves(call.tgid);
    }
    if start != Start::Request && start != Start::Response {
        take_hint(state, call);
    }
    if start == Start::Preface || (start == Start::Settings && call.offset == 0) {
        state.stage = Stage::Frames as u32;
        frames::begin(state, call.direction, start == Start::Preface);
    }
    if state.stage == Stage::Sniff as u32 && start == Start::Headers {
        state.stage = Stage::Fresh as u32;
        state.rx.budget = HEADERS_BUDGET;
        state.tx.budget = HEADERS_BUDGET;
    }
    if start != Start::Request && start != Start::Response {
        start = Start::Other;
    }
    let was_short = state.announced & SHORT != 0;
    if receives {
        note_length(state, call.moved);
    }
    let stage = state.stage;
    if stage == Stage::Muted as u32 || (stage == Stage::Sniff as u32 && start == Start::Other) {
        return count(Counter::CallsMuted);
    }
    if stage == Stage::Frames as u32 {
        let half = if receives {
            &mut state.rx
        } else {
            &mut state.tx
        };
        let flags = if half.frame.known == 0 {
            DataFlags::UNKNOWN
        } else {
            0
        };
        let piece = piece(call, state.cookie, flags);
        return frames::call(desk, call, piece, source, half);
    }
    if start != Start::Other {
        state.stage = Stage::Follow as u32;
    }
    if start == Start::Request {
        state.announced &= !(SAMPLED_OUT | REQUESTS_RX);
        if u64::from(chance(call)) >= control.sample_below {
            state.announced |= SAMPLED_OUT | if receives { REQUESTS_RX } else { 0 };
            count(Counter::RequestsSampledOut);
        }
    }
    if state.announced & SAMPLED_OUT != 0 {
        return count(Counter::CallsSampledOut);
    }
    let unknown = state.stage == Stage::Fresh as u32;
    let half = if receives {
        &mut state.rx
    } else {
        &mut state.tx
    };
    let skip = half.skip_to.wrapping_sub(call.offset);
    let skip = if half.skip_to > call.offset { skip } else { 0 };
    if skip > u64::from(call.moved) {
        return count(Counter::CallsSkipped);
    }
    // The call that ends the range travels by its last byte: its time is the message's end.
    let skip = if skip == u64::from(call.moved) {
        skip - 1
    } else {
        skip
    };
    let limit = match start {
        Start::Request => REQUEST_BYTES,
        Start::Response => RESPONSE_BYTES,
        _ => CONTINUATION_BYTES,
    };
    if start != Start::Other {
        half.budget = MESSAGE_BUDGET;
    } else if (skip > 0 || (receives && was_short)) && half.budget < NEXT_BUDGET {
        // The next message begins behind the end of a body, or has begun with so few bytes that nothing showed it.
        half.budget = NEXT_BUDGET;
    }
    let limit = if limit > half.budget {
        half.budget
    } else {
        limit
    };
    if unknown && limit == 0 {
        state.stage = Stage::Sniff as u32;
        return count(Counter::CallsMuted);
    }
    let wanted = if limit > call.moved {
        call.moved
    } else {
        limit
    };
    half.budget -= wanted;
    let flags = if unknown { DataFlags::UNKNOWN } else { 0 };
    let mut piece = piece(call, state.cookie, flags);
    if source.missing == Missing::None as u32 {
        let begins = receives && (start == Start::Request || was_short);
        let reads = if begins {
            Reads::Beginning
        } else {
            Reads::Other
        };
        return walk(desk, piece, source, wanted, skip as u32, reads);
    }
    missing(&mut piece, source);
}

/// A call that received so many bytes.
#[inline(always)]
fn note_length(state: &mut Connection, moved: u32) {
    state.announced &= !SHORT;
    if moved < MIN_TOLD {
        state.announced |= SHORT;
    }
}

/// The record of a whole call.
#[inline(always)]
fn piece(call: &Call, cookie: u64, flags: u16) -> Piece {
    let mut flags = call.flags | flags;
    if !call.sk.is_null() {
        flags |= epoll(call.sk);
    }
    let time_ns = if call.time_ns == 0 {
        emit::now()
    } else {
        call.time_ns
    };
    Piece {
        record: DataRecord {
            header: emit::header(
                RecordKind::Data,
                call.direction,
                flags,
                call.tgid,
                call.tid,
                time_ns,
            ),
            cookie,
            offset: call.offset,
            len: call.moved,
            seq: call.seq,
            tail: [0; TAIL_BYTES],
            missing: 0,
            reserved: [0; 3],
            cipher_len: call.cipher_len,
            task: 0,
            task_ns: 0,
            descent: Descent {
                root: 0,
                left_ns: 0,
                request: 0,
            },
        },
        address: 0,
    }
}

/// A record of a call whose bytes are not known.
#[inline(always)]
pub(crate) fn missing(piece: &mut Piece, source: Source) {
    piece.record.missing = source.missing as u8;
    piece.record.header.flags |= DataFlags::CALL_START | DataFlags::CALL_END;
    let counter = if source.missing == Missing::IoUring as u32 {
        Counter::MissingIoUring
    } else if source.missing == Missing::Compat as u32 {
        Counter::MissingCompat
    } else if source.missing == Missing::Fault as u32 {
        Counter::MissingFault
    } else if source.missing == Missing::Vector as u32 {
        Counter::MissingVector
    } else {
        Counter::MissingNoBuffer
    };
    count(counter);
    let written = emit::data(piece);
    count(if written {
        Counter::CallsRecorded
    } else {
        Counter::CallsRingFull
    });
}

/// Takes in what the agent has said of this connection since. On a connection that only sniffs, and
/// on one that is in step with its frames, it is enough to look now and then.
#[inline(never)]
fn take_hint(state: &mut Connection, call: &Call) {
    state.calls = state.calls.wrapping_add(1);
    let in_step =
        state.stage == Stage::Frames as u32 && state.rx.frame.known & state.tx.frame.known != 0;
    if (state.stage == Stage::Sniff as u32 || in_step) && state.calls & RARE_HINT_MASK != 0 {
        return;
    }
    let cookie = state.cookie;
    // SAFETY: read at once; the element is ours alone to remove.
    let Some(hint) = (unsafe { HINTS.get(cookie) }).copied() else {
        return;
    };
    if hint.stage != 0 {
        state.stage = hint.stage;
    }
    if hint.rx_skip_to > state.rx.skip_to {
        state.rx.skip_to = hint.rx_skip_to;
    }
    if hint.tx_skip_to > state.tx.skip_to {
        state.tx.skip_to = hint.tx_skip_to;
    }
    // The call in hand has moved its own direction on already.
    let (rx_at, tx_at) = match call.direction {
        Direction::Rx => (call.offset, state.tx.offset),
        Direction::Tx => (state.rx.offset, call.offset),
    };
    frames::step_in(&mut state.rx.frame, hint.rx_frame_at, rx_at);
    frames::step_in(&mut state.tx.frame, hint.tx_frame_at, tx_at);
    let _gone = HINTS.remove(cookie);
}

/// Whether the socket's file stands in an epoll set, as flags of a record.
#[inline(always)]
pub(crate) fn epoll(sk: *const c_void) -> u16 {
    if kernel::FILE_EPOLL.load() == ABSENT {
        return 0;
    }
    // SAFETY: each is the verifier's pointer to a structure; a null on the way loads as null.
    let watched = unsafe {
        let socket = load::<*const c_void>(sk, &kernel::SOCK_SOCKET);
        let file = load::<*const c_void>(socket, &kernel::SOCKET_FILE);
        load::<u64>(file, &kernel::FILE_EPOLL)
    };
    if watched != 0 {
        DataFlags::EPOLL_KNOWN | DataFlags::EPOLL
    } else {
        DataFlags::EPOLL_KNOWN
    }
}

/// Both ends of a TCP connection see the same sequence number, so both reach the same verdict.
#[inline(always)]
fn chance(call: &Call) -> u32 {
    if call.flags & DataFlags::SEQ == 0 {
        // SAFETY: the helper takes no argument.
        return unsafe { bpf_get_prandom_u32() };
    }
    let mut x = call.seq ^ 0x9e37_79b9;
    x = (x ^ (x >> 16)).wrapping_mul(0x85eb_ca6b);
    x = (x ^ (x >> 13)).wrapping_mul(0xc2b2_ae35);
    x ^ (x >> 16)
}

/// Reports the end of a direction, or of the connection.
#[inline(always)]
pub(crate) fn closed(
    state: &Connection,
    direction: Direction,
    last: bool,
    tgid: u32,
    tid: u32,
    time_ns: u64,
) {
    let record = CloseRecord {
        header: emit::header(RecordKind::Close, direction, 0, tgid, tid, time_ns),
        cookie: state.cookie,
        rx_bytes: state.rx.offset,
        tx_bytes: state.tx.offset,
        last: u8::from(last),
        reserved: [0; 7],
    };
    emit::output(&record);
}
