//! Streams without gaps.

use super::*;
use crate::http1::{MAX_HEAD, MAX_TARGET};

#[test]
fn request_forms() {
    check_requests("GET / HTTP/1.1\r\n\r\n", &["0..18 GET / 1.1", "18 body 0"]);
    check_requests(
        "GET /a?b HTTP/1.0\r\n\r\n",
        &["0..21 GET /a?b 1.0", "21 body 0"],
    );
    check_requests(
        "GET http://a/b HTTP/1.1\r\n\r\n",
        &["0..27 GET http://a/b 1.1", "27 body 0"],
    );
    check_requests(
        "CONNECT a:1 HTTP/1.1\r\n\r\n",
        &["0..24 CONNECT a:1 1.1", "24 body 0"],
    );
    check_requests(
        "OPTIONS * HTTP/1.1\r\n\r\n",
        &["0..22 OPTIONS * 1.1", "22 body 0"],
    );
    check_requests(
        "Frob-2 /x HTTP/1.1\r\n\r\n",
        &["0..22 Frob-2 /x 1.1", "22 body 0"],
    );
}

#[test]
fn line_ends() {
    check_requests(
        "GET / HTTP/1.1\nHost: a\n\n",
        &["0..24 GET / 1.1 host=a [1]=a", "24 body 0"],
    );
    check_requests(
        "\r\n\n\r\nGET / HTTP/1.1\r\n\r\n",
        &["5..23 GET / 1.1", "23 body 0"],
    );
    check_requests(
        "GET / HTTP/1.1\r\n\r\n\r\nGET /2 HTTP/1.1\r\n\r\n",
        &[
            "0..18 GET / 1.1",
            "18 body 0",
            "20..39 GET /2 1.1",
            "39 body 0",
        ],
    );
}

#[test]
fn fields() {
    check_requests(
        "GET / HTTP/1.1\r\nUser-Agent:\t a b \r\nX-ID: 1\r\nx-id:2\r\nEmpty:\r\nX-Id:\r\n\r\n",
        &[
            "0..69 GET / 1.1 user-agent=a b [0]=1 [0]=2 [0]=",
            "69 body 0",
        ],
    );
    check_requests(
        "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\t c\r\nX-Other: d\r\n e\r\n\r\n",
        &["0..52 GET / 1.1 host=a b c [1]=a b c", "52 body 0"],
    );
    check_requests(
        "GET / HTTP/1.1\r\nTraceState: a=1\r\nTraceParent: x\r\ntracestate: b=2\r\n\r\n",
        &[
            "0..68 GET / 1.1 traceparent=x tracestate=a=1,b=2",
            "68 body 0",
        ],
    );
    check_requests(
        "GET / HTTP/1.1\r\ntraceparent: x\r\ntraceparent: y\r\n\r\n",
        &["0..50 GET / 1.1 traceparent=x,y", "50 body 0"],
    );
    // Servers differ in whether they serve these; none takes them for fields.
    check_requests(
        "GET / HTTP/1.1\r\n folded\r\nstray\r\n: a\r\nb c: d\r\n\r\n",
        &["0..47 GET / 1.1", "47 body 0"],
    );
    check_requests(
        "GET / HTTP/1.1\r\na\0: b\r\n\r\n",
        &["0 malformed field line"],
    );
    check_requests(
        "GET / HTTP/1.1\r\na: b\rc\r\n\r\n",
        &["0 malformed field line"],
    );
}

#[test]
fn request_bodies() {
    let post = |fields: &str| format!("POST / HTTP/1.1\r\n{fields}\r\n\r\n");
    check_requests(
        &format!("{}helloGET / HTTP/1.1\r\n\r\n", post("Content-Length: 5")),
        &[
            "0..38 POST / 1.1 content-length=5",
            "43 body 5",
            "43..61 GET / 1.1",
            "61 body 0",
        ],
    );
    check_requests(
        &format!(
            "{}5;x=\"\r\nhello\r\n0\r\nA: b\r\n\r\n",
            post("transfer-encoding : gzip, Chunked")
        ),
        &["0..54 POST / 1.1", "79 body 5"],
    );
    check_requests(
        &format!("{}¦hel∎", post("Content-Length: 5")),
        &["0..38 POST / 1.1 content-length=5", "41 body 3 truncated"],
    );
    check_requests(
        &format!("{}5\r\nhel∎", post("Transfer-Encoding: chunked")),
        &["0..47 POST / 1.1", "53 body 3 truncated"],
    );
    // Transfer-Encoding overrides Content-Length.
    check_requests(
        &format!(
            "{}0\r\n\r\n",
            post("Content-Length: 5\r\nTransfer-Encoding: chunked")
        ),
        &["0..66 POST / 1.1", "71 body 0"],
    );
    check_requests(
        &format!("{}hello", post("Content-Length: 5, 5\r\nContent-Length: 5")),
        &["0..60 POST / 1.1 content-length=5", "65 body 5"],
    );
    for bad in [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 6",
        "Content-Length: +5",
        "Content-Length: ",
        "Content-Length: 99999999999999999999",
        "Transfer-Encoding: chunked, gzip",
    ] {
        let end = post(bad).len();
        check_requests(
            &format!("{}hello¦GET / HTTP/1.1\r\n\r\n", post(bad)),
            &[
                &format!("0..{end} POST / 1.1"),
                &format!("{end} body ? inferred"),
                &format!("{end} conflicting or invalid body length"),
                &format!("{}..{} GET / 1.1", end + 5, end + 23),
                &format!("{} body 0", end + 23),
            ],
        );
    }
    check_requests(
        &format!(
            "{}5\r\nhello5\r\n¦GET / HTTP/1.1\r\n\r\n",
            post("Transfer-Encoding: chunked")
        ),
        &[
            "0..47 POST / 1.1",
            "55 body ? inferred",
            "55 malformed chunk",
            "58..76 GET / 1.1",
            "76 body 0",
        ],
    );
}

#[test]
fn expectations() {
    const HEAD: &str = "PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    check_requests(
        &format!("{HEAD}¦hello"),
        &["0..59 PUT / 1.1 content-length=5", "64 body 5"],
    );
    // Refused: the body was never sent.
    let refused = read::<Request>(
        Start::Fresh { offset: 0 },
        &format!("{HEAD}¦GET / HTTP/1.1\r\n\r\n"),
        &[],
        usize::MAX,
    );
    assert_eq!(
        refused,
        [
            "0..59 PUT / 1.1 content-length=5",
            "59 body 0 inferred",
            "59..77 GET / 1.1",
            "77 body 0"
        ],
    );
}

#[test]
fn response_bodies() {
    use Answers::{Connect, Head, Other, Unknown};
    check_responses(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 404 Not Found\r\nContent-Length:0\r\n\r\n",
        &[],
        &[
            "0..38 200 1.1 content-length=2",
            "40 body 2",
            "40..84 404 1.1 content-length=0",
            "84 body 0",
        ],
    );
    check_responses(
        "HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        &[],
        &["0..44 200 1.1", "56 body 2"],
    );
    check_responses(
        "HTTP/1.0 200 OK\r\n\r\nall ¦of it∎",
        &[],
        &["0..19 200 1.0", "28 body 9"],
    );
    check_responses(
        "HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n∎",
        &[],
        &["0..19 200 1.1", "38 body 19"],
    );
    for (status, answers) in [(200, Head), (204, Other), (304, Other), (404, Head)] {
        check_responses(
            &format!("HTTP/1.1 {status} x\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"),
            &[answers],
            &[
                &format!("0..37 {status} 1.1 content-length=5"),
                "37 body 0",
                "37..56 200 1.1",
            ],
        );
    }
    check_responses(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204\r\n\r\n",
        &[],
        &[
            "0..25 100 1.1",
            "25..62 103 1.1",
            "62..78 204 1.1",
            "78 body 0",
        ],
    );
    check_responses(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\u{1}HTTP/1.1 200 OK\r\n\r\n",
        &[],
        &["0..56 101 1.1 upgrade=websocket", "56 tunnel"],
    );
    check_responses(
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n\u{16}\u{3}",
        &[Connect],
        &["0..38 200 1.1 content-length=5", "38 tunnel"],
    );
    check_responses(
        "HTTP/1.1 407 No\r\nContent-Length: 2\r\n\r\nno",
        &[Connect],
        &["0..38 407 1.1 content-length=2", "40 body 2"],
    );
    // A response to an unseen request, which may have been a HEAD.
    check_responses(
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        &[Unknown],
        &["0..38 200 1.1 content-length=5", "43 body 5"],
    );
    let head = read::<Response>(
        Start::Fresh { offset: 0 },
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n¦HTTP/1.1 204 x\r\n\r\n",
        &[Unknown],
        usize::MAX,
    );
    assert_eq!(
        head,
        [
            "0..38 200 1.1 content-length=5",
            "38 body 0 inferred",
            "38..56 204 1.1",
            "56 body 0"
        ],
    );
}

#[test]
fn malformed() {
    check_requests(
        "GET \u{1}\u{2}\u{3} HTTP/1.1\r\n\r\n¦GET \0¦",
        &["0 not an HTTP/1 start line"],
    );
    check_requests("GET /\r\n", &["0 not an HTTP/1 start line"]);
    check_requests("HTTP/1.1 200 OK\r\n\r\n", &["0 not an HTTP/1 start line"]);
    check_responses(
        "GET / HTTP/1.1\r\n\r\n",
        &[],
        &["0 not an HTTP/1 start line"],
    );
    check_requests(
        "junk\r\nGET /in/junk HTTP/1.1\r\n\r\n¦GET / HTTP/1.1\r\n\r\n",
        &[
            "0 not an HTTP/1 start line",
            "31..49 GET / 1.1",
            "49 body 0",
        ],
    );
}

#[test]
fn limits() {
    let long = "x".repeat(MAX_HEAD);
    check_requests(&format!("GET /{long}"), &["0 head longer than 65536 bytes"]);
    check_requests(
        &format!("GET / HTTP/1.1\r\nA: {long}\r\n\r\n"),
        &["0 head longer than 65536 bytes"],
    );
    let fits = "x".repeat(MAX_HEAD - 23);
    check_requests(
        &format!("GET / HTTP/1.1\r\nA: {fits}\r\n\r\n"),
        &["0..65536 GET / 1.1", "65536 body 0"],
    );
    let (target, kept) = ("/".repeat(MAX_TARGET + 1), "/".repeat(MAX_TARGET));
    check_requests(
        &format!("GET {target} HTTP/1.1\r\n\r\n"),
        &[&format!("0..8210 GET {kept} 1.1"), "8210 body 0"],
    );
    let many = "x-id:\r\n".repeat(300);
    let kept = " [0]=".repeat(256);
    check_requests(
        &format!("GET / HTTP/1.1\r\n{many}\r\n"),
        &[&format!("0..2118 GET / 1.1 partial{kept}"), "2118 body 0"],
    );
}
