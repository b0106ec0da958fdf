//! TLS library calls: what the agent tells the kernel programs of each probe site, and the state
//! they keep of sessions and of calls under way.

use crate::control::Connection;

/// Attach cookie of a probe: which call it belongs to, and the registers to look at.
///
/// ```text
///    63     56      48        40       32       24       16        8       0
///     |   0  | stack | success |  bytes | length | buffer | session | flags |
/// ```
/// A register is an index into the words of `struct pt_regs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// Bits of [`SiteFlags`].
    pub flags: u8,
    /// The session's object.
    pub session: u8,
    pub buffer: u8,
    /// Bytes of the buffer.
    pub length: u8,
    /// At an entry with [`SiteFlags::POINTER`]: where the moved bytes will stand (u64).
    /// At a return: the moved bytes.
    /// With [`SiteFlags::PAYLOAD`]: so many words into the buffer it begins.
    pub bytes: u8,
    /// At a return with [`SiteFlags::POINTER`]: whether it succeeded.
    pub success: u8,
    /// Which library, for the agent's own use; with [`Site::ON_TRIAL`].
    pub stack: u8,
}

/// Bits of [`Site::flags`].
pub struct SiteFlags;

impl SiteFlags {
    /// The call takes plaintext from the program; else it hands plaintext to it.
    pub const WRITE: u8 = 1;
    /// The task is a goroutine, which may go on on another thread.
    pub const GO: u8 = 2;
    /// 1 in the success register is success; the moved bytes stand in memory.
    pub const POINTER: u8 = 4;
    /// rustls: so many words behind the buffer as the place of the bytes register says stands a
    /// `Payload` (a word, address, bytes), all of it is handed over, and there is no return site.
    pub const PAYLOAD: u8 = 8;
    /// The call moves its buffer in parts; this is the end of one.
    pub const PART: u8 = 16;
    /// The moved bytes stand on the stack: see [`Site::on_stack`].
    pub const STACK: u8 = 32;
    /// rustls: the buffer is an `OutboundChunks`. Either 0, address, bytes; or an array of such
    /// pairs, its length, and the range of all their bytes that is meant.
    pub const CHUNKS: u8 = 64;
}

impl Site {
    /// In [`Site::stack`]: found in code that no symbol names, so that its first calls are to show
    /// whether it is right.
    pub const ON_TRIAL: u8 = 1 << 7;

    /// With [`SiteFlags::STACK`]: bytes above the stack pointer, in the place of three registers.
    pub const fn on_stack(self) -> u32 {
        u32::from_le_bytes([self.session, self.buffer, self.length, 0])
    }

    pub const fn cookie(self) -> u64 {
        u64::from_le_bytes([
            self.flags,
            self.session,
            self.buffer,
            self.length,
            self.bytes,
            self.success,
            self.stack,
            0,
        ])
    }

    pub const fn from_cookie(cookie: u64) -> Self {
        let [flags, session, buffer, length, bytes, success, stack, _] = cookie.to_le_bytes();
        Self {
            flags,
            session,
            buffer,
            length,
            bytes,
            success,
            stack,
        }
    }
}

/// Key of the `SESSIONS` map.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionKey {
    /// Address of the library's object.
    pub object: u64,
    pub tgid: u32,
    pub reserved: u32,
}

/// One TLS session of one process: its two streams of plaintext, and the socket that carries it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Session {
    /// Its `cookie` is the session's id, with [`SESSION_BIT`] set.
    pub state: Connection,
    /// Cookie of the socket; 0: not proved yet.
    pub socket: u64,
    /// Sequence numbers of the ciphertext that the plaintext read last came from: `[rx_seq, rx_end)`.
    pub rx_seq: u32,
    pub rx_end: u32,
    /// Where the next ciphertext of this session will begin, as far as it is known.
    pub tx_seq: u32,
    /// Bits of [`SessionFlags`].
    pub flags: u32,
    /// Cookie of the socket whose ciphertext this session may have taken in, and that.
    pub candidate: u64,
    pub candidate_records: Records,
    /// Bits of `DataFlags` that the socket's calls had.
    pub data_flags: u32,
    pub reserved: u32,
    /// Object of the session that the candidate carried before; 0: none.
    pub candidate_holder: u64,
    /// Of other sockets whose ciphertext it may have been.
    pub candidate_others: Lengths,
    /// With [`SessionFlags::FROM_MEMORY`]: bytes of ciphertext that came in for it, less the
    /// plaintext handed out. Plaintext beyond that is another connection's: the object has moved.
    pub credit: u64,
}

/// Bits of [`Session::flags`].
pub struct SessionFlags;

impl SessionFlags {
    /// Plaintext was handed out since ciphertext came in: the next piece begins a new range.
    pub const RX_TAKEN: u32 = 1;
    /// `rx_seq` and `rx_end` are valid.
    pub const RX_SEQ: u32 = 2;
    /// `tx_seq` is valid.
    pub const TX_SEQ: u32 = 4;
    /// Its library reads the socket itself, in calls that are all seen: ciphertext that comes in
    /// outside of them was taken in by one that began before the probe was there.
    pub const READS_SOCKET: u32 = 8;
    /// It was put on its socket by ciphertext that crossed outside of its calls.
    pub const FROM_MEMORY: u32 = 16;
}

/// Set in the ids of sessions, never in socket cookies.
pub const SESSION_BIT: u64 = 1 << 63;

/// A TLS call under way.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct TlsCall {
    /// The session's object; 0: no call is under way.
    pub object: u64,
    pub buffer: u64,
    pub length: u64,
    /// Where the moved bytes will stand.
    pub pointer: u64,
    /// Cookie of the socket that was called meanwhile; 0: none.
    pub socket: u64,
    /// When the first ciphertext crossed, ns; 0: none did.
    pub time_ns: u64,
    /// Sequence numbers of that ciphertext, in the direction of the call.
    pub seq: u32,
    pub end: u32,
    /// Bits of [`TlsCallFlags`].
    pub flags: u32,
    pub data_flags: u32,
    /// Of the socket, when it was not known to carry this session: `Connection::ahead_seq`, `ahead_end`.
    pub ahead_seq: u32,
    pub ahead_end: u32,
}

/// Bits of [`TlsCall::flags`]; the lowest byte holds [`SiteFlags`], the highest [`Site::stack`].
pub struct TlsCallFlags;

impl TlsCallFlags {
    pub const STACK_SHIFT: u32 = 24;
    pub const WRITE: u32 = SiteFlags::WRITE as u32;
    /// `seq` and `end` are valid.
    pub const SEQ: u32 = 1 << 8;
}

/// What a thread does with TLS: kept in task storage.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct TlsThread {
    pub call: TlsCall,
    /// Ciphertext it received outside of TLS calls that no session has taken in yet.
    pub received: Crossing,
    /// Object of the session whose plaintext it wrote without a socket call, and how much.
    pub wrote: u64,
    pub wrote_len: u32,
    /// 1: more than one session wrote.
    pub wrote_mixed: u32,
    /// The process and the `Control::epoch` for which it was found selected last.
    pub allowed_tgid: u32,
    pub allowed_epoch: u32,
    pub plain: Plain,
}

/// Plaintext on its way from the program that saw it to the one that makes records of it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain {
    /// The session's object.
    pub object: u64,
    /// As in [`TlsCall`].
    pub buffer: u64,
    pub offset: u64,
    pub time_ns: u64,
    pub moved: u32,
    pub seq: u32,
    pub cipher_len: u32,
    /// Bits of [`TlsCallFlags`].
    pub call_flags: u32,
    /// Bits of `DataFlags`.
    pub data_flags: u32,
    pub reserved: u32,
}

/// Ciphertext on one socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Crossing {
    /// Socket cookie; 0: none.
    pub socket: u64,
    pub seq: u32,
    pub end: u32,
    pub reserved: u32,
    /// Data records, the first of which begins at `seq`.
    pub records: Records,
    /// Where the socket's next ciphertext to send begins.
    pub tx_seq: u32,
    pub data_flags: u32,
    /// Object of the session that the socket carries so far; 0: none.
    pub holder: u64,
    /// Bytes received in all.
    pub bytes: u64,
    /// Of other sockets that wait to be taken in.
    pub others: Lengths,
}

/// Lengths of the bodies of up to four TLS records, the first three and the last; 0: none.
pub type Records = [u16; 4];

/// A set of lengths of TLS records' bodies, in classes of 64 bytes.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Lengths(u64);

impl Lengths {
    #[inline(always)]
    #[must_use]
    pub const fn with(self, len: u16) -> Self {
        if len == 0 {
            return self;
        }
        Self(self.0 | 1 << class(len as u32))
    }

    /// Whether one of `min..=max` may be in it.
    #[inline(always)]
    #[must_use]
    pub const fn may_hold(self, min: u32, max: u32) -> bool {
        let up_to_max = u64::MAX >> (63 - class(max));
        self.0 & up_to_max & u64::MAX << class(min) != 0
    }
}

#[inline(always)]
const fn class(len: u32) -> u32 {
    let class = len / 64;
    if class > 63 { 63 } else { class }
}

/// Key of the `GO_CALLS` map.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GoKey {
    /// Address of the goroutine's descriptor.
    pub g: u64,
    pub tgid: u32,
    pub reserved: u32,
}

const _: () = assert!(size_of::<Session>() == size_of::<Connection>() + 72);
const _: () = assert!(size_of::<TlsCall>() == 72);
const _: () = assert!(size_of::<TlsThread>() == 216);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_by_class() {
        let set = Lengths::default().with(90).with(1192).with(16_401);
        assert!(!set.may_hold(0, 63) && set.may_hold(64, 64) && set.may_hold(10, 100));
        assert!(!set.may_hold(201, 281) && set.may_hold(1_100, 1_190));
        assert!(set.may_hold(16_000, 16_100) && !Lengths::default().may_hold(0, u32::MAX));
    }

    #[test]
    fn a_site_survives_its_cookie() {
        let site = Site {
            flags: SiteFlags::WRITE | SiteFlags::POINTER,
            session: 14,
            buffer: 13,
            length: 12,
            bytes: 11,
            success: 10,
            stack: 3,
        };
        assert_eq!(Site::from_cookie(site.cookie()), site);
    }
}
