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
    /// Of both sides.
    pub version: HttpVersion,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpVersion {
    #[default]
    Http1,
    /// In plaintext, known beforehand.
    Http2,
}

impl HaProxy {
    pub fn before(server: &str) -> Self {
        Self {
            listen: None,
            servers: vec![server.to_owned()],
            version: HttpVersion::default(),
        }
    }

    #[must_use]
    pub fn http2(self) -> Self {
        Self {
            version: HttpVersion::Http2,
            ..self
        }
    }
}

impl Program for HaProxy {
    fn name(&self) -> &str {
        "haproxy"
    }

    fn prepare(&self, place: &Place<'_>) -> Result<Launch> {
        let listen = listen_or_loopback(self.listen.as_ref())?;
        let version = match self.version {
            HttpVersion::Http1 => "",
            HttpVersion::Http2 => " proto h2",
        };
        let mut text = format!(
            "global\n  maxconn 2000\n  nbthread 2\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
             frontend front\n  bind {}{version}\n  default_backend back\nbackend back\n",
            listen.text()
        );
        for (number, server) in self.servers.iter().enumerate() {
            writeln!(
                text,
                "  server server{number} {}{version}",
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
