//! HTTP/2: requests and responses by stream.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use common::h2::{self, END_STREAM};
use common::{End, MS, World, the};
use weft_abi::Stage;
use weft_flow::span::{Kind, Link, Outcome, Span, Version};

const CLIENT: (u32, u32) = (100, 100);
const SERVER: (u32, u32) = (200, 201);

struct Talk {
    world: World,
    client: End,
    server: End,
}

impl Talk {
    fn new() -> Self {
        let mut world = World::new();
        let (mut client, mut server) = world.connect(CLIENT, SERVER);
        world.pass(&mut client, &mut server, &h2::hello());
        world.pass(&mut server, &mut client, &h2::settings());
        Self {
            world,
            client,
            server,
        }
    }

    fn ask(&mut self, bytes: &[u8]) {
        self.world.pass(&mut self.client, &mut self.server, bytes);
    }

    fn answer(&mut self, bytes: &[u8]) {
        self.world.pass(&mut self.server, &mut self.client, bytes);
    }

    fn spans(&mut self) -> Vec<Span> {
        self.world.settled()
    }
}

fn of<'a>(spans: &'a [Span], kind: Kind, path: &str) -> &'a Span {
    let mut found = spans
        .iter()
        .filter(|span| span.kind == kind && span.exchange.target == path);
    let span = found
        .next()
        .unwrap_or_else(|| panic!("no {kind:?} span of {path}: {spans:#?}"));
    assert!(found.next().is_none(), "more than one span of {path}");
    span
}

#[test]
fn streams_interleave() {
    let mut talk = Talk::new();
    for (stream, path) in [(1, "/a"), (3, "/b"), (5, "/c")] {
        talk.ask(&h2::get(stream, path));
    }
    talk.answer(&h2::status(5, "404", END_STREAM));
    talk.answer(&[h2::status(1, "200", 0), h2::ok(3)].concat());
    talk.answer(&h2::data(1, 0, b"12345"));
    talk.answer(&h2::data(1, END_STREAM, b"6"));
    let spans = talk.spans();
    assert_eq!(spans.len(), 6);
    for (path, status, bytes) in [("/a", 200, 6), ("/b", 200, 2), ("/c", 404, 0)] {
        let client = of(&spans, Kind::Client, path);
        let server = of(&spans, Kind::Server, path);
        for span in [client, server] {
            let http = &span.exchange;
            assert_eq!(
                (http.status, http.response_body),
                (Some(status), Some(bytes))
            );
            assert_eq!(http.version, Version::Http2);
            assert_eq!(span.outcome, Outcome::Complete);
            assert_eq!(span.partial, Default::default());
        }
        assert_eq!(server.parent, Some(client.span_id));
        assert_eq!(server.link, Link::WirePosition);
    }
}

#[test]
fn the_server_may_speak_first() {
    let mut world = World::new();
    let (mut client, mut server) = world.connect(CLIENT, SERVER);
    world.pass(&mut server, &mut client, &h2::settings());
    world.pass(&mut client, &mut server, &h2::hello());
    world.pass(&mut client, &mut server, &h2::get(1, "/"));
    world.pass(&mut server, &mut client, &h2::ok(1));
    assert_eq!(world.settled().len(), 2);
}

#[test]
fn a_response_may_be_seen_before_its_request() {
    let mut talk = Talk::new();
    let Talk {
        world,
        client,
        server,
    } = &mut talk;
    world.receive(server, &h2::get(1, "/"));
    world.send(server, &h2::ok(1));
    world.receive(client, &h2::ok(1));
    world.send(client, &h2::get(1, "/"));
    let spans = talk.spans();
    let client = the(&spans, CLIENT.0, Kind::Client);
    assert_eq!(
        (client.exchange.status, client.outcome),
        (Some(200), Outcome::Complete)
    );
    let server = the(&spans, SERVER.0, Kind::Server);
    assert_eq!(server.parent, Some(client.span_id));
}

#[test]
fn grpc_calls() {
    let mut talk = Talk::new();
    talk.ask(&h2::call(1, &[]));
    let fields = [(":status", "200"), ("content-type", "application/grpc")];
    talk.answer(
        &[
            h2::headers(1, 0, &fields),
            h2::message(1, 0),
            h2::message(1, 0),
            h2::trailers(1, "5"),
        ]
        .concat(),
    );
    // Without a message there are trailers only.
    talk.ask(&h2::call(3, &[("grpc-timeout", "20m")]));
    let fields = [fields[0], fields[1], ("grpc-status", "12")];
    talk.answer(&h2::headers(3, END_STREAM, &fields));
    let spans = talk.spans();
    assert_eq!(spans.len(), 4);
    let calls = spans.iter().filter(|span| span.kind == Kind::Client);
    let calls: Vec<_> = calls
        .map(|span| span.exchange.call.clone().unwrap())
        .collect();
    assert_eq!(
        (calls[0].status, calls[0].requests, calls[0].responses),
        (Some(5), Some(1), Some(2))
    );
    assert_eq!(
        (calls[1].status, calls[1].timeout_ns),
        (Some(12), Some(20_000_000))
    );
}

#[test]
fn streams_that_are_given_up() {
    let mut talk = Talk::new();
    talk.ask(&h2::call(1, &[]));
    talk.ask(&h2::reset(1, 8));
    talk.ask(&h2::get(3, "/late"));
    talk.ask(&h2::get(5, "/refused"));
    talk.answer(&h2::go_away(3));
    talk.answer(&h2::ok(3));
    let spans = talk.spans();
    let outcome = |path| of(&spans, Kind::Client, path).outcome;
    let reset = |by, code| Outcome::Reset {
        by,
        code: Some(code),
    };
    assert_eq!(outcome("/shop.Cart/Add"), reset(Kind::Client, 8));
    assert_eq!(outcome("/late"), Outcome::Complete);
    assert_eq!(outcome("/refused"), reset(Kind::Server, 7));
}

#[test]
fn a_trace_context_in_the_fields() {
    let mut talk = Talk::new();
    let context = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let Talk { world, server, .. } = &mut talk;
    world.receive(server, &h2::call(1, &[("traceparent", context)]));
    world.send(server, &h2::trailers(1, "0"));
    let spans = talk.spans();
    let span = the(&spans, SERVER.0, Kind::Server);
    assert_eq!(span.link, Link::TraceParent);
    assert_eq!(span.parent.unwrap().to_string(), "b7ad6b7169203331");
}

#[test]
fn a_stream_that_stays_open_is_reported_once() {
    let mut talk = Talk::new();
    talk.ask(&h2::get(1, "/watch"));
    talk.answer(&h2::status(1, "200", 0));
    let mut spans = Vec::new();
    for _ in 0..8 {
        spans.extend(talk.world.after(30_000 * MS));
        talk.answer(&h2::data(1, 0, b"event"));
    }
    let (client, server) = (
        of(&spans, Kind::Client, "/watch"),
        of(&spans, Kind::Server, "/watch"),
    );
    for span in [client, server] {
        assert_eq!(span.outcome, Outcome::Open);
        assert_eq!((span.exchange.status, span.partial.end), (Some(200), true));
        let lasted = (span.end_ns - span.start_ns) / (1_000 * MS);
        assert!((120..=200).contains(&lasted), "{lasted} s");
    }
    talk.answer(&h2::data(1, END_STREAM, b"last"));
    assert!(talk.spans().is_empty());
}

#[test]
fn an_http1_request_that_is_answered_on_stream_1() {
    let mut world = World::new();
    let (mut client, mut server) = world.connect(CLIENT, SERVER);
    let ask = b"GET /up HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\n\
        Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n";
    let agreed = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    world.pass(&mut client, &mut server, ask);
    let first = [&agreed[..], &h2::settings(), &h2::ok(1)].concat();
    world.pass(&mut server, &mut client, &first);
    world.pass(&mut client, &mut server, &h2::hello());
    world.pass(&mut client, &mut server, &h2::get(3, "/then"));
    world.pass(&mut server, &mut client, &h2::ok(3));
    let spans = world.settled();
    for path in ["/up", "/then"] {
        let server = of(&spans, Kind::Server, path);
        assert_eq!(server.parent, Some(of(&spans, Kind::Client, path).span_id));
        assert_eq!(server.exchange.status, Some(200));
        assert_eq!(server.outcome, Outcome::Complete);
    }
}

#[test]
fn joined_in_the_middle() {
    let mut world = World::new();
    let (mut client, mut server) = world.sockets(CLIENT, SERVER);
    for end in [&mut client, &mut server] {
        end.fresh = false;
        (end.rx, end.tx) = (5_000, 5_000);
        let end = end.clone();
        world.open(&end);
    }
    for stream in [31, 33, 35, 37] {
        let path = format!("/{stream}");
        world.pass(&mut client, &mut server, &h2::get(stream, &path));
        world.pass(&mut server, &mut client, &h2::ok(stream));
    }
    let spans = world.settled();
    for stream in [33, 35, 37] {
        let path = format!("/{stream}");
        let server = of(&spans, Kind::Server, &path);
        let client = of(&spans, Kind::Client, &path);
        assert_eq!(server.parent, Some(client.span_id));
        assert_eq!(server.exchange.status, Some(200));
    }
    let mut stages = world.hints.iter().map(|(_, hint)| hint.stage);
    assert!(stages.all(|stage| stage == 0 || stage == Stage::Frames as u32));
}

/// Between programs that have talked before.
fn old(world: &mut World) -> (End, End) {
    let (mut client, mut server) = world.sockets(CLIENT, SERVER);
    for end in [&mut client, &mut server] {
        end.fresh = false;
        (end.rx, end.tx) = (5_000, 5_000);
        let end = end.clone();
        world.open(&end);
    }
    for stream in [31, 33] {
        world.pass(&mut client, &mut server, &h2::get(stream, "/first"));
        world.pass(&mut server, &mut client, &h2::ok(stream));
    }
    world.settled();
    (client, server)
}

#[test]
fn a_post_that_may_be_a_call() {
    const GRPC: (&str, &str) = ("content-type", "application/grpc");
    let ok = (":status", "200");
    let json = ("content-type", "application/json");
    check(&[&[ok]], false, true);
    check(&[&[ok, json]], false, false);
    check(&[&[(":status", "502"), json]], false, true);
    check(&[&[ok, GRPC]], true, false);
    check(&[&[ok], &[("grpc-status", "0")]], true, false);
    fn check(answer: &[&[(&str, &str)]], call: bool, partial: bool) {
        let mut world = World::new();
        let (mut client, mut server) = old(&mut world);
        let mut ask = h2::post_with_unknown_type(35, "/shop.Cart/Add");
        ask.extend(h2::message(35, END_STREAM));
        world.pass(&mut client, &mut server, &ask);
        let blocks = answer.iter().enumerate().map(|(number, fields)| {
            let last = number + 1 == answer.len();
            h2::headers(35, if last { END_STREAM } else { 0 }, fields)
        });
        let answered: Vec<u8> = blocks.flatten().collect();
        world.pass(&mut server, &mut client, &answered);
        let spans = world.settled();
        assert_eq!(spans.len(), 2);
        for span in spans {
            let found = (span.exchange.call.is_some(), span.partial.request_head);
            assert_eq!(found, (call, partial), "{answer:?}");
        }
    }
}

#[test]
fn messages_and_trailers_tell_a_call() {
    let head = h2::status(35, "200", 0);
    let trailers = h2::headers(35, END_STREAM, &[("other", "0")]);
    let message = h2::message(35, 0);
    check(&[&head, &message, &trailers], true);
    check(&[&head, &h2::data(35, 0, b"page"), &trailers], false);
    check(&[&head, &h2::message(35, END_STREAM)], false);
    check(&[&head, &trailers], false);
    fn check(answer: &[&[u8]], call: bool) {
        let mut world = World::new();
        let (mut client, mut server) = old(&mut world);
        let ask = h2::post_with_unknown_type(35, "/shop.Cart/Add");
        let ask = [ask, h2::message(35, END_STREAM)].concat();
        world.pass(&mut client, &mut server, &ask);
        world.pass(&mut server, &mut client, &answer.concat());
        let spans = world.settled();
        assert_eq!(spans.len(), 2);
        for span in spans {
            let found = (span.exchange.call.is_some(), span.partial.request_head);
            assert_eq!(found, (call, !call), "{answer:?}");
        }
    }
}

#[test]
fn the_end_of_a_request_may_be_seen_after_the_response() {
    let mut talk = Talk::new();
    let Talk { world, client, .. } = &mut talk;
    let [early, late] = [1, 3].map(|stream| {
        let call = h2::call(stream, &[]);
        let head = call.len() - h2::message(stream, END_STREAM).len();
        world.send(client, &call[..head]);
        world.receive(client, &h2::trailers(stream, "0"));
        call[head..].to_vec()
    });
    world.send(client, &early);
    let first = world.drain();
    let count = |spans: &[Span]| the(spans, CLIENT.0, Kind::Client).exchange.call.clone();
    assert_eq!(count(&first).unwrap().requests, Some(1));
    let second = world.settled();
    assert_eq!(count(&second).unwrap().requests, None);
    world.send(client, &late);
    assert!(world.settled().is_empty());
}

#[test]
fn a_client_that_closes_the_connection_gives_its_calls_up() {
    let mut talk = Talk::new();
    talk.ask(&h2::call(1, &[]));
    talk.ask(&h2::get(3, "/page"));
    let client = talk.client.clone();
    talk.world.give_up(&client);
    talk.world.close(&client);
    let spans = talk.spans();
    let outcome = |path| of(&spans, Kind::Client, path).outcome;
    let given_up = Outcome::Reset {
        by: Kind::Client,
        code: None,
    };
    assert_eq!(outcome("/shop.Cart/Add"), given_up);
    assert_eq!(outcome("/page"), Outcome::ConnectionClosed);
}

#[test]
fn what_was_not_seen_to_end_is_not_said_to_have_failed() {
    let mut world = World::new();
    let (_, mut server) = world.sockets(CLIENT, SERVER);
    server.fresh = false;
    (server.rx, server.tx) = (5_000, 5_000);

    world.open(&server);
    for stream in [31, 33, 35] {
        world.receive(&mut server, &h2::get(stream, "/a"));
    }
    world.close(&server);
    let spans = world.settled();
    assert!(!spans.is_empty());
    for span in spans {
        assert_eq!(span.outcome, Outcome::Complete);
        assert!(span.partial.response_head && span.partial.end);
    }
}

/// Streams whose end was lost must not take the place of others for good.
#[test]
fn lost_responses_leave_room() {
    let mut talk = Talk::new();
    let Talk { world, client, .. } = &mut talk;
    let mut spans = Vec::new();
    let mut stream = 1;
    // More than are followed at a time.
    for _ in 0..30 {
        for _ in 0..200 {
            world.send(client, &h2::get(stream, "/lost"));
            stream += 2;
        }
        // A record is lost, and what follows begins with a frame.
        client.rx += 10_000;
        for _ in 0..3 {
            world.send(client, &h2::get(stream, "/answered"));
            world.receive(client, &[h2::ok(stream), h2::status(1, "200", 0)].concat());
            stream += 2;
        }
        spans.extend(world.drain());
    }
    let dropped = world.flow.counters().dropped_full;
    assert_eq!(dropped, 0);
    let answered = |span: &&Span| span.exchange.target == "/answered";
    let answered: Vec<_> = spans.iter().filter(answered).collect();
    assert!(answered.len() >= 60, "{} answered", answered.len());
    for span in &spans {
        assert!(
            span.partial.end || span.exchange.status == Some(200),
            "{span:#?}"
        );
    }
}

#[test]
fn lost_records_make_no_wrong_span() {
    for lost in 1..40 {
        let mut talk = Talk::new();
        let mut count = 0;
        talk.world.loses = Box::new(move || {
            count += 1;
            count == lost
        });
        for stream in (1..20).step_by(2) {
            talk.ask(&h2::get(stream, &format!("/{stream}")));
            talk.answer(&h2::ok(stream));
        }
        let client = talk.client.clone();
        talk.world.close(&client);
        for span in talk.spans() {
            let http = &span.exchange;
            assert!(matches!(http.status, Some(200) | None));
            if span.outcome == Outcome::Complete && http.status.is_none() {
                assert!(span.partial.response_head, "{span:#?}");
            }
        }
    }
}
