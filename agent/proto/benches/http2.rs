//! Nanoseconds for each message: `cargo bench -p weft-proto --bench http2`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use weft_proto::Piece;
use weft_proto::grpc::Messages;
use weft_proto::http1::Wanted;
use weft_proto::http2::{Block, Conversation, Ends, Malformed, Parser, Sender, Start, sniff};

/// A client's first request: literals, Huffman-coded, that go into the table.
const FIRST: &[u8] = b"\x82\x86\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff\
    \x44\x8c\x60\x75\x99\x83\x2b\x24\xab\x16\x2b\x10\x3d\xff\
    \x7a\x88\x25\xb6\x50\xc3\xab\xb6\xf0\x5f\x53\x03\x2a\x2f\x2a";
/// A later one: all of it in the tables.
const LATER: &[u8] = b"\x82\x86\xc1\xc0\xbf\xbe";
/// With a path of its own, not inserted, and a trace context.
const OTHER_PATH: &[u8] = b"\x82\x86\xc1\x04\x12/api/v1/items/1723\xbf\xbe\
    \x00\x0btraceparent\x3700-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const RESPONSE: &[u8] = b"\x88\x0f\x0d\x015\x0f\x10\x10application/json";

fn main() {
    let wanted = Wanted(["x-request-id".to_owned()].into());
    let start = Start::Frame { offset: 0 };
    let mut heads = Heads::default();
    println!("a parser: {} bytes", size_of::<Parser>());

    let mut requests = Parser::new(Sender::Client, wanted.clone(), start);
    let first = frame(1, 5, 1, FIRST);
    let again = frame(1, 5, 1, LATER);
    let other = frame(1, 5, 1, OTHER_PATH);
    let rpc = [
        frame(1, 4, 1, LATER),
        frame(0, 1, 1, b"\0\0\0\0\x05hello"),
        frame(8, 0, 0, b"\0\0\0\x05"),
        frame(6, 1, 0, b"12345678"),
    ]
    .concat();
    let response = [frame(1, 4, 1, RESPONSE), frame(0, 1, 1, b"hello")].concat();
    measure("request of literals", &first, |bytes| {
        requests.feed(Piece::Bytes(bytes), true, &mut heads);
    });
    measure("request of the tables", &again, |bytes| {
        requests.feed(Piece::Bytes(bytes), true, &mut heads);
    });
    measure("the same byte by byte", &again, |bytes| {
        for byte in bytes.chunks(1) {
            requests.feed(Piece::Bytes(byte), true, &mut heads);
        }
    });
    measure("request with a path and trace context", &other, |bytes| {
        requests.feed(Piece::Bytes(bytes), true, &mut heads);
    });
    measure("call with message, window update and ping", &rpc, |bytes| {
        requests.feed(Piece::Bytes(bytes), true, &mut heads);
    });
    let mut responses = Parser::new(Sender::Server, Wanted::default(), start);
    measure("response with body", &response, |bytes| {
        responses.feed(Piece::Bytes(bytes), true, &mut heads);
    });
    let data = frame(0, 0, 1, &[0; 16 * 1024]);
    measure("16 kB of body", &data, |bytes| {
        responses.feed(Piece::Bytes(bytes), true, &mut heads);
    });
    measure("recognised in the middle", &rpc, |bytes| {
        black_box(sniff(bytes, bytes.len()));
    });
    measure("not recognised", b"*1\r\n$4\r\nPING\r\n", |bytes| {
        black_box(sniff(bytes, bytes.len()));
    });
    println!(
        "table: {} bytes beside the client's parser, {} beside the server's",
        requests.allocated(),
        responses.allocated()
    );
    assert_eq!(heads.malformed, 0);
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Prints the best of several rounds: the others had company.
fn measure(what: &str, bytes: &[u8], mut once: impl FnMut(&[u8])) {
    const ROUND: Duration = Duration::from_millis(40);
    let mut best = f64::INFINITY;
    for _ in 0..8 {
        let (begin, mut count) = (Instant::now(), 0_u32);
        while begin.elapsed() < ROUND {
            (0..64).for_each(|_| once(black_box(bytes)));
            count += 64;
        }
        best = best.min(begin.elapsed().as_nanos() as f64 / f64::from(count));
    }
    println!("{what} ({} bytes): {best:.0} ns", bytes.len());
}

#[derive(Default)]
struct Heads {
    malformed: u64,
    messages: Messages,
}

impl Conversation for Heads {
    fn fields(&mut self, _: u32, block: Block, _: Ends, _: u64, _: u64) {
        black_box(block);
    }

    fn payload(&mut self, _: u32, piece: Piece<'_>) {
        self.messages.feed(piece);
    }

    fn data(&mut self, _: u32, bytes: Option<u64>, _: Ends, _: u64) {
        black_box(bytes);
    }

    fn reset(&mut self, _: u32, _: Option<u32>, _: u64) {}

    fn go_away(&mut self, _: u32, _: u32, _: u64) {}

    fn promised(&mut self, _: u32, _: u32, _: u64) {}

    fn malformed(&mut self, _: u64, _: Malformed) {
        self.malformed += 1;
    }

    fn lost(&mut self, _: u64) {}
}
