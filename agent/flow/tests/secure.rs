//! Exchanges inside TLS, and the sockets they are put on.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{End, OK, World, get, the};
use weft_abi::Direction;
use weft_flow::record::Before;
use weft_flow::span::{Endpoint, Kind, Link, Outcome, Span};

const CURL: (u32, u32) = (100, 100);
const APP: (u32, u32) = (300, 301);

/// A connection whose two ends carry TLS: the sockets, and their sessions.
fn connect(world: &mut World, proved: bool) -> ((End, End), (End, End)) {
    let (client, server) = world.connect(CURL, APP);
    let sessions = (
        world.session(&client, proved),
        world.session(&server, proved),
    );
    ((client, server), sessions)
}

fn assert_linked(spans: &[Span]) {
    let client = the(spans, 100, Kind::Client);
    let server = the(spans, 300, Kind::Server);
    assert_eq!(server.link, Link::WirePosition);
    assert_eq!(server.parent, Some(client.span_id));
    for span in [client, server] {
        assert!(span.tls && !span.partial.peer);
        assert!(matches!(span.peer, Endpoint::Inet(_)), "{:?}", span.peer);
    }
}

#[test]
fn both_ends_by_their_ciphertext() {
    let mut world = World::new();
    let (_, (mut client, mut server)) = connect(&mut world, true);
    for _ in 0..3 {
        world.exchange(&mut client, &mut server, "/a");
        assert_linked(&world.settled());
    }
}

#[test]
fn an_event_loop_is_no_worker_inside_tls() {
    const BACK: (u32, u32) = (400, 401);
    for epoll in [false, true] {
        let mut world = World::new();
        let (_, (mut client, mut server)) = connect(&mut world, true);
        let (mut out, mut back) = world.connect(APP, BACK);
        server.epoll = epoll;
        world.pass(&mut client, &mut server, &get("/front"));
        world.exchange(&mut out, &mut back, "/back");
        world.pass(&mut server, &mut client, OK);
        let spans = world.settled();
        let link = the(&spans, 300, Kind::Client).link;
        assert_eq!(link, if epoll { Link::None } else { Link::Thread });
    }
}

#[test]
fn what_the_hello_says_is_told_of_each_exchange() {
    // A handshake's hello with the name of the server, cut off behind it.
    const HELLO: &[u8] = b"\x16\x03\x01\x00\x80\x01\x00\x00\x7c\x03\x03\
        01234567890123456789012345678901\x00\x00\x02\x13\x01\x01\x00\x00\x40\
        \x00\x00\x00\x10\x00\x0e\x00\x00\x0bexample.org";
    let mut world = World::new();
    let (mut client, mut server) = world.connect(CURL, APP);
    world.pass(&mut client, &mut server, HELLO);
    let mut client = world.session(&client, true);
    let mut server = world.session(&server, true);
    world.exchange(&mut client, &mut server, "/a");
    let spans = world.settled();
    assert_linked(&spans);
    for span in &spans {
        let hello = span.hello.as_ref().unwrap();
        assert_eq!(hello.server_name.as_deref(), Some("example.org"));
        assert!(!hello.offers_http2);
    }
}

#[test]
fn ciphertext_read_together_with_what_came_before() {
    let mut world = World::new();
    let (_, (mut client, mut server)) = connect(&mut world, true);
    // The server takes in the end of the handshake with the request.
    server.rx_seq = server.rx_seq.wrapping_sub(80);
    world.exchange(&mut client, &mut server, "/a");
    assert_linked(&world.settled());
}

#[test]
fn other_ciphertext_of_the_connection_is_no_proof() {
    let mut world = World::new();
    let (_, (mut client, mut server)) = connect(&mut world, true);
    server.rx_seq = server.rx_seq.wrapping_add(400);
    world.exchange(&mut client, &mut server, "/a");
    let spans = world.settled();
    assert_eq!(the(&spans, 300, Kind::Server).link, Link::None);
}

#[test]
fn two_requests_in_one_piece_are_not_told_apart() {
    let mut world = World::new();
    let (_, (mut client, mut server)) = connect(&mut world, true);
    world.send(&mut client, &get("/a"));
    world.send(&mut client, &get("/b"));
    world.receive(&mut server, &[get("/a"), get("/b")].concat());
    world.pass(&mut server, &mut client, &[OK, OK].concat());
    let spans = world.settled();
    assert_eq!(spans.len(), 4);
    assert!(spans.iter().all(|span| span.parent.is_none()));
}

#[test]
fn an_answer_whose_plaintext_was_not_seen_shifts_no_other() {
    let mut world = World::new();
    let (_, (mut client, mut server)) = connect(&mut world, true);
    world.pass(&mut client, &mut server, &get("/0"));
    world.send(&mut server, OK);
    // Go read it in a call that began before weft.
    world.data(&mut client, Direction::Rx, &OK[..7], 0);
    world.pass(&mut client, &mut server, &get("/1"));
    world.pass(
        &mut server,
        &mut client,
        b"HTTP/1.1 201 X\r\nContent-Length: 0\r\n\r\n",
    );
    let spans = world.settled();
    let told = |target: &str| {
        spans
            .iter()
            .find(|span| span.kind == Kind::Client && span.exchange.target == target.as_bytes())
            .map(|span| (span.exchange.status, span.partial.response_head))
    };
    assert_eq!(told("/0"), Some((None, true)));
    assert_eq!(told("/1"), Some((Some(201), false)));
}

#[test]
fn an_object_that_moves_after_the_handshake_goes_on() {
    let mut world = World::new();
    let ((_, socket), (mut client, mut read)) = connect(&mut world, true);
    world.pass(&mut client, &mut read, &get("/a"));
    let mut written = End {
        cookie: read.cookie + 1,
        rx: 0,
        tx: 0,
        ..read.clone()
    };
    world.put_on(&written, 0, None);
    world.send(&mut written, OK);
    world.put_on(&written, socket.cookie, None);
    world.receive(&mut client, OK);
    let spans = world.settled();
    assert_linked(&spans);
    let server = the(&spans, 300, Kind::Server);
    assert_eq!(
        (server.exchange.status, server.outcome),
        (Some(200), Outcome::Complete)
    );
    world.exchange(&mut client, &mut written, "/b");
    assert_linked(&world.settled());
}

#[test]
fn without_proof_there_is_no_peer() {
    let mut world = World::new();
    let (_, (mut client, mut server)) = connect(&mut world, false);
    world.exchange(&mut client, &mut server, "/a");
    for span in world.settled() {
        assert_eq!((span.link, span.parent), (Link::None, None));
        assert!(span.partial.peer);
        assert_eq!(span.peer, Endpoint::Unproved);
    }
}

#[test]
fn proof_may_come_with_the_ciphertext_of_the_request() {
    let mut world = World::new();
    let ((socket, other), (mut client, _)) = connect(&mut world, false);
    let mut server = world.session(&other, true);
    world.send(&mut client, &get("/a"));
    let written = Before::Written { seq: socket.tx_seq };
    world.put_on(&client, socket.cookie, Some(written));
    world.receive(&mut server, &get("/a"));
    world.pass(&mut server, &mut client, OK);
    assert_linked(&world.settled());
}

#[test]
fn a_session_ends_with_its_socket() {
    let mut world = World::new();
    let ((socket, _), (mut client, _)) = connect(&mut world, true);
    world.send(&mut client, &get("/a"));
    world.end_of_stream(&socket);
    let spans = world.settled();
    let span = the(&spans, 100, Kind::Client);
    assert_eq!(span.outcome, Outcome::ConnectionClosed);
    world.close(&socket);
    let counters = world.flow.counters();
    // The server's socket and its session are there still.
    assert_eq!(counters.connections_open, 2);
}

#[test]
fn a_new_session_on_a_socket_ends_the_one_before() {
    let mut world = World::new();
    let ((socket, _), (mut client, _)) = connect(&mut world, true);
    world.send(&mut client, &get("/a"));
    let mut after = world.session(&socket, false);
    after.cookie += 1 << 32;
    world.put_on(&after, socket.cookie, None);
    world.send(&mut after, &get("/b"));
    world.receive(&mut after, OK);
    let spans = world.settled();
    let paths: Vec<_> = spans.iter().map(|span| &span.exchange.target[..]).collect();
    assert_eq!(paths, [b"/a", b"/b"]);
    assert_eq!(spans[0].outcome, Outcome::ConnectionClosed);
}

/// The server reads the request with the end of the handshake, so that only its answer proves the
/// socket: which ciphertext the request stood in is told then, `before` bytes in front of it and
/// `behind` bytes after its beginning.
fn read_ahead(before: u32, behind: u32, requests: &[&str]) -> Vec<Span> {
    let mut world = World::new();
    let ((asking, socket), (mut client, mut server)) = connect(&mut world, false);
    world.put_on(&client, asking.cookie, None);
    let seq = client.tx_seq.wrapping_sub(before);
    for path in requests {
        world.send(&mut client, &get(path));
    }
    let all: Vec<u8> = requests.iter().flat_map(|path| get(path)).collect();
    world.receive(&mut server, &all);
    let read = Before::Read {
        seq,
        len: before + behind,
    };
    world.put_on(&server, socket.cookie, Some(read));
    world.pass(&mut server, &mut client, &OK.repeat(requests.len()));
    world.settled()
}

#[test]
fn a_request_that_came_with_the_handshake_is_linked_by_its_answer() {
    assert_linked(&read_ahead(80, 400, &["/a"]));
    // Other ciphertext, and more than one request: no proof.
    for spans in [
        read_ahead(80, 0, &["/a"]),
        read_ahead(80, 800, &["/a", "/b"]),
    ] {
        assert!(spans.iter().all(|span| span.link == Link::None));
        assert!(spans.iter().all(|span| !span.partial.peer));
    }
}
