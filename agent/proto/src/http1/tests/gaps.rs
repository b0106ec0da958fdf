//! Streams with gaps, joined late, or out of step.

use super::*;
use crate::http1::Interest;

const POST: &str = "POST / HTTP/1.1\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\n";

#[test]
fn counted_bodies() {
    check_requests(
        &format!("{POST}Content-Length: 1000\r\n\r\nabc⟨997⟩¦GET / HTTP/1.1\r\n\r\n"),
        &[
            "0..41 POST / 1.1 content-length=1000",
            "1041 body 1000",
            "1041..1059 GET / 1.1",
            "1059 body 0",
        ],
    );
    check_requests(
        &format!("{POST}Content-Length: 1000\r\n\r\n⟨1001⟩¦GET / HTTP/1.1\r\n\r\n"),
        &[
            "0..41 POST / 1.1 content-length=1000",
            "1041 body 1000",
            "1041 lost",
            "1042..1060 GET / 1.1",
            "1060 body 0",
        ],
    );
}

#[test]
fn chunked_bodies() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    check_responses(
        &format!("{HEAD}3e8\r\nab⟨997⟩c\r\n0\r\n\r\n"),
        &[],
        &["0..47 200 1.1", "1059 body 1000"],
    );
    check_responses(
        &format!("{HEAD}3e8\r\n⟨1000⟩⟨2⟩¦0\r\n\r\n"),
        &[],
        &["0..47 200 1.1", "1059 body 1000"],
    );
    // A chunk's size in the gap: the last chunk is seen at the end of a call.
    check_responses(
        &format!("{HEAD}3e8\r\nab⟨1020⟩cde¦more⟨7⟩x\r\n0\r\n\r\n¦HTTP/1.1 204 x\r\n\r\n"),
        &[],
        &[
            "0..47 200 1.1",
            "1096 body ? inferred",
            "1096..1114 204 1.1",
            "1114 body 0",
        ],
    );
    check_responses(
        &format!("{HEAD}3e8\r\nab⟨1020⟩cde¦0\r\n\r\n¦"),
        &[],
        &["0..47 200 1.1", "1082 body ? inferred"],
    );
    check_responses(
        &format!("{HEAD}3e8\r\nab⟨1020⟩cde¦100\r\n\r\n¦∎"),
        &[],
        &["0..47 200 1.1", "1084 body ? inferred"],
    );
    // With trailers only the next head shows it.
    let next = read::<Response>(
        Start::Fresh { offset: 0 },
        &format!("{HEAD}⟨1020⟩: b\r\n\r\n¦HTTP/1.1 204 x\r\n\r\n"),
        &[],
        usize::MAX,
    );
    assert_eq!(
        next,
        [
            "0..47 200 1.1",
            "1074 body ? inferred",
            "1074..1092 204 1.1",
            "1092 body 0"
        ],
    );
}

#[test]
fn heads() {
    // The tail of the call shows the head's end.
    check_requests(
        "GET / HTTP/1.1\r\nHost: a\r\nCookie: b⟨5000⟩cdef\r\n\r\n¦GET /2 HTTP/1.1\r\n\r\n",
        &[
            "0..5042 GET / 1.1 partial host=a [1]=a",
            "5042 body 0 inferred",
            "5042..5061 GET /2 1.1",
            "5061 body 0",
        ],
    );
    // Fields behind the gap count.
    check_requests(
        &format!(
            "{POST}Cookie: b⟨5000⟩c\r\nContent-Length: 5\r\n\r\nhello¦GET /2 HTTP/1.1\r\n\r\n"
        ),
        &[
            "0..5050 POST / 1.1 partial content-length=5",
            "5055 body 5 inferred",
            "5055..5074 GET /2 1.1",
            "5074 body 0",
        ],
    );
    // The head ended in the gap: at once for a method without a body, else with the next head.
    check_requests(
        "GET / HTTP/1.1\r\nCookie: b⟨5000⟩cdef¦GET /2 HTTP/1.1\r\n\r\n",
        &[
            "0..5029 GET / 1.1 partial",
            "5029 body ? inferred",
            "5029..5048 GET /2 1.1",
            "5048 body 0",
        ],
    );
    let next = read::<Request>(
        Start::Fresh { offset: 0 },
        &format!("{POST}Content-Length: 70\r\nCookie: b⟨5000⟩cdef¦ghi¦GET /2 HTTP/1.1\r\n\r\n"),
        &[],
        usize::MAX,
    );
    assert_eq!(
        next,
        [
            "0..5050 POST / 1.1 partial content-length=70",
            "5053 body 70 inferred",
            "5053..5072 GET /2 1.1",
            "5072 body 0",
        ],
    );
    // ... or with the last chunk.
    check_responses(
        &format!("{OK}A: b⟨5000⟩x\r\n0\r\n\r\n¦HTTP/1.1 204 x\r\n\r\n"),
        &[],
        &[
            "0..5024 200 1.1 partial",
            "5029 body ? inferred",
            "5029..5047 204 1.1",
            "5047 body 0",
        ],
    );
    // Nothing is said of a start line that was not seen whole.
    check_requests(
        "GET /abc⟨5000⟩ HTTP/1.1\r\n\r\n¦GET /2 HTTP/1.1\r\n\r\n",
        &["0 lost", "5021..5040 GET /2 1.1", "5040 body 0"],
    );
    check_requests("⟨10⟩GET / HTTP/1.1\r\n\r\n¦", &["0 lost"]);
    check_responses(
        &format!("HTTP/1.1 100 x\r\n⟨9⟩¦{OK}\r\n∎"),
        &[],
        &["0..25 100 1.1 partial", "25..44 200 1.1", "44 body 0"],
    );
}

#[test]
fn joined() {
    let start = Start::Joined { offset: 500 };
    let check = |input: &str, expected: &[&str]| check_from::<Request>(start, input, &[], expected);
    check(
        "GET / HTTP/1.1\r\n\r\n",
        &["500..518 GET / 1.1", "518 body 0"],
    );
    check(
        "rest of a body GET / HTTP/1.1\r\n\r\n¦GET /2 HTTP/1.1\r\n\r\n",
        &["533..552 GET /2 1.1", "552 body 0"],
    );
    check("⟨70⟩GET / HTTP/1.1\r\n\r\n¦", &[]);
    check("GET /torn ⟨70⟩¦HTTP/1.1\r\n\r\n¦", &["500 lost"]);
    check(
        "\r\n¦MOVE / HTTP/1.1\r\n\r\n",
        &["502..521 MOVE / 1.1", "521 body 0"],
    );
    check(
        "\r\nMOVE / HTTP/1.1\r\n\r\n",
        &["502..521 MOVE / 1.1", "521 body 0"],
    );
    check("OST /torn HTTP/1.1\r\n\r\n", &[]);
    // Byte by byte, a call each.
    check(
        "x¦P¦O¦P¦O¦S¦T¦ ¦/¦ ¦H¦T¦T¦P¦/¦1¦.¦1¦\r¦\n¦\r¦\n",
        &["503..522 POST / 1.1", "522 body 0"],
    );
    // Not a method `PGET`.
    check(
        "P¦GET / HTTP/1.1\r\n\r\n",
        &["501..519 GET / 1.1", "519 body 0"],
    );
    check_from::<Response>(
        start,
        "</html>¦HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
        &[],
        &["507..545 200 1.1 content-length=1", "546 body 1"],
    );
}

#[test]
fn interest() {
    check::<Request>("", Interest::Now, false);
    check::<Request>("GE", Interest::Now, true);
    check::<Request>("GET / HTTP/1.1\r\n", Interest::Now, true);
    check::<Request>("GET / HTTP/1.1\r\n\r\n", Interest::Now, false);
    check::<Request>("GET \0", Interest::Tail, false);
    check::<Request>(
        &format!("{POST}Content-Length: 1000\r\n\r\nab"),
        Interest::From(1041),
        true,
    );
    check::<Response>(
        &format!("{OK}Content-Length: 1000\r\n\r\n"),
        Interest::From(1041),
        true,
    );
    check::<Response>(&format!("{OK}\r\n"), Interest::Tail, true);
    let chunked = format!("{OK}Transfer-Encoding: chunked\r\n\r\n");
    check::<Response>(&format!("{chunked}3e"), Interest::Now, true);
    check::<Response>(&format!("{chunked}3e8\r\nabc"), Interest::From(1052), true);
    check::<Response>(&format!("{chunked}⟨9⟩"), Interest::Tail, true);
    check::<Response>(&format!("{chunked}⟨9⟩0\r\n\r\n"), Interest::Tail, true);
    check::<Response>("HTTP/1.1 101 x\r\n\r\n", Interest::Never, false);
    fn check<S: Side>(input: &str, wants: Interest, mid_message: bool) {
        let mut parser = Parser::<S>::new(wanted(), Start::Fresh { offset: 0 });
        let mut transcript = Transcript::default();
        for part in input.split_inclusive('⟩') {
            let (bytes, gap) = part.split_once('⟨').unwrap_or((part, ""));
            parser.feed(Piece::Bytes(bytes.as_bytes()), false, &mut transcript);
            if let Some(gap) = gap.strip_suffix('⟩') {
                parser.feed(
                    Piece::Gap(gap.parse().expect("a number")),
                    false,
                    &mut transcript,
                );
            }
        }
        assert_eq!(
            (parser.wants(), parser.mid_message()),
            (wants, mid_message),
            "{input:?}"
        );
    }
}
