//! From the first bytes of a connection to what it speaks.

use std::sync::Arc;

use weft_abi::{DataFlags, Direction};
use weft_proto::detect::{self, Verdict};
use weft_proto::http2::{self, Sender};
use weft_proto::tls;

use crate::connection::{Connection, Muted, Sniffing};
use crate::record::Data;
use crate::span::{Hello, Kind};

/// What a record told about an unknown connection.
pub(crate) enum Recognised {
    NotYet,
    /// HTTP/1: the record's direction carries such messages, beginning with those bytes.
    Http1 {
        kind: Kind,
        first: Vec<u8>,
        at: u64,
    },
    /// HTTP/2: the record's direction carries such frames, beginning with those bytes.
    Http2 {
        kind: Kind,
        first: Vec<u8>,
        at: u64,
    },
    /// FastCGI: the record's direction carries requests, beginning with those bytes.
    FastCgi {
        kind: Kind,
        first: Vec<u8>,
        at: u64,
    },
    Not(Muted),
    /// Joined in the middle, and no message has begun for a while.
    Quiet,
}

/// Longest beginning that is kept, bytes: a request line with a long target.
const MAX_PREFIX: usize = 16 * 1024;
/// A connection that was joined in the middle may move so many records until a message begins.
const MAX_RECORDS: u32 = 16;

/// `bytes`: the captured part of the record that was not seen before, from stream offset `at` on.
pub(crate) fn recognise(
    connection: &mut Connection,
    data: &Data<'_>,
    bytes: &[u8],
    at: u64,
) -> Recognised {
    let from_beginning = connection.from_beginning;
    let direction = data.direction;
    let sniffing = &mut connection.half_mut(direction).sniffing;
    sniffing.records += 1;
    let begins_here = at != 0 && data.has(DataFlags::CALL_START) && begins_message(bytes);
    if sniffing.prefix.is_empty() || sniffing.end() != at || begins_here {
        sniffing.prefix.clear();
        sniffing.at = at;
        if at != 0 && !data.has(DataFlags::CALL_START) {
            return sniffing.not_here();
        }
    }
    sniffing.prefix.extend_from_slice(bytes);
    let first = sniffing.prefix.as_slice();
    let role = |requests_in: Direction| {
        if direction == requests_in {
            Kind::Server
        } else {
            Kind::Client
        }
    };
    let can_grow = first.len() < MAX_PREFIX && data.payload.len() == data.len as usize;
    let verdict = detect::sniff(first);
    if verdict == Verdict::Http2Preface {
        return sniffing.http2(role(Direction::Rx));
    }
    let in_order = verdict == Verdict::Other || verdict == Verdict::NeedMore;
    if in_order && let Some(sender) = http2::sniff(first, data.len as usize) {
        return sniffing.http2(role(match sender {
            Sender::Client => Direction::Rx,
            Sender::Server => Direction::Tx,
        }));
    }
    let muted = match verdict {
        Verdict::Http1Request => return sniffing.http1(role(Direction::Rx)),
        Verdict::Http1Response => return sniffing.http1(role(Direction::Tx)),
        Verdict::FastCgi => return sniffing.fastcgi(role(Direction::Rx)),
        Verdict::NeedMore if can_grow => return Recognised::NotYet,
        // The client's preface, in the other direction, will tell.
        Verdict::Http2Settings if sniffing.at == 0 && first.len() < MAX_PREFIX => {
            return Recognised::NotYet;
        }
        Verdict::Tls => Muted::Tls,
        Verdict::NeedMore | Verdict::Other | Verdict::Http2Settings | Verdict::Http2Preface
            if begins_like_http1(first) =>
        {
            Muted::FalseStart
        }
        Verdict::NeedMore | Verdict::Other | Verdict::Http2Settings | Verdict::Http2Preface => {
            Muted::Other
        }
    };
    let hello = tls::client_hello(first).map(|hello| Hello {
        server_name: hello.server_name.map(Into::into),
        offers_http2: hello.offers_http2,
    });
    sniffing.prefix = Vec::new();
    // What stands in the middle of a stream is no proof.
    if from_beginning && sniffing.at == 0 {
        connection.exchanges.hello = hello.map(Arc::new);
        Recognised::Not(muted)
    } else {
        sniffing.not_here()
    }
}

fn begins_message(first: &[u8]) -> bool {
    matches!(
        detect::sniff(first),
        Verdict::Http1Request | Verdict::Http1Response | Verdict::FastCgi
    )
}

fn begins_like_http1(first: &[u8]) -> bool {
    const STARTS: [&[u8]; 10] = [
        b"GET ",
        b"POST ",
        b"PUT ",
        b"HEAD ",
        b"DELETE ",
        b"OPTIONS ",
        b"PATCH ",
        b"TRACE ",
        b"CONNECT ",
        b"HTTP/1.",
    ];
    STARTS.iter().any(|start| first.starts_with(start))
}

// === impl Sniffing ===

impl Sniffing {
    pub(crate) fn end(&self) -> u64 {
        self.at.saturating_add(self.prefix.len() as u64)
    }

    fn http1(&mut self, kind: Kind) -> Recognised {
        Recognised::Http1 {
            kind,
            first: std::mem::take(&mut self.prefix),
            at: self.at,
        }
    }

    fn http2(&mut self, kind: Kind) -> Recognised {
        Recognised::Http2 {
            kind,
            first: std::mem::take(&mut self.prefix),
            at: self.at,
        }
    }

    fn fastcgi(&mut self, kind: Kind) -> Recognised {
        Recognised::FastCgi {
            kind,
            first: std::mem::take(&mut self.prefix),
            at: self.at,
        }
    }

    fn not_here(&mut self) -> Recognised {
        if self.records < MAX_RECORDS {
            return Recognised::NotYet;
        }
        self.records = 0;
        Recognised::Quiet
    }
}
