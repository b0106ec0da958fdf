use std::fmt::Write as _;

use anyhow::Result;

use super::{Program, listen_or_loopback};
use crate::{Launch, Listen, Place};

/// HAProxy before one or more servers, taking turns.
#[derive(Clone, Debug)]
pub struct HaProxy {
    pub listen: Option<Listen>,
    /// `http://host:port`
    pub servers: Vec<String>,
}

impl HaProxy {
    pub fn before(server: &str) -> Self {
        Self {
            listen: None,
            servers: vec![server.to_owned()],
        }
    }
}

impl Program for HaProxy {
    fn name(&self) -> &str {
        "haproxy"
    }

    fn prepare(&self, place: &Place<'_>) -> Result<Launch> {
        let listen = listen_or_loopback(self.listen.as_ref())?;
        let mut text = format!(
            "global\n  maxconn 2000\n  nbthread 2\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
             frontend front\n  bind {}\n  default_backend back\nbackend back\n",
            listen.text()
        );
        for (number, server) in self.servers.iter().enumerate() {
            writeln!(
                text,
                "  server server{number} {}",
                server.trim_start_matches("http://")
            )?;
        }
        let file = place.write("haproxy.cfg", text)?;
        Ok(Launch::new(
            listen,
            ["/usr/sbin/haproxy", "-db", "-f", &file],
        ))
    }
}
