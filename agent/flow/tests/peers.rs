//! Agents of other nodes that are slow, gone, or say what is not true; and whom it is no use to ask.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::net::SocketAddr;

use common::two::{
    BACK, CLIENT, FRONT, LINK, Two, assert_linked, assert_root, check, config, translate, world,
};
use common::{MS, OK, address, get, the};
use proptest::prelude::*;
use weft_abi::OpenFlags;
use weft_flow::span::{Kind, Link};
use weft_flow::{PeerEvent, PeerId};
use weft_proto::peering::{Addresses, Answer, Ask, Message, Place};
use weft_proto::trace_context::{SpanId, TraceId, TraceParent};

#[test]
fn no_answer_is_waited_for_so_long() {
    let mut two = Two::new();
    let (mut front_client, mut front) = two.connect(CLIENT, FRONT);
    let (mut call, _) = two.b.sockets(FRONT, BACK);
    call.cookie = 999;
    call.tx_seq = 5;
    two.b.open(&call);
    let _ = &mut front_client;
    // The client's node says nothing.
    two.b.receive(&mut front, &get("/a"));
    two.b.send(&mut call, &get("/b"));
    two.b.receive(&mut call, OK);
    two.b.send(&mut front, OK);
    let early = two.b.after(1900 * MS);
    assert!(early.is_empty(), "{early:?}");
    let spans = two.b.after(200 * MS);
    assert_eq!(two.b.flow.counters().asks_unanswered, 1);
    let (outer, inner) = (
        the(&spans, FRONT.0, Kind::Server),
        the(&spans, FRONT.0, Kind::Client),
    );
    assert_root(outer);
    assert_eq!(
        (inner.parent, inner.link),
        (Some(outer.span_id), Link::Thread)
    );
    // What comes then comes too late.
    two.talk();
    two.settled();
    assert_eq!(two.b.flow.counters().answers_late, 1);
}

#[test]
fn a_refusal_or_a_lost_peer_ends_the_wait() {
    let mut two = Two::new();
    let (_, mut server) = two.connect(CLIENT, BACK);
    two.b.receive(&mut server, &get("/a"));
    two.b.send(&mut server, OK);
    two.talk();
    // The other node looks for half a second.
    let mut spans = Vec::new();
    for _ in 0..6 {
        spans.extend(two.after(100 * MS));
    }
    assert_root(the(&spans, BACK.0, Kind::Server));
    assert_eq!(two.b.flow.counters().asks_refused, 1);
    assert_eq!(two.a.flow.counters().questions_unknown, 1);

    two.b.receive(&mut server, &get("/b"));
    two.b.send(&mut server, OK);
    two.b.after(200 * MS);
    two.b.flow.peer(LINK, PeerEvent::Down, two.b.now);
    assert_root(the(&two.b.drain(), BACK.0, Kind::Server));
    // And nobody is asked any more.
    two.b.receive(&mut server, &get("/c"));
    two.b.send(&mut server, OK);
    assert_root(the(&two.b.after(200 * MS), BACK.0, Kind::Server));
    assert_eq!(two.b.flow.counters().asks_sent, 2);
}

/// Only who was asked may answer, once, and only what was asked.
#[test]
fn answers_that_nobody_asked_for() {
    let mut two = Two::new();
    two.b.flow.peer(PeerId(2), PeerEvent::Up, 0);
    let (_, mut server) = two.connect(CLIENT, BACK);
    two.b.receive(&mut server, &get("/a"));
    let mut asked = Vec::new();
    two.b.flow.drain_messages(|peer, message| {
        if let Message::Ask(ask) = message {
            asked.push((peer, ask.id));
        }
    });
    let [(LINK, id)] = asked[..] else {
        panic!("{asked:?}")
    };
    let answer = |id, byte| {
        PeerEvent::Says(Message::Answer(Answer {
            id,
            parent: TraceParent {
                trace_id: TraceId([byte; 16]),
                parent_id: SpanId([byte; 8]),
                flags: 1,
            },
            reported: true,
            state: None,
        }))
    };
    let now = two.b.now;
    two.b.flow.peer(PeerId(2), answer(id, 6), now);
    two.b.flow.peer(LINK, answer(id.wrapping_add(1), 6), now);
    two.b.flow.peer(LINK, answer(id, 7), now);
    two.b.flow.peer(LINK, answer(id, 8), now);
    two.b.send(&mut server, OK);
    let spans = two.b.drain();
    let span = the(&spans, BACK.0, Kind::Server);
    assert_eq!(span.parent, Some(SpanId([7; 8])));
    assert_eq!(two.b.flow.counters().answers_late, 3);
}

#[test]
fn within_a_node_nobody_is_asked() {
    let mut two = Two::new();
    let (mut client, mut server) = two.a.connect(CLIENT, BACK);
    two.said.clear();
    two.a.exchange(&mut client, &mut server, "/a");
    let spans = two.now();
    assert_linked(&spans, CLIENT.0, BACK.0);
    let asked = |message: &Message| matches!(message, Message::Ask(_));
    assert!(!two.said.iter().any(asked), "{:?}", two.said);
    // Nor is somebody outside asked for again and again.
    for number in 0..40 {
        let (mut one, mut other) = two.a.sockets(CLIENT, BACK);
        translate(&mut one, &mut other, Some("192.0.2.1:999"), None);
        other.cookie += 5000;
        two.b.open_with(&other, OpenFlags::FRESH);
        two.b.receive(&mut other, &get(&format!("/{number}")));
        two.b.send(&mut other, OK);
        two.talk();
        for _ in 0..6 {
            two.after(100 * MS);
        }
    }
    assert_eq!(two.b.flow.counters().asks_sent, 8);
    assert_eq!(two.b.flow.counters().asks_vain, 32);
}

#[test]
fn tables_have_a_bound() {
    let mut world = world(config(), 1, "10.0.0.1");
    world.flow.peer(LINK, PeerEvent::Up, 0);
    for id in 0..100_000 {
        let ask = Ask {
            id,
            request: None,
            client: address("10.0.0.1:1"),
            server: address("10.0.0.2:1"),
            place: Place::Byte(id),
        };
        world
            .flow
            .peer(LINK, PeerEvent::Says(Message::Ask(ask)), world.now);
    }
    let c = *world.flow.counters();
    assert_eq!((c.questions_open, c.questions_busy), (16_384, 83_616));
    let mut said = 0;
    world.flow.drain_messages(|_, _| said += 1);
    assert!(said <= 65_536 && c.peer_messages_dropped > 0);
    world.flow.peer(LINK, PeerEvent::Down, world.now);
    assert_eq!(world.flow.counters().questions_gone, 16_384);
    check(&world.flow);
}

fn any_address() -> impl Strategy<Value = SocketAddr> {
    let ip = prop_oneof![
        Just("10.0.0.1"),
        Just("10.0.0.2"),
        Just("127.0.0.1"),
        Just("fd00::1"),
        Just("0.0.0.0")
    ];
    (ip, 0..4_u16).prop_map(|(ip, port)| SocketAddr::new(ip.parse().unwrap(), port))
}

fn any_message() -> impl Strategy<Value = Message> {
    let place = prop_oneof![
        (0..4_u32).prop_map(Place::Byte),
        (0..4_u32).prop_map(|stream| Place::Stream(stream, None)),
    ];
    let ask =
        (0..8_u32, any_address(), any_address(), place).prop_map(|(id, client, server, place)| {
            Message::Ask(Ask {
                id,
                request: None,
                client,
                server,
                place,
            })
        });
    let answer = (any::<u32>(), 1..255_u8, any::<bool>()).prop_map(|(id, byte, reported)| {
        Message::Answer(Answer {
            id,
            parent: TraceParent {
                trace_id: TraceId([byte; 16]),
                parent_id: SpanId([byte; 8]),
                flags: byte,
            },
            reported,
            state: None,
        })
    });
    let addresses =
        (any::<bool>(), prop::collection::vec(any_address(), 0..4)).prop_map(|(anew, list)| {
            Message::Addresses(Addresses {
                anew,
                list: list.iter().map(SocketAddr::ip).collect(),
            })
        });
    prop_oneof![ask, answer, addresses]
}

proptest! {
    /// A peer that says anything neither invents a link nor keeps a span from leaving.
    #[test]
    fn whatever_a_peer_says(said in prop::collection::vec((any_message(), 0..300_u64), 0..40)) {
        let mut two = Two::new();
        let (mut client, mut server) = two.connect(CLIENT, BACK);
        two.a.send(&mut client, &get("/a"));
        two.b.receive(&mut server, &get("/a"));
        let (a, b) = (two.a.now, two.b.now);
        two.a.flow.peer(PeerId(9), PeerEvent::Up, a);
        two.b.flow.peer(PeerId(9), PeerEvent::Up, b);
        for (message, wait) in said {
            for world in [&mut two.a, &mut two.b] {
                world.now += wait * MS / 10;
                let now = world.now;
                world.flow.peer(PeerId(9), PeerEvent::Says(message.clone()), now);
                world.flow.tick(now);
            }
        }
        two.a.flow.drain_messages(|_, _| {});
        two.b.send(&mut server, OK);
        two.a.receive(&mut client, OK);
        let mut spans = Vec::new();
        for _ in 0..8 {
            spans.extend(two.a.after(500 * MS));
            spans.extend(two.b.after(500 * MS));
            check(&two.a.flow);
            check(&two.b.flow);
        }
        assert_root(the(&spans, CLIENT.0, Kind::Client));
        assert_root(the(&spans, BACK.0, Kind::Server));
    }
}
