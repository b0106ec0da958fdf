//! Nanoseconds for each message: `cargo bench -p weft-proto`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use weft_proto::Piece;
use weft_proto::detect::sniff;
use weft_proto::http1::{
    Answers, Body, Conversation, Malformed, RequestHead, RequestParser, ResponseHead,
    ResponseParser, Start, Wanted,
};
use weft_proto::trace_context::TraceParent;

const REQUEST: &[u8] = b"GET /api/v1/items/17?page=2 HTTP/1.1\r\n\
    Host: shop.example.test:8080\r\n\
    User-Agent: curl/7.88.1\r\n\
    Accept: */*\r\n\
    Accept-Encoding: gzip, deflate\r\n\
    Connection: keep-alive\r\n\r\n";
const TRACED: &[u8] = b"POST /api/v1/items HTTP/1.1\r\n\
    Host: shop.example.test:8080\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Language: en-US,en;q=0.5\r\n\
    Content-Type: application/json\r\n\
    Content-Length: 2\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\
    X-Request-Id: 5f0c6d2e-8d0c-4a59-9a2e-0f1f6a3c9f11\r\n\
    traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\
    tracestate: congo=t61rcWkgMzE\r\n\r\n{}";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Server: nginx/1.22.1\r\n\
    Date: Sat, 21 Nov 2026 10:00:00 GMT\r\n\
    Content-Type: text/html\r\n\
    Content-Length: 5\r\n\
    Connection: keep-alive\r\n\r\nhello";

fn main() {
    let wanted = Wanted(["x-request-id".to_owned()].into());
    let start = Start::Fresh { offset: 0 };
    let mut requests = RequestParser::new(wanted.clone(), start);
    let mut responses = ResponseParser::new(Wanted::default(), start);
    let mut heads = Heads::default();
    println!("a parser: {} bytes", size_of::<RequestParser>());

    measure("GET in one piece", REQUEST.len(), || {
        requests.feed(Piece::Bytes(black_box(REQUEST)), true, &mut heads);
    });
    measure("POST with trace context in one piece", TRACED.len(), || {
        requests.feed(Piece::Bytes(black_box(TRACED)), true, &mut heads);
    });
    measure("GET byte by byte", REQUEST.len(), || {
        for byte in black_box(REQUEST).chunks(1) {
            requests.feed(Piece::Bytes(byte), true, &mut heads);
        }
    });
    measure("response in one piece", RESPONSE.len(), || {
        responses.feed(Piece::Bytes(black_box(RESPONSE)), true, &mut heads);
    });
    let long = [
        &REQUEST[..REQUEST.len() - 2],
        b"Cookie: ",
        &[b'x'; 60_000],
        b"\r\n\r\n",
    ]
    .concat();
    measure("GET of 60 kB byte by byte", long.len(), || {
        for byte in black_box(&long).chunks(1) {
            requests.feed(Piece::Bytes(byte), true, &mut heads);
        }
    });
    measure("detection", REQUEST.len(), || {
        black_box(sniff(black_box(REQUEST)));
    });
    const PARENT: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    measure("traceparent", PARENT.len(), || {
        black_box(TraceParent::parse(black_box(PARENT)));
    });
    assert_eq!(heads.malformed, 0);
}

/// Prints the best of several rounds: the others had company.
fn measure(what: &str, bytes: usize, mut once: impl FnMut()) {
    const ROUND: Duration = Duration::from_millis(40);
    let mut best = f64::INFINITY;
    for _ in 0..8 {
        let (begin, mut count) = (Instant::now(), 0_u32);
        while begin.elapsed() < ROUND {
            (0..64).for_each(|_| once());
            count += 64;
        }
        best = best.min(begin.elapsed().as_nanos() as f64 / f64::from(count));
    }
    println!(
        "{what} ({bytes} bytes): {best:.0} ns, {:.2} ns a byte",
        best / bytes as f64
    );
}

#[derive(Default)]
struct Heads {
    malformed: u64,
}

impl Conversation for Heads {
    fn request(&mut self, head: RequestHead, _: u64, _: u64) {
        black_box(head);
    }

    fn response(&mut self, head: ResponseHead, _: u64, _: u64) -> Answers {
        black_box(head);
        Answers::Other
    }

    fn complete(&mut self, _: u64, body: Body) {
        black_box(body);
    }

    fn malformed(&mut self, _: u64, _: Malformed) {
        self.malformed += 1;
    }

    fn tunnel(&mut self, _: u64) {}
}
