//! Which socket carries a session.

use weft_abi::{
    Connection, Control, Crossing, DataFlags, Direction, GoKey, Lengths, Records, Session,
    SessionFlags, SessionKey, SiteFlags, Stage, TlsCall, TlsCallFlags, TlsProbes, TlsThread,
};

use super::{session, task, thread};
use crate::{
    caller,
    maps::{BOUND, GO_CALLS, SESSIONS},
};

/// What a record's body is longer than its plaintext: content type and tag (TLS 1.3 and
/// ChaCha20-Poly1305: 16 or 17), explicit nonce and tag (AES-GCM: 24), IV, MAC and padding (CBC).
const MIN_OVERHEAD: u32 = 16;
const MAX_OVERHEAD: u32 = 96;
const RECORD_HEADER: u32 = 5;
/// Records in what one call received that are looked at: the end of a handshake, and a request.
const MAX_RECORDS: u32 = 6;
/// Plaintext of one record at most.
const MAX_PLAIN: u32 = 1 << 14;

/// A call on a socket that may carry TLS.
pub(crate) struct Crossed {
    pub(crate) receives: bool,
    /// Plain TCP: `seq` is valid.
    pub(crate) tcp: bool,
    pub(crate) seq: u32,
    pub(crate) moved: u32,
    pub(crate) tgid: u32,
    pub(crate) data_flags: u32,
    pub(crate) time_ns: u64,
    /// The first bytes that moved, 0 where there are fewer or they are not known.
    pub(crate) first: u64,
    /// Where they stand in the user's memory; 0: not known.
    pub(crate) address: u64,
}

/// Notes the call for the sessions. True: the connection carries TLS, none of its bytes travel.
#[inline(never)]
pub(crate) fn crossed(crossed: &Crossed, state: &mut Connection, control: &Control) -> bool {
    let thread = thread::get(task());
    if let Some(thread) = &thread
        && thread.call.object != 0
    {
        // SAFETY: task storage of the current task.
        let call = unsafe { &mut *(&raw const thread.call).cast_mut() };
        return inside(call, crossed, state);
    }
    if control.tls & TlsProbes::GO != 0 {
        let key = GoKey {
            g: caller::goroutine(),
            tgid: crossed.tgid,
            reserved: 0,
        };
        if let Some(call) = GO_CALLS.get_ptr_mut(key) {
            // SAFETY: the element of the goroutine that makes this call.
            return inside(unsafe { &mut *call }, crossed, state);
        }
    }
    let told = state.stage == Stage::Secure as u32;
    if !told && !is_secure(crossed.first) {
        return false;
    }
    if crossed.receives {
        outside_received(crossed, state);
    } else if let Some(thread) = thread {
        outside_sent(crossed, state, thread);
    }
    told
}

/// Whether the call was made by a call of the session that the socket was proved to carry, which
/// needs no look at the bytes. It is noted then.
#[inline(always)]
pub(crate) fn crossed_as_before(crossed: &Crossed, state: &mut Connection) -> bool {
    let Some(thread) = thread::get(task()) else {
        return false;
    };
    let call = &mut thread.call;
    call.object != 0
        && call.object == state.session
        && crossed.tgid == state.session_tgid
        && inside(call, crossed, state)
}

/// The call was made by a TLS call.
#[inline(always)]
fn inside(call: &mut TlsCall, crossed: &Crossed, state: &mut Connection) -> bool {
    let told = state.stage == Stage::Secure as u32;
    let known = state.session == call.object && state.session_tgid == crossed.tgid;
    let mut seq = crossed.seq;
    if !known {
        if !told && !is_record(crossed.first) {
            return false;
        }
        let (ahead_seq, ahead_end) = (state.ahead_seq, state.ahead_end);
        // A goroutine's call that failed is not seen to end: this may be outside of it.
        if crossed.receives && crossed.tcp {
            ahead(crossed, state);
        }
        // A call whose end was not seen still stands there.
        if !is_record(crossed.first) || (call.socket != 0 && call.socket != state.cookie) {
            return told;
        }
        state.session = call.object;
        state.session_tgid = crossed.tgid;
        call.ahead_seq = ahead_seq;
        call.ahead_end = ahead_end;
        if crossed.receives && ahead_end == seq {
            seq = ahead_seq;
        }
    } else {
        // The same: the call that made it known may be one that failed before.
        if crossed.receives && crossed.tcp {
            state.ahead_seq = crossed.seq;
            state.ahead_end = crossed.seq.wrapping_add(crossed.moved);
        }
        if call.socket != 0 && call.socket != state.cookie {
            return told;
        }
    }
    state.stage = Stage::Secure as u32;
    call.socket = state.cookie;
    let writes = call.flags & TlsCallFlags::WRITE != 0;
    if writes == crossed.receives {
        return true;
    }
    if call.time_ns == 0 {
        call.time_ns = crossed.time_ns;
        call.seq = seq;
    }
    call.end = crossed.seq.wrapping_add(crossed.moved);
    call.data_flags = crossed.data_flags;
    if crossed.tcp {
        call.flags |= TlsCallFlags::SEQ;
    }
    true
}

/// Ciphertext came in for a session that is not known yet: the end of a handshake, and with it
/// perhaps a request.
#[inline(always)]
fn ahead(crossed: &Crossed, state: &mut Connection) {
    let other_record = is_record(crossed.first) && !is_data(crossed.first);
    if state.ahead_end != crossed.seq || other_record {
        state.ahead_seq = crossed.seq;
    }
    state.ahead_end = crossed.seq.wrapping_add(crossed.moved);
}

/// The session on this socket.
#[inline(always)]
fn bound<'a>(state: &mut Connection) -> Option<&'a mut Session> {
    if let Some(session) = noted(state) {
        return Some(session);
    }
    // It may have been bound from the library's side.
    let cookie = state.cookie;
    // SAFETY: copied at once.
    let key = (unsafe { BOUND.get(cookie) }).copied()?;
    state.session = key.object;
    state.session_tgid = key.tgid;
    let _gone = BOUND.remove(cookie);
    noted(state)
}

#[inline(always)]
fn noted<'a>(state: &Connection) -> Option<&'a mut Session> {
    if state.session == 0 {
        return None;
    }
    let session = SESSIONS.get_ptr_mut(key(state.session, state.session_tgid))?;
    // SAFETY: an element of the map.
    let session = unsafe { &mut *session };
    (session.socket == state.cookie).then_some(session)
}

#[inline(always)]
fn key(object: u64, tgid: u32) -> SessionKey {
    SessionKey {
        object,
        tgid,
        reserved: 0,
    }
}

/// Whether its object may have moved since: rustls does that at the end of the handshake, when a
/// request may have been read already, but nothing was written.
#[inline(always)]
fn may_move(session: &Session) -> bool {
    session.flags & SessionFlags::FROM_MEMORY != 0 && session.state.tx.offset == 0
}

/// The socket is closed: the object may be used for another connection at once.
#[inline(always)]
pub(crate) fn forget(state: &mut Connection) {
    if bound(state).is_some() {
        let _gone = SESSIONS.remove(key(state.session, state.session_tgid));
    }
    state.session = 0;
}

/// Ciphertext for a session that reads it from memory.
#[inline(always)]
fn outside_received(crossed: &Crossed, state: &mut Connection) {
    let end = crossed.seq.wrapping_add(crossed.moved);
    let mut holder = 0;
    if let Some(session) = bound(state) {
        session.data_flags = crossed.data_flags;
        if session.flags & SessionFlags::READS_SOCKET != 0 {
            if is_data(crossed.first) {
                session::lost(session, crossed.moved);
            }
            return;
        }
        if crossed.tcp {
            session::received(session, crossed.seq, end);
        }
        session.credit = session.credit.wrapping_add(u64::from(crossed.moved));
        if !may_move(session) {
            return;
        }
        holder = state.session;
    } else if crossed.tcp {
        ahead(crossed, state);
    }
    let Some(thread) = thread::get_or_create(task()) else {
        return;
    };
    let waiting = &mut thread.received;
    let same = waiting.socket == state.cookie;
    let others = if waiting.socket == 0 {
        Lengths::default()
    } else if same {
        waiting.others
    } else {
        let [first, second, third, last] = waiting.records;
        let others = waiting.others.with(first).with(second);
        others.with(third).with(last)
    };
    let before = if same { waiting.bytes } else { 0 };
    let bytes = before.wrapping_add(u64::from(crossed.moved));
    let Some((at, records)) = data_records(crossed) else {
        if same {
            waiting.end = end;
            waiting.bytes = bytes;
        }
        return;
    };
    *waiting = Crossing {
        socket: state.cookie,
        seq: crossed.seq.wrapping_add(at),
        end,
        reserved: 0,
        records,
        tx_seq: state.tx.seq,
        data_flags: crossed.data_flags,
        holder,
        bytes,
        others,
    };
}

/// The records of application data that begin in what one call received, and where the first does:
/// the end of a handshake may stand before it.
#[inline(always)]
fn data_records(crossed: &Crossed) -> Option<(u32, Records)> {
    let mut found: Records = [0; 4];
    let (mut first, mut at) = (0, 0);
    for _ in 0..MAX_RECORDS {
        if at >= crossed.moved || crossed.address == 0 {
            break;
        }
        let Some(header) = caller::read::<u64>(crossed.address.wrapping_add(u64::from(at))) else {
            break;
        };
        if !is_record(header) {
            break;
        }
        let len = record_len(header);
        if is_data(header) && len != 0 {
            if found[0] == 0 {
                first = at;
                found[0] = len as u16;
            } else if found[1] == 0 {
                found[1] = len as u16;
            } else if found[2] == 0 {
                found[2] = len as u16;
            } else {
                found[3] = len as u16;
            }
        }
        at += RECORD_HEADER + len;
    }
    (found[0] != 0).then_some((first, found))
}

/// Ciphertext of a session that wrote it to memory.
#[inline(always)]
fn outside_sent(crossed: &Crossed, state: &mut Connection, thread: &mut TlsThread) {
    let end = crossed.seq.wrapping_add(crossed.moved);
    let (object, len, mixed) = (thread.wrote, thread.wrote_len, thread.wrote_mixed);
    let mut moved = false;
    if let Some(session) = bound(state) {
        if crossed.tcp {
            session.tx_seq = end;
            session.flags |= SessionFlags::TX_SEQ;
        }
        session.data_flags = crossed.data_flags;
        if object == state.session {
            thread.wrote = 0;
            thread.wrote_mixed = 0;
        }
        moved = object != state.session && may_move(session);
        if !moved {
            return;
        }
    }
    if object == 0 {
        return;
    }
    let at = plaintext_at(crossed, len);
    if at.is_some() || is_data(crossed.first) {
        thread.wrote = 0;
        thread.wrote_mixed = 0;
    }
    let (Some(at), 0) = (at, mixed) else {
        return;
    };
    let Some(session) = SESSIONS.get_ptr_mut(key(object, crossed.tgid)) else {
        return;
    };
    // SAFETY: an element of the map.
    let session = unsafe { &mut *session };
    if session.socket != 0 {
        return;
    }
    if moved {
        let _gone = SESSIONS.remove(key(state.session, state.session_tgid));
    }
    state.session = object;
    state.session_tgid = crossed.tgid;
    session.data_flags = crossed.data_flags;
    // What it has taken in by now is not known.
    session.credit = u64::from(MAX_PLAIN + MAX_OVERHEAD);
    session.flags |= SessionFlags::FROM_MEMORY;
    let mut before = session::Before::NOTHING;
    if crossed.tcp {
        session.tx_seq = end;
        session.flags |= SessionFlags::TX_SEQ;
        before.direction = Direction::Tx;
        before.flags = DataFlags::SEQ;
        before.seq = crossed.seq.wrapping_add(at);
    }
    session::bind(session, state.cookie, &before);
}

/// Where in what was sent the ciphertext of `len` bytes of plaintext begins: nothing else stands
/// behind it, but the end of a handshake may stand before it.
#[inline(always)]
fn plaintext_at(crossed: &Crossed, len: u32) -> Option<u32> {
    let mut at = 0;
    for _ in 0..MAX_RECORDS {
        if at >= crossed.moved {
            return None;
        }
        let header = if at == 0 {
            crossed.first
        } else {
            caller::read::<u64>(crossed.address.wrapping_add(u64::from(at)))?
        };
        if is_data(header) && fits(crossed.moved - at, len) {
            return Some(at);
        }
        if !is_record(header) {
            return None;
        }
        at += RECORD_HEADER + record_len(header);
    }
    None
}

/// A session without a socket took plaintext: what the thread sends next may be its ciphertext.
#[inline(always)]
pub(super) fn wrote(thread: &mut TlsThread, object: u64, moved: u32) {
    if moved == 0 {
        return;
    }
    if thread.wrote == object {
        thread.wrote_len = thread.wrote_len.wrapping_add(moved);
        return;
    }
    thread.wrote_mixed = u32::from(thread.wrote != 0);
    thread.wrote = object;
    thread.wrote_len = moved;
}

/// A session without a socket was asked for plaintext: what the thread has received last is its
/// ciphertext, if the length fits, and that of nothing else that waits does.
#[inline(always)]
pub(super) fn took_in(
    thread: &mut TlsThread,
    session: &mut Session,
    key: &SessionKey,
    call: &TlsCall,
    moved: u32,
) {
    let waiting = thread.received;
    if waiting.socket != 0 {
        thread.received.socket = 0;
        session.candidate = waiting.socket;
        session.candidate_records = waiting.records;
        session.candidate_holder = waiting.holder;
        session.candidate_others = waiting.others;
        session.credit = waiting.bytes;
        session.data_flags = waiting.data_flags;
        session.tx_seq = waiting.tx_seq;
        session::received(session, waiting.seq, waiting.end);
    }
    let socket = session.candidate;
    if socket == 0 || moved == 0 {
        return;
    }
    // A buffer shorter than the record: the rest is handed out by the next calls. rustls has none.
    let short = u64::from(moved) == call.length && call.flags & u32::from(SiteFlags::PAYLOAD) == 0;
    let max = if short {
        u32::MAX
    } else {
        moved + MAX_OVERHEAD
    };
    let fits = |len: u16| u32::from(len) >= moved + MIN_OVERHEAD && u32::from(len) <= max;
    let [first, second, third, last] = session.candidate_records;
    let proved = fits(first) || fits(second) || fits(third) || fits(last);
    if !proved || session.candidate_others.may_hold(moved + MIN_OVERHEAD, max) {
        session.candidate = 0;
        session.flags &= !SessionFlags::RX_SEQ;
        return;
    }
    if BOUND.insert(socket, *key, 0).is_ok() {
        let holder = session.candidate_holder;
        if holder != 0 && holder != key.object {
            let _gone = SESSIONS.remove(self::key(holder, key.tgid));
        }
        session.flags |= SessionFlags::TX_SEQ | SessionFlags::FROM_MEMORY;
        session::bind(session, socket, &session::Before::NOTHING);
    }
}

/// `0x14` to `0x18`, then version 3.x.
#[inline(always)]
fn is_record(first: u64) -> bool {
    let [kind, major, ..] = first.to_le_bytes();
    (0x14..=0x18).contains(&kind) && major == 3
}

/// `ClientHello`, `ServerHello`, or, of a connection older than weft, a record of application data with
/// a length that such a record can have: RFC 8446, 4 and 5.
#[inline(always)]
pub(crate) fn is_secure(first: u64) -> bool {
    let [kind, major, minor, _, _, message, ..] = first.to_le_bytes();
    if kind == 0x16 {
        return major == 3 && minor <= 4 && (message == 1 || message == 2);
    }
    is_data(first)
        && minor == 3
        && (MIN_OVERHEAD + 1..=MAX_PLAIN + MAX_OVERHEAD).contains(&record_len(first))
}

/// A record of application data.
#[inline(always)]
fn is_data(first: u64) -> bool {
    let [kind, major, ..] = first.to_le_bytes();
    kind == 0x17 && major == 3
}

#[inline(always)]
fn record_len(first: u64) -> u32 {
    let [_, _, _, high, low, ..] = first.to_le_bytes();
    u32::from(high) << 8 | u32::from(low)
}

/// Whether `sent` bytes may be the records of `plain` bytes.
#[inline(always)]
fn fits(sent: u32, plain: u32) -> bool {
    let records = plain.div_ceil(MAX_PLAIN);
    let over = sent.wrapping_sub(plain);
    (records * (MIN_OVERHEAD + RECORD_HEADER)..=records * (MAX_OVERHEAD + RECORD_HEADER))
        .contains(&over)
}
