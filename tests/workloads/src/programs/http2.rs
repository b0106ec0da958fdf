use std::process::Command;

use anyhow::Result;

use super::{Certificate, Program, listen_or_loopback};
use crate::{Launch, Listen, Place, Workloads, apps};

/// Whether a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    Plaintext,
    Tls,
}

impl Security {
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Plaintext => "http",
            Self::Tls => "https",
        }
    }
}

/// nghttp2's own server on a directory of files.
#[derive(Clone, Debug)]
pub struct Nghttpd {
    pub security: Security,
    /// Name and size of files.
    pub files: Vec<(String, usize)>,
}

/// The common contract over HTTP/2, with calls over HTTP/2.
#[derive(Clone, Debug)]
pub struct Http2 {
    pub kind: Http2Kind,
    pub security: Security,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http2Kind {
    /// Node's own module.
    Node,
    /// Hypercorn and httpx.
    Python,
}

/// `nghttp`, which prints nothing.
pub fn nghttp(workloads: &Workloads) -> Command {
    let mut command = workloads.command("/usr/bin/nghttp");
    command.args(["--null-out", "--timeout=60"]);
    command
}

/// The load generator `h2load`.
pub fn h2load(workloads: &Workloads) -> Command {
    workloads.command("/usr/bin/h2load")
}

impl Program for Nghttpd {
    fn name(&self) -> &str {
        "nghttpd"
    }

    fn prepare(&self, place: &Place<'_>) -> Result<Launch> {
        let listen = Listen::loopback()?;
        place.write("www/index.html", "<p>It works.</p>\n")?;
        for (name, size) in &self.files {
            place.write(&format!("www/{name}"), vec![b'x'; *size])?;
        }
        let mut argv = vec![
            "/usr/sbin/nghttpd".to_owned(),
            "--address=127.0.0.1".to_owned(),
            format!("--htdocs={}", place.path("www")),
            "--max-concurrent-streams=1000".to_owned(),
        ];
        match self.security {
            Security::Plaintext => {
                argv.extend(["--no-tls".to_owned(), listen.port().to_string()]);
            }
            Security::Tls => {
                let (certificate, key) = Certificate::of_loopback()?.write(place)?;
                argv.extend([listen.port().to_string(), key, certificate]);
            }
        }
        Ok(Launch::new(listen, argv))
    }
}

impl Program for Http2 {
    fn name(&self) -> &str {
        match self.kind {
            Http2Kind::Node => "node-http2",
            Http2Kind::Python => "hypercorn",
        }
    }

    fn prepare(&self, place: &Place<'_>) -> Result<Launch> {
        let listen = listen_or_loopback(None)?;
        let keys = match self.security {
            Security::Plaintext => None,
            Security::Tls => Some(Certificate::of_loopback()?.write(place)?),
        };
        match self.kind {
            Http2Kind::Node => {
                let script = format!("{}/http2/hop.mjs", apps::DIR);
                let mut launch =
                    Launch::new(listen, ["/usr/bin/node", &script]).hosted(self.name())?;
                if let Some((certificate, key)) = keys {
                    launch = launch.env("CERTIFICATE", certificate).env("KEY", key);
                }
                Ok(launch)
            }
            Http2Kind::Python => {
                let mut argv = vec![
                    "/usr/bin/hypercorn".to_owned(),
                    "--bind".to_owned(),
                    listen.text(),
                ];
                if let Some((certificate, key)) = keys {
                    argv.extend([
                        "--certfile".to_owned(),
                        certificate,
                        "--keyfile".to_owned(),
                        key,
                    ]);
                }
                argv.push("hop:app".to_owned());
                Ok(Launch::new(listen, argv)
                    .hosted(self.name())?
                    .dir(format!("{}/http2", apps::DIR)))
            }
        }
    }
}
