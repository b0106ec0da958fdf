//! What a web server hands to an application by FastCGI carries causes on, and is no span.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{End, OK, World, get};
use weft_flow::span::{Kind, Link, Span};

const CURL: (u32, u32) = (100, 100);
const NGINX: (u32, u32) = (300, 300);
const FPM: (u32, u32) = (400, 400);
const BACK: (u32, u32) = (500, 500);

const END: [u8; 16] = [1, 3, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
    let mut record = vec![1, kind, 0, 1, high, low, 0, 0];
    record.extend(content);
    record
}

/// `GET path`, as nginx sends it.
fn request(path: &str) -> Vec<u8> {
    let mut params = Vec::new();
    for (name, value) in [("REQUEST_METHOD", "GET"), ("REQUEST_URI", path)] {
        params.extend([name.len(), value.len()].map(|len| u8::try_from(len).unwrap()));
        params.extend(name.bytes().chain(value.bytes()));
    }
    let begin = record(1, &[0, 1, 0, 0, 0, 0, 0, 0]);
    [begin, record(4, &params), record(4, b""), record(5, b"")].concat()
}

/// curl -> nginx -> FPM -> back, over FastCGI on `wire`.
fn chain(world: &mut World, wire: &mut (End, End), path: &str) -> Vec<Span> {
    let (mut curl, mut front) = world.connect(CURL, NGINX);
    (front.epoll, front.forwards) = (true, true);
    world.pass(&mut curl, &mut front, &get(path));
    let (out, work) = wire;
    world.send(out, &request(path));
    // PHP reads the records' headers one by one.
    for part in request(path).chunks(8) {
        world.receive(work, part);
    }
    let (mut call, mut back) = world.connect(FPM, BACK);
    world.pass(&mut call, &mut back, &get("/back"));
    world.pass(&mut back, &mut call, OK);
    let response = [record(6, b"Status: 200\r\n\r\nhello"), END.to_vec()].concat();
    world.pass(work, out, &response);
    world.pass(&mut front, &mut curl, OK);
    world.settled()
}

fn check(spans: &[Span], link: Link) {
    let the = |tgid: u32, kind: Kind| {
        let mut found = spans
            .iter()
            .filter(|span| span.process.tgid == tgid && span.kind == kind);
        let one = found.next().unwrap();
        assert!(found.next().is_none(), "{spans:#?}");
        one
    };
    let of = |(tgid, _): (u32, u32), kind| {
        spans
            .iter()
            .any(|it| it.process.tgid == tgid && it.kind == kind)
    };
    assert!(
        !of(NGINX, Kind::Client) && !of(FPM, Kind::Server),
        "{spans:#?}"
    );
    let (front, call) = (the(NGINX.0, Kind::Server), the(FPM.0, Kind::Client));
    assert_eq!(call.parent, Some(front.span_id));
    assert_eq!((call.trace_id, call.link), (front.trace_id, link));
}

#[test]
fn the_call_of_a_worker_is_the_web_servers() {
    for unix in [true, false] {
        let mut world = World::new();
        let mut wire = if unix {
            let (out, work) = world.connect_unix(NGINX, FPM);
            world.open(&out);
            world.open(&work);
            (out, work)
        } else {
            world.connect(NGINX, FPM)
        };
        (wire.0.epoll, wire.0.forwards) = (true, true);
        // The second on the same connection.
        for path in ["/one.php", "/two.php"] {
            check(&chain(&mut world, &mut wire, path), Link::Thread);
        }
        let counters = world.flow.counters();
        assert_eq!(counters.recognised_fastcgi, 2);
        assert_eq!(counters.requests_without_span, 4);
    }
}

#[test]
fn without_the_web_server_the_call_begins_a_trace() {
    let mut world = World::new();
    let (_, mut work) = world.connect(NGINX, FPM);
    let (mut call, mut back) = world.connect(FPM, BACK);
    world.receive(&mut work, &request("/a"));
    world.pass(&mut call, &mut back, &get("/back"));
    world.pass(&mut back, &mut call, OK);
    world.send(&mut work, &END);
    let spans = world.settled();
    let call = spans
        .iter()
        .find(|span| span.process.tgid == FPM.0)
        .unwrap();
    assert_eq!((call.parent, call.link), (None, Link::None));
}
