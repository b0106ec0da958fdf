//! Which span is whose child, and by which evidence.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{End, MS, OK, World, address, get, get_with, the};
use weft_flow::Config;
use weft_flow::config::SelfInstrumented;
use weft_flow::record::{Ends, ProcessChangeKind};
use weft_flow::span::{Kind, Link, Span};

const CURL: (u32, u32) = (100, 100);
const PROXY: (u32, u32) = (200, 200);
const APP: (u32, u32) = (300, 301);
const BACK: (u32, u32) = (400, 401);
const PARENT: &str = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const OWN: &str = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01";

fn assert_child(child: &Span, parent: &Span, link: Link) {
    assert_eq!(child.parent, Some(parent.span_id));
    assert_eq!(child.trace_id, parent.trace_id);
    assert_eq!(child.link, link);
    assert_eq!(child.parent_is_remote, link != Link::Thread);
}

fn assert_root(span: &Span) {
    assert_eq!((span.parent, span.link), (None, Link::None));
    assert_eq!(span.trace_flags, 1);
}

/// A request from `client` to `server`, during which `server` asks `back`.
fn nested(world: &mut World, front: &mut (End, End), back: &mut (End, End)) -> Vec<Span> {
    world.pass(&mut front.0, &mut front.1, &get("/front"));
    world.exchange(&mut back.0, &mut back.1, "/back");
    world.pass(&mut front.1, &mut front.0, OK);
    world.settled()
}

#[test]
fn both_ends_by_wire_position() {
    let mut world = World::new();
    let (mut client, mut server) = world.connect(CURL, APP);
    for _ in 0..3 {
        world.exchange(&mut client, &mut server, "/a");
        // Nothing has to be waited for.
        let spans = world.drain();
        assert_root(the(&spans, 100, Kind::Client));
        assert_child(
            the(&spans, 300, Kind::Server),
            the(&spans, 100, Kind::Client),
            Link::WirePosition,
        );
    }
}

#[test]
fn the_receiver_may_be_seen_first() {
    let mut world = World::new();
    let (mut client, mut server) = world.connect(CURL, APP);
    world.receive(&mut server, &get("/a"));
    world.send(&mut client, &get("/a"));
    world.receive(&mut client, OK);
    world.send(&mut server, OK);
    let spans = world.drain();
    assert_child(
        the(&spans, 300, Kind::Server),
        the(&spans, 100, Kind::Client),
        Link::WirePosition,
    );
    let started = |tgid, kind| the(&spans, tgid, kind).start_ns;
    assert_eq!(started(100, Kind::Client), started(300, Kind::Server));
}

#[test]
fn even_when_the_whole_exchange_of_one_end_is_seen_first() {
    let mut world = World::new();
    let (mut client, mut server) = world.connect(CURL, APP);
    world.send(&mut client, &get("/a"));
    world.receive(&mut client, OK);
    let mut spans = world.drain();
    world.receive(&mut server, &get("/a"));
    world.send(&mut server, OK);
    spans.extend(world.settled());
    assert_child(
        the(&spans, 300, Kind::Server),
        the(&spans, 100, Kind::Client),
        Link::WirePosition,
    );
    let mut world = World::new();
    let (mut client, mut server) = world.connect(CURL, APP);
    world.receive(&mut server, &get("/a"));
    world.send(&mut server, OK);
    let mut spans = world.after(10 * MS);
    assert!(spans.is_empty(), "left before the grace was over");
    world.send(&mut client, &get("/a"));
    world.receive(&mut client, OK);
    spans.extend(world.settled());
    assert_child(
        the(&spans, 300, Kind::Server),
        the(&spans, 100, Kind::Client),
        Link::WirePosition,
    );
}

#[test]
fn a_server_alone_leaves_after_the_grace() {
    let mut world = World::new();
    let (_, mut server) = world.connect(CURL, APP);
    world.receive(&mut server, &get("/a"));
    world.send(&mut server, OK);
    assert!(world.after(100 * MS).is_empty());
    let spans = world.after(60 * MS);
    assert_root(the(&spans, 300, Kind::Server));
}

#[test]
fn loopback_of_another_namespace_is_another() {
    let mut world = World::new();
    let (mut client, mut server) = world.sockets(CURL, APP);
    let (a, b) = (address("127.0.0.1:40000"), address("127.0.0.1:80"));
    client.ends = Ends::Inet {
        local: a,
        remote: b,
    };
    server.ends = Ends::Inet {
        local: b,
        remote: a,
    };
    server.netns = 2;
    world.open(&client);
    world.open(&server);
    world.exchange(&mut client, &mut server, "/a");
    assert_root(the(&world.settled(), 300, Kind::Server));
    server.netns = 1;
    client.cookie += 10;
    server.cookie += 10;
    (client.tx, client.rx, server.tx, server.rx) = (0, 0, 0, 0);
    world.open(&client);
    world.open(&server);
    world.exchange(&mut client, &mut server, "/a");
    let spans = world.settled();
    assert_child(
        the(&spans, 300, Kind::Server),
        the(&spans, 100, Kind::Client),
        Link::WirePosition,
    );
}

#[test]
fn behind_address_translation_one_end_and_the_position_suffice() {
    let mut world = World::new();
    let (mut client, mut server) = world.sockets(CURL, APP);
    let Ends::Inet { local, .. } = client.ends else {
        panic!()
    };
    client.ends = Ends::Inet {
        local,
        remote: address("10.96.0.1:80"),
    };
    world.open(&client);
    world.open(&server);
    world.exchange(&mut client, &mut server, "/a");
    let spans = world.settled();
    assert_child(
        the(&spans, 300, Kind::Server),
        the(&spans, 100, Kind::Client),
        Link::WirePosition,
    );
}

#[test]
fn two_candidates_behind_address_translation_are_none() {
    let mut world = World::new();
    let (mut client, mut server) = world.sockets(CURL, APP);
    let Ends::Inet { local, remote } = client.ends else {
        panic!()
    };
    let mut other = End {
        cookie: 99,
        ..client.clone()
    };
    client.ends = Ends::Inet {
        local,
        remote: address("10.96.0.1:80"),
    };
    other.ends = Ends::Inet {
        local: address("10.0.0.9:1"),
        remote,
    };
    for end in [&client, &other, &server] {
        world.open(end);
    }
    world.send(&mut other, &get("/a"));
    world.exchange(&mut client, &mut server, "/a");
    let spans = world.settled();
    assert_root(the(&spans, 300, Kind::Server));
    assert_eq!(world.flow.counters().wire_ambiguous, 1);
}

#[test]
fn unix_sockets_by_byte_offset() {
    let mut world = World::new();
    let (mut client, mut server) = world.connect_unix(CURL, APP);
    world.open(&server);
    world.open(&client);
    for _ in 0..2 {
        world.exchange(&mut client, &mut server, "/a");
        let spans = world.settled();
        assert_child(
            the(&spans, 300, Kind::Server),
            the(&spans, 100, Kind::Client),
            Link::WirePosition,
        );
    }
}

#[test]
fn unix_sockets_that_were_there_before_are_not_linked() {
    let mut world = World::new();
    let (mut client, mut server) = world.connect_unix(CURL, APP);
    world.flow.unix_inodes_at_start([server.inode]);
    world.open(&client);
    world.open(&server);
    world.exchange(&mut client, &mut server, "/a");
    assert_root(the(&world.settled(), 300, Kind::Server));
}

#[test]
fn traceparent_of_the_outside() {
    let mut world = World::new();
    let (_, mut server) = world.connect(CURL, APP);
    world.receive(
        &mut server,
        &get_with("/a", &format!("{PARENT}\r\ntracestate: a=1")),
    );
    world.send(&mut server, OK);
    let spans = world.settled();
    let span = the(&spans, 300, Kind::Server);
    assert_eq!(
        span.trace_id.to_string(),
        "0af7651916cd43dd8448eb211c80319c"
    );
    assert_eq!(span.parent.unwrap().to_string(), "b7ad6b7169203331");
    assert_eq!(
        (span.link, span.parent_is_remote),
        (Link::TraceParent, true)
    );
    assert_eq!(span.trace_state.as_deref(), Some(b"a=1".as_slice()));
}

#[test]
fn unsampled_traceparent_is_respected() {
    let mut world = World::new();
    let (_, mut server) = world.connect(CURL, APP);
    let header = PARENT.replace("-01", "-00");
    world.receive(&mut server, &get_with("/a", &header));
    world.send(&mut server, OK);
    assert!(world.settled().is_empty());
    assert_eq!(world.flow.counters().dropped_sampled_out, 1);
}

#[test]
fn a_proxy_that_hands_the_header_on_unchanged() {
    let mut world = World::new();
    let (_, mut front) = world.connect(CURL, PROXY);
    let (mut out, mut back) = world.connect(PROXY, APP);
    front.epoll = true;
    out.epoll = true;
    world.receive(&mut front, &get_with("/a", PARENT));
    world.pass(&mut out, &mut back, &get_with("/a", PARENT));
    world.pass(&mut back, &mut out, OK);
    world.send(&mut front, OK);
    let spans = world.settled();
    let server = the(&spans, 200, Kind::Server);
    let client = the(&spans, 200, Kind::Client);
    assert_eq!(
        client.parent, server.parent,
        "the header's parent, a true ancestor"
    );
    assert_eq!(
        (client.link, client.trace_id),
        (Link::TraceParent, server.trace_id)
    );
    assert_child(the(&spans, 300, Kind::Server), client, Link::WirePosition);
}

#[test]
fn a_worker_that_hands_the_header_on_unchanged() {
    let mut world = World::new();
    let (_, mut front) = world.connect(CURL, APP);
    let (mut out, mut back) = world.connect(APP, BACK);
    world.receive(&mut front, &get_with("/a", PARENT));
    world.pass(&mut out, &mut back, &get_with("/a", PARENT));
    world.pass(&mut back, &mut out, OK);
    world.send(&mut front, OK);
    let spans = world.settled();
    let client = the(&spans, 300, Kind::Client);
    assert_child(client, the(&spans, 300, Kind::Server), Link::Thread);
    assert_child(the(&spans, 400, Kind::Server), client, Link::WirePosition);
}

#[test]
fn a_program_with_spans_of_its_own_is_skipped() {
    for receiver_first in [false, true] {
        let mut world = World::new();
        let (_, mut front) = world.connect(CURL, APP);
        let (mut out, mut back) = world.connect(APP, BACK);
        let request = get_with("/a", OWN);
        world.receive(&mut front, &get_with("/a", PARENT));
        if receiver_first {
            world.receive(&mut back, &request);
            world.send(&mut out, &request);
        } else {
            world.pass(&mut out, &mut back, &request);
        }
        world.pass(&mut back, &mut out, OK);
        world.send(&mut front, OK);
        let spans = world.settled();
        let [span] = spans.as_slice() else {
            panic!("{spans:#?}")
        };
        assert_eq!(span.process.tgid, 400);
        assert_eq!(span.parent.unwrap().to_string(), "00f067aa0ba902b7");
        assert_eq!(span.link, Link::TraceParent);
        assert_eq!(world.flow.counters().dropped_self_instrumented, 2);
    }
}

#[test]
fn or_kept_with_its_own_ids() {
    let mut world = World::with(Config {
        self_instrumented: SelfInstrumented::Keep,
        ..Config::default()
    });
    let (_, mut front) = world.connect(CURL, APP);
    let (mut out, mut back) = world.connect(APP, BACK);
    world.receive(&mut front, &get_with("/a", PARENT));
    world.pass(&mut out, &mut back, &get_with("/a", OWN));
    world.pass(&mut back, &mut out, OK);
    let spans = world.settled();
    let client = the(&spans, 300, Kind::Client);
    assert_eq!(client.span_id.to_string(), "00f067aa0ba902b7");
    assert_child(the(&spans, 400, Kind::Server), client, Link::WirePosition);
}

#[test]
fn who_only_asks_is_reported_under_its_own_ids() {
    let mut world = World::new();
    let (mut out, mut back) = world.connect(CURL, BACK);
    world.pass(&mut out, &mut back, &get_with("/a", OWN));
    world.pass(&mut back, &mut out, OK);
    let spans = world.settled();
    let client = the(&spans, 100, Kind::Client);
    assert_eq!(client.span_id.to_string(), "00f067aa0ba902b7");
    assert_eq!((client.parent, client.link), (None, Link::TraceParent));
    assert_child(the(&spans, 400, Kind::Server), client, Link::WirePosition);
}

#[test]
fn a_program_that_sends_otlp_is_skipped() {
    let mut world = World::new();
    let (mut out, _) = world.connect(APP, BACK);
    world.send(
        &mut out,
        b"POST /v1/traces HTTP/1.1\r\nHost: c\r\nContent-Length: 0\r\n\r\n",
    );
    world.receive(&mut out, OK);
    let (mut client, mut server) = world.connect(CURL, APP);
    world.exchange(&mut client, &mut server, "/a");
    let spans = world.settled();
    let [span] = spans.as_slice() else {
        panic!("{spans:#?}")
    };
    assert_eq!(span.process.tgid, 100);
}

#[test]
fn a_blocking_worker() {
    let mut world = World::new();
    let mut front = world.connect(CURL, APP);
    let mut back = world.connect(APP, BACK);
    for _ in 0..2 {
        let spans = nested(&mut world, &mut front, &mut back);
        let curl = the(&spans, 100, Kind::Client);
        let server = the(&spans, 300, Kind::Server);
        let client = the(&spans, 300, Kind::Client);
        assert_root(curl);
        assert_child(server, curl, Link::WirePosition);
        assert_child(client, server, Link::Thread);
        assert_child(the(&spans, 400, Kind::Server), client, Link::WirePosition);
    }
}

#[test]
fn a_request_after_the_response_is_not_the_workers() {
    let mut world = World::new();
    let mut front = world.connect(CURL, APP);
    let mut back = world.connect(APP, BACK);
    world.exchange(&mut front.0, &mut front.1, "/front");
    world.exchange(&mut back.0, &mut back.1, "/back");
    assert_root(the(&world.settled(), 300, Kind::Client));
}

#[test]
fn event_loops_are_not_linked() {
    for (front_epoll, back_epoll) in [(true, true), (true, false), (false, true)] {
        let mut world = World::new();
        let mut front = world.connect(CURL, APP);
        let mut back = world.connect(APP, BACK);
        front.1.epoll = front_epoll;
        back.0.epoll = back_epoll;
        let spans = nested(&mut world, &mut front, &mut back);
        assert_root(the(&spans, 300, Kind::Client));
    }
}

#[test]
fn a_worker_that_is_faster_than_its_dispatcher() {
    for (back_epoll, linked) in [(false, true), (true, false)] {
        let mut world = World::new();
        let mut front = world.connect(CURL, APP);
        let mut back = world.connect(APP, BACK);
        (front.1.epoll, front.1.waits) = (true, true);
        (back.0.epoll, back.0.waits) = (back_epoll, true);
        let spans = nested(&mut world, &mut front, &mut back);
        let client = the(&spans, 300, Kind::Client);
        if linked {
            assert_child(client, the(&spans, 300, Kind::Server), Link::Thread);
        } else {
            assert_root(client);
        }
    }
}

#[test]
fn a_thread_with_two_requests_at_once_is_never_trusted_again() {
    let mut world = World::new();
    let mut front = world.connect(CURL, APP);
    let mut other = world.connect(CURL, APP);
    let mut back = world.connect(APP, BACK);
    world.pass(&mut front.0, &mut front.1, &get("/1"));
    world.pass(&mut other.0, &mut other.1, &get("/2"));
    world.pass(&mut front.1, &mut front.0, OK);
    world.pass(&mut other.1, &mut other.0, OK);
    world.settled();
    let spans = nested(&mut world, &mut front, &mut back);
    assert_root(the(&spans, 300, Kind::Client));
    assert_eq!(world.flow.counters().threads_disqualified, 1);
}

#[test]
fn a_forked_child_is_a_worker_of_its_own() {
    let mut world = World::new();
    let mut front = world.connect(CURL, APP);
    world.process(310, ProcessChangeKind::Fork { parent: 300 });
    (front.1.tgid, front.1.tid) = (310, 310);
    let mut back = world.connect((310, 310), BACK);
    let spans = nested(&mut world, &mut front, &mut back);
    assert_child(
        the(&spans, 310, Kind::Client),
        the(&spans, 310, Kind::Server),
        Link::Thread,
    );
}

#[test]
fn a_reused_process_id_inherits_nothing() {
    let mut world = World::new();
    let mut front = world.connect(CURL, APP);
    let mut back = world.connect(APP, BACK);
    world.pass(&mut front.0, &mut front.1, &get("/front"));
    world.process(300, ProcessChangeKind::Exit);
    world.process(300, ProcessChangeKind::Fork { parent: 1 });
    world.exchange(&mut back.0, &mut back.1, "/back");
    let spans = world.settled();
    assert_root(the(&spans, 300, Kind::Client));
}

#[test]
fn replays_are_the_same() {
    let run = || {
        let mut world = World::new();
        let mut front = world.connect(CURL, APP);
        let mut back = world.connect(APP, BACK);
        format!("{:?}", nested(&mut world, &mut front, &mut back))
    };
    assert_eq!(run(), run());
}
