//! Trace contexts in requests in other formats than W3C's.

mod common;

use std::sync::Arc;

use common::{OK, World, get_with, the};
use weft_flow::Config;
use weft_flow::sample::{Root, Sampler};
use weft_flow::span::{Kind, Link};
use weft_proto::propagation::Propagator;

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
