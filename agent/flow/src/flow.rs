//! The way in and the way out.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use foldhash::fast::RandomState;
use hashlink::LinkedHashMap;
use weft_abi::{DataFlags, Direction, Hint};
use weft_proto::http1::Wanted;
use weft_proto::peering::Message;

use crate::config::Config;
use crate::connection::{Connection, Layer, Muted, Stage};
use crate::counters::Counters;
use crate::diagnose::ConnectionSummary;
use crate::hints::Hints;
use crate::incoming::mirrored;
use crate::processes::ProcessEvent;
use crate::reading::Pieces;
use crate::recognise::{Recognised, recognise};
use crate::record::{Close, Data, Ends, Injected, Open, Origin, Record, RecordError, Sends, Token};
use crate::remote::{PeerEvent, PeerId};
use crate::sample::Sampler;
use crate::span::{Kind, Outcome, Span};
use crate::state::State;

/// Records in, spans out; the same records, configuration and seed give the same spans.
pub struct Flow {
    /// By socket cookie, in the order of their last record.
    pub(crate) connections: LinkedHashMap<u64, Box<Connection>, RandomState>,
    pub(crate) state: State,
    wanted: Wanted,
    hints: Hints,
    /// Connections on which an exchange has begun since the last tick: most will be over by then.
    begun: Vec<u64>,
    /// HTTP/2: connections with streams that are answered and wait for the end of their request.
    closing: Vec<u64>,
    /// Connections with open exchanges, by the time they are looked at again.
    idle: VecDeque<(u64, u64)>,
    /// Inodes of the unix sockets that were there before the first record.
    old_inodes: foldhash::HashSet<u64>,
    /// Connections of weft itself, as their other ends see them.
    own: VecDeque<Ends>,
}

/// After so many places that are no HTTP, a connection is muted.
const MAX_MALFORMED: u32 = 3;
const MAX_OWN: usize = 64;
/// Beyond, those that were told earlier are forgotten: most are gone.
const MAX_OLD_INODES: usize = 1 << 20;

impl Flow {
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            connections: LinkedHashMap::with_hasher(RandomState::default()),
            wanted: Wanted(config.headers.clone()),
            state: State::new(config, seed),
            hints: Hints::default(),
            begun: Vec::new(),
            closing: Vec::new(),
            idle: VecDeque::new(),
            old_inodes: foldhash::HashSet::default(),
            own: VecDeque::new(),
        }
    }

    /// Of these unix sockets, earlier bytes were not seen: to be told before the first record.
    pub fn unix_inodes_at_start(&mut self, inodes: impl IntoIterator<Item = u64>) {
        self.old_inodes = inodes.into_iter().collect();
    }

    /// Addresses that lead to this node: to be told before the first peer.
    pub fn host_addresses(&mut self, addresses: impl IntoIterator<Item = IpAddr>) {
        self.state.spans.remote.addresses.of_host(addresses);
    }

    /// What the agent of another node says, or that it came or went; by the records' clock.
    pub fn peer(&mut self, peer: PeerId, event: PeerEvent, now_ns: u64) {
        self.state
            .with_spans(|spans, around| spans.peer(peer, event, now_ns, around));
    }

    /// What is to be said to agents of other nodes, in order.
    pub fn drain_messages(&mut self, mut each: impl FnMut(PeerId, Message)) {
        self.state
            .spans
            .remote
            .drain(|(peer, message)| each(peer, message));
    }

    /// Counts an element of the ring buffer that could not be decoded.
    pub fn bad_record(&mut self, _error: &RecordError) {
        self.state.counters.records += 1;
        self.state.counters.records_bad += 1;
    }

    /// As [`Flow::unix_inodes_at_start`], of sockets that were not looked at until now.
    pub fn unix_inodes_before(&mut self, inodes: impl IntoIterator<Item = u64>) {
        if self.old_inodes.len() > MAX_OLD_INODES {
            self.old_inodes.clear();
        }
        self.old_inodes.extend(inodes);
    }

    /// The sampler of a process's requests, by its id; `None`: as configured. Unlike the configured one it is
    /// for HTTP/1 and HTTP/2 alike.
    pub fn sample(&mut self, tgid: u32, sampler: Option<Sampler>) {
        self.state.processes.sample(tgid, sampler);
    }

    /// A process is not looked at any more: what is open on its connections will not be seen to end.
    pub fn deselect(&mut self, tgid: u32) {
        let Self {
            connections, state, ..
        } = self;
        let its = connections
            .values_mut()
            .filter(|connection| connection.process.tgid == tgid);
        for connection in its {
            connection
                .exchanges
                .abandon_all(|counters| &mut counters.dropped_deselected, state);
        }
    }

    pub fn record(&mut self, record: &Record<'_>) {
        let counters = &mut self.state.counters;
        counters.records += 1;
        match record {
            Record::Data(data) => {
                counters.records_data += 1;
                self.data(data);
            }
            Record::Open(open) => {
                counters.records_open += 1;
                self.open(open);
            }
            Record::Close(close) => {
                counters.records_close += 1;
                self.close(close);
            }
            Record::Secure(secure) => {
                counters.records_secure += 1;
                self.secure(secure);
            }
            Record::Sends(sends) => {
                counters.records_sends += 1;
                let Origin { tgid, time_ns, .. } = sends.origin;
                let process = self.state.processes.at(tgid, time_ns, counters);
                self.state.tasks.sends(process, sends);
            }
            Record::Resumed(resumed) => {
                counters.records_resumed += 1;
                self.resumed(resumed);
            }
            Record::Injected(injected) => {
                counters.records_injected += 1;
                let Injected { cookie, seq, .. } = *injected;
                self.state.injected.put(cookie, seq, injected.parent);
            }
            Record::Process(change) => {
                counters.records_process += 1;
                self.state.processes.change(change, counters);
            }
        }
    }

    /// Lets time pass: spans whose evidence is complete leave, idle exchanges end. To be called
    /// every few tens of milliseconds, with the time of the records' clock.
    pub fn tick(&mut self, now_ns: u64) {
        self.state
            .with_spans(|spans, around| spans.tick(now_ns, around));
        self.state.processes.tick(now_ns);
        self.state.tick_resumptions(now_ns);
        self.state.tick_tasks(now_ns);
        self.end_answered_streams(now_ns);
        let idle_ns = self.state.config.limits.idle_ns;
        for cookie in self.begun.drain(..) {
            if let Some(connection) = self.connections.get_mut(&cookie) {
                connection.timed = !connection.exchanges.is_empty();
                if connection.timed {
                    let until = connection.last_ns.saturating_add(idle_ns);
                    self.idle.push_back((until, cookie));
                }
            }
        }
        while let Some((at, cookie)) = self.idle.front().copied() {
            if at > now_ns {
                break;
            }
            self.idle.pop_front();
            let Some(connection) = self.connections.get_mut(&cookie) else {
                continue;
            };
            connection.exchanges.report_long(now_ns, &mut self.state);
            let until = connection.last_ns.saturating_add(idle_ns);
            if connection.exchanges.is_empty() {
                connection.timed = false;
            } else if until > now_ns {
                self.idle.push_back((until, cookie));
            } else {
                connection.timed = false;
                connection
                    .exchanges
                    .end_all(now_ns, Outcome::Timeout, &mut self.state);
            }
        }
    }

    /// Nothing more comes: spans that have ended leave, the others are dropped.
    pub fn finish(&mut self, now_ns: u64) {
        self.tick(now_ns);
        self.end_answered_streams(u64::MAX);
        self.state.tick_resumptions(u64::MAX);
        self.state.with_spans(super::spans::Spans::finish);
    }

    /// What was read on a connection goes on with something of a request.
    fn resumed(&mut self, resumed: &Sends) {
        let Sends {
            origin,
            writer,
            work,
            ..
        } = resumed;
        let Some(connection) = self.connections.get(writer) else {
            return;
        };
        let calls = connection.exchanges.answering(work.handed_ns.unwrap_or(0));
        let State {
            tasks, counters, ..
        } = &mut self.state;
        let request = tasks.request(connection.process, work, origin.time_ns, counters);
        let begin_ns = match work.root.as_ref().map(|root| root.request) {
            Some(Token::At(time_ns)) => time_ns,
            _ => 0,
        };
        let request = request.map(|(request, _)| (request, begin_ns));
        self.state
            .goes_on(connection.process, &calls, request, work.thread);
    }

    fn end_answered_streams(&mut self, now_ns: u64) {
        self.closing.retain(|cookie| {
            let Some(connection) = self.connections.get_mut(cookie) else {
                return false;
            };
            let exchanges = &mut connection.exchanges;
            connection.closing = exchanges.end_answered_streams(now_ns, &mut self.state);
            connection.closing
        });
    }

    pub fn drain_spans(&mut self, each: impl FnMut(Box<Span>)) {
        self.state.spans.ready.drain(..).for_each(each);
    }

    /// By socket cookie.
    pub fn drain_hints(&mut self, each: impl FnMut(u64, Hint)) {
        self.hints.drain(each);
    }

    /// Processes whose threads have shown that they work on one request at a time and answer it
    /// (`true`), or that they do not.
    pub fn drain_workers(&mut self, mut each: impl FnMut(u32, bool)) {
        let news = self.state.workers.drain(..);
        news.for_each(|(tgid, alone)| each(tgid, alone));
    }

    /// Where plaintext requests of HTTP/1 have gone to, as `Config::inject` wants it.
    pub fn drain_peers(&mut self, each: impl FnMut(SocketAddr)) {
        self.state.spans.peers.drain(each);
    }

    pub fn drain_processes(&mut self, each: impl FnMut(ProcessEvent)) {
        self.state.processes.drain(each);
    }

    pub fn counters(&self) -> &Counters {
        &self.state.counters
    }

    /// Requests, and tasks that have read some, that are remembered for what may still come of them.
    pub fn kept(&self) -> (usize, usize) {
        (self.state.spans.len(), self.state.tasks.len())
    }

    /// What is known of the connections of a process.
    pub fn diagnose(&self, tgid: u32) -> Vec<ConnectionSummary> {
        self.connections
            .values()
            .filter(|connection| connection.process.tgid == tgid)
            .map(|connection| ConnectionSummary::of(connection))
            .collect()
    }

    /// What is known of all connections.
    pub fn diagnose_all(&self, mut each: impl FnMut(ConnectionSummary)) {
        for connection in self.connections.values() {
            each(ConnectionSummary::of(connection));
        }
    }

    fn open(&mut self, open: &Open) {
        let counters = &mut self.state.counters;
        counters.connections_opened += 1;
        counters.connections_open += 1;
        let Origin { tgid, time_ns, .. } = open.origin;
        let process = self.state.processes.at(tgid, time_ns, counters);
        let old = self.connections.remove(&open.cookie);
        let seen_before = old.is_some();
        if let Some(mut old) = old {
            counters.connections_open -= 1;
            counters.connections_replaced += 1;
            old.exchanges
                .abandon_all(|counters| &mut counters.dropped_replaced, &mut self.state);
            self.forget_peer(&old);
        }
        let from_beginning = match open.ends {
            Ends::Inet { local, .. } => {
                if self.state.config.links.nodes {
                    let remote = &mut self.state.spans.remote;
                    remote.here(local.ip(), time_ns, &mut self.state.counters);
                }
                open.is_fresh()
            }
            Ends::Unproved => false,
            Ends::Unix { sk, peer } => {
                if peer != 0 {
                    self.state.unix_peers.insert(peer, sk);
                }
                !seen_before && open.inode != 0 && !self.old_inodes.contains(&open.inode)
            }
        };
        let connection = Connection::new(open, process, from_beginning);
        self.insert(connection);
        if open.is_own() {
            self.mute_own(open);
        } else if self.own.iter().any(|own| mirrored(own, &open.ends)) {
            self.mute(open.cookie, Muted::Own);
        } else if self.has_skipped_port(&open.ends) {
            self.mute(open.cookie, Muted::Port);
        }
    }

    pub(crate) fn insert(&mut self, connection: Connection) {
        self.connections
            .insert(connection.cookie, Box::new(connection));
        if self.connections.len() > self.state.config.limits.connections {
            self.evict();
        }
    }

    fn has_skipped_port(&self, ends: &Ends) -> bool {
        let skipped = |port: u16| self.state.config.skip_ports.contains(&port);
        matches!(ends, Ends::Inet { local, remote } if skipped(local.port()) || skipped(remote.port()))
    }

    fn mute_own(&mut self, open: &Open) {
        self.mute(open.cookie, Muted::Own);
        self.own.push_back(open.ends);
        if self.own.len() > MAX_OWN {
            self.own.pop_front();
        }
        let others: Vec<u64> = self
            .connections
            .values()
            .filter(|connection| mirrored(&connection.ends, &open.ends))
            .map(|connection| connection.cookie)
            .collect();
        for cookie in others {
            self.mute(cookie, Muted::Own);
        }
    }

    fn evict(&mut self) {
        let Some((_, mut connection)) = self.connections.pop_front() else {
            return;
        };
        self.state.counters.connections_open -= 1;
        self.state.counters.connections_evicted += 1;
        connection
            .exchanges
            .abandon_all(|counters| &mut counters.dropped_evicted, &mut self.state);
        self.forget_peer(&connection);
    }

    fn forget_peer(&mut self, connection: &Connection) {
        if let Ends::Unix { sk, peer } = connection.ends
            && self.state.unix_peers.get(&peer) == Some(&sk)
        {
            self.state.unix_peers.remove(&peer);
        }
    }

    pub(crate) fn mute(&mut self, cookie: u64, why: Muted) {
        let Some(connection) = self.connections.get_mut(&cookie) else {
            return;
        };
        if connection.is_muted() {
            return;
        }
        connection.mute(why, &mut self.state);
        if matches!(why, Muted::Tls | Muted::Tunnel) {
            let process = connection.process;
            let State {
                processes,
                counters,
                ..
            } = &mut self.state;
            processes.speaks_tls(process, counters);
        }
        self.hints
            .stage(cookie, why.stage(), &mut self.state.counters);
    }

    fn close(&mut self, close: &Close) {
        let Some(connection) = self.connections.get_mut(&close.cookie) else {
            return;
        };
        // Its plaintext ends with it, and before it.
        if let Layer::Socket {
            session: Some(session),
        } = connection.layer
        {
            self.close(&Close {
                cookie: session,
                ..*close
            });
        }
        let Some(connection) = self.connections.get_mut(&close.cookie) else {
            return;
        };
        let now_ns = close.origin.time_ns;
        connection.last_ns = now_ns;
        if let Stage::Http(kind) = connection.stage {
            if kind == Kind::Client && close.direction == Direction::Tx && !close.last {
                connection.exchanges.give_up();
            }
            let both = [Direction::Tx, Direction::Rx];
            let directions = both
                .into_iter()
                .filter(|direction| close.last || *direction == close.direction);
            for direction in directions {
                connection.end_of_stream(kind, direction, now_ns, &mut self.state);
            }
        }
        if close.last
            && let Some(connection) = self.connections.remove(&close.cookie)
        {
            self.state.counters.connections_open -= 1;
            self.state.counters.connections_closed += 1;
            self.forget_peer(&connection);
        }
    }

    fn data(&mut self, data: &Data<'_>) {
        let Origin { tgid, time_ns, .. } = data.origin;
        let Self {
            connections,
            state,
            wanted,
            hints,
            begun,
            closing,
            ..
        } = self;
        let counters = &mut state.counters;
        let Some(connection) = connections.to_back(&data.cookie) else {
            counters.data_unknown_connection += 1;
            return;
        };
        if connection.is_muted() {
            counters.data_muted += 1;
            if data.has(DataFlags::UNKNOWN)
                && let Stage::Muted(why) = connection.stage
            {
                hints.stage(data.cookie, why.stage(), counters);
            }
            return;
        }
        connection.last_ns = time_ns;
        let half = connection.half_mut(data.direction);
        let expected = half.expected.unwrap_or(data.offset);
        if data.end() <= expected {
            counters.data_overlap += 1;
            return;
        }
        counters.data_taken += 1;
        half.expected = Some(data.end());
        half.marks.push(data);
        let mut pieces = Pieces::of(data, expected);
        if pieces.lost > 0 {
            counters.gaps += 1;
            counters.gap_bytes += pieces.lost;
        }
        if tgid != 0 {
            connection.process = state.processes.at(tgid, time_ns, counters);
        }
        if let Some(tried) = connection.try_out(data) {
            state.processes.tried(connection.process, tried, counters);
        }
        let first;
        let kind = match connection.stage {
            Stage::Muted(_) => return,
            Stage::Http(kind) => kind,
            Stage::Unknown => {
                match recognise(connection, data, pieces.bytes, data.offset.max(expected)) {
                    Recognised::NotYet => return,
                    Recognised::Quiet => {
                        return hints.stage(data.cookie, weft_abi::Stage::Sniff, counters);
                    }
                    Recognised::Not(why) => return self.mute(data.cookie, why),
                    Recognised::Http2 {
                        kind,
                        first: bytes,
                        at,
                    } => {
                        counters.recognised_http2 += 1;
                        let waiting =
                            connection.begin_frames(kind, data.direction, &bytes, at, wanted);
                        if !waiting.is_empty() {
                            let other = data.direction.other();
                            connection.read_waiting(kind, other, &waiting, time_ns, state);
                        }
                        first = bytes;
                        pieces.lost = 0;
                        pieces.bytes = &first;
                        kind
                    }
                    Recognised::FastCgi {
                        kind,
                        first: bytes,
                        at,
                    } => {
                        counters.recognised_fastcgi += 1;
                        connection.begin_fastcgi(kind, at);
                        first = bytes;
                        pieces.lost = 0;
                        pieces.bytes = &first;
                        kind
                    }
                    Recognised::Http1 {
                        kind,
                        first: bytes,
                        at,
                    } => {
                        counters.recognised_http1 += 1;
                        connection.begin(kind, data.direction, at, wanted);
                        first = bytes;
                        pieces.lost = 0;
                        pieces.bytes = &first;
                        kind
                    }
                }
            }
        };
        let found = connection.read(kind, data, &pieces, wanted, state);
        if let Some(goes_over) = &found.goes_over {
            connection.go_over(kind, goes_over, data, wanted, state);
            state.counters.recognised_http2 += 1;
            let (rx, tx) = connection.boundaries();
            hints.frames(data.cookie, rx, tx, &mut state.counters);
        }
        if found.in_step {
            connection.malformed = 0;
        }
        connection.malformed += found.malformed;
        let mute = found
            .mute
            .or((connection.malformed >= MAX_MALFORMED).then_some(Muted::Malformed));
        if let Some(why) = mute {
            return self.mute(data.cookie, why);
        }
        if found.closing && !connection.closing {
            connection.closing = true;
            closing.push(data.cookie);
        }
        if !connection.timed && !connection.exchanges.is_empty() {
            connection.timed = true;
            begun.push(data.cookie);
        }
        let counters = &mut state.counters;
        if data.has(DataFlags::UNKNOWN) && connection.exchanges.has_streams() {
            let (rx, tx) = connection.boundaries();
            hints.frames(data.cookie, rx, tx, counters);
        } else if data.has(DataFlags::UNKNOWN) {
            hints.stage(data.cookie, weft_abi::Stage::Follow, counters);
        }
        if let Some(skip_to) = connection.half_mut(data.direction).skip() {
            hints.skip(data.cookie, data.direction, skip_to, counters);
        }
    }
}
