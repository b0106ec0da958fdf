//! Two flows that see one end each of their connections, and what they tell each other.

use weft_flow::config::Links;
use weft_flow::record::Ends;
use weft_flow::span::{Kind, Link, Span};
use weft_flow::{Config, Flow, PeerEvent, PeerId};
use weft_proto::peering::Message;

use super::{End, MS, OK, World, address, get, the};

pub const CLIENT: (u32, u32) = (100, 100);
pub const FRONT: (u32, u32) = (200, 201);
pub const BACK: (u32, u32) = (300, 301);
pub const LINK: PeerId = PeerId(1);

/// `a` sends, `b` reads; records of `b` come in `a`'s time.
pub struct Two {
    pub a: World,
    pub b: World,
    pub said: Vec<Message>,
}

pub fn config() -> Config {
    Config {
        links: Links {
            nodes: true,
            ..Links::default()
        },
        ..Config::default()
    }
}

pub fn world(config: Config, seed: u64, host: &str) -> World {
    let mut world = World::with(config.clone());
    world.flow = Flow::new(config, seed);
    world.flow.host_addresses([host.parse().unwrap()]);
    world
}

impl Two {
    pub fn new() -> Self {
        Self::with(config())
    }

    pub fn with(of_a: Config) -> Self {
        let mut two = Self {
            a: world(of_a, 1, "10.0.0.1"),
            b: world(config(), 2, "10.0.0.2"),
            said: Vec::new(),
        };
        for flow in [&mut two.a.flow, &mut two.b.flow] {
            flow.peer(LINK, PeerEvent::Up, 0);
        }
        two.talk();
        two.said.clear();
        two
    }

    /// A connection from `a` to `b`.
    pub fn connect(&mut self, client: (u32, u32), server: (u32, u32)) -> (End, End) {
        let (client, server) = self.a.sockets(client, server);
        self.a.open(&client);
        self.b.open(&server);
        (client, server)
    }

    /// Carries everything that is to be said, until there is nothing more.
    pub fn talk(&mut self) {
        self.b.now = self.b.now.max(self.a.now);
        self.a.now = self.b.now;
        loop {
            let (mut to_b, mut to_a) = (Vec::new(), Vec::new());
            self.a.flow.drain_messages(|_, message| to_b.push(message));
            self.b.flow.drain_messages(|_, message| to_a.push(message));
            if to_a.is_empty() && to_b.is_empty() {
                return;
            }
            self.said.extend(to_a.iter().chain(&to_b).cloned());
            for message in to_a {
                self.a.flow.peer(LINK, PeerEvent::Says(message), self.a.now);
            }
            for message in to_b {
                self.b.flow.peer(LINK, PeerEvent::Says(message), self.b.now);
            }
        }
    }

    /// A request and its response.
    pub fn exchange(&mut self, client: &mut End, server: &mut End, path: &str) {
        self.a.send(client, &get(path));
        self.b.receive(server, &get(path));
        self.talk();
        self.b.send(server, OK);
        self.a.receive(client, OK);
    }

    pub fn after(&mut self, ns: u64) -> Vec<Span> {
        let mut spans = self.a.after(ns);
        spans.extend(self.b.after(ns));
        self.talk();
        spans.extend(self.a.drain());
        spans.extend(self.b.drain());
        check(&self.a.flow);
        check(&self.b.flow);
        spans
    }

    /// Everything that was seen has left.
    pub fn settled(&mut self) -> Vec<Span> {
        (0..12).flat_map(|_| self.after(200 * MS)).collect()
    }

    /// Spans that have left by now, with nothing to be waited for.
    pub fn now(&mut self) -> Vec<Span> {
        self.after(0)
    }
}

pub fn check(flow: &Flow) {
    let c = flow.counters();
    let asks = c.asks_open
        + c.asks_linked
        + c.asks_disowned
        + c.asks_refused
        + c.asks_unanswered
        + c.asks_superseded;
    assert_eq!(c.asks_sent, asks, "{c:?}");
    let questions = c.questions_open
        + c.questions_told
        + c.questions_unknown
        + c.questions_ambiguous
        + c.questions_busy
        + c.questions_gone;
    assert_eq!(c.questions, questions, "{c:?}");
}

#[track_caller]
pub fn assert_linked(spans: &[Span], client: u32, server: u32) {
    let (parent, child) = (
        the(spans, client, Kind::Client),
        the(spans, server, Kind::Server),
    );
    assert_eq!(child.trace_id, parent.trace_id);
    assert_eq!(child.parent, Some(parent.span_id));
    assert_eq!(child.link, Link::WirePosition);
    assert!(child.parent_is_remote);
    assert_eq!(child.trace_flags, parent.trace_flags);
}

#[track_caller]
pub fn assert_root(span: &Span) {
    assert_eq!((span.parent, span.link), (None, Link::None));
}

/// The server sees `client` as the client's address, the client sees `server` as the server's.
pub fn translate(one: &mut End, other: &mut End, client: Option<&str>, server: Option<&str>) {
    let Ends::Inet { local, remote } = one.ends else {
        panic!("no address")
    };
    one.ends = Ends::Inet {
        local,
        remote: server.map_or(remote, address),
    };
    other.ends = Ends::Inet {
        local: remote,
        remote: client.map_or(local, address),
    };
}
