//! From records to one span for each exchange, with the right times and the right outcome.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{End, MS, OK, World, get, the};
use weft_abi::{Direction, OpenFlags, Stage};
use weft_flow::span::{Kind, Outcome, Span};
use weft_flow::{Config, Muted, Protocol};

const CLIENT: (u32, u32) = (100, 100);
const SERVER: (u32, u32) = (300, 301);

fn server() -> (World, End) {
    let mut world = World::new();
    let (_, server) = world.connect(CLIENT, SERVER);
    (world, server)
}

fn client() -> (World, End) {
    let mut world = World::new();
    let (client, _) = world.connect(CLIENT, SERVER);
    (world, client)
}

fn one(spans: &[Span]) -> &Span {
    let [span] = spans else {
        panic!("not one span: {spans:#?}");
    };
    span
}

fn targets(spans: &[Span]) -> Vec<(String, Option<u16>)> {
    spans
        .iter()
        .map(|span| {
            let target = String::from_utf8_lossy(&span.exchange.target).into_owned();
            (target, span.exchange.status)
        })
        .collect()
}

fn status(code: u16) -> Vec<u8> {
    format!("HTTP/1.1 {code} X\r\nContent-Length: 0\r\n\r\n").into_bytes()
}

fn hint(world: &World, end: &End) -> Option<u32> {
    let hints = world.hints.iter().rev();
    let mut of_end = hints.filter(|(cookie, hint)| *cookie == end.cookie && hint.stage != 0);
    of_end.next().map(|(_, hint)| hint.stage)
}

#[test]
fn times_are_those_of_the_records_at_either_end() {
    let (mut world, mut server) = server();
    let request = get("/a");
    world.receive(&mut server, &request[..7]);
    let start = world.now;
    world.receive(&mut server, &request[7..]);
    world.send(
        &mut server,
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 10\r\n\r\n01234",
    );
    world.send(&mut server, b"56789");
    let end = world.now;
    let spans = world.settled();
    let span = one(&spans);
    assert_eq!((span.start_ns, span.end_ns), (start, end));
    assert_eq!(span.exchange.status, Some(404));
    assert_eq!(span.exchange.response_body, Some(10));
    assert_eq!(span.exchange.request_body, Some(0));
    assert_eq!((span.outcome, span.tid), (Outcome::Complete, 301));
}

#[test]
fn a_head_byte_by_byte() {
    let (mut world, mut server) = server();
    let mut request = b"GET /a HTTP/1.1\r\n".to_vec();
    for field in 0..40 {
        request.extend_from_slice(format!("field-{field}: value\r\n").as_bytes());
    }
    request.extend_from_slice(b"\r\n");
    let start = world.now + 1_000;
    for byte in &request {
        world.receive(&mut server, &[*byte]);
    }
    world.send(&mut server, OK);
    let spans = world.settled();
    assert_eq!(one(&spans).start_ns, start);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (mut world, mut server) = server();
    let requests = [get("/1"), get("/2"), get("/3")].concat();
    world.receive(&mut server, &requests);
    world.send(&mut server, &[status(201), status(202)].concat());
    world.send(&mut server, &status(203));
    let expected = [("/1", 201), ("/2", 202), ("/3", 203)];
    let expected = expected.map(|(target, status)| (target.to_owned(), Some(status)));
    assert_eq!(targets(&world.settled()), expected);
}

#[test]
fn interim_responses_do_not_answer() {
    let (mut world, mut client) = client();
    world.send(
        &mut client,
        b"POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
    );
    world.receive(&mut client, b"HTTP/1.1 100 Continue\r\n\r\n");
    world.send(&mut client, b"abc");
    world.receive(&mut client, b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
    world.receive(&mut client, &status(201));
    let spans = world.settled();
    assert_eq!(one(&spans).exchange.status, Some(201));
    assert_eq!(one(&spans).exchange.request_body, Some(3));
    assert_eq!(world.flow.counters().responses_interim, 2);
}

#[test]
fn a_response_before_the_whole_request() {
    let (mut world, mut server) = server();
    world.receive(
        &mut server,
        b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234",
    );
    world.send(&mut server, &status(413));
    let end = world.now;
    world.receive(&mut server, b"56789");
    world.receive(&mut server, &get("/b"));
    world.send(&mut server, OK);
    let spans = world.settled();
    assert_eq!(
        targets(&spans),
        [("/a".to_owned(), Some(413)), ("/b".to_owned(), Some(200))]
    );
    assert_eq!(spans[0].end_ns, end);
}

#[test]
fn a_response_until_close() {
    let (mut world, mut server) = server();
    world.receive(&mut server, b"GET /a HTTP/1.0\r\n\r\n");
    world.send(&mut server, b"HTTP/1.0 200 OK\r\n\r\nhello");
    world.now += MS;
    world.close(&server);
    let end = world.now;
    let spans = world.settled();
    assert_eq!(
        (one(&spans).outcome, one(&spans).end_ns),
        (Outcome::Complete, end)
    );
    assert_eq!(one(&spans).exchange.response_body, Some(5));
}

#[test]
fn a_server_that_closes() {
    let (mut world, mut client) = client();
    world.send(&mut client, &get("/a"));
    world.end_of_stream(&client);
    world.close(&client);
    let spans = world.settled();
    assert_eq!(one(&spans).outcome, Outcome::ConnectionClosed);
    assert_eq!(one(&spans).exchange.status, None);
}

#[test]
fn a_client_that_goes_away() {
    let (mut world, mut client) = client();
    world.send(&mut client, &get("/a"));
    world.receive(
        &mut client,
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart",
    );
    world.close(&client);
    let spans = world.settled();
    assert_eq!(one(&spans).outcome, Outcome::ConnectionClosed);
    assert_eq!(one(&spans).exchange.status, Some(200));
}

#[test]
fn a_half_closed_connection_is_still_answered() {
    let (mut world, mut server) = server();
    world.receive(&mut server, &get("/a"));
    world.end_of_stream(&server);
    world.send(&mut server, OK);
    let spans = world.settled();
    assert_eq!(
        (one(&spans).outcome, one(&spans).exchange.status),
        (Outcome::Complete, Some(200))
    );
}

#[test]
fn silence_ends_an_exchange() {
    let (mut world, mut client) = client();
    world.send(&mut client, &get("/a"));
    assert!(world.after(59_000 * MS).is_empty());
    world.receive(
        &mut client,
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart",
    );
    assert!(world.after(59_000 * MS).is_empty());
    let spans = world.after(2_000 * MS);
    assert_eq!(
        (one(&spans).outcome, one(&spans).exchange.status),
        (Outcome::Timeout, Some(200))
    );
}

#[test]
fn a_tunnel_is_not_looked_into() {
    for (request, response) in [
        (
            "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        ),
        (
            "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
        ),
    ] {
        let (mut world, mut server) = server();
        world.receive(&mut server, request.as_bytes());
        world.send(&mut server, response.as_bytes());
        world.receive(&mut server, &get("/inside"));
        let spans = world.settled();
        assert_eq!(one(&spans).outcome, Outcome::Upgraded);
        // TLS may begin in it.
        assert_eq!(hint(&world, &server), Some(Stage::Secure as u32));
        assert_eq!(world.flow.counters().muted_tunnel, 1);
    }
}

#[test]
fn other_protocols_are_muted_and_named() {
    let cases: [(&[u8], Muted); 3] = [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", Muted::Tls),
        (b"*1\r\n$4\r\nPING\r\n", Muted::Other),
        (
            b"GET \x00\x01\x02\x03\x04\xff\xfe\r\n\r\n\r\n",
            Muted::FalseStart,
        ),
    ];
    for (bytes, why) in cases {
        let (mut world, mut server) = server();
        world.receive(&mut server, bytes);
        world.receive(&mut server, &get("/no"));
        assert!(world.settled().is_empty());
        let stage = if why == Muted::Tls {
            Stage::Secure
        } else {
            Stage::Muted
        };
        assert_eq!(hint(&world, &server), Some(stage as u32), "{why:?}");
        assert_eq!(world.flow.diagnose(300)[0].protocol, Protocol::Muted(why));
    }
}

#[test]
fn joined_in_the_middle() {
    let mut world = World::new();
    let (_, mut server) = world.sockets(CLIENT, SERVER);
    (server.fresh, server.rx, server.tx) = (false, 5_000, 90_000);
    world.open(&server);
    world.receive(&mut server, b"rest of a body");
    world.send(&mut server, b"rest of another");
    world.receive(&mut server, &get("/a"));
    world.send(&mut server, OK);
    world.receive(&mut server, &get("/b"));
    world.send(&mut server, OK);
    let spans = world.settled();
    assert_eq!(targets(&spans).len(), 2, "{:#?}", world.flow.counters());
}

#[test]
fn joined_and_quiet_is_asked_to_sniff() {
    let mut world = World::new();
    let (_, mut server) = world.sockets(CLIENT, SERVER);
    (server.fresh, server.rx) = (false, 5_000);
    world.open(&server);
    for _ in 0..20 {
        world.receive(&mut server, b"something");
    }
    world.receive(&mut server, &get("/a"));
    world.send(&mut server, OK);
    assert_eq!(world.settled().len(), 1);
    assert_eq!(hint(&world, &server), Some(Stage::Sniff as u32));
}

#[test]
fn large_bodies_are_skipped() {
    let (mut world, mut server) = server();
    world.receive(&mut server, &get("/a"));
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n";
    world.send(&mut server, head);
    let skip = world
        .settled()
        .is_empty()
        .then(|| world.hints.last().copied())
        .flatten();
    let (cookie, skip) = skip.unwrap();
    assert_eq!(
        (cookie, skip.tx_skip_to),
        (server.cookie, head.len() as u64 + 100_000)
    );
    // The kernel programs do not report the calls within.
    server.tx += 100_000;
    world.receive(&mut server, &get("/b"));
    world.send(&mut server, OK);
    let spans = world.settled();
    assert_eq!(
        targets(&spans),
        [("/a".to_owned(), Some(200)), ("/b".to_owned(), Some(200))]
    );
}

#[test]
fn a_large_write_whose_middle_does_not_travel() {
    let (mut world, mut server) = server();
    world.receive(&mut server, &get("/a"));
    let mut response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5000\r\n".to_vec();
    response.resize(response.len() + 0x5000, b'x');
    response.extend_from_slice(b"\r\n0\r\n\r\n");
    world.data(&mut server, Direction::Tx, &response, 40);
    let spans = world.settled();
    assert_eq!(one(&spans).outcome, Outcome::Complete);
    assert!(one(&spans).partial.end);
}

#[test]
fn the_weft_of_others_and_its_own() {
    let mut world = World::new();
    let (mut own, mut collector) = world.sockets(CLIENT, SERVER);
    world.open(&collector);
    world.open_with(&own, OpenFlags::FRESH | OpenFlags::OWN);
    world.exchange(&mut own, &mut collector, "/v1/traces");
    assert!(world.settled().is_empty());
    assert_eq!(world.flow.counters().muted_own, 2);
    assert_eq!(hint(&world, &collector), Some(Stage::Muted as u32));
}

#[test]
fn a_lost_response_does_not_shift_the_others() {
    let (mut world, mut server) = server();
    world.receive(&mut server, &get("/1"));
    server.tx += OK.len() as u64;
    world.receive(&mut server, &get("/2"));
    world.send(&mut server, &status(202));
    world.receive(&mut server, &get("/3"));
    world.send(&mut server, &status(203));
    let spans = world.settled();
    let expected = [("/1", None), ("/2", None), ("/3", Some(203))];
    assert_eq!(
        targets(&spans),
        expected.map(|(target, status)| (target.to_owned(), status))
    );
    assert!(spans[0].partial.response_head && spans[0].partial.end);
}

#[test]
fn a_lost_request_does_not_shift_the_others() {
    let (mut world, mut server) = server();
    world.receive(&mut server, &get("/1"));
    world.send(&mut server, &status(201));
    server.rx += get("/2").len() as u64;
    world.send(&mut server, &status(202));
    world.receive(&mut server, &get("/3"));
    world.send(&mut server, &status(203));
    let expected =
        [("/1", 201), ("/3", 203)].map(|(target, status)| (target.to_owned(), Some(status)));
    assert_eq!(targets(&world.settled()), expected);
    assert_eq!(world.flow.counters().responses_unpaired, 1);
}

#[test]
fn lost_crosswise_nothing_is_invented() {
    let (mut world, mut server) = server();
    world.receive(&mut server, &get("/1"));
    server.tx += OK.len() as u64;
    server.rx += get("/2").len() as u64;
    world.send(&mut server, &status(202));
    world.receive(&mut server, &get("/3"));
    world.send(&mut server, &status(203));
    let expected = [("/1", None), ("/3", Some(203))];
    assert_eq!(
        targets(&world.settled()),
        expected.map(|(target, status)| (target.to_owned(), status))
    );
}

#[test]
fn bytes_that_come_twice_are_taken_once() {
    let (mut world, mut server) = server();
    let request = get("/a");
    world.receive(&mut server, &request[..10]);
    server.rx = 5;
    world.receive(&mut server, &request[5..]);
    server.rx = 3;
    world.receive(&mut server, &request[3..8]);
    server.rx = request.len() as u64;
    world.send(&mut server, OK);
    assert_eq!(targets(&world.settled()), [("/a".to_owned(), Some(200))]);
    assert_eq!(world.flow.counters().data_overlap, 1);
}

#[test]
fn data_of_an_unknown_connection_is_counted() {
    let mut world = World::new();
    let (_, mut server) = world.sockets(CLIENT, SERVER);
    world.receive(&mut server, &get("/a"));
    assert!(world.settled().is_empty());
    assert_eq!(world.flow.counters().data_unknown_connection, 1);
}

#[test]
fn the_connection_that_was_silent_longest_makes_room() {
    let mut config = Config::default();
    config.limits.connections = 2;
    let mut world = World::with(config);
    let (mut a, mut b) = world.connect(CLIENT, SERVER);
    world.receive(&mut b, &get("/b"));
    world.send(&mut a, &get("/a"));
    let (_c, _d) = world.connect(CLIENT, SERVER);
    world.drain();
    assert_eq!(world.flow.counters().connections_evicted, 2);
    assert_eq!(world.flow.counters().dropped_evicted, 2);
}

#[test]
fn too_many_waiting_requests_mute_the_connection() {
    let (mut world, mut server) = server();
    world.receive(&mut server, &get("/a").repeat(200));
    assert!(world.settled().is_empty());
    assert_eq!(world.flow.counters().muted_pipelining, 1);
    assert_eq!(world.flow.counters().spans_open, 0);
}

#[test]
fn hostile_bytes_are_muted_after_a_few() {
    let (mut world, mut server) = server();
    world.receive(&mut server, &get("/a"));
    world.send(&mut server, OK);
    for _ in 0..5 {
        world.receive(&mut server, b"GET / HTTP/1.1\r\n:\x00bad\x01 : \r\n\r\n");
    }
    let spans = world.settled();
    assert_eq!(the(&spans, 300, Kind::Server).exchange.status, Some(200));
    assert_eq!(world.flow.counters().muted_malformed, 1);
}

#[test]
fn what_is_open_at_the_end_is_dropped_and_what_has_ended_leaves() {
    let (mut world, mut server) = server();
    world.receive(&mut server, &get("/a"));
    world.send(&mut server, OK);
    world.receive(&mut server, &get("/b"));
    world.flow.finish(world.now);
    assert_eq!(targets(&world.drain()), [("/a".to_owned(), Some(200))]);
    assert_eq!(world.flow.counters().dropped_unfinished, 1);
    assert_eq!(world.flow.counters().spans_open, 0);
}

#[test]
fn a_response_may_be_seen_before_the_request_it_answers() {
    // The thread that reads may be quicker than the one that returns from its write.
    let (mut world, mut client) = client();
    world.send(&mut client, &get("/1"));
    world.receive(&mut client, &status(201));
    world.receive(&mut client, &status(202));
    world.send(&mut client, &get("/2"));
    world.send(&mut client, &get("/3"));
    world.receive(&mut client, &status(203));
    let expected = [("/1", 201), ("/2", 202), ("/3", 203)];
    let expected = expected.map(|(target, status)| (target.to_owned(), Some(status)));
    assert_eq!(targets(&world.settled()), expected);
}
