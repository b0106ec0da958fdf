//! Values the agent writes for the kernel programs, and the state they keep in each socket.

/// The only element of the `CONTROL` array.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Control {
    /// A [`Mode`].
    pub mode: u32,
    /// Raised with every change of the selection: connections judge themselves anew.
    pub epoch: u32,
    /// A [`Wake`].
    pub wake: u32,
    /// 1: the `PORTS` map selects too.
    pub by_port: u32,
    /// Requests whose hash is not below are dropped before a byte is copied; `1 << 32` keeps all.
    pub sample_below: u64,
    /// Bits of [`TlsProbes`].
    pub tls: u32,
    /// 1: `traceparent` is written, so that processes which serve requests are noted.
    pub inject: u32,
}

/// Bits of [`Control::tls`].
pub struct TlsProbes;

impl TlsProbes {
    /// TLS libraries are watched somewhere.
    pub const ANY: u32 = 1;
    /// Go programs are among them.
    pub const GO: u32 = 2;
}

/// Which tasks' sockets are looked at.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    /// Nothing.
    #[default]
    None = 0,
    /// Every process that is not denied by the `PROCESSES` map.
    All = 1,
    /// Processes allowed by the `PROCESSES` or `CGROUPS` map.
    Listed = 2,
}

/// Value of the `PROCESSES` (key: tgid), `CGROUPS` (key: cgroup id) and `PORTS` maps.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Deny = 1,
    Allow = 2,
    /// Allowed, and nothing is written into what it sends.
    Unwritten = 3,
}

/// When a record wakes the agent.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Wake {
    /// With the first record the agent has not seen: for a quiet node.
    #[default]
    Each = 0,
    /// When the ring is a quarter full; the agent looks by itself every few milliseconds.
    Batch = 1,
}

/// What the agent has to say about one connection: an element of the `HINTS` map, keyed by socket
/// cookie. The kernel programs take it out when they have read it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Hint {
    /// A [`Stage`] to go to; 0 leaves it.
    pub stage: u32,
    pub reserved: u32,
    /// Bytes before this stream offset need not be captured; 0 says nothing.
    pub rx_skip_to: u64,
    pub tx_skip_to: u64,
    /// With [`Stage::Frames`]: stream offset at which a frame begins; 0 says nothing.
    pub rx_frame_at: u64,
    pub tx_frame_at: u64,
}

/// How far a connection is recognised.
///
/// ```text
///            looks like HTTP            hint
///   Fresh ───────────────────▶ Follow ──────▶ Muted
///     │  budget used              ▲             ▲
///     └───────────────▶ Sniff ────┴─────────────┘
///                              looks like HTTP / hint
///
///   Fresh, Sniff ───▶ Secure: a TLS call moves bytes on it, or hint
///   Fresh, Sniff, Follow ───▶ Frames: begins like HTTP/2, or hint
/// ```
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// First bytes travel to be recognised, within a budget.
    Fresh = 1,
    /// Message heads travel.
    Follow = 2,
    /// Nothing travels until a call begins like an HTTP message.
    Sniff = 3,
    /// Nothing travels.
    Muted = 4,
    /// The task is not selected (in the epoch that stands beside it).
    Unselected = 5,
    /// TLS: nothing of the socket's own bytes travels, but its calls are looked at for the sessions.
    Secure = 6,
    /// HTTP/2: all travels but the payload of long DATA frames.
    Frames = 7,
}

/// State kept in socket storage: born and gone with the socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Connection {
    pub cookie: u64,
    /// A [`Stage`]; 0: never judged.
    pub stage: u32,
    /// `Control::epoch` at the time of the last judgement.
    pub epoch: u32,
    /// Process of the last judgement.
    pub tgid: u32,
    /// 1: an open record has been sent.
    pub announced: u32,
    /// `sendmmsg`/`recvmmsg`: the array, the message's index and the last result.
    pub batch: u64,
    pub batch_index: u32,
    pub batch_ret: u32,
    /// Calls since the connection was announced, as far as they were looked at.
    pub calls: u32,
    /// A socket: process of the session that it was proved to carry.
    pub session_tgid: u32,
    /// A socket: object of that session; 0: none.
    pub session: u64,
    /// A socket that carries TLS for a session that is not known yet: sequence numbers of the
    /// ciphertext it received last, `[ahead_seq, ahead_end)`; the end 0: none.
    pub ahead_seq: u32,
    pub ahead_end: u32,
    /// Bytes that were written into the send call under way.
    pub inserted: u32,
    pub reserved: u32,
    pub rx: Half,
    pub tx: Half,
}

/// One direction in [`Connection`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Half {
    /// Stream offset after the last call.
    pub offset: u64,
    /// TCP sequence number at `offset`.
    pub seq: u32,
    /// Bytes that may still be captured before the next message begins.
    pub budget: u32,
    pub skip_to: u64,
    /// With [`Stage::Frames`]: the frame that the byte at `offset` stands in.
    pub frame: Frame,
}

/// Where a direction of HTTP/2 stands in its frames (RFC 9113 §4.1).
///
/// ```text
///  length (24) │ type (8) │ flags (8) │ stream (32) │ payload ...
///  ◀────── `length_and_type` ──────▶
/// ```
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// 1: the rest is valid.
    pub known: u32,
    /// Bytes of the frame's header that have crossed, up to [`FRAME_HEADER_BYTES`].
    pub header: u32,
    pub length_and_type: u32,
    /// Bytes of the payload that have not crossed.
    pub left: u32,
}

pub const FRAME_HEADER_BYTES: u32 = 9;
