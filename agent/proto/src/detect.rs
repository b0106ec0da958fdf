//! Which protocol a connection speaks, from its first bytes.

use memchr::memchr;

use crate::http1::MAX_HEAD;
use crate::http1::start_line::{RequestLine, StatusLine, trim_end};
use crate::{fastcgi, http2};

/// What the first bytes of one direction, or of one call, are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A whole, valid HTTP/1 request line.
    Http1Request,
    /// A whole, valid HTTP/1 status line.
    Http1Response,
    /// The client's connection preface of HTTP/2 (RFC 9113 §3.4).
    Http2Preface,
    /// A frame of HTTP/2 that a server may send first: SETTINGS (RFC 9113 §3.4), or what looks so.
    Http2Settings,
    /// A record of FastCGI that begins a request.
    FastCgi,
    /// A TLS record that begins a handshake: a client's or server's hello (RFC 8446 §4).
    Tls,
    /// Could become one of the above.
    NeedMore,
    /// None of the above.
    Other,
}

/// Judges strictly: nothing is HTTP/1 before its whole start line has been seen.
pub fn sniff(first: &[u8]) -> Verdict {
    if let verdict @ (Verdict::Tls
    | Verdict::Http2Preface
    | Verdict::Http2Settings
    | Verdict::FastCgi) = sniff_fixed(first)
    {
        return verdict;
    }
    let blank = first
        .iter()
        .take_while(|byte| matches!(byte, b'\r' | b'\n'))
        .count();
    let line = &first[blank..];
    if let Some(end) = memchr(b'\n', line) {
        let line = trim_end(&line[..=end]);
        if RequestLine::parse(line).is_some() {
            return Verdict::Http1Request;
        }
        if StatusLine::parse(line).is_some() {
            return Verdict::Http1Response;
        }
    } else if line.len() < MAX_HEAD
        && (RequestLine::may_begin(line, 0) || StatusLine::may_begin(line, 0))
    {
        return Verdict::NeedMore;
    }
    sniff_fixed(first)
}

/// Of protocols that begin with fixed bytes.
fn sniff_fixed(first: &[u8]) -> Verdict {
    let tls = match *first {
        [0x16, 3, 0..=4, high, _, hello, ..] => high <= 0x48 && matches!(hello, 1 | 2),
        [0x16] | [0x16, 3] | [0x16, 3, 0..=4] | [0x16, 3, 0..=4, _] | [0x16, 3, 0..=4, _, _] => {
            return Verdict::NeedMore;
        }
        _ => false,
    };
    if tls {
        Verdict::Tls
    } else if first.starts_with(http2::PREFACE) {
        Verdict::Http2Preface
    } else if http2::PREFACE.starts_with(first) {
        Verdict::NeedMore
    } else if let is_fastcgi @ (None | Some(true)) = fastcgi::begins_request(first) {
        match is_fastcgi {
            Some(_) => Verdict::FastCgi,
            None => Verdict::NeedMore,
        }
    } else if may_be_settings(first) {
        if first.len() < http2::FRAME_HEADER {
            Verdict::NeedMore
        } else {
            Verdict::Http2Settings
        }
    } else {
        Verdict::Other
    }
}

/// Whether this is, or may become, the header of a SETTINGS frame (RFC 9113 §6.5).
fn may_be_settings(first: &[u8]) -> bool {
    let mut header = first.iter().take(http2::FRAME_HEADER).enumerate();
    header.all(|(index, &byte)| match index {
        2 => byte % 6 == 0,
        3 => byte == 4,
        _ => byte == 0,
    })
}

/// More bytes never take back a verdict, and a verdict is of the bytes, not of their number.
#[cfg(any(test, feature = "fuzz"))]
pub fn fuzz_sniff(input: &[u8]) {
    let input = &input[..input.len().min(300)];
    let verdicts = (0..=input.len()).map(|end| sniff(&input[..end]));
    let mut decided = verdicts.skip_while(|&verdict| verdict == Verdict::NeedMore);
    if let Some(first) = decided.next() {
        assert!(decided.all(|verdict| verdict == first), "{input:02x?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuzz() {
        crate::corpus::each_input("http1", fuzz_sniff);
    }

    #[test]
    fn verdicts() {
        use Verdict::{
            FastCgi, Http1Request, Http1Response, Http2Preface, Http2Settings, NeedMore, Other, Tls,
        };

        check(b"GET / HTTP/1.1\r\n", Http1Request);
        check(b"\r\n\nGET / HTTP/1.0\nHost: a", Http1Request);
        check(b"FROBNICATE * HTTP/1.1\r\n\0\0", Http1Request);
        check(b"GET / HTTP/1.1\r", NeedMore);
        check(b"GET /a/long/pa", NeedMore);
        check(b"", NeedMore);
        check(b"\r\n", NeedMore);
        check(b"G", NeedMore);
        check(b"GET \x00\x01\x02\x03", Other);
        check(b"GET / HTTP/2.0\r\n", Other);
        check(b"GET key\r\n", Other);
        check(b"HTTP/1.1 200 OK\r\n", Http1Response);
        check(b"HTTP/1.1 20", NeedMore);
        check(b"HTTP/1.1 2x", Other);
        check(b"HTTP/1.1 2x0 OK\r\n", Other);
        check(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12", Http2Preface);
        check(b"PRI * HTTP/2.0\r\n\r\nS", NeedMore);
        check(b"PRI * HTTP/2.0\r\nS", Other);
        check(b"\x16\x03\x01\x02\x00\x01\x00", Tls);
        check(b"\x16\x03\x01", NeedMore);
        check(b"\x16\x03\x01\x02\x00\x0b", Other);
        check(b"\x17\x03\x03\x00\x20\x01", Other);
        check(b"*1\r\n$4\r\nPING\r\n", Other);
        check(b"SSH-2.0-OpenSSH_9.2\r\n", Other);
        check(b"\0\0\0\x01", Other);
        check(b"\0\0\x12\x04\0\0\0\0\0\0\x03", Http2Settings);
        check(b"\0\0\x12\x04\0\0\0\0", NeedMore);
        check(b"\0\0\x12\x04\0\0\0\0\x01", Other);
        check(b"\x01\x01\0\x01\0\x08\0\0\0\x01", FastCgi);
        check(b"\x01\x01\0\x01\0\x08\0", NeedMore);
        check(b"\x01\x01\0\x01\0\x09\0", Other);
        fn check(first: &[u8], expected: Verdict) {
            assert_eq!(
                sniff(first),
                expected,
                "{:?}",
                first.escape_ascii().to_string()
            );
            fuzz_sniff(first);
        }
    }
}
