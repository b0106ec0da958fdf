//! Nanoseconds for each record and span, of both ends of keep-alive connections on one node:
//! `cargo bench -p weft-flow`.
#![expect(clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;
use std::time::Instant;

use weft_abi::{DataFlags, Direction, Missing, OpenFlags};
use weft_flow::record::{Data, Ends, Open, Origin, Record};
use weft_flow::{Config, Flow};

const REQUEST: &[u8] = b"GET /api/v1/items/17?page=2 HTTP/1.1\r\nHost: shop.example.test:8080\r\n\
    User-Agent: wrk\r\nAccept: */*\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\n\
    Date: Sat, 21 Nov 2026 10:00:00 GMT\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\
    Connection: keep-alive\r\n\r\nhello";
const CONNECTIONS: u64 = 256;
const ROUNDS: u64 = 2_000;
/// Records between two looks at what has finished.
const BURST: u64 = 4_096;

fn main() {
    let mut flow = Flow::new(Config::default(), 1);
    let mut now_ns = 0;
    for cookie in 1..=2 * CONNECTIONS {
        let client = (
            [10, 0, 0, 1],
            u16::try_from(10_000 + cookie.div_ceil(2)).unwrap(),
        )
            .into();
        let server = ([10, 0, 0, 2], 80).into();
        let (local, remote) = if cookie % 2 == 1 {
            (client, server)
        } else {
            (server, client)
        };
        flow.record(&Record::Open(Open {
            origin: origin(cookie, now_ns),
            cookie,
            flags: OpenFlags::FRESH,
            netns: 1,
            inode: cookie,
            ends: Ends::Inet { local, remote },
        }));
    }
    let (mut records, mut spans) = (0_u64, 0_u64);
    let mut bytes = Vec::new();
    let begin = Instant::now();
    for round in 0..ROUNDS {
        for connection in 0..CONNECTIONS {
            let client = connection * 2 + 1;
            for (cookie, direction, payload) in [
                (client, Direction::Tx, REQUEST),
                (client + 1, Direction::Rx, REQUEST),
                (client + 1, Direction::Tx, RESPONSE),
                (client, Direction::Rx, RESPONSE),
            ] {
                now_ns += 3_000;
                let offset = round * payload.len() as u64;
                bytes.clear();
                data(cookie, direction, payload, offset, now_ns).encode(&mut bytes);
                flow.record(&Record::decode(black_box(&bytes)).unwrap());
                records += 1;
                if records.is_multiple_of(BURST) {
                    flow.tick(now_ns);
                    flow.drain_spans(|span| {
                        black_box(&span);
                        spans += 1;
                    });
                }
            }
        }
    }
    let elapsed = begin.elapsed().as_nanos() as f64;
    println!("{records} records: {:.0} ns each", elapsed / records as f64);
    println!("{spans} spans: {:.0} ns each", elapsed / spans as f64);
}

fn data(cookie: u64, direction: Direction, payload: &[u8], offset: u64, now_ns: u64) -> Record<'_> {
    let request = payload.len() == REQUEST.len();
    let connection = cookie.div_ceil(2) as u32;
    let first = connection.wrapping_mul(if request { 0x9e37_79b9 } else { 0x85eb_ca6b });
    Record::Data(Data {
        origin: origin(cookie, now_ns),
        cookie,
        direction,
        flags: DataFlags::CALL_START
            | DataFlags::CALL_END
            | DataFlags::SEQ
            | DataFlags::EPOLL
            | DataFlags::EPOLL_KNOWN,
        offset,
        len: payload.len() as u32,
        seq: first.wrapping_add(offset as u32),
        cipher_len: 0,
        tail: [0; 8],
        missing: Missing::None,
        work: None,
        payload,
    })
}

/// One process at either end.
fn origin(cookie: u64, time_ns: u64) -> Origin {
    let tgid = 100 + u32::from(cookie.is_multiple_of(2));
    Origin {
        tid: tgid,
        tgid,
        time_ns,
    }
}
