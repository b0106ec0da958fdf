//! Conversations whose bytes have to arrive as they were sent, plus one header where one is due.

use std::fmt::Write as _;

use anyhow::{Result, bail, ensure};

/// Length of the header that weft writes, with its line end.
pub const HEADER: usize = 70;
/// Longest message that weft writes into.
const LONGEST: usize = 4096 - HEADER;
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: ";
const LONGEST_REPLY: usize = 64 << 10;

/// What a client sends.
pub struct Conversation {
    /// One send call each.
    pub pieces: Vec<Vec<u8>>,
    /// A header may be written into the first request.
    pub due: bool,
    pub ending: Ending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The client says that it sends no more, and reads the answer.
    HalfClose = 0,
    /// The client breaks the connection off.
    Reset = 1,
}

/// A small generator, the same for the same seed.
pub struct Chance(pub u64);

// === impl Chance ===

impl Chance {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound.max(1)
    }

    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.below(256) as u8).collect()
    }
}

// === impl Conversation ===

impl Conversation {
    pub fn plain() -> Self {
        Self {
            pieces: vec![b"GET /exact HTTP/1.1\r\nHost: exact\r\n\r\n".to_vec()],
            due: true,
            ending: Ending::HalfClose,
        }
    }

    pub fn any(chance: &mut Chance) -> Self {
        let (bytes, head_len, takes) = if chance.one_in(5) {
            (other(chance), 0, false)
        } else {
            requests(chance)
        };
        let pieces = split(&bytes, head_len, chance);
        let first = pieces.first().map_or(0, Vec::len);
        Self {
            due: takes && first >= head_len && first <= LONGEST,
            ending: if chance.one_in(20) {
                Ending::Reset
            } else {
                Ending::HalfClose
            },
            pieces,
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.pieces.concat()
    }
}

/// What the server answers to these bytes.
pub fn reply(bytes: &[u8]) -> Vec<u8> {
    let body: Vec<u8> = bytes.iter().rev().take(LONGEST_REPLY).copied().collect();
    let mut reply = format!("{OK}{}\r\n\r\n", body.len()).into_bytes();
    reply.extend(body);
    reply
}

/// Whether a header was written; an error when anything else differs.
pub fn compare(sent: &[u8], received: &[u8], due: bool, ending: Ending) -> Result<bool> {
    let whole = ending == Ending::HalfClose;
    if received == sent || (!whole && sent.starts_with(received)) {
        return Ok(false);
    }
    ensure!(due, "{} bytes differ where none is due", received.len());
    let end = sent.windows(4).position(|four| four == b"\r\n\r\n");
    let Some(at) = end.map(|end| end + 2) else {
        bail!("no head to write into");
    };
    let expected = |field: &[u8]| [&sent[..at], field, &sent[at..]].concat();
    let Some(field) = received.get(at..at + HEADER) else {
        ensure!(!whole, "{} of {} bytes", received.len(), sent.len());
        return Ok(false);
    };
    ensure!(is_header(field), "{:?}", String::from_utf8_lossy(field));
    let expected = expected(field);
    ensure!(
        received == expected || (!whole && expected.starts_with(received)),
        "other bytes arrived than were sent"
    );
    Ok(true)
}

/// `traceparent: 00-<32>-<16>-0<0 or 1>` and a line end, no id all zero.
fn is_header(field: &[u8]) -> bool {
    let Some(value) = field
        .strip_prefix(b"traceparent: 00-")
        .and_then(|value| value.strip_suffix(b"\r\n"))
    else {
        return false;
    };
    let digits = |part: &[u8]| {
        part.iter().any(|digit| *digit != b'0')
            && part
                .iter()
                .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    };
    let parts: Vec<&[u8]> = value.split(|byte| *byte == b'-').collect();
    matches!(parts[..], [trace, span, flags] if trace.len() == 32 && span.len() == 16
        && digits(trace) && digits(span) && matches!(flags, b"00" | b"01"))
}

/// Requests one behind the other; the length of the first head; whether it takes a header.
fn requests(chance: &mut Chance) -> (Vec<u8>, usize, bool) {
    let (mut bytes, head_len, takes) = request(chance);
    for _ in 0..chance.below(4) {
        bytes.extend(request(chance).0);
    }
    (bytes, head_len, takes)
}

fn request(chance: &mut Chance) -> (Vec<u8>, usize, bool) {
    const METHODS: [&str; 6] = ["GET", "POST", "PUT", "DELETE", "OPTIONS", "CONNECT"];
    const CONTEXTS: [&str; 7] = [
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "Traceparent: no",
        "b3: 0",
        "X-B3-TraceId: 0af7651916cd43dd8448eb211c80319c",
        "uber-trace-id: 1:2:0:1",
        "X-Amzn-Trace-Id: Root=1-5759e988-bd862e3fe1be46a994272793",
        "TRACEPARENT: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ];
    let method = METHODS[chance.below(METHODS.len())];
    let version = if chance.one_in(8) { "1.0" } else { "1.1" };
    let longest = if chance.one_in(10) { 5000 } else { 60 };
    let path = "p".repeat(chance.below(longest));
    let mut head = format!("{method} /{path} HTTP/{version}\r\nHost: exact\r\n");
    for number in 0..chance.below(12) {
        let value = "v".repeat(chance.below(120));
        let _ = write!(head, "X-Field-{number}: {value}\r\n");
    }
    let carries = chance.one_in(6);
    if carries {
        let _ = write!(head, "{}\r\n", CONTEXTS[chance.below(CONTEXTS.len())]);
    }
    let size = match chance.below(12) {
        0 => 200_000 + chance.below(2_000_000),
        1..=3 => chance.below(20_000),
        4..=6 => chance.below(600),
        _ => 0,
    };
    let mut body = chance.bytes(size.min(4096)).repeat(size / 4096 + 1);
    body.truncate(size);
    if chance.one_in(3) {
        head.push_str("Transfer-Encoding: chunked\r\n");
        let mut chunked = format!("{:x}\r\n", body.len().max(1)).into_bytes();
        body.resize(body.len().max(1), b'.');
        chunked.extend(body);
        chunked.extend(b"\r\n0\r\n\r\n");
        body = chunked;
    } else {
        let _ = write!(head, "Content-Length: {}\r\n", body.len());
    }
    head.push_str("\r\n");
    let head_len = head.len();
    let takes = !carries && method != "CONNECT";
    ([head.into_bytes(), body].concat(), head_len, takes)
}

/// What is no HTTP/1, or nearly.
fn other(chance: &mut Chance) -> Vec<u8> {
    let noise = chance.below(3000) + 1;
    let noise = chance.bytes(noise);
    let start: &[u8] = match chance.below(8) {
        0 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        1 => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        2 => b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n",
        3 => b"GET / HTTP/1.1\nHost: exact\n\n",
        4 => b"GET /\r\n\r\n",
        5 => b"GET / HTTP/1.1\r\nHost: e\0act\r\n\r\n",
        6 => b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        _ => b"",
    };
    [start, &noise].concat()
}

/// Cut where chance wants, often behind the first head.
fn split(bytes: &[u8], head_len: usize, chance: &mut Chance) -> Vec<Vec<u8>> {
    let mut cuts = vec![0, bytes.len()];
    if chance.one_in(2) {
        cuts.push(head_len);
    }
    for _ in 0..chance.below(4) {
        cuts.push(chance.below(bytes.len()));
    }
    if chance.one_in(30) {
        cuts.extend(0..bytes.len().min(200));
    }
    cuts.sort_unstable();
    cuts.dedup();
    cuts.windows(2)
        .map(|pair| bytes[pair[0]..pair[1]].to_vec())
        .collect()
}
