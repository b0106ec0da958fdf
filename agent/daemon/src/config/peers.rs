//! Agents of other nodes.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Error, text, text::Text};

/// With whom links between nodes are worked out. Neither `listen` nor `connect`: with nobody.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Peers {
    pub(crate) listen: Option<SocketAddr>,
    #[serde(with = "text::many")]
    pub(crate) connect: Vec<Place>,
    /// Either this, or the three below it.
    pub(crate) secret_file: Option<PathBuf>,
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) authority: Option<PathBuf>,
    /// That the certificates of all peers have; `None`: the one they are connected by.
    pub(crate) server_name: Option<String>,
    /// Longest time that a span waits for another node after its end.
    #[serde(with = "text::one")]
    pub(crate) hold: Duration,
}

/// Where agents listen: a host, which may stand for many of them, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) host: String,
    pub(crate) port: u16,
}

// === impl Peers ===

impl Peers {
    pub(crate) fn is_on(&self) -> bool {
        self.listen.is_some() || !self.connect.is_empty()
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        let fault = |reason: &str| Err(Error::Combination(reason.to_owned()));
        let files = [&self.certificate, &self.key, &self.authority];
        let given = files.iter().filter(|file| file.is_some()).count();
        if given != 0 && given != files.len() {
            return fault("peers.certificate, peers.key and peers.authority need each other");
        }
        if given != 0 && self.secret_file.is_some() {
            return fault("peers.secret_file or certificates: choose one");
        }
        if self.is_on() && given == 0 && self.secret_file.is_none() {
            return fault(
                "peers.listen and peers.connect need peers.secret_file, or peers.certificate, peers.key and peers.authority",
            );
        }
        Ok(())
    }
}

impl Default for Peers {
    fn default() -> Self {
        Self {
            listen: None,
            connect: Vec::new(),
            secret_file: None,
            certificate: None,
            key: None,
            authority: None,
            server_name: None,
            hold: Duration::from_secs(2),
        }
    }
}

impl Text for Place {
    fn read(text: &str) -> Result<Self, String> {
        let fault = || format!("`{text}` is no peer: write `host:port` or `[address]:port`");
        let (host, port) = text.rsplit_once(':').ok_or_else(fault)?;
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let port: u16 = port.parse().map_err(|_| fault())?;
        let odd = |c: char| c.is_whitespace() || "/@[]".contains(c);
        match bare.unwrap_or(host) {
            host if host.is_empty() || host.contains(odd) || port == 0 => Err(fault()),
            host if host.contains(':') && bare.is_none() => Err(fault()),
            host => Ok(Self {
                host: host.to_owned(),
                port,
            }),
        }
    }

    fn write(&self) -> String {
        let Self { host, port } = self;
        if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        for text in [
            "weft-peers.monitoring.svc:4319",
            "10.0.0.1:1",
            "[fd00::1]:4319",
        ] {
            assert_eq!(
                Place::read(text).map(|place| place.write()),
                Ok(text.to_owned())
            );
        }
        for text in [
            "10.0.0.1",
            "a:0",
            "a:b",
            ":1",
            "fd00::1",
            "http://a:1",
            "a:70000",
        ] {
            assert!(Place::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_goes_together() {
        let place = || vec![Place::read("a:1").unwrap()];
        let file = || Some(PathBuf::from("x"));
        let check = |peers: Peers, fault: Option<&str>| match (peers.check(), fault) {
            (Ok(()), None) => {}
            (Err(error), Some(word)) => assert!(error.to_string().contains(word), "{error}"),
            (found, _) => panic!("{found:?}"),
        };
        check(Peers::default(), None);
        let secret = Peers {
            connect: place(),
            secret_file: file(),
            ..Peers::default()
        };
        check(secret.clone(), None);
        let nothing = Peers {
            secret_file: None,
            ..secret.clone()
        };
        check(nothing, Some("need peers.secret_file"));
        let half = Peers {
            certificate: file(),
            ..Peers::default()
        };
        check(half, Some("need each other"));
        let both = Peers {
            certificate: file(),
            key: file(),
            authority: file(),
            ..secret
        };
        check(both, Some("choose one"));
    }
}
