//! Which protocol a connection speaks, from its first bytes.

/// What the first bytes of one direction are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A whole, valid HTTP/1 request line.
    Http1Request,
    /// A whole, valid HTTP/1 status line.
    Http1Response,
    /// The client's connection preface of HTTP/2 (RFC 9113 §3.4).
    Http2Preface,
    /// A TLS handshake record with a hello.
    Tls,
    /// Could become one of the above.
    NeedMore,
    /// None of the above.
    Other,
}

/// `first`: from the first byte of a direction, or of a call, on.
pub fn sniff(first: &[u8]) -> Verdict {
    if first.is_empty() {
        Verdict::NeedMore
    } else {
        Verdict::Other
    }
}
