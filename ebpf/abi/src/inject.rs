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
