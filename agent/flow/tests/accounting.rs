//! Under any loss of records the counters add up, and what is told is true.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::HashMap;

use common::{End, World, check_equations, get};
use proptest::prelude::*;
use weft_flow::span::{Kind, Link, Span};

/// A blocking chain: client -> front -> back, each request with a number of its own in its path,
/// each response with a status that follows from that number.
struct Chain {
    front: (End, End),
    back: (End, End),
}

const CLIENT: (u32, u32) = (100, 100);

fn status_of(number: u32) -> u16 {
    400 + u16::try_from(number % 200).unwrap()
}

fn response(number: u32, chunked: bool) -> Vec<u8> {
    let status = status_of(number);
    if chunked {
        format!("HTTP/1.1 {status} X\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    } else {
        format!("HTTP/1.1 {status} X\r\nContent-Length: 3\r\n\r\nabc")
    }
    .into_bytes()
}

fn number(span: &Span) -> u32 {
    let path = std::str::from_utf8(&span.exchange.target).unwrap();
    path[1..].parse().unwrap()
}

/// Random, and the same again for the same seed.
fn lossy(seed: u64, per_mille: u64) -> Box<dyn FnMut() -> bool> {
    let mut state = seed | 1;
    Box::new(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % 1000 < per_mille
    })
}

fn run(seed: u64, per_mille: u64, burst: u32) -> (World, Vec<Span>) {
    let mut world = World::new();
    let mut chains: Vec<Chain> = (0..4)
        .map(|index| Chain {
            front: world.connect(CLIENT, (300, 301 + index)),
            back: world.connect((300, 301 + index), (400, 401 + index)),
        })
        .collect();
    let mut random = lossy(seed, per_mille);
    let mut left = 0;
    world.loses = Box::new(move || {
        if random() {
            left = burst;
        }
        left = left.saturating_sub(1);
        left > 0
    });
    let mut spans = Vec::new();
    for round in 0..100 {
        for (index, Chain { front, back }) in chains.iter_mut().enumerate() {
            let number = (round * 4 + u32::try_from(index).unwrap()) * 2;
            let chunked = round % 3 == 0;
            world.pass(&mut front.0, &mut front.1, &get(&format!("/{number}")));
            world.pass(&mut back.0, &mut back.1, &get(&format!("/{}", number + 1)));
            world.pass(&mut back.1, &mut back.0, &response(number + 1, chunked));
            world.pass(&mut front.1, &mut front.0, &response(number, !chunked));
        }
        spans.extend(world.after(1_000_000));
    }
    world.loses = Box::new(|| false);
    for Chain { front, back } in &chains {
        for end in [&front.0, &front.1, &back.0, &back.1] {
            world.close(end);
        }
    }
    spans.extend(world.settled());
    world.flow.finish(world.now);
    spans.extend(world.drain());
    (world, spans)
}

fn check(spans: &[Span]) {
    let by_id: HashMap<_, _> = spans.iter().map(|span| (span.span_id, span)).collect();
    assert_eq!(by_id.len(), spans.len(), "an id twice");
    let mut seen = HashMap::new();
    for span in spans {
        let side = (number(span), span.kind);
        assert!(seen.insert(side, ()).is_none(), "{side:?} twice");
        if let Some(status) = span.exchange.status {
            assert_eq!(status, status_of(number(span)), "{span:#?}");
        }
        assert!(span.start_ns <= span.end_ns);
        let Some(parent) = span.parent else {
            assert_eq!(span.link, Link::None);
            continue;
        };
        let Some(parent) = by_id.get(&parent) else {
            continue;
        };
        assert_eq!(parent.trace_id, span.trace_id);
        let expected = match span.kind {
            Kind::Server => (number(span), Kind::Client, Link::WirePosition),
            Kind::Client => (number(span) - 1, Kind::Server, Link::Thread),
        };
        assert_eq!((number(parent), parent.kind, span.link), expected);
    }
}

#[test]
fn without_loss_everything_is_seen_and_linked() {
    let (world, spans) = run(1, 0, 1);
    check(&spans);
    let counters = world.flow.counters();
    assert_eq!(spans.len(), 4 * 100 * 4);
    assert_eq!(counters.linked_none, 400, "only the clients' begin a trace");
    assert_eq!(counters.responses_unpaired + counters.gaps, 0);
    assert!(spans.iter().all(|span| span.partial == Default::default()));
}

#[test]
fn replays_are_the_same_under_loss() {
    let told = |spans: &[Span]| format!("{spans:?}");
    assert_eq!(told(&run(7, 20, 3).1), told(&run(7, 20, 3).1));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn under_loss_the_counters_add_up_and_nothing_is_wrong(
        seed in any::<u64>(),
        per_mille in 0_u64..200,
        burst in 1_u32..12,
    ) {
        let (world, spans) = run(seed, per_mille, burst + 1);
        check_equations(world.flow.counters());
        prop_assert_eq!(world.flow.counters().spans_open, 0);
        check(&spans);
    }
}
