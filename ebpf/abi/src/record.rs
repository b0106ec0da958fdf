//! Records of the ring buffer. Each begins with a [`RecordHeader`].

use crate::Descent;

/// Payload sizes a data record can be reserved with: `bpf_ringbuf_reserve` takes only constants.
pub const DATA_CLASSES: [usize; 5] = [0, 256, 1024, 2048, 4096];

/// Bytes of the end of a range that travel even when its middle was not captured.
pub const TAIL_BYTES: usize = 8;

#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// Bytes crossed a socket: [`DataRecord`].
    Data = 1,
    /// First sight of a connection, always before its first `Data`: [`OpenRecord`].
    Open = 2,
    /// A connection was closed, or one direction ended: [`CloseRecord`].
    Close = 3,
    /// A process was forked (threads are not reported): [`ProcessRecord`], `other` = parent's tgid.
    Fork = 4,
    /// A process replaced its program: [`ProcessRecord`].
    Exec = 5,
    /// A process (its first thread) ended: [`ProcessRecord`].
    Exit = 6,
    /// A TLS session was seen first, or put on its socket: [`SecureRecord`], always before its
    /// first `Data`.
    Secure = 7,
    /// The dynamic loader of a process has mapped libraries: [`ProcessRecord`].
    Mapped = 8,
    /// A task is about to send a request of HTTP/2 that another one has handed to it: [`StreamRecord`].
    Stream = 9,
    /// A `traceparent` was written into a request: [`InjectedRecord`](crate::InjectedRecord).
    Injected = 10,
    /// What a thread has read on a connection goes on with something of a request: [`StreamRecord`], whose
    /// `writer` is the connection's cookie and `task_ns` the time of the first record that was read for it.
    Resumed = 11,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RecordHeader {
    /// A [`RecordKind`].
    pub kind: u8,
    /// `Data`, `Close`: a [`Direction`].
    pub direction: u8,
    /// `Data`: bits of [`DataFlags`]. `Open`: bits of [`OpenFlags`].
    pub flags: u16,
    /// Thread id (`gettid`) in the root pid namespace; 0 outside of a task's context.
    pub tid: u32,
    /// Process id (`getpid`) in the root pid namespace; 0 outside of a task's context.
    pub tgid: u32,
    /// `Data`: payload bytes that follow the record and are valid.
    pub captured: u32,
    /// `CLOCK_MONOTONIC`, ns, taken when the call returned.
    pub time_ns: u64,
}

#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The task received.
    Rx = 0,
    /// The task sent.
    Tx = 1,
}

impl Direction {
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Rx => Self::Tx,
            Self::Tx => Self::Rx,
        }
    }
}

/// One call's range of a stream, or one piece of it when the call is large or vectored.
///
/// The record covers `[offset, offset + len)`: of it the first `header.captured` bytes follow the
/// record, the rest is a known gap, the last [`TAIL_BYTES`] of which stand in `tail` when
/// [`DataFlags::TAIL`] is set.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct DataRecord {
    pub header: RecordHeader,
    /// Socket cookie, or id of a TLS session.
    pub cookie: u64,
    /// Position of the first byte in this direction's stream, counted from the connection's first
    /// byte where the kernel knows it (TCP), else from the first byte seen.
    pub offset: u64,
    /// Bytes this record accounts for, captured or not.
    pub len: u32,
    /// TCP sequence number of the first byte; of a TLS session: where the ciphertext begins that the
    /// bytes stand in. Meaningful with [`DataFlags::SEQ`].
    pub seq: u32,
    pub tail: [u8; TAIL_BYTES],
    /// A [`Missing`]: why bytes are missing, if any are.
    pub missing: u8,
    pub reserved: [u8; 3],
    /// Of a TLS session: length of that ciphertext; 0: unknown.
    pub cipher_len: u32,
    /// The logical task that made the call, or that had it made; 0: not known.
    pub task: u64,
    /// With [`DataFlags::HANDED`]: when `task` has handed the work over.
    pub task_ns: u64,
    /// Of a call that received, on a connection that speaks HTTP/2: `root` is who has created the task.
    pub descent: Descent,
}

/// Bits of `RecordHeader::flags` in a data record.
pub struct DataFlags;

impl DataFlags {
    /// First record of a call.
    pub const CALL_START: u16 = 1;
    /// Last record of a call.
    pub const CALL_END: u16 = 2;
    /// `tail` is valid.
    pub const TAIL: u16 = 4;
    /// `seq` is valid.
    pub const SEQ: u16 = 8;
    /// The receive call would not have blocked (`O_NONBLOCK` or `MSG_DONTWAIT`).
    pub const NONBLOCKING: u16 = 16;
    /// The socket's file stands in an epoll set.
    pub const EPOLL: u16 = 32;
    /// Whether it stands in an epoll set could be asked on this kernel.
    pub const EPOLL_KNOWN: u16 = 64;
    /// The kernel programs have not been told yet what this connection is.
    pub const UNKNOWN: u16 = 128;
    /// Another task made the call, to which `task` had handed the work over.
    pub const HANDED: u16 = 256;
    /// The process is an event-loop proxy: it sends what it has read, and nothing else.
    pub const FORWARDS: u16 = 512;
    /// `task` is a context of CPython's, a greenlet, a virtual thread, or a task of Tokio.
    pub const CONTEXT: u16 = 1024;
    /// With `HANDED`: more than one task had given something to the one that made the call. Of a task of Tokio:
    /// that is not known where several may send on the connection at once.
    pub const SHARED: u16 = 2048;
    /// With `CONTEXT`: what the response goes on with will be told ([`RecordKind::Resumed`]).
    pub const RESUMES: u16 = 4096;
    /// With `CONTEXT`: the thread that made the call is judged as that of any program, too.
    pub const THREAD: u16 = 8192;
}

/// Why bytes of a call did not travel.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Missing {
    /// Nothing is missing.
    None = 0,
    /// More bytes than a record or the connection's budget carries.
    Budget = 1,
    /// The call is not one whose arguments name a user buffer: sendfile, splice, kernel thread.
    NoBuffer = 2,
    /// io_uring: the registers are those of another call.
    IoUring = 3,
    /// A 32-bit caller.
    Compat = 4,
    /// The user's memory could not be read (not resident, or unmapped meanwhile).
    Fault = 5,
    /// More iovec entries than are walked, or a message of a batch that could not be identified.
    Vector = 6,
}

/// First sight of a connection.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct OpenRecord {
    pub header: RecordHeader,
    pub cookie: u64,
    /// Identity of the kernel's socket, unique among sockets that live; for matching `peer`.
    pub sk: u64,
    /// Unix sockets: `sk` of the other end, 0 when unknown.
    pub peer: u64,
    /// Inode number of the socket's file; 0 when it has none yet.
    pub inode: u64,
    /// A [`Family`].
    pub family: u16,
    /// Host byte order.
    pub local_port: u16,
    /// Host byte order.
    pub remote_port: u16,
    pub reserved: u16,
    /// Inode number of the network namespace.
    pub netns: u32,
    pub reserved2: u32,
    /// IPv4 addresses stand in the first four bytes, network byte order.
    pub local_addr: [u8; 16],
    pub remote_addr: [u8; 16],
}

/// Bits of `RecordHeader::flags` in an open record.
pub struct OpenFlags;

impl OpenFlags {
    /// No byte had crossed the connection in either direction before the call that follows (TCP).
    pub const FRESH: u16 = 1;
    /// The connection is weft's own: never traced, and its other end is not either.
    pub const OWN: u16 = 2;
}

#[repr(u16)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    Unix = 1,
    Inet = 2,
    Inet6 = 10,
}

/// A TLS session, and the socket that is proved to carry it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SecureRecord {
    /// `flags`: [`DataFlags::SEQ`]. `direction`: with that, of the plaintext that is meant.
    pub header: RecordHeader,
    /// Id of the session: [`SESSION_BIT`](crate::SESSION_BIT) is set.
    pub cookie: u64,
    /// Socket cookie; 0: not proved.
    pub socket: u64,
    /// With [`DataFlags::SEQ`]. `Tx`: sequence number at which the plaintext that was written last
    /// left. `Rx`: where the ciphertext began that the plaintext read so far came in.
    pub seq: u32,
    /// `Rx`: bytes of that ciphertext.
    pub len: u32,
    /// [`Site::stack`](crate::Site) of the probe that saw the session first; else 0.
    pub stack: u32,
    pub reserved: u32,
}

/// The task that a request is for which `writer` sends next on `stream` of its connection.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct StreamRecord {
    pub header: RecordHeader,
    pub writer: u64,
    pub task: u64,
    /// When `task` has handed it over.
    pub task_ns: u64,
    pub descent: Descent,
    pub stream: u32,
    pub reserved: u32,
}

/// End of one direction of a connection, or of the whole.
///
/// `header.direction` `Rx`: the task has read the end of the stream (the other end closed).
/// `Tx`: this end sends no more (`close` or `shutdown`).
/// `last` = 1: the socket is gone, no record of this cookie follows.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CloseRecord {
    pub header: RecordHeader,
    pub cookie: u64,
    /// Bytes that crossed in each direction as the hooks counted them.
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    pub last: u8,
    pub reserved: [u8; 7],
}

/// Fork, exec and exit.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ProcessRecord {
    pub header: RecordHeader,
    /// The process that this is about.
    pub tgid: u32,
    /// `Fork`: the parent's tgid.
    pub other: u32,
    /// `task->comm`, NUL-terminated.
    pub comm: [u8; 16],
}

const _: () = assert!(size_of::<RecordHeader>() == 24);
const _: () = assert!(size_of::<DataRecord>() == 104);
const _: () = assert!(size_of::<OpenRecord>() == 104);
const _: () = assert!(size_of::<CloseRecord>() == 56);
const _: () = assert!(size_of::<ProcessRecord>() == 48);
const _: () = assert!(size_of::<StreamRecord>() == 80);
const _: () = assert!(size_of::<SecureRecord>() == 56);
