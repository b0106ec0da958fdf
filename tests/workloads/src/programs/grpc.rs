use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::{Certificate, Program, Security, listen_or_loopback};
use crate::{Launch, Listen, Place, Workloads, apps};

/// A gRPC server that answers by the name of the method; its client makes calls of all kinds: `apps/grpc`.
#[derive(Clone, Debug)]
pub struct Grpc {
    pub kind: GrpcKind,
    pub listen: Option<Listen>,
    /// The server's own, with its key; none: plaintext.
    certificate: Option<Certificate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrpcKind {
    /// grpcio: gRPC's C++ core.
    Python,
    /// grpc-go, without symbol table.
    Go,
}

/// How many calls of each kind a client makes at once on its connection, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Calls {
    pub workers: usize,
    pub rounds: usize,
}

impl Grpc {
    pub fn new(kind: GrpcKind, security: Security) -> Result<Self> {
        let certificate = match security {
            Security::Plaintext => None,
            Security::Tls => Some(Certificate::of_loopback()?),
        };
        Ok(Self {
            kind,
            listen: None,
            certificate,
        })
    }

    /// A client of `to`, which is this server or stands before it. Prints `connected` after one call, then waits for a line.
    pub fn client(
        &self,
        kind: GrpcKind,
        workloads: &Workloads,
        to: &Listen,
        tag: &str,
        calls: Calls,
    ) -> Result<Command> {
        let (program, first) = kind.command(Side::Client);
        let mut command = workloads.command_in(None, Path::new(apps::DIR), program);
        let trusted = match &self.certificate {
            None => String::new(),
            Some(certificate) => {
                let name = format!("tmp/{tag}.pem");
                std::fs::write(workloads.root().join(&name), &certificate.certificate)?;
                format!("/{name}")
            }
        };
        command
            .args([&first, &to.text(), tag])
            .args([calls.workers, calls.rounds].map(|number| number.to_string()))
            .arg(trusted)
            // The machine's own proxy is not for us.
            .env("no_proxy", "*");
        Ok(command)
    }
}

#[derive(Clone, Copy)]
enum Side {
    Server,
    Client,
}

impl GrpcKind {
    fn command(self, side: Side) -> (&'static str, String) {
        match (self, side) {
            (Self::Python, Side::Server) => ("/usr/bin/python3", file("server.py")),
            (Self::Python, Side::Client) => ("/usr/bin/python3", file("client.py")),
            (Self::Go, Side::Server) => ("/srv/apps/grpc/echo", "serve".to_owned()),
            (Self::Go, Side::Client) => ("/srv/apps/grpc/echo", "call".to_owned()),
        }
    }
}

fn file(name: &str) -> String {
    format!("{}/grpc/{name}", apps::DIR)
}

impl Program for Grpc {
    fn name(&self) -> &str {
        match self.kind {
            GrpcKind::Python => "grpc-python",
            GrpcKind::Go => "grpc-go",
        }
    }

    fn prepare(&self, place: &Place<'_>) -> Result<Launch> {
        let (program, first) = self.kind.command(Side::Server);
        let listen = listen_or_loopback(self.listen.as_ref())?;
        let mut launch = Launch::new(listen, [program, &first]).hosted(self.name())?;
        if let Some(certificate) = &self.certificate {
            let (certificate, key) = certificate.write(place)?;
            launch = launch.env("CERTIFICATE", certificate).env("KEY", key);
        }
        Ok(launch)
    }
}
