//! Sockets of a make-believe node, and the records its kernel would write.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::allow_attributes,
    reason = "each test uses a part"
)]

pub mod h2;
pub mod two;

use std::net::SocketAddr;

use weft_abi::{DataFlags, Direction, Hint, Missing, OpenFlags, SESSION_BIT};
use weft_flow::record::{
    Before, Close, Data, Ends, Injected, Open, Origin, ProcessChange, ProcessChangeKind, Record,
    Secure, Sends, Work,
};
use weft_flow::span::{Kind, Span};
use weft_flow::{Config, Counters, Flow, ProcessEvent};
use weft_proto::trace_context::TraceParent;

pub const MS: u64 = 1_000_000;

pub struct World {
    pub flow: Flow,
    pub now: u64,
    cookies: u64,
    pub hints: Vec<(u64, Hint)>,
    /// Decides of each data record whether the ring buffer had room.
    pub loses: Box<dyn FnMut() -> bool>,
}

/// One socket.
#[derive(Clone, Debug)]
pub struct End {
    pub cookie: u64,
    pub tgid: u32,
    pub tid: u32,
    pub ends: Ends,
    pub netns: u32,
    pub inode: u64,
    pub fresh: bool,
    pub epoll: bool,
    /// Its calls wait for bytes, although it stands in an epoll set.
    pub waits: bool,
    pub rx: u64,
    pub tx: u64,
    pub rx_seq: u32,
    pub tx_seq: u32,
    /// Of a TLS session: length that each piece of ciphertext is said to have.
    pub cipher_len: u32,
    pub work: Option<Work>,
    /// Of an event-loop proxy.
    pub forwards: bool,
}

pub fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()
}

pub fn get_with(path: &str, header: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n{header}\r\n\r\n").into_bytes()
}

pub const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

impl World {
    pub fn new() -> Self {
        Self::with(Config::default())
    }

    pub fn with(config: Config) -> Self {
        Self {
            flow: Flow::new(config, 42),
            now: 1_000 * MS,
            cookies: 0,
            hints: Vec::new(),
            loses: Box::new(|| false),
        }
    }

    /// A client's and a server's end of a new TCP connection.
    pub fn connect(&mut self, client: (u32, u32), server: (u32, u32)) -> (End, End) {
        let (client, server) = self.sockets(client, server);
        self.open(&client);
        self.open(&server);
        (client, server)
    }

    /// The same, not announced yet.
    pub fn sockets(&mut self, client: (u32, u32), server: (u32, u32)) -> (End, End) {
        self.cookies += 2;
        let client_address = SocketAddr::new(
            "10.0.0.1".parse().unwrap(),
            40_000 + u16::try_from(self.cookies).unwrap(),
        );
        let server_address = address("10.0.0.2:8080");
        let cookies = u32::try_from(self.cookies).unwrap();
        let seq = (u32::MAX - 3).wrapping_add(cookies.wrapping_sub(2).wrapping_mul(7_919));
        let end = |cookie, (tgid, tid), local, remote, rx_seq, tx_seq| End {
            cookie,
            tgid,
            tid,
            ends: Ends::Inet { local, remote },
            netns: 1,
            inode: cookie,
            fresh: true,
            epoll: false,
            waits: false,
            rx: 0,
            tx: 0,
            rx_seq,
            tx_seq,
            cipher_len: 0,
            work: None,
            forwards: false,
        };
        let back = seq.wrapping_mul(31);
        (
            end(
                self.cookies,
                client,
                client_address,
                server_address,
                back,
                seq,
            ),
            end(
                self.cookies + 1,
                server,
                server_address,
                client_address,
                seq,
                back,
            ),
        )
    }

    /// Both ends of a new unix connection; each knows the other when `named`.
    pub fn connect_unix(&mut self, client: (u32, u32), server: (u32, u32)) -> (End, End) {
        let (mut client, mut server) = self.sockets(client, server);
        client.ends = Ends::Unix {
            sk: client.cookie + 0x1000,
            peer: server.cookie + 0x1000,
        };
        server.ends = Ends::Unix {
            sk: server.cookie + 0x1000,
            peer: 0,
        };
        (client, server)
    }

    pub fn open(&mut self, end: &End) {
        let flags = if end.fresh { OpenFlags::FRESH } else { 0 };
        self.open_with(end, flags);
    }

    pub fn open_with(&mut self, end: &End, flags: u16) {
        let record = Record::Open(Open {
            origin: self.origin(end),
            cookie: end.cookie,
            flags,
            netns: end.netns,
            inode: end.inode,
            ends: end.ends,
        });
        self.record(&record);
    }

    /// The kernel programs have written `parent` into the request that begins at `seq`.
    pub fn injected(&mut self, end: &End, seq: u32, parent: TraceParent) {
        let record = Record::Injected(Injected {
            origin: self.origin(end),
            cookie: end.cookie,
            seq,
            parent,
        });
        self.record(&record);
    }

    /// A TLS session in the process of `socket`, on it when `proved`.
    pub fn session(&mut self, socket: &End, proved: bool) -> End {
        let session = End {
            cookie: socket.cookie | SESSION_BIT,
            rx: 0,
            tx: 0,
            cipher_len: 400,
            ..socket.clone()
        };
        self.put_on(&session, if proved { socket.cookie } else { 0 }, None);
        session
    }

    pub fn put_on(&mut self, session: &End, socket: u64, before: Option<Before>) {
        let record = Record::Secure(Secure {
            origin: self.origin(session),
            session: session.cookie,
            library: 0,
            socket,
            before,
        });
        self.record(&record);
    }

    pub fn send(&mut self, end: &mut End, bytes: &[u8]) {
        self.data(end, Direction::Tx, bytes, bytes.len());
    }

    pub fn receive(&mut self, end: &mut End, bytes: &[u8]) {
        self.data(end, Direction::Rx, bytes, bytes.len());
    }

    /// From one end to the other.
    pub fn pass(&mut self, from: &mut End, to: &mut End, bytes: &[u8]) {
        self.send(from, bytes);
        self.receive(to, bytes);
    }

    pub fn exchange(&mut self, client: &mut End, server: &mut End, path: &str) {
        self.pass(client, server, &get(path));
        self.pass(server, client, OK);
    }

    /// One call, of whose bytes the first `captured` travel, and the tail.
    pub fn data(&mut self, end: &mut End, direction: Direction, bytes: &[u8], captured: usize) {
        let (position, first) = match direction {
            Direction::Rx => (&mut end.rx, end.rx_seq),
            Direction::Tx => (&mut end.tx, end.tx_seq),
        };
        let offset = *position;
        *position += bytes.len() as u64;
        let mut flags = DataFlags::CALL_START | DataFlags::CALL_END | DataFlags::EPOLL_KNOWN;
        if end.epoll {
            flags |= DataFlags::EPOLL;
        }
        // Of a call that sends, and of TLS, the kernel does not tell it.
        let known = direction == Direction::Rx && end.cookie & SESSION_BIT == 0;
        if end.epoll && known && !end.waits {
            flags |= DataFlags::NONBLOCKING;
        }
        if matches!(end.ends, Ends::Inet { .. }) {
            flags |= DataFlags::SEQ;
        }
        if end.work.is_some_and(|work| work.handed_ns.is_some()) {
            flags |= DataFlags::HANDED;
        }
        if end.work.is_some_and(|work| work.context) {
            flags |= DataFlags::CONTEXT;
        }
        if end.work.is_some_and(|work| work.shared) {
            flags |= DataFlags::SHARED;
        }
        if end.work.is_some_and(|work| work.resumes) {
            flags |= DataFlags::RESUMES;
        }
        if end.work.is_some_and(|work| work.thread) {
            flags |= DataFlags::THREAD;
        }
        if end.forwards {
            flags |= DataFlags::FORWARDS;
        }
        let mut tail = [0; 8];
        if captured < bytes.len() && bytes.len() >= 8 {
            flags |= DataFlags::TAIL;
            tail.copy_from_slice(&bytes[bytes.len() - 8..]);
        }
        if (self.loses)() {
            self.now += 1_000;
            return;
        }
        let record = Record::Data(Data {
            origin: self.origin(end),
            cookie: end.cookie,
            direction,
            flags,
            offset,
            len: u32::try_from(bytes.len()).unwrap(),
            seq: first.wrapping_add(offset as u32),
            cipher_len: end.cipher_len,
            tail,
            missing: Missing::None,
            work: end.work,
            payload: &bytes[..captured],
        });
        self.record(&record);
    }

    /// The socket is closed here.
    pub fn close(&mut self, end: &End) {
        self.close_record(end, Direction::Tx, true);
    }

    /// The end of the stream was read.
    pub fn end_of_stream(&mut self, end: &End) {
        self.close_record(end, Direction::Rx, false);
    }

    /// This end closes the connection, and the other one has not.
    pub fn give_up(&mut self, end: &End) {
        self.close_record(end, Direction::Tx, false);
    }

    fn close_record(&mut self, end: &End, direction: Direction, last: bool) {
        let record = Record::Close(Close {
            origin: self.origin(end),
            cookie: end.cookie,
            direction,
            last,
            rx_bytes: end.rx,
            tx_bytes: end.tx,
        });
        self.record(&record);
    }

    /// A task of the process of `end` is about to send a request that another one has handed to it.
    pub fn sends(&mut self, end: &End, writer: u64, stream: u32, work: Work) {
        let record = Record::Sends(Sends {
            origin: self.origin(end),
            writer,
            stream,
            work,
        });
        self.record(&record);
    }

    pub fn process(&mut self, tgid: u32, kind: ProcessChangeKind) {
        let origin = Origin {
            tid: tgid,
            tgid,
            time_ns: self.time(),
        };
        self.record(&Record::Process(ProcessChange {
            origin,
            kind,
            tgid,
            comm: [0; 16],
        }));
    }

    /// By the way of the ring buffer's bytes.
    fn record(&mut self, record: &Record<'_>) {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        self.flow.record(&Record::decode(&bytes).unwrap());
    }

    fn origin(&mut self, end: &End) -> Origin {
        Origin {
            tid: end.tid,
            tgid: end.tgid,
            time_ns: self.time(),
        }
    }

    fn time(&mut self) -> u64 {
        self.now += 1_000;
        self.now
    }

    /// Lets time pass and takes what has left.
    pub fn after(&mut self, ns: u64) -> Vec<Span> {
        self.now += ns;
        self.flow.tick(self.now);
        self.drain()
    }

    pub fn settled(&mut self) -> Vec<Span> {
        self.after(1_000 * MS)
    }

    pub fn drain(&mut self) -> Vec<Span> {
        let mut spans = Vec::new();
        self.flow.drain_spans(|span| spans.push(*span));
        let hints = &mut self.hints;
        self.flow
            .drain_hints(|cookie, hint| hints.push((cookie, hint)));
        check_equations(self.flow.counters());
        spans
    }

    pub fn events(&mut self) -> Vec<ProcessEvent> {
        let mut events = Vec::new();
        self.flow.drain_processes(|event| events.push(event));
        events
    }
}

pub fn check_equations(counters: &Counters) {
    let c = counters;
    let kinds = c.records_data
        + c.records_open
        + c.records_close
        + c.records_process
        + c.records_secure
        + c.records_sends
        + c.records_resumed
        + c.records_injected;
    assert_eq!(c.records, c.records_bad + kinds);
    let data = c.data_taken + c.data_unknown_connection + c.data_muted + c.data_overlap;
    assert_eq!(c.records_data, data, "{c:?}");
    let dropped = c.dropped_sampled_out
        + c.dropped_self_instrumented
        + c.dropped_full
        + c.dropped_evicted
        + c.dropped_muted
        + c.dropped_unfinished
        + c.dropped_replaced
        + c.dropped_deselected
        + c.dropped_not_drained
        + c.requests_without_span;
    assert_eq!(
        c.requests,
        c.spans_emitted + c.spans_open + dropped,
        "{c:?}"
    );
    let responses = c.responses_interim + c.responses_paired + c.responses_unpaired;
    assert_eq!(c.responses, responses);
    let connections =
        c.connections_open + c.connections_closed + c.connections_evicted + c.connections_replaced;
    assert_eq!(c.connections_opened, connections);
    let links = c.linked_trace_parent
        + c.linked_b3
        + c.linked_jaeger
        + c.linked_xray
        + c.linked_wire_position
        + c.linked_thread
        + c.linked_goroutine
        + c.linked_async_context
        + c.linked_hand_off
        + c.linked_forwarded
        + c.linked_none;
    assert_eq!(c.spans_emitted, links);
}

/// The only span of this process and kind.
pub fn the(spans: &[Span], tgid: u32, kind: Kind) -> &Span {
    let mut found = spans
        .iter()
        .filter(|span| span.process.tgid == tgid && span.kind == kind);
    let span = found
        .next()
        .unwrap_or_else(|| panic!("no {kind:?} span of {tgid}: {spans:#?}"));
    assert!(
        found.next().is_none(),
        "more than one {kind:?} span of {tgid}"
    );
    span
}
