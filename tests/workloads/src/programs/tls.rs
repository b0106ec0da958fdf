use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::Program;
use crate::{Group, Launch, Listen, Place, Workloads};

/// A certificate that nobody signed, and its key, as PEM.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub certificate: String,
    pub key: String,
}

impl Certificate {
    pub fn of_loopback() -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        Ok(Self {
            certificate: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
        })
    }

    /// Puts both where a program can read them.
    pub(crate) fn write(&self, place: &Place<'_>) -> Result<(String, String)> {
        Ok((
            place.write("certificate.pem", &self.certificate)?,
            place.write("key.pem", &self.key)?,
        ))
    }
}

/// HTTPS servers and clients of a few lines each: `apps/tls`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// `ssl.SSLSocket`, a thread for each connection.
    PythonThreads,
    /// `asyncio`: memory BIOs.
    PythonEvents,
    Node,
    /// Node.js 14, which has OpenSSL 1.1.1 linked in.
    Node14,
    /// BoringSSL, stripped.
    Bun,
    /// rustls, stripped.
    Deno,
    /// The client is the wheel `pycurl`, with an OpenSSL of its own.
    PyCurl,
    /// `crypto/tls`, without symbol table.
    Go,
    /// JSSE; a server only.
    Java,
}

/// How many connections a client opens, and how many requests it makes on each.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub connections: usize,
    pub requests: usize,
}

impl Tls {
    pub fn groups(self) -> &'static [Group] {
        match self {
            Self::PythonThreads | Self::PythonEvents => &[Group::Python],
            Self::Node => &[Group::Node],
            Self::Node14 | Self::Bun | Self::Deno => &[Group::Npm],
            Self::PyCurl => &[Group::Python, Group::Pypi],
            Self::Go => &[Group::Go],
            Self::Java => &[Group::Java],
        }
    }

    /// Whether the client knows the ports of its ends of the connections.
    pub fn knows_ports(self) -> bool {
        !matches!(self, Self::Bun | Self::Deno)
    }

    /// Opens its connections, prints their ports on one line, waits for a line, then requests `/<tag>/<own port>/<number>`.
    pub fn client(self, workloads: &Workloads, to: &Listen, tag: &str, load: Load) -> Command {
        let (program, arguments) = self.command("client", "get");
        let mut command = workloads.command_in(None, Path::new(DIR), program);
        if self == Self::PyCurl {
            command.env("PYTHONPATH", "/srv/pypi/pycurl");
        }
        command
            .args(arguments)
            .args(["127.0.0.1", &to.port().to_string(), tag]);
        command.args([load.connections, load.requests].map(|number| number.to_string()));
        command
    }

    fn command(self, file: &str, verb: &'static str) -> (&'static str, Vec<String>) {
        let python = |mode: &str| vec![format!("{DIR}/{file}.py"), mode.to_owned()];
        let fetch = |before: &[&str]| {
            let mut arguments: Vec<String> = before.iter().map(ToString::to_string).collect();
            arguments.extend([format!("{DIR}/fetch.js"), verb.to_owned()]);
            arguments
        };
        match self {
            Self::PyCurl if verb == "get" => ("/usr/bin/python3", vec![format!("{DIR}/curl.py")]),
            Self::PyCurl => ("/usr/bin/python3", python("threads")),
            Self::Node14 => ("/srv/npm/node14/bin/node", vec![format!("{DIR}/{file}.js")]),
            Self::Bun => ("/srv/npm/bun/bin/bun", fetch(&["run"])),
            Self::Deno => (
                "/srv/npm/deno/deno",
                fetch(&[
                    "run",
                    "--quiet",
                    "--allow-all",
                    "--no-lock",
                    "--unsafely-ignore-certificate-errors",
                ]),
            ),
            Self::PythonThreads => ("/usr/bin/python3", python("threads")),
            Self::PythonEvents => ("/usr/bin/python3", python("events")),
            Self::Node => ("/usr/bin/node", vec![format!("{DIR}/{file}.js")]),
            Self::Go => ("/srv/apps/tls/tls", vec![verb.to_owned()]),
            Self::Java => ("/usr/bin/java", vec![format!("{DIR}/Tls.java")]),
        }
    }
}

impl Program for Tls {
    fn name(&self) -> &str {
        match self {
            Self::PythonThreads => "python-threads",
            Self::PythonEvents => "python-events",
            Self::Node => "node",
            Self::Node14 => "node14",
            Self::Bun => "bun",
            Self::Deno => "deno",
            Self::PyCurl => "pycurl",
            Self::Go => "go",
            Self::Java => "java",
        }
    }

    fn prepare(&self, place: &Place<'_>) -> Result<Launch> {
        let (certificate, key) = Certificate::of_loopback()?.write(place)?;
        let (program, arguments) = self.command("server", "serve");
        let argv = std::iter::once(program.to_owned()).chain(arguments);
        Ok(Launch::new(Listen::loopback()?, argv)
            .hosted(self.name())?
            .env("CERTIFICATE", certificate)
            .env("KEY", key))
    }
}

const DIR: &str = "/srv/apps/tls";
