//! TLS sessions: connections of plaintext, each on the socket that is proved to carry it.

use crate::connection::{Carrier, Connection, Layer, Mark, Muted, Stage, endpoints};
use crate::flow::Flow;
use crate::record::{Before, Secure};
use crate::span::Kind;

// === impl Flow ===

impl Flow {
    /// A session is seen first, or put on its socket.
    pub(crate) fn secure(&mut self, secure: &Secure) {
        if !self.connections.contains_key(&secure.session) {
            let origin = &secure.origin;
            let counters = &mut self.state.counters;
            counters.connections_opened += 1;
            counters.connections_open += 1;
            counters.sessions_opened += 1;
            let process = self
                .state
                .processes
                .at(origin.tgid, origin.time_ns, counters);
            self.insert(Connection::session(secure, process));
        }
        if secure.socket != 0 {
            self.put_on_socket(secure);
        }
    }

    fn put_on_socket(&mut self, secure: &Secure) {
        let Some(socket) = self.connections.get_mut(&secure.socket) else {
            return;
        };
        let Layer::Socket { session: before } = &mut socket.layer else {
            return;
        };
        // The library has reused its object, or a fork reads on: nothing more comes of the former.
        let before = before
            .replace(secure.session)
            .filter(|before| *before != secure.session);
        let (ends, netns) = (socket.ends, socket.netns);
        let hello = socket.exchanges.hello.clone();
        let muted = match socket.stage {
            Stage::Muted(why @ (Muted::Own | Muted::Port)) => Some(why),
            Stage::Muted(_) => None,
            Stage::Unknown | Stage::Http(_) => {
                socket.mute(Muted::Tls, &mut self.state);
                None
            }
        };
        if let Some(before) = before {
            self.replace_session(before, secure);
        }
        if let Some(why) = muted {
            return self.mute(secure.session, why);
        }
        let Some(session) = self.connections.get_mut(&secure.session) else {
            return;
        };
        session.layer = Layer::Session {
            socket: Some(secure.socket),
        };
        session.exchanges.hello.clone_from(&hello);
        session.ends = ends;
        session.netns = netns;
        self.state.counters.sessions_proved += 1;
        let (local, peer) = endpoints(&ends);
        for (_, node) in session.exchanges.nodes() {
            if let Some(span) = self.state.spans.span_mut(node) {
                span.local = local.clone();
                span.peer = peer.clone();
                span.partial.peer = false;
                span.hello.clone_from(&hello);
            }
        }
        if !self.state.config.links.wire_position {
            return;
        }
        let carrier = Carrier {
            ends,
            netns,
            from_beginning: false,
            tls: true,
        };
        let requests = |in_order: bool| {
            let nodes = session.exchanges.nodes();
            nodes.filter(move |(stream, _)| stream.is_none() == in_order)
        };
        let mut in_order = requests(true);
        let told = match secure.before {
            None => None,
            // The last is the one whose ciphertext has left.
            Some(Before::Written { seq }) => in_order
                .last()
                .map(|request| (Kind::Client, request, Mark::cipher(seq, 0))),
            // Which of several requests stood where in it is not known.
            Some(Before::Read { seq, len }) => in_order
                .next()
                .filter(|_| in_order.next().is_none())
                .map(|request| (Kind::Server, request, Mark::cipher(seq, len))),
        };
        // A stream's number tells by itself.
        let streams = requests(false).flat_map(|request| {
            [Kind::Client, Kind::Server].map(|kind| (kind, request, Mark::cipher(0, 0)))
        });
        for (kind, (stream, node), mark) in streams.chain(told) {
            if let Some(position) = carrier.position(kind, stream, &mark, 0) {
                self.state
                    .with_spans(|spans, around| spans.crossed_at(node, kind, position, around));
            }
        }
    }

    /// A session takes the place of another on its socket. One that has only read so far goes on in
    /// it: the library has moved its object.
    fn replace_session(&mut self, before: u64, after: &Secure) {
        let moved = self.connections.get(&before).is_some_and(|before| {
            before.stage == Stage::Http(Kind::Server) && before.tx.expected.is_none()
        });
        let goes_on = self.connections.get(&after.session).is_some_and(|after| {
            !matches!(after.stage, Stage::Muted(_) | Stage::Http(Kind::Client))
        });
        if !moved || !goes_on {
            return self.end_session(before, after.origin.time_ns);
        }
        if let Some(before) = self.connections.get_mut(&before)
            && let exchanges = std::mem::take(&mut before.exchanges)
            && let Some(after) = self.connections.get_mut(&after.session)
        {
            after.exchanges.continue_from(exchanges, &mut self.state);
        }
        self.end_session(before, after.origin.time_ns);
    }

    /// Nothing more comes of a session.
    pub(crate) fn end_session(&mut self, session: u64, now_ns: u64) {
        let Some(mut connection) = self.connections.remove(&session) else {
            return;
        };
        if let Stage::Http(kind) = connection.stage {
            connection.end_both(kind, now_ns, &mut self.state);
        }
        self.state.counters.connections_open -= 1;
        self.state.counters.connections_closed += 1;
    }
}
