//! One socket: what was recognised on it, where each direction stands, what waits for an answer.

use smallvec::SmallVec;
use weft_abi::{DataFlags, Direction};
use weft_proto::http1::{RequestParser, ResponseParser};
use weft_proto::peering::Ciphertext;
use weft_proto::{fastcgi, http2};

use crate::exchange::Exchanges;
use crate::record::{Data, Ends, Open, Secure, Work};
use crate::span::{Endpoint, Kind, Process};
use crate::trial::Trial;
use crate::wire::Position;

pub(crate) struct Connection {
    /// Of the socket, or the session's id.
    pub(crate) cookie: u64,
    pub(crate) layer: Layer,
    pub(crate) ends: Ends,
    pub(crate) netns: u32,
    /// Seen from its first byte on.
    pub(crate) from_beginning: bool,
    pub(crate) process: Process,
    pub(crate) stage: Stage,
    pub(crate) rx: Half,
    pub(crate) tx: Half,
    pub(crate) exchanges: Exchanges,
    pub(crate) malformed: u32,
    pub(crate) last_ns: u64,
    /// Stands in the queue of idle checks.
    pub(crate) timed: bool,
    /// Has streams that are answered and wait for the end of their request.
    pub(crate) closing: bool,
    /// Of a TLS session that has shown nothing yet.
    pub(crate) trial: Option<Trial>,
}

/// What the streams of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    /// A socket's bytes.
    Socket {
        /// The TLS session that it was last proved to carry.
        session: Option<u64>,
    },
    /// Plaintext of a TLS session.
    Session {
        /// Cookie of the socket that carries it.
        socket: Option<u64>,
    },
}

/// ```text
///   Unknown ──▶ Http ──▶ Muted
///      └──────────────────▲
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Unknown,
    Http(Kind),
    Muted(Muted),
}

/// Why a connection is not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Muted {
    Tls,
    /// No protocol that is known.
    Other,
    /// Began like HTTP/1 and was not.
    FalseStart,
    /// weft's own, or the other end of one.
    Own,
    Port,
    /// `CONNECT`, `101`.
    Tunnel,
    Malformed,
    /// More requests than are kept wait for their response.
    Pipelining,
}

impl Muted {
    /// What the kernel programs are told. TLS is muted for its bytes only: its calls prove where
    /// sessions belong.
    pub(crate) fn stage(self) -> weft_abi::Stage {
        match self {
            Self::Tls | Self::Tunnel => weft_abi::Stage::Secure,
            _ => weft_abi::Stage::Muted,
        }
    }
}

/// One direction.
#[derive(Default)]
pub(crate) struct Half {
    /// Offset behind what has been seen; `None`: nothing has.
    pub(crate) expected: Option<u64>,
    pub(crate) marks: Marks,
    pub(crate) parser: Parser,
    pub(crate) sniffing: Sniffing,
    pub(crate) skip_to: u64,
}

#[derive(Default)]
pub(crate) enum Parser {
    #[default]
    None,
    Request(Box<RequestParser>),
    Response(Box<ResponseParser>),
    Frames(Box<http2::Parser>),
    FastCgi(Box<fastcgi::Parser>),
}

#[derive(Default)]
pub(crate) struct Sniffing {
    /// First bytes of the direction, or of a call, that are not recognised yet.
    pub(crate) prefix: Vec<u8>,
    /// Stream offset of `prefix`.
    pub(crate) at: u64,
    pub(crate) records: u32,
}

/// Where and by whom the latest ranges were moved: a message begins in a record before the one
/// that completes its head.
#[derive(Default)]
pub(crate) struct Marks(SmallVec<[Mark; 1]>);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(crate) offset: u64,
    pub(crate) time_ns: u64,
    pub(crate) tid: u32,
    pub(crate) tgid: u32,
    pub(crate) seq: Option<u32>,
    /// TLS session: length of the ciphertext that begins at `seq`.
    pub(crate) cipher_len: u32,
    pub(crate) blocking: bool,
    pub(crate) work: Option<Work>,
    /// By an event-loop proxy.
    pub(crate) forwards: bool,
}

const MAX_MARKS: usize = 64;

// === impl Mark ===

impl Mark {
    /// Where ciphertext crossed; 0: its length is not known.
    pub(crate) fn cipher(seq: u32, cipher_len: u32) -> Self {
        Self {
            offset: 0,
            time_ns: 0,
            tid: 0,
            tgid: 0,
            seq: Some(seq),
            cipher_len,
            blocking: false,
            work: None,
            forwards: false,
        }
    }
}

// === impl Connection ===

impl Connection {
    pub(crate) fn new(open: &Open, process: Process, from_beginning: bool) -> Self {
        let expected = from_beginning.then_some(0);
        Self {
            cookie: open.cookie,
            layer: Layer::Socket { session: None },
            ends: open.ends,
            netns: open.netns,
            from_beginning,
            process,
            stage: Stage::Unknown,
            rx: Half::new(expected),
            tx: Half::new(expected),
            exchanges: Exchanges::default(),
            malformed: 0,
            last_ns: open.origin.time_ns,
            timed: false,
            closing: false,
            trial: None,
        }
    }

    /// A session that was just seen first; its socket is told later.
    pub(crate) fn session(secure: &Secure, process: Process) -> Self {
        Self {
            cookie: secure.session,
            layer: Layer::Session { socket: None },
            ends: Ends::Unproved,
            netns: 0,
            from_beginning: false,
            process,
            stage: Stage::Unknown,
            rx: Half::new(None),
            tx: Half::new(None),
            exchanges: Exchanges::default(),
            malformed: 0,
            last_ns: secure.origin.time_ns,
            timed: false,
            closing: false,
            trial: Trial::of(secure.library),
        }
    }

    pub(crate) fn is_session(&self) -> bool {
        matches!(self.layer, Layer::Session { .. })
    }

    pub(crate) fn is_muted(&self) -> bool {
        matches!(self.stage, Stage::Muted(_))
    }

    pub(crate) fn half_mut(&mut self, direction: Direction) -> &mut Half {
        match direction {
            Direction::Rx => &mut self.rx,
            Direction::Tx => &mut self.tx,
        }
    }
}

/// Local and remote end, as spans tell them.
pub(crate) fn endpoints(ends: &Ends) -> (Endpoint, Endpoint) {
    match *ends {
        Ends::Inet { local, remote } => (Endpoint::Inet(local), Endpoint::Inet(remote)),
        Ends::Unix { .. } => (Endpoint::Unix, Endpoint::Unix),
        Ends::Unproved => (Endpoint::Unproved, Endpoint::Unproved),
    }
}

/// What carries the requests of a connection.
#[derive(Clone, Copy)]
pub(crate) struct Carrier {
    pub(crate) ends: Ends,
    pub(crate) netns: u32,
    pub(crate) from_beginning: bool,
    pub(crate) tls: bool,
}

// === impl Carrier ===

impl Carrier {
    /// Where on the wire a request begins whose first byte stands at `start`, in the record of
    /// `mark`. `stream`: of HTTP/2.
    pub(crate) fn position(
        &self,
        kind: Kind,
        stream: Option<u32>,
        mark: &Mark,
        start: u64,
    ) -> Option<Position> {
        let Self {
            ends,
            netns,
            from_beginning,
            tls,
        } = *self;
        match ends {
            Ends::Inet { local, remote } => {
                let (client, server) = match kind {
                    Kind::Server => (remote, local),
                    Kind::Client => (local, remote),
                };
                match (tls, stream) {
                    (true, Some(stream)) => Some(Position::Stream {
                        stream,
                        cipher: mark.seq.map(|seq| Ciphertext {
                            seq,
                            len: mark.cipher_len,
                        }),
                        client,
                        server,
                        netns,
                    }),
                    (true, None) => Some(Position::Tls {
                        seq: mark.seq?,
                        len: mark.cipher_len,
                        client,
                        server,
                        netns,
                    }),
                    // Sequence numbers count modulo 2^32.
                    (false, _) => Some(Position::Tcp {
                        seq: mark
                            .seq?
                            .wrapping_add(start.wrapping_sub(mark.offset) as u32),
                        client,
                        server,
                        netns,
                    }),
                }
            }
            Ends::Unix { sk, peer } => {
                let client = match kind {
                    Kind::Server => peer,
                    Kind::Client => sk,
                };
                (from_beginning && !tls && client != 0).then_some(Position::Unix {
                    sk: client,
                    offset: start,
                })
            }
            Ends::Unproved => None,
        }
    }
}

// === impl Half ===

impl Half {
    fn new(expected: Option<u64>) -> Self {
        Self {
            expected,
            ..Self::default()
        }
    }
}

// === impl Marks ===

impl Marks {
    pub(crate) fn push(&mut self, data: &Data<'_>) {
        if self.0.len() == MAX_MARKS {
            // The oldest may hold the beginning of a long head, the newest that of the next.
            self.0.remove(MAX_MARKS / 2);
        }
        self.0.push(Mark {
            offset: data.offset,
            time_ns: data.origin.time_ns,
            tid: data.origin.tid,
            tgid: data.origin.tgid,
            seq: data.has(DataFlags::SEQ).then_some(data.seq),
            cipher_len: data.cipher_len,
            blocking: data.blocking(),
            work: data.work,
            forwards: data.has(DataFlags::FORWARDS),
        });
    }

    /// The record that moved the byte at `offset`.
    pub(crate) fn at(&self, offset: u64) -> Option<&Mark> {
        let after = self.0.iter().rposition(|mark| mark.offset <= offset);
        after.and_then(|index| self.0.get(index)).or(self.0.first())
    }

    /// When this task moved its first bytes since the byte at `start`: Go reads the first byte of a request
    /// by a goroutine of its own when it comes early.
    pub(crate) fn first_by(&self, task: u64, start: u64) -> Option<u64> {
        let from = self.0.iter().rposition(|mark| mark.offset <= start);
        let mut marks = self.0[from.unwrap_or(0)..].iter();
        let by_it = |mark: &&Mark| mark.work.is_some_and(|work| work.task == task);
        marks.find(by_it).map(|mark| mark.time_ns)
    }

    /// All records since the byte at `start` were moved by one thread, as a blocking worker does.
    pub(crate) fn blocking_since(&self, start: u64) -> bool {
        let from = self.0.iter().rposition(|mark| mark.offset <= start);
        let marks = &self.0[from.unwrap_or(0)..];
        marks
            .iter()
            .all(|mark| mark.blocking && mark.tid == marks[0].tid && mark.tgid == marks[0].tgid)
    }

    /// Nothing before `offset` will be asked for, but for its last byte.
    pub(crate) fn forget_before(&mut self, offset: u64) {
        let before = offset.saturating_sub(1);
        if let Some(index) = self.0.iter().rposition(|mark| mark.offset <= before) {
            self.0.drain(..index);
        }
    }
}
