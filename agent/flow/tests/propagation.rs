//! Trace contexts in requests in other formats than W3C's, and such as the kernel programs have written.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::sync::Arc;

use common::{OK, World, get, get_with, the};
use weft_flow::Config;
use weft_flow::config::Inject;
use weft_flow::sample::{Root, Sampler};
use weft_flow::span::{Kind, Link};
use weft_proto::propagation::Propagator;
use weft_proto::trace_context::{SpanId, TraceId, TraceParent};

const CURL: (u32, u32) = (100, 100);
const APP: (u32, u32) = (300, 300);
const IDS: &str = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331";

#[test]
fn each_names_its_format() {
    check(&format!("b3: {IDS}-1"), Link::B3);
    check(
        "X-B3-TraceId: 0af7651916cd43dd8448eb211c80319c\r\nX-B3-SpanId: b7ad6b7169203331",
        Link::B3,
    );
    check(
        "uber-trace-id: af7651916cd43dd8448eb211c80319c:b7ad6b7169203331:0:1",
        Link::Jaeger,
    );
    check(
        "X-Amzn-Trace-Id: Root=1-0af76519-16cd43dd8448eb211c80319c;Parent=b7ad6b7169203331",
        Link::XRay,
    );
    #[track_caller]
    fn check(header: &str, link: Link) {
        let mut world = World::new();
        let (_, mut server) = world.connect(CURL, APP);
        world.receive(&mut server, &get_with("/a", header));
        world.send(&mut server, OK);
        let spans = world.settled();
        let span = the(&spans, 300, Kind::Server);
        assert_eq!(
            span.trace_id.to_string(),
            "0af7651916cd43dd8448eb211c80319c"
        );
        assert_eq!(span.parent.unwrap().to_string(), "b7ad6b7169203331");
        assert_eq!((span.link, span.parent_is_remote), (link, true));
        assert_eq!(span.trace_flags, 1);
    }
}

#[test]
fn who_leaves_the_decision_to_us_gets_ours() {
    let check = |root, flag: &str, kept: bool| {
        let mut world = World::with(Config {
            sampler: Sampler::ParentBased(root),
            ..Config::default()
        });
        let (_, mut server) = world.connect(CURL, APP);
        world.receive(&mut server, &get_with("/a", &format!("b3: {IDS}{flag}")));
        world.send(&mut server, OK);
        assert_eq!(world.settled().len(), usize::from(kept), "{root:?} {flag}");
    };
    check(Root::On, "", true);
    check(Root::Off, "", false);
    check(Root::On, "-0", false);
    check(Root::Off, "-1", true);
    check(Root::Off, "-d", true);
}

#[test]
fn only_what_is_configured_is_read() {
    let mut world = World::with(Config {
        propagators: Arc::from([Propagator::Jaeger]),
        ..Config::default()
    });
    let (_, mut server) = world.connect(CURL, APP);
    let header = format!("b3: {IDS}-1\r\ntraceparent: 00-{IDS}-01");
    world.receive(&mut server, &get_with("/a", &header));
    world.send(&mut server, OK);
    let spans = world.settled();
    let span = the(&spans, 300, Kind::Server);
    assert_eq!((span.link, span.parent), (Link::None, None));
}

#[test]
fn a_client_that_writes_its_own_keeps_its_ids() {
    let mut world = World::new();
    let (mut client, mut server) = world.connect(CURL, APP);
    let header = format!("b3: {IDS}-1");
    world.pass(&mut client, &mut server, &get_with("/a", &header));
    world.pass(&mut server, &mut client, OK);
    let spans = world.settled();
    let client = the(&spans, 100, Kind::Client);
    assert_eq!(client.span_id.to_string(), "b7ad6b7169203331");
    assert_eq!((client.parent, client.link), (None, Link::B3));
    let server = the(&spans, 300, Kind::Server);
    assert_eq!(
        (server.parent, server.link),
        (Some(client.span_id), Link::WirePosition)
    );
}

const WRITTEN: TraceParent = TraceParent {
    trace_id: TraceId([7; 16]),
    parent_id: SpanId([8; 8]),
    flags: 1,
};

#[test]
fn what_was_written_into_a_request_are_its_ids() {
    let mut world = World::new();
    let (mut client, mut server) = world.connect(CURL, APP);
    world.injected(&client, client.tx_seq, WRITTEN);
    let header = format!("traceparent: {WRITTEN}");
    world.send(&mut client, &get("/a"));
    world.receive(&mut server, &get_with("/a", &header));
    world.pass(&mut server, &mut client, OK);
    let spans = world.settled();
    let client = the(&spans, 100, Kind::Client);
    assert_eq!(
        (client.trace_id, client.span_id, client.parent, client.link),
        (WRITTEN.trace_id, WRITTEN.parent_id, None, Link::None)
    );
    let server = the(&spans, 300, Kind::Server);
    assert_eq!(
        (server.trace_id, server.parent),
        (WRITTEN.trace_id, Some(WRITTEN.parent_id))
    );
    assert_eq!(world.flow.counters().injected_adopted, 1);
}

#[test]
fn what_was_written_at_another_place_is_not_taken() {
    let mut world = World::new();
    let (mut client, mut server) = world.connect(CURL, APP);
    world.injected(&client, client.tx_seq.wrapping_add(1), WRITTEN);
    world.pass(&mut client, &mut server, &get("/a"));
    world.pass(&mut server, &mut client, OK);
    let spans = world.settled();
    assert_ne!(the(&spans, 100, Kind::Client).span_id, WRITTEN.parent_id);
    assert_eq!(world.flow.counters().injected_adopted, 0);
}

/// A worker reads a request in `trace`, and what it sends for it carries `WRITTEN`.
fn by_a_worker(trace: TraceId) -> (World, weft_flow::span::Span, weft_flow::span::Span) {
    let mut world = World::new();
    let (_, mut front) = world.connect(CURL, APP);
    let (mut out, mut back) = world.connect(APP, (400, 400));
    let header = format!("traceparent: 00-{trace}-b7ad6b7169203331-01");
    world.receive(&mut front, &get_with("/a", &header));
    world.injected(&out, out.tx_seq, WRITTEN);
    world.pass(&mut out, &mut back, &get("/b"));
    world.pass(&mut back, &mut out, OK);
    world.send(&mut front, OK);
    let spans = world.settled();
    let server = the(&spans, 300, Kind::Server).clone();
    let client = the(&spans, 300, Kind::Client).clone();
    (world, server, client)
}

#[test]
fn a_worker_carries_its_requests_trace_on() {
    let (_, server, client) = by_a_worker(WRITTEN.trace_id);
    assert_eq!(
        (client.trace_id, client.span_id, client.parent, client.link),
        (
            WRITTEN.trace_id,
            WRITTEN.parent_id,
            Some(server.span_id),
            Link::Thread
        )
    );
}

#[test]
fn another_trace_is_no_link() {
    let (_, server, client) = by_a_worker(TraceId([9; 16]));
    assert_eq!(server.trace_id, TraceId([9; 16]));
    assert_eq!(
        (client.trace_id, client.span_id, client.parent),
        (WRITTEN.trace_id, WRITTEN.parent_id, None)
    );
}

#[test]
fn who_works_alone_is_told_of_when_it_matters() {
    let news = |inject| {
        let mut world = World::with(Config {
            inject,
            ..Config::default()
        });
        let (_, mut server) = world.connect(CURL, APP);
        for _ in 0..2 {
            world.receive(&mut server, &get("/a"));
            world.send(&mut server, OK);
        }
        let mut news = Vec::new();
        world
            .flow
            .drain_workers(|tgid, alone| news.push((tgid, alone)));
        news
    };
    assert_eq!(news(Inject::Always), [(300, true)]);
    assert_eq!(news(Inject::Never), []);
}

#[test]
fn places_where_plaintext_requests_go() {
    let peers = |inject, seen: bool| {
        let mut world = World::with(Config {
            inject,
            ..Config::default()
        });
        let (mut client, mut server) = world.connect(CURL, APP);
        for _ in 0..2 {
            world.send(&mut client, &get("/a"));
            if seen {
                world.receive(&mut server, &get("/a"));
            }
            world.receive(&mut client, OK);
        }
        let mut peers = Vec::new();
        world.flow.drain_peers(|peer| peers.push(peer));
        peers.len()
    };
    assert_eq!(peers(Inject::Always, true), 1);
    assert_eq!(peers(Inject::Always, false), 1);
    assert_eq!(peers(Inject::Away, false), 1);
    assert_eq!(peers(Inject::Away, true), 0);
    assert_eq!(peers(Inject::Never, false), 0);
}
