//! The first line of a message (RFC 9112 §3, §4): one space between the parts, no control bytes.
//!
//! Stricter than the lenient parsing the RFC permits, because this is also what tells HTTP from
//! anything else; lenient only where real programs are: the target's form is not checked.

use super::Version;

/// Longest method token, bytes; the longest registered one has 17.
const MAX_METHOD: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestLine<'a> {
    pub(crate) method: &'a [u8],
    pub(crate) target: &'a [u8],
    pub(crate) version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusLine {
    pub(crate) version: Version,
    pub(crate) status: u16,
}

impl<'a> RequestLine<'a> {
    /// `line` without its end.
    pub(crate) fn parse(line: &'a [u8]) -> Option<Self> {
        let space = method_end(line)?;
        let (method, rest) = (&line[..space], &line[space + 1..]);
        let space = rest.len().checked_sub(b" HTTP/1.1".len())?;
        let (target, version) = (&rest[..space], version(rest[space..].strip_prefix(b" ")?)?);
        let visible = target
            .iter()
            .fold(true, |all, &byte| all & (byte > b' ') & (byte != 0x7f));
        (!target.is_empty() && visible).then_some(Self {
            method,
            target,
            version,
        })
    }

    /// `prefix`, of which the first `known` bytes have been asked about before, may become a
    /// request line.
    pub(crate) fn may_begin(prefix: &[u8], known: usize) -> bool {
        let name = &prefix[..prefix.len().min(MAX_METHOD + 1)];
        let name_fits = match method_end(name) {
            Some(_) => true,
            None => name.len() <= MAX_METHOD && name.iter().copied().all(is_token),
        };
        (name_fits || prefix == b"\r") && is_text_so_far(prefix, known)
    }

    /// `prefix` is in agreement with a registered method.
    pub(crate) fn may_be_registered(prefix: &[u8]) -> bool {
        match method_end(prefix) {
            Some(space) => registered(&prefix[..space]).is_some(),
            None => {
                matches!(prefix, b"\r" | b"\n" | b"\r\n")
                    || METHODS
                        .iter()
                        .any(|name| name.as_bytes().starts_with(prefix))
            }
        }
    }
}

impl StatusLine {
    /// `line` without its end.
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        let (version, rest) = (version(line.get(..8)?)?, &line[8..]);
        let (status, reason) = rest.strip_prefix(b" ")?.split_at_checked(3)?;
        let status = status.iter().try_fold(0_u16, |value, digit| {
            digit
                .is_ascii_digit()
                .then(|| value * 10 + u16::from(digit - b'0'))
        })?;
        let reason_fits = reason.is_empty() || (reason[0] == b' ' && is_text(reason));
        (status >= 100 && reason_fits).then_some(Self { version, status })
    }

    /// See [`RequestLine::may_begin`].
    pub(crate) fn may_begin(prefix: &[u8], known: usize) -> bool {
        let name = &prefix[..prefix.len().min(7)];
        let digits = prefix.iter().skip(9).take(3);
        (b"HTTP/1.".starts_with(name) || prefix == b"\r")
            && digits.copied().all(|byte| byte.is_ascii_digit())
            && is_text_so_far(prefix, known)
    }
}

/// The registered method that `name` is (IANA registry of HTTP methods).
pub(crate) fn registered(name: &[u8]) -> Option<&'static str> {
    METHODS
        .iter()
        .find(|method| method.as_bytes() == name)
        .copied()
}

/// No control bytes but tabs.
pub(crate) fn is_text(line: &[u8]) -> bool {
    // No early way out: this is a few vector instructions for a usual line.
    line.iter().fold(true, |all, &byte| {
        all & ((byte >= b' ') | (byte == b'\t')) & (byte != 0x7f)
    })
}

/// Of a token (RFC 9110 §5.6.2).
pub(crate) fn is_token(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

static TOKEN: [bool; 256] = {
    let (mut table, mut at) = ([false; 256], 0);
    while at < 256 {
        table[at] = (at as u8).is_ascii_alphanumeric();
        at += 1;
    }
    let (symbols, mut at) = (b"!#$%&'*+-.^_`|~", 0);
    while at < symbols.len() {
        table[symbols[at] as usize] = true;
        at += 1;
    }
    table
};

/// A line without `\r\n` or a bare `\n`.
pub(crate) fn trim_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Text, the last byte of which may be the `\r` of the line's end.
fn is_text_so_far(prefix: &[u8], known: usize) -> bool {
    // The last known byte is looked at again: it may be a `\r` that turned out not to be the last.
    let fresh = prefix.get(known.saturating_sub(1)..).unwrap_or_default();
    is_text(fresh.strip_suffix(b"\r").unwrap_or(fresh))
}

fn method_end(line: &[u8]) -> Option<usize> {
    let end = line
        .iter()
        .take(MAX_METHOD + 1)
        .position(|&byte| !is_token(byte))?;
    (end > 0 && line[end] == b' ').then_some(end)
}

fn version(text: &[u8]) -> Option<Version> {
    match text {
        b"HTTP/1.0" => Some(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1'..=b'9'] => Some(Version::Http11),
        _ => None,
    }
}

#[rustfmt::skip]
const METHODS: &[&str] = &[
    "GET", "POST", "PUT", "HEAD", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE",
    "ACL", "BASELINE-CONTROL", "BIND", "CHECKIN", "CHECKOUT", "COPY", "LABEL", "LINK", "LOCK",
    "MERGE", "MKACTIVITY", "MKCALENDAR", "MKCOL", "MKREDIRECTREF", "MKWORKSPACE", "MOVE",
    "ORDERPATCH", "PROPFIND", "PROPPATCH", "QUERY", "REBIND", "REPORT", "SEARCH", "UNBIND",
    "UNCHECKOUT", "UNLINK", "UNLOCK", "UPDATE", "UPDATEREDIRECTREF", "VERSION-CONTROL",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_lines() {
        check("GET / HTTP/1.1", Some(("GET", "/", Version::Http11)));
        check(
            "GET /a?b=c%20d HTTP/1.0",
            Some(("GET", "/a?b=c%20d", Version::Http10)),
        );
        check(
            "GET http://a.b/c HTTP/1.1",
            Some(("GET", "http://a.b/c", Version::Http11)),
        );
        check(
            "CONNECT a.b:443 HTTP/1.1",
            Some(("CONNECT", "a.b:443", Version::Http11)),
        );
        check(
            "OPTIONS * HTTP/1.1",
            Some(("OPTIONS", "*", Version::Http11)),
        );
        check("gEt! /ä HTTP/1.7", Some(("gEt!", "/ä", Version::Http11)));
        check("GET  / HTTP/1.1", None);
        check("GET / x HTTP/1.1", None);
        check("GET /", None);
        check("GET HTTP/1.1", None);
        check("GET / HTTP/1.1 ", None);
        check("GET / HTTP/2.0", None);
        check("GET / http/1.1", None);
        check("GET /\0 HTTP/1.1", None);
        check("G@T / HTTP/1.1", None);
        check(" GET / HTTP/1.1", None);
        check("", None);
        fn check(line: &str, expected: Option<(&str, &str, Version)>) {
            let expected = expected.map(|(method, target, version)| RequestLine {
                method: method.as_bytes(),
                target: target.as_bytes(),
                version,
            });
            assert_eq!(RequestLine::parse(line.as_bytes()), expected, "{line:?}");
            if expected.is_some() {
                for end in 1..=line.len() {
                    assert!(
                        RequestLine::may_begin(&line.as_bytes()[..end], 0),
                        "{line:?} {end}"
                    );
                }
            }
        }
    }

    #[test]
    fn status_lines() {
        check("HTTP/1.1 200 OK", Some((Version::Http11, 200)));
        check("HTTP/1.0 404 Not\tFound ö", Some((Version::Http10, 404)));
        check("HTTP/1.1 204", Some((Version::Http11, 204)));
        check("HTTP/1.1 204 ", Some((Version::Http11, 204)));
        check("HTTP/1.1 099 x", None);
        check("HTTP/1.1 2000", None);
        check("HTTP/1.1 20", None);
        check("HTTP/1.1  200", None);
        check("HTTP/1.1 200 \x01", None);
        check("HTTP/2 200", None);
        check("ICY 200 OK", None);
        check("", None);
        fn check(line: &str, expected: Option<(Version, u16)>) {
            let parsed = StatusLine::parse(line.as_bytes());
            assert_eq!(
                parsed.map(|line| (line.version, line.status)),
                expected,
                "{line:?}"
            );
            if expected.is_some() {
                for end in 1..=line.len() {
                    assert!(
                        StatusLine::may_begin(&line.as_bytes()[..end], 0),
                        "{line:?} {end}"
                    );
                }
            }
        }
    }

    #[test]
    fn hopeless_beginnings() {
        check("GET \0", false);
        check("GET\0", false);
        check("GET /\rx", false);
        check("\rx", false);
        check("\r", true);
        check("thirty-three-letters-in-one-method", false);
        check("*1 $4 PING", true);
        check("(hi) ", false);
        fn check(prefix: &str, expected: bool) {
            let prefix = prefix.as_bytes();
            let at_once = RequestLine::may_begin(prefix, 0);
            let byte_by_byte =
                (1..=prefix.len()).all(|end| RequestLine::may_begin(&prefix[..end], end - 1));
            assert_eq!((at_once, byte_by_byte), (expected, expected), "{prefix:?}");
        }
    }
}
