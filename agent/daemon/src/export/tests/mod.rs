//! What an exporter sends is what a collector understands.

mod collector;
mod metrics;
mod tls;

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value as Any},
    trace::v1::{ResourceSpans, TracesData, span::SpanKind, status::StatusCode},
};
use prost::Message as _;
use weft_flow::span::{Endpoint, Http, Kind, Link, Outcome, Partial, Process, Span, Version};
use weft_proto::trace_context::{SpanId, TraceId};

use super::{
    clock::{Clock, monotonic_ns},
    encode::{Encoder, Finished},
    json::JsonLines,
    route::{RouteMode, Routes},
    semantic::Conventions,
};
use crate::discover::Resource;

pub(crate) fn span(kind: Kind) -> Box<Span> {
    let start_ns = monotonic_ns();
    let (server, client) = ("127.0.0.1:8080", "127.0.0.1:40000");
    let (local, peer) = match kind {
        Kind::Server => (server, client),
        Kind::Client => (client, server),
    };
    let endpoint = |text: &str| Endpoint::Inet(text.parse::<SocketAddr>().unwrap());
    Box::new(Span {
        trace_id: TraceId([7; 16]),
        span_id: SpanId([9; 8]),
        parent: None,
        parent_is_remote: false,
        trace_flags: 1,
        trace_state: None,
        kind,
        link: Link::None,
        partial: Partial::default(),
        process: Process {
            tgid: 4711,
            generation: 0,
        },
        tid: 4712,
        start_ns,
        end_ns: start_ns + 12_000_000,
        local: endpoint(local),
        peer: endpoint(peer),
        exchange: Http {
            method: Bytes::from_static(b"GET"),
            target: Bytes::from_static(b"/users/42?page=2&sig=abc"),
            version: Version::Http11,
            host: Some(Bytes::from_static(b"shop.test:8080")),
            user_agent: Some(Bytes::from_static(b"curl/8")),
            headers: vec![(0, Bytes::from_static(b"t-1"))],
            status: Some(200),
            request_body: Some(0),
            response_body: Some(300),
            call: None,
        },
        outcome: Outcome::Complete,
        tls: false,
        hello: None,
        peer_service: None,
    })
}

pub(crate) fn resource(service: &str) -> Arc<Resource> {
    let mut resource = Resource::default();
    resource.set("service.name", service);
    resource.set("process.pid", 4711);
    Arc::new(resource)
}

fn conventions() -> Conventions {
    Conventions {
        routes: Routes {
            mode: RouteMode::Heuristic,
            patterns: Vec::new(),
        },
        header_keys: vec!["http.request.header.x-tenant".to_owned()],
        metadata_keys: vec!["rpc.request.metadata.x-tenant".to_owned()],
    }
}

fn encode(spans: &[Finished]) -> Vec<ResourceSpans> {
    let bytes = Encoder::new(conventions(), Clock::start()).encode(spans);
    ExportTraceServiceRequest::decode(bytes.as_slice())
        .unwrap()
        .resource_spans
}

fn encode_one(span: Box<Span>) -> opentelemetry_proto::tonic::trace::v1::Span {
    encode(&[(span, resource("shop"))])[0].scope_spans[0].spans[0].clone()
}

fn flat(attributes: &[KeyValue]) -> Vec<(String, String)> {
    let text = |value: &Any| match value {
        Any::StringValue(text) => text.clone(),
        Any::IntValue(number) => number.to_string(),
        Any::ArrayValue(array) => array
            .values
            .iter()
            .map(|value| match &value.value {
                Some(Any::StringValue(text)) => text.as_str(),
                _ => "?",
            })
            .collect::<Vec<_>>()
            .join(","),
        other => format!("{other:?}"),
    };
    attributes
        .iter()
        .map(|pair| {
            (
                pair.key.clone(),
                text(pair.value.as_ref().unwrap().value.as_ref().unwrap()),
            )
        })
        .collect()
}

#[track_caller]
fn check_attributes(span: Box<Span>, expected: &[(&str, &str)]) {
    let expected: Vec<_> = expected
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    assert_eq!(flat(&encode_one(span).attributes), expected);
}

#[test]
fn server_span() {
    let encoded = encode_one(span(Kind::Server));
    assert_eq!(encoded.name, "GET /users/{id}");
    assert_eq!(encoded.kind(), SpanKind::Server);
    assert_eq!(
        encoded.end_time_unix_nano - encoded.start_time_unix_nano,
        12_000_000
    );
    assert_eq!((encoded.flags, encoded.status), (1, None));
    assert_eq!(
        (encoded.trace_id, encoded.span_id),
        (vec![7; 16], vec![9; 8])
    );
    assert!(encoded.parent_span_id.is_empty());
    check_attributes(
        span(Kind::Server),
        &[
            ("http.request.method", "GET"),
            ("url.scheme", "http"),
            ("url.path", "/users/42"),
            ("url.query", "page=2&sig=REDACTED"),
            ("http.route", "/users/{id}"),
            ("server.address", "shop.test"),
            ("server.port", "8080"),
            ("client.address", "127.0.0.1"),
            ("client.port", "40000"),
            ("http.response.status_code", "200"),
            ("http.request.body.size", "0"),
            ("http.response.body.size", "300"),
            ("user_agent.original", "curl/8"),
            ("http.request.header.x-tenant", "t-1"),
            ("network.protocol.version", "1.1"),
            ("network.peer.address", "127.0.0.1"),
            ("network.peer.port", "40000"),
            ("thread.id", "4712"),
            ("weft.link", "none"),
        ],
    );
}

#[test]
fn failed_client_span() {
    let mut span = span(Kind::Client);
    span.exchange.method = Bytes::from_static(b"BREW");
    span.exchange.target = Bytes::from_static(b"/pot");
    span.exchange.host = Some(Bytes::from_static(b"[::1]"));
    span.exchange.user_agent = None;
    span.exchange.headers.clear();
    span.exchange.status = Some(418);
    span.exchange.request_body = None;
    span.exchange.response_body = None;
    span.parent = Some(SpanId([3; 8]));
    span.link = Link::Thread;
    span.partial = Partial {
        request_head: true,
        response_head: false,
        end: true,
        peer: false,
    };
    let encoded = encode_one(span.clone());
    assert_eq!(
        (encoded.name.as_str(), encoded.kind()),
        ("HTTP", SpanKind::Client)
    );
    assert_eq!(encoded.flags, 0x101);
    assert_eq!(encoded.parent_span_id, [3; 8]);
    assert_eq!(encoded.status.unwrap().code(), StatusCode::Error);
    check_attributes(
        span,
        &[
            ("http.request.method", "_OTHER"),
            ("http.request.method_original", "BREW"),
            ("url.full", "http://[::1]/pot"),
            ("server.address", "::1"),
            ("server.port", "80"),
            ("http.response.status_code", "418"),
            ("error.type", "418"),
            ("network.protocol.version", "1.1"),
            ("network.peer.address", "127.0.0.1"),
            ("network.peer.port", "8080"),
            ("thread.id", "4712"),
            ("weft.link", "thread"),
            ("weft.partial", "request_head,end"),
        ],
    );
}

#[test]
fn status_rules() {
    for (kind, status, outcome, expected) in [
        (Kind::Server, Some(404), Outcome::Complete, None),
        (Kind::Client, Some(404), Outcome::Complete, Some("404")),
        (Kind::Server, Some(503), Outcome::Complete, Some("503")),
        (
            Kind::Server,
            Some(200),
            Outcome::ConnectionClosed,
            Some("connection_closed"),
        ),
        (Kind::Client, None, Outcome::Timeout, Some("timeout")),
        (Kind::Client, Some(101), Outcome::Upgraded, None),
    ] {
        let mut span = span(kind);
        span.exchange.status = status;
        span.outcome = outcome;
        let encoded = encode_one(span);
        let attributes = flat(&encoded.attributes);
        let reason = attributes.iter().find(|(key, _)| key == "error.type");
        assert_eq!(
            reason.map(|(_, value)| value.as_str()),
            expected,
            "{kind:?} {status:?}"
        );
        assert_eq!(encoded.status.is_some(), expected.is_some());
    }
}

#[test]
fn targets() {
    for (kind, target, key, expected) in [
        (Kind::Server, "*", "url.path", Some("*")),
        (Kind::Server, "http://a.test?x=1", "url.path", Some("/")),
        (
            Kind::Server,
            "http://a.test/b?x=1",
            "url.query",
            Some("x=1"),
        ),
        (Kind::Server, "a.test:443", "url.path", None),
        (
            Kind::Client,
            "http://u:p@a.test/b",
            "url.full",
            Some("http://REDACTED:REDACTED@a.test/b"),
        ),
        (Kind::Client, "a.test:443", "url.full", None),
        (
            Kind::Client,
            "/\u{e4}",
            "url.full",
            Some("http://shop.test:8080/\u{e4}"),
        ),
    ] {
        let mut span = span(kind);
        span.exchange.target = Bytes::copy_from_slice(target.as_bytes());
        let attributes = flat(&encode_one(span).attributes);
        let found = attributes
            .iter()
            .find(|(held, _)| held == key)
            .map(|(_, value)| value.as_str());
        assert_eq!(found, expected, "{target}");
    }
}

#[test]
fn hostile_bytes_stay_text() {
    let mut span = span(Kind::Server);
    span.exchange.target = Bytes::from_static(b"/\xff\xfe?\xff");
    span.exchange.host = Some(Bytes::from_static(b":\xff"));
    span.exchange.user_agent = Some(Bytes::from(vec![0xff; 20_000]));
    span.trace_state = Some(Bytes::from_static(b"a=\xff"));
    let encoded = encode_one(span);
    let agent = flat(&encoded.attributes)
        .into_iter()
        .find(|(key, _)| key == "user_agent.original");
    assert_eq!(agent.unwrap().1.len(), 60_000);
}

#[test]
fn texts_of_any_length() {
    for len in (0..300).chain([16_383, 16_384]) {
        let mut span = span(Kind::Server);
        span.exchange.user_agent = Some(Bytes::from(vec![b'x'; len]));
        let attributes = flat(&encode_one(span).attributes);
        let agent = ("user_agent.original".to_owned(), "x".repeat(len));
        assert!(attributes.contains(&agent), "{len}");
    }
}

#[test]
fn each_span_has_its_own_addresses() {
    let address = |index: usize| format!("10.0.{}.1", index % 11);
    let spans: Vec<Finished> = (0..40)
        .map(|index| {
            let mut span = span(Kind::Client);
            let peer = SocketAddr::new(address(index).parse().unwrap(), 80);
            span.peer = Endpoint::Inet(peer);
            (span, resource("shop"))
        })
        .collect();
    let groups = encode(&spans);
    for (index, group) in groups.iter().enumerate() {
        let attributes = flat(&group.scope_spans[0].spans[0].attributes);
        let peer = ("network.peer.address".to_owned(), address(index));
        assert!(attributes.contains(&peer), "{attributes:?}");
    }
    assert_eq!(groups.len(), 40);
}

#[test]
fn memory_is_used_again() {
    let spans = |count| -> Vec<Finished> {
        let resource = resource("shop");
        let span = |_| (span(Kind::Server), Arc::clone(&resource));
        (0..count).map(span).collect()
    };
    let mut encoder = Encoder::new(conventions(), Clock::start());
    let first = Bytes::from(encoder.encode(&spans(50)));
    let held = first.clone();
    let (address, len) = (first.as_ptr(), first.len());
    encoder.recycle(first);
    let other = encoder.encode(&spans(1));
    assert_eq!(held.len(), len, "somebody holds it");
    assert_ne!(other.as_ptr(), address);
    encoder.recycle(held);
    let again = encoder.encode(&spans(1));
    assert_eq!((again.as_ptr(), again.len()), (address, other.len()));
}

#[test]
fn one_request_carries_many_resources() {
    let (cart, till) = (resource("cart"), resource("till"));
    let spans: Vec<Finished> = (0..3000)
        .map(|index| {
            (
                span(Kind::Server),
                Arc::clone(if index % 3 == 0 { &cart } else { &till }),
            )
        })
        .collect();
    let groups = encode(&spans);
    let counts: Vec<usize> = groups
        .iter()
        .map(|group| group.scope_spans[0].spans.len())
        .collect();
    assert_eq!(counts, [1000, 2000]);
    let resource = flat(&groups[1].resource.as_ref().unwrap().attributes);
    assert_eq!(resource[0], ("service.name".to_owned(), "till".to_owned()));
    assert_eq!(
        groups[0].scope_spans[0].scope.as_ref().unwrap().name,
        "weft"
    );
}

#[test]
fn json_says_the_same_as_protobuf() {
    let mut child = span(Kind::Client);
    child.parent = Some(SpanId([1; 8]));
    child.exchange.status = Some(500);
    child.trace_state = Some(Bytes::from_static(b"a=1"));
    child.partial.end = true;
    let spans = [
        (span(Kind::Server), resource("cart")),
        (child, resource("till")),
    ];
    let clock = Clock::start;
    let line = JsonLines::new(conventions(), clock()).line(&spans);
    assert!(line.ends_with("]}\n") && line.matches('\n').count() == 1);
    let read: TracesData = serde_json::from_str(&line).unwrap();
    let mut read = read.resource_spans;
    let mut expected = encode(&spans);
    for group in read.iter_mut().chain(&mut expected) {
        for span in &mut group.scope_spans[0].spans {
            // Two clocks were started.
            span.start_time_unix_nano = 0;
            span.end_time_unix_nano = 0;
            span.status.get_or_insert_default();
        }
    }
    assert_eq!(read, expected);
}

/// Prints what a span costs: `cargo test --release -p weft encoding_cost -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn encoding_cost() {
    let resource = resource("shop");
    let spans: Vec<Finished> = (0..2048)
        .map(|_| (span(Kind::Server), Arc::clone(&resource)))
        .collect();
    let mut encoder = Encoder::new(conventions(), Clock::start());
    let rounds = 200;
    let cpu = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        time.tv_sec * 1_000_000_000 + time.tv_nsec
    };
    let start = cpu();
    let bytes: usize = (0..rounds).map(|_| encoder.encode(&spans).len()).sum();
    let count = rounds * spans.len();
    let each = (cpu() - start) / count as i64;
    println!("{each} ns and {} bytes a span", bytes / count);
}
