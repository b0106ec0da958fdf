//! What weft does not see of a process, and what to do about it.

use std::fmt;

use serde::Serialize;

use super::{
    agent::Connection,
    libraries::{Library, Role},
    sockets::Sockets,
};
use crate::discover::ProcessFacts;

#[derive(Serialize)]
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
    let encrypted = connections
        .iter()
        .filter(|connection| connection.tls)
        .count();
    if encrypted > 0 {
        spots.push(BlindSpot {
            what: format!("{encrypted} connections speak TLS, and their plaintext was not seen"),
            fix: "see the libraries above; or trace the plain side, behind the proxy that ends TLS",
        });
    }
    for library in libraries {
        let what = match &library.role {
            Role::Tls(tls) if !tls.is_read() => {
                format!(
                    "what it says through {}",
                    crate::tls::stack_name(&tls.library)
                )
            }
            Role::OtherTls(name) => format!("what it says through {name}"),
            Role::Tls(_) | Role::Runtime(_) | Role::Tasks(_) => continue,
        };
        spots.push(BlindSpot {
            what,
            fix: "trace the plain side: behind the proxy that ends TLS",
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
