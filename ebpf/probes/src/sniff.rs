//! A guess from eight bytes whether a call begins an HTTP/1 message. The agent's detector decides.

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    Request,
    Response,
    Other,
}

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
    if request {
        Start::Request
    } else {
        Start::Other
    }
}
