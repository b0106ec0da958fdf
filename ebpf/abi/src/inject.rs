//! Writing `traceparent` into requests: what the agent tells the kernel programs, and the state they
//! keep of a connection until its first request has left.

use crate::RecordHeader;

/// `traceparent: 00-<32 digits>-<16 digits>-<2 digits>` and a line end.
pub const INJECTED_BYTES: u32 = 70;

/// The only element of the `INJECT` array.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct InjectControl {
    /// 0: nothing is written. 1: by selected processes. 2: by weft's own process, for its self-test.
    pub mode: u32,
    /// 1: what blocking workers send carries on the trace of their requests' `traceparent`.
    pub carry: u32,
    /// 1: their sampled flag too.
    pub parent_based: u32,
    pub reserved: u32,
    /// Traces are kept whose random part, the last 56 bits of the id, is not below.
    pub keep_from: u64,
}

/// Where connections go to: key of the `DESTINATIONS` map.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Destination {
    /// IPv4 as `::ffff:a.b.c.d`.
    pub address: [u8; 16],
    /// Host byte order.
    pub port: u32,
}

/// State in socket storage of a connection that may carry an injected header.
///
/// ```text
///            established             first send call, acknowledgement
///   Selected ───────────▶ Waits ───────────────────────────────────▶ Over
///                   into `SOCKETS`        the latter: out of `SOCKETS`
/// ```
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Injection {
    /// Socket cookie, its key in `SOCKETS`.
    pub cookie: u64,
    /// Process that connects.
    pub tgid: u32,
    /// An [`InjectionStage`].
    pub stage: u32,
    /// `bpf_sock_ops` call-backs that were asked for here and by nobody before.
    pub callbacks: u32,
    /// Of the head that is being read: bytes up to its end, 0 while it has not been found.
    pub head_len: u32,
    /// Lines that have ended.
    pub lines: u32,
    /// 1: nothing is to be written into it.
    pub refused: u32,
    /// The last eight bytes, letters in lower case, the latest in the lowest byte.
    pub last: u64,
}

/// What a thread works on: an element of the `WORK` map, keyed by thread id.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Work {
    /// Socket that the request was read from.
    pub cookie: u64,
    /// 1: the rest is valid.
    pub known: u32,
    /// Trace flags.
    pub flags: u32,
    /// Trace id, each word's highest byte first.
    pub trace: [u32; 4],
}

/// Bytes of a received head that are looked through; a power of two.
pub const HEAD_BYTES: u32 = 2048;
/// A space, the value of a `traceparent` and the first byte of the line's end.
pub const VALUE_BYTES: u32 = 57;

/// A received head, while it is looked through.
#[repr(C)]
pub struct Head {
    pub bytes: [u8; HEAD_BYTES as usize],
    /// The last sixteen bytes, letters in lower case, the latest in the lowest byte of `last`.
    pub last: u64,
    pub older: u64,
    /// Fields of the name, and where the value of the last one begins.
    pub found: u32,
    pub value_at: u32,
    /// Not 0: the value is not a valid one.
    pub bad: u32,
    pub reserved: u32,
    /// Of the value, 0 to 15 each.
    pub digits: [u8; 64],
}

#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectionStage {
    /// Not connected yet.
    Selected = 1,
    /// In `SOCKETS`; nothing has been sent.
    Waits = 2,
    Over = 3,
}

/// A header was written into a request, always before the first `Data` of the call that sends it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct InjectedRecord {
    pub header: RecordHeader,
    pub cookie: u64,
    /// TCP sequence number of the request's first byte.
    pub seq: u32,
    /// Trace flags.
    pub flags: u32,
    pub trace_id: [u8; 16],
    /// Of the request's client span.
    pub span_id: [u8; 8],
}

const _: () = assert!(size_of::<InjectedRecord>() == 64);
const _: () = assert!(size_of::<Destination>() == 20);
