//! Records of the ring buffer as checked values: what [`weft_abi`] lays out, without `unsafe`.

mod encode;
mod injected;
mod layout;

use std::mem::{offset_of, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use weft_abi::{
    CloseRecord, DataFlags, DataRecord, Descent, Direction, Family, Missing, OpenFlags, OpenRecord,
    ProcessRecord, RecordHeader, RecordKind, SESSION_BIT, STREAM_BIT, SecureRecord, StreamRecord,
    TAIL_BYTES,
};

pub use injected::Injected;

use layout::Reader;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    Data(Data<'a>),
    Open(Open),
    Close(Close),
    Process(ProcessChange),
    Secure(Secure),
    Sends(Sends),
    /// `writer` is the connection's cookie, `handed_ns` when that was read first.
    Resumed(Sends),
    Injected(Injected),
}

/// The task that made the call, and when the call returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// 0 outside of a task's context.
    pub tid: u32,
    /// 0 outside of a task's context.
    pub tgid: u32,
    pub time_ns: u64,
}

/// A range of a stream: `[offset, offset + len)`, of which `payload` is the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data<'a> {
    pub origin: Origin,
    /// Of a socket or of a TLS session.
    pub cookie: u64,
    pub direction: Direction,
    /// Bits of [`DataFlags`].
    pub flags: u16,
    pub offset: u64,
    pub len: u32,
    /// With [`DataFlags::SEQ`]; of a TLS session: where its ciphertext begins.
    pub seq: u32,
    /// Length of that ciphertext; 0: unknown, or no TLS session.
    pub cipher_len: u32,
    /// Last bytes of the range, with [`DataFlags::TAIL`].
    pub tail: [u8; TAIL_BYTES],
    pub missing: Missing,
    /// `None`: not known.
    pub work: Option<Work>,
    pub payload: &'a [u8],
}

/// The logical task that a call was made by, or for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// The runtime's own id.
    pub task: u64,
    /// It is a context of CPython's, a greenlet, a virtual thread, a task of Tokio, or what runs in Node.js.
    pub context: bool,
    /// Others have handed something to the one that made the call, too; or, of a task of Tokio, that would not
    /// be known.
    pub shared: bool,
    /// What the response goes on with will be told.
    pub resumes: bool,
    /// The thread that made the call is judged as that of any program, too. Of what a response goes on with: that is
    /// a thread that has read the request.
    pub thread: bool,
    /// When `task` has handed the call over to the one that made it.
    pub handed_ns: Option<u64>,
    /// `None`: neither it nor any that it descends from reads requests.
    pub root: Option<Root>,
}

/// The nearest ancestor that reads requests, or the task itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root {
    pub task: u64,
    /// When that has created the first of the line; `None`: it is the task itself.
    pub left_ns: Option<u64>,
    pub request: Token,
}

/// Which of its requests a task works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// The one that begins in the record of this time.
    At(u64),
    /// The one on this stream of HTTP/2.
    Stream(u32),
}

/// A task is about to send a request of HTTP/2 that another one has handed to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sends {
    pub origin: Origin,
    pub writer: u64,
    pub stream: u32,
    /// Handed over.
    pub work: Work,
}

/// First sight of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    pub origin: Origin,
    pub cookie: u64,
    /// Bits of [`OpenFlags`].
    pub flags: u16,
    pub netns: u32,
    pub inode: u64,
    pub ends: Ends,
}

/// Who is connected, as this socket sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// IPv4 addresses mapped into IPv6 are told as IPv4.
    Inet {
        local: SocketAddr,
        remote: SocketAddr,
    },
    /// Kernel identities of the two sockets; `peer` is 0 when unknown.
    Unix { sk: u64, peer: u64 },
    /// A TLS session whose socket is not proved.
    Unproved,
}

/// A TLS session is seen first, or put on its socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Secure {
    pub origin: Origin,
    pub session: u64,
    /// Cookie of the socket; 0: not proved.
    pub socket: u64,
    /// The library, as the daemon's sites name it; only where the session is seen first.
    pub library: u8,
    pub before: Option<Before>,
}

/// Where plaintext crossed that was seen before its socket was known, in sequence numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// What was written last left from there on.
    Written { seq: u32 },
    /// All that was read so far stood in this ciphertext.
    Read { seq: u32, len: u32 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close {
    pub origin: Origin,
    pub cookie: u64,
    pub direction: Direction,
    /// The socket is gone.
    pub last: bool,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessChange {
    pub origin: Origin,
    pub kind: ProcessChangeKind,
    pub tgid: u32,
    /// NUL-padded.
    pub comm: [u8; 16],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessChangeKind {
    Fork { parent: u32 },
    Exec,
    Exit,
    Mapped,
}

/// Bytes that the kernel programs of this build cannot have written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("record of {len} bytes where at least {needed} are needed")]
    Short { len: usize, needed: usize },
    #[error("unknown record kind {0}")]
    Kind(u8),
    #[error("unknown direction {0}")]
    Direction(u8),
    #[error("unknown address family {0}")]
    Family(u16),
    #[error("unknown reason for missing bytes {0}")]
    Missing(u8),
    #[error("{captured} bytes captured of a range of {len}")]
    Captured { captured: u32, len: u32 },
}

// === impl Record ===

impl<'a> Record<'a> {
    /// `bytes`: one element of the ring buffer; what follows the valid payload is ignored.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let header = Reader::new(bytes, size_of::<RecordHeader>())?;
        let kind = header.u8(offset_of!(RecordHeader, kind));
        let origin = Origin {
            tid: header.u32(offset_of!(RecordHeader, tid)),
            tgid: header.u32(offset_of!(RecordHeader, tgid)),
            time_ns: header.u64(offset_of!(RecordHeader, time_ns)),
        };
        let is = |wanted: RecordKind| kind == wanted as u8;
        if is(RecordKind::Data) {
            Data::decode(bytes, origin).map(Self::Data)
        } else if is(RecordKind::Open) {
            Open::decode(bytes, origin).map(Self::Open)
        } else if is(RecordKind::Close) {
            Close::decode(bytes, origin).map(Self::Close)
        } else if is(RecordKind::Fork)
            || is(RecordKind::Exec)
            || is(RecordKind::Exit)
            || is(RecordKind::Mapped)
        {
            ProcessChange::decode(bytes, origin, kind).map(Self::Process)
        } else if is(RecordKind::Secure) {
            Secure::decode(bytes, origin).map(Self::Secure)
        } else if is(RecordKind::Stream) {
            Sends::decode(bytes, origin).map(Self::Sends)
        } else if is(RecordKind::Resumed) {
            Sends::decode(bytes, origin).map(Self::Resumed)
        } else if is(RecordKind::Injected) {
            Injected::decode(bytes, origin).map(Self::Injected)
        } else {
            Err(RecordError::Kind(kind))
        }
    }

    pub fn origin(&self) -> &Origin {
        match self {
            Self::Data(Data { origin, .. })
            | Self::Open(Open { origin, .. })
            | Self::Close(Close { origin, .. })
            | Self::Process(ProcessChange { origin, .. })
            | Self::Secure(Secure { origin, .. })
            | Self::Sends(Sends { origin, .. })
            | Self::Resumed(Sends { origin, .. })
            | Self::Injected(Injected { origin, .. }) => origin,
        }
    }
}

// === impl Data ===

impl<'a> Data<'a> {
    fn decode(bytes: &'a [u8], origin: Origin) -> Result<Self, RecordError> {
        let reader = Reader::new(bytes, size_of::<DataRecord>())?;
        let len = reader.u32(offset_of!(DataRecord, len));
        let captured = reader.u32(offset_of!(RecordHeader, captured));
        if captured > len {
            return Err(RecordError::Captured { captured, len });
        }
        let payload = &bytes[size_of::<DataRecord>()..];
        let payload = payload.get(..captured as usize).ok_or(RecordError::Short {
            len: bytes.len(),
            needed: size_of::<DataRecord>() + captured as usize,
        })?;
        Ok(Self {
            origin,
            cookie: reader.u64(offset_of!(DataRecord, cookie)),
            direction: reader.direction()?,
            flags: reader.u16(offset_of!(RecordHeader, flags)),
            offset: reader.u64(offset_of!(DataRecord, offset)),
            len,
            seq: reader.u32(offset_of!(DataRecord, seq)),
            cipher_len: reader.u32(offset_of!(DataRecord, cipher_len)),
            tail: reader.array(offset_of!(DataRecord, tail)),
            missing: missing(reader.u8(offset_of!(DataRecord, missing)))?,
            work: Work::decode(reader),
            payload,
        })
    }

    /// Offset behind the range.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(u64::from(self.len))
    }

    pub fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// The call was made as a blocking worker makes it: known to be on a socket that stands in no epoll
    /// set, or one that received and would have waited (a dispatcher that hands connections to threads
    /// makes them blocking first and takes them out of its set when the thread may have begun). Of a call
    /// that sends, and of plaintext of TLS, it is not known whether it would have waited. A call that a task
    /// makes lets the task wait, and not the thread.
    pub fn blocking(&self) -> bool {
        if self.work.is_some_and(|work| !work.thread) {
            return false;
        }
        let known = self.direction == Direction::Rx && self.cookie & SESSION_BIT == 0;
        let waits = known && !self.has(DataFlags::NONBLOCKING);
        self.has(DataFlags::EPOLL_KNOWN) && (!self.has(DataFlags::EPOLL) || waits)
    }
}

// === impl Work ===

impl Work {
    fn decode(reader: Reader<'_>) -> Option<Self> {
        let flags = reader.u16(offset_of!(RecordHeader, flags));
        let handed_ns = reader.u64(offset_of!(DataRecord, task_ns));
        let work = Self {
            task: reader.u64(offset_of!(DataRecord, task)),
            context: flags & DataFlags::CONTEXT != 0,
            shared: flags & DataFlags::SHARED != 0,
            resumes: flags & DataFlags::RESUMES != 0,
            thread: flags & DataFlags::THREAD != 0,
            handed_ns: (flags & DataFlags::HANDED != 0).then_some(handed_ns),
            root: Root::decode(reader, offset_of!(DataRecord, descent)),
        };
        (work.task != 0).then_some(work)
    }
}

// === impl Root ===

impl Root {
    /// `at`: of the `Descent`.
    fn decode(reader: Reader<'_>, at: usize) -> Option<Self> {
        let task = reader.u64(at + offset_of!(Descent, root));
        let left_ns = reader.u64(at + offset_of!(Descent, left_ns));
        let request = reader.u64(at + offset_of!(Descent, request));
        (task != 0).then_some(Self {
            task,
            left_ns: (left_ns != 0).then_some(left_ns),
            request: match request & STREAM_BIT {
                0 => Token::At(request),
                _ => Token::Stream(request as u32),
            },
        })
    }
}

// === impl Sends ===

impl Sends {
    fn decode(bytes: &[u8], origin: Origin) -> Result<Self, RecordError> {
        let reader = Reader::new(bytes, size_of::<StreamRecord>())?;
        let flags = reader.u16(offset_of!(RecordHeader, flags));
        let handed_ns = reader.u64(offset_of!(StreamRecord, task_ns));
        Ok(Self {
            origin,
            writer: reader.u64(offset_of!(StreamRecord, writer)),
            stream: reader.u32(offset_of!(StreamRecord, stream)),
            work: Work {
                task: reader.u64(offset_of!(StreamRecord, task)),
                context: flags & DataFlags::CONTEXT != 0,
                shared: false,
                resumes: false,
                thread: flags & DataFlags::THREAD != 0,
                handed_ns: (handed_ns != 0).then_some(handed_ns),
                root: Root::decode(reader, offset_of!(StreamRecord, descent)),
            },
        })
    }
}

fn missing(value: u8) -> Result<Missing, RecordError> {
    [
        Missing::None,
        Missing::Budget,
        Missing::NoBuffer,
        Missing::IoUring,
        Missing::Compat,
        Missing::Fault,
        Missing::Vector,
    ]
    .into_iter()
    .find(|missing| *missing as u8 == value)
    .ok_or(RecordError::Missing(value))
}

// === impl Open ===

impl Open {
    fn decode(bytes: &[u8], origin: Origin) -> Result<Self, RecordError> {
        let reader = Reader::new(bytes, size_of::<OpenRecord>())?;
        let family = reader.u16(offset_of!(OpenRecord, family));
        let address = |address: usize, port: usize| {
            let octets: [u8; 16] = reader.array(address);
            let ip = if family == Family::Inet as u16 {
                let [a, b, c, d, ..] = octets;
                IpAddr::V4(Ipv4Addr::new(a, b, c, d))
            } else {
                IpAddr::V6(Ipv6Addr::from(octets)).to_canonical()
            };
            SocketAddr::new(ip, reader.u16(port))
        };
        let ends = if family == Family::Unix as u16 {
            Ends::Unix {
                sk: reader.u64(offset_of!(OpenRecord, sk)),
                peer: reader.u64(offset_of!(OpenRecord, peer)),
            }
        } else if family == Family::Inet as u16 || family == Family::Inet6 as u16 {
            Ends::Inet {
                local: address(
                    offset_of!(OpenRecord, local_addr),
                    offset_of!(OpenRecord, local_port),
                ),
                remote: address(
                    offset_of!(OpenRecord, remote_addr),
                    offset_of!(OpenRecord, remote_port),
                ),
            }
        } else {
            return Err(RecordError::Family(family));
        };
        Ok(Self {
            origin,
            cookie: reader.u64(offset_of!(OpenRecord, cookie)),
            flags: reader.u16(offset_of!(RecordHeader, flags)),
            netns: reader.u32(offset_of!(OpenRecord, netns)),
            inode: reader.u64(offset_of!(OpenRecord, inode)),
            ends,
        })
    }

    pub fn is_fresh(&self) -> bool {
        self.flags & OpenFlags::FRESH != 0
    }

    pub fn is_own(&self) -> bool {
        self.flags & OpenFlags::OWN != 0
    }
}

// === impl Close ===

impl Close {
    fn decode(bytes: &[u8], origin: Origin) -> Result<Self, RecordError> {
        let reader = Reader::new(bytes, size_of::<CloseRecord>())?;
        Ok(Self {
            origin,
            cookie: reader.u64(offset_of!(CloseRecord, cookie)),
            direction: reader.direction()?,
            last: reader.u8(offset_of!(CloseRecord, last)) != 0,
            rx_bytes: reader.u64(offset_of!(CloseRecord, rx_bytes)),
            tx_bytes: reader.u64(offset_of!(CloseRecord, tx_bytes)),
        })
    }
}

// === impl Secure ===

impl Secure {
    fn decode(bytes: &[u8], origin: Origin) -> Result<Self, RecordError> {
        let reader = Reader::new(bytes, size_of::<SecureRecord>())?;
        let flags = reader.u16(offset_of!(RecordHeader, flags));
        let seq = reader.u32(offset_of!(SecureRecord, seq));
        let before = match reader.direction()? {
            Direction::Tx => Before::Written { seq },
            Direction::Rx => Before::Read {
                seq,
                len: reader.u32(offset_of!(SecureRecord, len)),
            },
        };
        Ok(Self {
            origin,
            session: reader.u64(offset_of!(SecureRecord, cookie)),
            socket: reader.u64(offset_of!(SecureRecord, socket)),
            library: reader.u32(offset_of!(SecureRecord, stack)) as u8,
            before: (flags & DataFlags::SEQ != 0).then_some(before),
        })
    }
}

// === impl ProcessChange ===

impl ProcessChange {
    fn decode(bytes: &[u8], origin: Origin, kind: u8) -> Result<Self, RecordError> {
        let reader = Reader::new(bytes, size_of::<ProcessRecord>())?;
        let kind = if kind == RecordKind::Fork as u8 {
            ProcessChangeKind::Fork {
                parent: reader.u32(offset_of!(ProcessRecord, other)),
            }
        } else if kind == RecordKind::Exec as u8 {
            ProcessChangeKind::Exec
        } else if kind == RecordKind::Mapped as u8 {
            ProcessChangeKind::Mapped
        } else {
            ProcessChangeKind::Exit
        };
        Ok(Self {
            origin,
            kind,
            tgid: reader.u32(offset_of!(ProcessRecord, tgid)),
            comm: reader.array(offset_of!(ProcessRecord, comm)),
        })
    }

    pub fn comm(&self) -> String {
        let end = self.comm.iter().position(|byte| *byte == 0);
        String::from_utf8_lossy(&self.comm[..end.unwrap_or(self.comm.len())]).into_owned()
    }
}
