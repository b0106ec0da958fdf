//! Links between nodes: which request is whose child, and by which evidence.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use common::two::{BACK, CLIENT, FRONT, Two, assert_linked, assert_root, config, translate};
use common::{End, MS, OK, address, get, get_with, h2, the};
use weft_flow::Config;
use weft_flow::record::Ends;
use weft_flow::sample::{Root, Sampler};
use weft_flow::span::{Kind, Span};
use weft_proto::peering::Message;

const CONTEXT: &str = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[test]
fn a_request_to_another_node() {
    let mut two = Two::new();
    let (mut client, mut server) = two.connect(CLIENT, BACK);
    for _ in 0..3 {
        two.exchange(&mut client, &mut server, "/a");
        // Nothing has to be waited for.
        assert_linked(&two.now(), CLIENT.0, BACK.0);
    }
    let (asks, answers): (Vec<_>, Vec<_>) = two
        .said
        .iter()
        .partition(|message| matches!(message, Message::Ask(_)));
    assert_eq!((asks.len(), answers.len()), (3, 3), "{:?}", two.said);
}

#[test]
fn who_reads_may_ask_before_the_sender_is_seen() {
    for wait in [0, 60 * MS, 300 * MS] {
        let mut two = Two::new();
        let (mut client, mut server) = two.connect(CLIENT, BACK);
        two.b.receive(&mut server, &get("/a"));
        two.b.send(&mut server, OK);
        two.talk();
        let mut spans = two.after(wait);
        assert!(spans.is_empty(), "{spans:?}");
        two.a.send(&mut client, &get("/a"));
        two.a.receive(&mut client, OK);
        spans.extend(two.after(200 * MS));
        spans.extend(two.after(400 * MS));
        assert_linked(&spans, CLIENT.0, BACK.0);
    }
}

#[test]
fn and_after_the_exchange_is_over() {
    let mut two = Two::new();
    let (mut client, mut server) = two.connect(CLIENT, BACK);
    two.a.send(&mut client, &get("/a"));
    two.a.receive(&mut client, OK);
    let mut spans = two.a.after(500 * MS);
    two.b.receive(&mut server, &get("/a"));
    two.b.send(&mut server, OK);
    spans.extend(two.now());
    assert_linked(&spans, CLIENT.0, BACK.0);
}

/// node a: client, back; node b: front. The front's call goes back to the first node.
#[test]
fn there_and_back_by_a_blocking_worker() {
    let mut two = Two::new();
    let (mut client, mut front) = two.connect(CLIENT, FRONT);
    let (mut call, mut back) = two.b.sockets(FRONT, BACK);
    call.ends = Ends::Inet {
        local: address("10.0.0.2:50000"),
        remote: address("10.0.0.1:9000"),
    };
    back.ends = Ends::Inet {
        local: address("10.0.0.1:9000"),
        remote: address("10.0.0.2:50000"),
    };
    (call.cookie, back.cookie) = (1001, 1002);
    two.b.open(&call);
    two.a.open(&back);
    two.a.send(&mut client, &get("/front"));
    two.b.receive(&mut front, &get("/front"));
    two.talk();
    two.b.send(&mut call, &get("/back"));
    two.a.receive(&mut back, &get("/back"));
    two.talk();
    two.a.send(&mut back, OK);
    two.b.receive(&mut call, OK);
    two.talk();
    // What the front's call was sent for is known when the front answers.
    let mut spans = two.after(300 * MS);
    assert!(spans.is_empty(), "{spans:?}");
    two.b.send(&mut front, OK);
    two.a.receive(&mut client, OK);
    spans.extend(two.now());
    assert_linked(&spans, CLIENT.0, FRONT.0);
    assert_linked(&spans, FRONT.0, BACK.0);
    let traces: Vec<_> = spans.iter().map(|span| span.trace_id).collect();
    assert_eq!(traces, vec![traces[0]; 4]);
    assert_root(the(&spans, CLIENT.0, Kind::Client));
}

#[test]
fn streams_of_http2() {
    let mut two = Two::new();
    let (mut client, mut server) = two.connect(CLIENT, BACK);
    two.a.send(&mut client, &h2::hello());
    two.b.receive(&mut server, &h2::hello());
    let both = [h2::get(1, "/one"), h2::get(3, "/three")].concat();
    two.a.send(&mut client, &both);
    two.b.receive(&mut server, &both);
    two.talk();
    let both = [h2::ok(3), h2::ok(1)].concat();
    two.b.send(&mut server, &h2::settings());
    two.b.send(&mut server, &both);
    two.a.receive(&mut client, &h2::settings());
    two.a.receive(&mut client, &both);
    let spans = two.now();
    for path in ["/one", "/three"] {
        let of_path: Vec<Span> = spans
            .iter()
            .filter(|span| span.exchange.target == path)
            .cloned()
            .collect();
        assert_linked(&of_path, CLIENT.0, BACK.0);
    }
}

/// What stands between two ends in TLS: a client behind `client`, a server behind `server`.
fn in_tls(client: Option<&str>, server: Option<&str>, path: &str) -> Vec<Span> {
    let mut two = Two::new();
    let (mut client_socket, mut server_socket) = two.a.sockets(CLIENT, BACK);
    translate(&mut client_socket, &mut server_socket, client, server);
    two.a.open(&client_socket);
    two.b.open(&server_socket);
    let mut client = two.a.session(&client_socket, true);
    let mut server = two.b.session(&server_socket, true);
    two.a.send(&mut client, &get("/a"));
    two.b.receive(&mut server, &get(path));
    two.talk();
    two.b.send(&mut server, OK);
    two.a.receive(&mut client, OK);
    two.settled()
}

#[test]
fn inside_tls() {
    assert_linked(&in_tls(None, None, "/a"), CLIENT.0, BACK.0);
    // A service's address, and a router's.
    assert_linked(&in_tls(None, Some("10.96.0.10:80"), "/a"), CLIENT.0, BACK.0);
    assert_linked(
        &in_tls(Some("10.0.0.1:61000"), None, "/a"),
        CLIENT.0,
        BACK.0,
    );
    // Both ends are other ones: nothing says that it is the same connection.
    let spans = in_tls(Some("10.0.0.1:61000"), Some("10.96.0.10:80"), "/a");
    assert_root(the(&spans, BACK.0, Kind::Server));
    // It is another request.
    let spans = in_tls(None, Some("10.96.0.10:80"), "/b");
    assert_root(the(&spans, BACK.0, Kind::Server));
}

#[test]
fn behind_address_translation() {
    for (client, server, linked) in [
        (None, Some("10.96.0.10:80"), true),
        (Some("10.0.0.1:61000"), None, true),
        // A router that is on no node.
        (Some("192.0.2.7:61000"), None, true),
        (Some("10.0.0.1:61000"), Some("10.96.0.10:80"), false),
    ] {
        let mut two = Two::new();
        let (mut one, mut other) = two.a.sockets(CLIENT, BACK);
        translate(&mut one, &mut other, client, server);
        two.a.open(&one);
        two.b.open(&other);
        two.exchange(&mut one, &mut other, "/a");
        let spans = two.settled();
        if linked {
            assert_linked(&spans, CLIENT.0, BACK.0);
        } else {
            assert_root(the(&spans, BACK.0, Kind::Server));
        }
    }
}

#[test]
fn ambiguous_is_no_link() {
    let mut two = Two::new();
    let (mut one, mut server) = two.a.sockets(CLIENT, BACK);
    translate(&mut one, &mut server, Some("10.0.0.1:61000"), None);
    let mut twin = End {
        cookie: 77,
        ends: Ends::Inet {
            local: address("10.0.0.1:40077"),
            remote: address("10.0.0.2:8080"),
        },
        ..one.clone()
    };
    two.a.open(&one);
    two.a.open(&twin);
    two.b.open(&server);
    two.a.send(&mut one, &get("/a"));
    two.a.send(&mut twin, &get("/a"));
    two.b.receive(&mut server, &get("/a"));
    two.talk();
    two.b.send(&mut server, OK);
    let spans = two.after(200 * MS);
    assert_root(the(&spans, BACK.0, Kind::Server));
    assert_eq!(two.a.flow.counters().questions_ambiguous, 1);
}

#[test]
fn the_clients_sampler_decides() {
    for (root, count) in [(Root::On, 2), (Root::Off, 0)] {
        let mut two = Two::with(Config {
            sampler: Sampler::ParentBased(root),
            ..config()
        });
        let (mut client, mut server) = two.connect(CLIENT, BACK);
        two.exchange(&mut client, &mut server, "/a");
        assert_eq!(two.now().len(), count);
    }
}

/// A proxy that passes a header on is the parent all the same; one of another trace is believed.
#[test]
fn a_header_that_is_passed_on() {
    let mut two = Two::new();
    let (mut outer, mut proxy) = two.a.connect(CLIENT, FRONT);
    let (mut call, mut server) = two.connect(FRONT, BACK);
    two.a.receive(&mut proxy, &get_with("/a", CONTEXT));
    two.a.send(&mut call, &get_with("/a", CONTEXT));
    two.b.receive(&mut server, &get_with("/a", CONTEXT));
    two.talk();
    two.b.send(&mut server, OK);
    two.a.receive(&mut call, OK);
    two.a.send(&mut proxy, OK);
    let _ = &mut outer;
    let spans = [two.now(), two.after(300 * MS)].concat();
    let (inner, between) = (
        the(&spans, BACK.0, Kind::Server),
        the(&spans, FRONT.0, Kind::Client),
    );
    assert_eq!(inner.parent, Some(between.span_id), "{spans:#?}");
    assert_eq!(inner.trace_id, between.trace_id);
}
