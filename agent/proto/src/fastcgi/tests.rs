use super::{Parser, Sender, begins_request, fuzz};
use crate::Piece;
use crate::dice::Dice;
use crate::http1::{Answers, Body, Conversation, Malformed, RequestHead, ResponseHead};

/// What nginx sends for `GET /a?b=1`, but for most of the parameters.
fn request(body: &[u8]) -> Vec<u8> {
    let mut params = Vec::new();
    let long = "x".repeat(300);
    for (name, value) in [
        ("QUERY_STRING", "b=1"),
        ("REQUEST_METHOD", "GET"),
        ("HTTP_COOKIE", long.as_str()),
        ("REQUEST_URI", "/a?b=1"),
        ("HTTP_TRACEPARENT", "00-1-2-01"),
    ] {
        for len in [name.len(), value.len()] {
            match u8::try_from(len) {
                Ok(len) if len < 0x80 => params.push(len),
                _ => params.extend((len as u32 | 0x8000_0000).to_be_bytes()),
            }
        }
        params.extend(name.bytes().chain(value.bytes()));
    }
    let mut all = record(1, &[0, 1, 0, 0, 0, 0, 0, 0], 0);
    all.extend(record(4, &params, 5));
    all.extend(record(4, &[], 0));
    if !body.is_empty() {
        all.extend(record(5, body, 0));
    }
    all.extend(record(5, &[], 0));
    all
}

fn response(len: usize) -> Vec<u8> {
    let mut all = record(6, &vec![b'a'; len], 3);
    all.extend(record(3, &[0; 8], 0));
    all
}

fn record(kind: u8, content: &[u8], padding: u8) -> Vec<u8> {
    let [high, low] = (content.len() as u16).to_be_bytes();
    let mut record = vec![1, kind, 0, 1, high, low, padding, 0];
    record.extend(content);
    record.extend(vec![0; padding.into()]);
    record
}

#[derive(Default)]
struct Told(String);

impl Conversation for Told {
    fn request(&mut self, head: RequestHead, start: u64, _end: u64) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.0 += &format!("{} {} at {start}", text(&head.method), text(&head.target));
        if let Some(parent) = head.fields.traceparent {
            self.0 += &format!(" below {}", text(&parent));
        }
        self.0 += if head.partial { " partial; " } else { "; " };
    }

    fn response(&mut self, _head: ResponseHead, start: u64, _end: u64) -> Answers {
        self.0 += &format!("response at {start}; ");
        Answers::Unknown
    }

    fn complete(&mut self, end: u64, body: Body) {
        let how = match (body.truncated, body.inferred) {
            (true, _) => "cut",
            (false, true) => "gone",
            (false, false) => "end",
        };
        self.0 += &format!("{how} {end}; ");
    }

    fn malformed(&mut self, _at: u64, _why: Malformed) {}

    fn tunnel(&mut self, _at: u64) {}

    fn lost(&mut self, at: u64) {
        self.0 += &format!("lost {at}; ");
    }
}

/// Each piece is a call.
fn told(sender: Sender, pieces: &[Piece<'_>]) -> String {
    let mut told = Told::default();
    let mut parser = Parser::new(sender, 0);
    for piece in pieces {
        parser.feed(*piece, true, &mut told);
    }
    parser.end_of_stream(&mut told);
    told.0
}

#[test]
fn a_request_and_another() {
    let one = request(b"");
    let len = one.len();
    let both = [&one[..], &request(b"body")].concat();
    let end = both.len();
    let expected = format!(
        "GET /a?b=1 at 0 below 00-1-2-01; end {len}; GET /a?b=1 at {len} below 00-1-2-01; end {end}; "
    );
    assert_eq!(told(Sender::WebServer, &[Piece::Bytes(&both)]), expected);
    // PHP reads header by header.
    let calls: Vec<_> = both.chunks(8).map(Piece::Bytes).collect();
    assert_eq!(told(Sender::WebServer, &calls), expected);
}

#[test]
fn a_response() {
    let response = response(20);
    let end = response.len() as u64 - 8;
    let expected = format!("response at 0; end {end}; ");
    assert_eq!(
        told(Sender::Application, &[Piece::Bytes(&response)]),
        expected
    );
}

#[test]
fn gaps() {
    let all = request(b"");
    let (known, rest) = all.split_at(60);
    let len = all.len();
    // In the parameters: what stood before it is known.
    let pieces = [
        Piece::Bytes(known),
        Piece::Gap(rest.len() as u64 - 16),
        Piece::Bytes(&rest[rest.len() - 16..]),
    ];
    let expected = format!("GET  at 0 partial; end {len}; ");
    assert_eq!(told(Sender::WebServer, &pieces), expected);
    // Behind them: where a record begins is not known any more.
    let pieces = [
        Piece::Bytes(known),
        Piece::Gap(rest.len() as u64 + 5),
        Piece::Bytes(b"noise that is no record"),
        Piece::Bytes(&all),
    ];
    let next = len + 5 + 23;
    let expected = format!(
        "GET  at 0 partial; gone 60; lost 60; GET /a?b=1 at {next} below 00-1-2-01; end {}; ",
        next + len
    );
    assert_eq!(told(Sender::WebServer, &pieces), expected);
    // A long response of which the end did not travel.
    let response = response(2000);
    let pieces = [
        Piece::Bytes(&response[..100]),
        Piece::Gap(response.len() as u64 - 100),
        Piece::Bytes(&response),
    ];
    let end = 2 * response.len() - 8;
    let expected = format!(
        "response at 0; gone 100; lost 100; response at {}; end {end}; ",
        response.len()
    );
    assert_eq!(told(Sender::Application, &pieces), expected);
}

#[test]
fn an_aborted_request() {
    let all = request(b"");
    let mut bytes = all[..all.len() - 8].to_vec();
    bytes.extend(record(2, &[], 0));
    let expected = format!("GET /a?b=1 at 0 below 00-1-2-01; end {}; ", all.len());
    assert_eq!(told(Sender::WebServer, &[Piece::Bytes(&bytes)]), expected);
    let cut = &all[..all.len() - 8];
    let expected = format!("GET /a?b=1 at 0 below 00-1-2-01; cut {}; ", cut.len());
    assert_eq!(told(Sender::WebServer, &[Piece::Bytes(cut)]), expected);
}

#[test]
fn first_bytes() {
    let all = request(b"");
    assert_eq!(begins_request(&all), Some(true));
    assert_eq!(begins_request(&all[..8]), Some(true));
    assert_eq!(begins_request(&all[..7]), None);
    assert_eq!(begins_request(&response(3)), Some(false));
    assert_eq!(begins_request(&[1, 1, 0, 0, 0, 8, 0, 0]), Some(false));
    assert_eq!(begins_request(b"GET / HTTP/1.1"), Some(false));
}

#[test]
fn any_bytes() {
    let mut original = vec![3];
    original.extend(request(b"body"));
    original.extend(request(b""));
    original.extend(response(40));
    fuzz(&original);
    let mut dice = Dice::new(&original);
    for _ in 0..20_000 {
        let mut input = original.clone();
        for _ in 0..=dice.roll(6) {
            let at = dice.roll(input.len());
            input[at] = dice.roll(256) as u8;
        }
        input.truncate(dice.roll(input.len()) + 1);
        fuzz(&input);
    }
}
