//! What `weft why` tells of a connection.

use crate::connection::{Connection, Muted, Stage, endpoints};
use crate::span::{Endpoint, Kind, Process};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionSummary {
    pub cookie: u64,
    pub process: Process,
    pub local: Endpoint,
    pub peer: Endpoint,
    pub protocol: Protocol,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// No message has begun yet.
    Unknown,
    Http1(Kind),
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
                Stage::Http(kind) => Protocol::Http1(kind),
                Stage::Muted(why) => Protocol::Muted(why),
            },
            exchanges: connection.exchanges.seen,
            open: connection.exchanges.len(),
            malformed: connection.malformed,
            from_beginning: connection.from_beginning,
            last_record_ns: connection.last_ns,
        }
    }
}
