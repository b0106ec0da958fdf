//! What weft does not see of a process, and what to do about it.

use std::fmt;

use super::{
    agent::Connection,
    libraries::{Library, Role},
    sockets::Sockets,
};
use crate::discover::ProcessFacts;

pub(super) struct BlindSpot {
    what: String,
    fix: &'static str,
}

pub(super) fn spots(
    facts: &ProcessFacts,
    libraries: &[Library],
    sockets: &Sockets,
    connections: &[Connection],
) -> Vec<BlindSpot> {
    let mut spots = Vec::new();
    let mut tls: Vec<&str> = libraries
        .iter()
        .filter_map(|library| match library.role {
            Role::Tls(name) => Some(name),
            Role::Runtime(_) => None,
        })
        .collect();
    tls.dedup();
    let encrypted = connections
        .iter()
        .filter(|connection| connection.tls)
        .count();
    if encrypted > 0 {
        spots.push(BlindSpot {
            what: format!("{encrypted} connections speak TLS, which this version does not read"),
            fix: "trace the plain side: behind the proxy that ends TLS",
        });
    } else if !tls.is_empty() {
        spots.push(BlindSpot {
            what: format!(
                "it has {} loaded: what it says over TLS is not read by this version",
                tls.join(", ")
            ),
            fix: "trace the plain side: behind the proxy that ends TLS",
        });
    }
    if connections
        .iter()
        .any(|connection| connection.protocol.contains("HTTP/2"))
    {
        spots.push(BlindSpot {
            what: "HTTP/2 and gRPC are recognised and left alone by this version".to_owned(),
            fix: "HTTP/1.1 between these services, where they allow it",
        });
    }
    if sockets.udp > 0 {
        spots.push(BlindSpot {
            what: "UDP, and with it HTTP/3, is not looked at".to_owned(),
            fix: "HTTP/3 can be switched off at most servers",
        });
    }
    if sockets.io_uring {
        spots.push(BlindSpot {
            what: "bytes that move by io_uring are counted, not read".to_owned(),
            fix: "most servers can be told to use epoll",
        });
    }
    let exports = facts.otel_service_name.is_some() || !facts.otel_attributes.is_empty();
    if exports {
        spots.push(BlindSpot {
            what: "if it exports OpenTelemetry spans of its own, weft leaves them to it".to_owned(),
            fix: "`http.instrumented: keep` reports them all the same",
        });
    }
    spots
}

impl fmt::Display for BlindSpot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (fix: {})", self.what, self.fix)
    }
}
