//! A guess from eight bytes whether a call begins a message of HTTP/1 or FastCGI, or HTTP/2 frames. The
//! agent's detector decides.

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    Request,
    Response,
    /// A client's connection preface of HTTP/2.
    Preface,
    /// A SETTINGS frame: the first that a server of HTTP/2 sends.
    Settings,
    /// A HEADERS frame.
    Headers,
    Other,
}

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
/// END_STREAM, END_HEADERS, PADDED, PRIORITY.
const HEADERS_FLAGS: u8 = 0x2d;

/// Header of FastCGI's `BEGIN_REQUEST` record, but for the number of the request and the padding.
const FASTCGI_BEGIN: u64 = u64::from_ne_bytes([1, 1, 0, 0, 0, 8, 0, 0]);
const FASTCGI_MASK: u64 = u64::from_ne_bytes([0xff, 0xff, 0, 0, 0xff, 0xff, 0, 0xff]);

const fn word(text: [u8; 4]) -> u32 {
    u32::from_ne_bytes(text)
}

/// `first`: the first bytes as they stand in memory, 0 where there are fewer.
#[inline(always)]
pub(crate) fn start(first: u64) -> Start {
    let bytes = first.to_ne_bytes();
    let low = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let next = bytes[4];
    if low == word(*b"HTTP") {
        return if next == b'/' {
            Start::Response
        } else {
            Start::Other
        };
    }
    let request = low == word(*b"GET ")
        || low == word(*b"POST")
        || low == word(*b"PUT ")
        || low == word(*b"HEAD")
        || low == word(*b"PATC")
        || low == word(*b"DELE")
        || low == word(*b"OPTI")
        || low == word(*b"CONN")
        || low == word(*b"TRAC")
        || low == word(*b"PROP");
    if request || first & FASTCGI_MASK == FASTCGI_BEGIN {
        Start::Request
    } else if first == u64::from_ne_bytes(*b"PRI * HT") {
        Start::Preface
    } else {
        frame(bytes)
    }
}

/// By the frame's header (RFC 9113 §4.1), of which the last byte is not seen.
#[inline(always)]
fn frame(bytes: [u8; 8]) -> Start {
    let [high, _, low, kind, flags, stream @ ..] = bytes;
    if high != 0 {
        return Start::Other;
    }
    // May be empty.
    if kind == SETTINGS && flags == 0 && stream == [0; 3] {
        Start::Settings
    } else if low != 0 && kind == HEADERS && flags & !HEADERS_FLAGS == 0 && stream[0] & 0x80 == 0 {
        Start::Headers
    } else {
        Start::Other
    }
}
