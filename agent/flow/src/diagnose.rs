//! What `weft why` tells of a connection.

use crate::connection::{Connection, Layer, Muted, Stage, endpoints};
use crate::span::{Endpoint, Kind, Process};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionSummary {
    pub cookie: u64,
    pub process: Process,
    pub local: Endpoint,
    pub peer: Endpoint,
    pub protocol: Protocol,
    pub tls: Tls,
    /// Requests seen on it.
    pub exchanges: u64,
    /// Of them, waiting for their response.
    pub open: usize,
    /// Places that were no HTTP.
    pub malformed: u32,
    pub from_beginning: bool,
    /// `CLOCK_MONOTONIC`, ns.
    pub last_record_ns: u64,
}

/// What TLS has to do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Nothing that was seen.
    None,
    /// Its plaintext is read, as a session of its own.
    Read,
    /// It is such a session.
    Session,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// No message has begun yet.
    Unknown,
    Http1(Kind),
    Http2(Kind),
    /// Not looked at, for this reason.
    Muted(Muted),
}

impl ConnectionSummary {
    pub(crate) fn of(connection: &Connection) -> Self {
        let (local, peer) = endpoints(&connection.ends);
        Self {
            cookie: connection.cookie,
            process: connection.process,
            local,
            peer,
            protocol: match connection.stage {
                Stage::Unknown => Protocol::Unknown,
                Stage::Http(kind) if connection.exchanges.has_streams() => Protocol::Http2(kind),
                Stage::Http(kind) => Protocol::Http1(kind),
                Stage::Muted(why) => Protocol::Muted(why),
            },
            tls: match connection.layer {
                Layer::Socket { session: None } => Tls::None,
                Layer::Socket { session: Some(_) } => Tls::Read,
                Layer::Session { .. } => Tls::Session,
            },
            exchanges: connection.exchanges.seen,
            open: connection.exchanges.len(),
            malformed: connection.malformed,
            from_beginning: connection.from_beginning,
            last_record_ns: connection.last_ns,
        }
    }
}
