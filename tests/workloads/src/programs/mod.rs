//! One file per third-party program: how it is configured and started.

mod apache;
mod busybox;
mod client;
mod envoy;
mod express;
mod go;
mod grpc;
mod gunicorn;
mod haproxy;
mod http2;
mod java;
mod nginx;
mod otel;
mod php_fpm;
mod puma;
mod python;
mod redis;
mod tasks;
mod tls;

use anyhow::Result;

pub use self::apache::Apache;
pub use self::busybox::BusyBoxHttpd;
pub use self::client::{curl, python, wrk};
pub use self::envoy::Envoy;
pub use self::express::Express;
pub use self::go::Go;
pub use self::grpc::{Calls, Grpc, GrpcKind};
pub use self::gunicorn::{Gunicorn, Worker};
pub use self::haproxy::{HaProxy, HttpVersion};
pub use self::http2::{Http2, Http2Kind, Nghttpd, Security, h2load, nghttp};
pub use self::java::Java;
pub use self::nginx::Nginx;
pub use self::otel::instrumented_python;
pub use self::php_fpm::PhpFpm;
pub use self::puma::Puma;
pub use self::python::HttpServer;
pub use self::redis::Redis;
pub use self::tasks::{Tasks, TasksKind};
pub use self::tls::{Certificate, Load, Tls};

use crate::{Launch, Listen, Place};

/// A program that [`crate::Workloads::spawn`] can start.
pub trait Program {
    /// A short name for logs and directories.
    fn name(&self) -> &str;

    /// Writes what the program needs into its scratch directory and says how to start it.
    fn prepare(&self, place: &Place<'_>) -> Result<Launch>;
}

/// A program with more variables in its environment.
#[derive(Clone, Debug)]
pub struct WithEnvironment<P> {
    pub program: P,
    pub variables: Vec<(String, String)>,
}

impl<P> WithEnvironment<P> {
    pub fn new(program: P, variables: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self {
            program,
            variables: variables.iter().map(owned).collect(),
        }
    }
}

impl<P: Program> Program for WithEnvironment<P> {
    fn name(&self) -> &str {
        self.program.name()
    }

    fn prepare(&self, place: &Place<'_>) -> Result<Launch> {
        let mut launch = self.program.prepare(place)?;
        launch.env.extend(self.variables.iter().cloned());
        Ok(launch)
    }
}

fn listen_or_loopback(listen: Option<&Listen>) -> Result<Listen> {
    listen.cloned().map_or_else(Listen::loopback, Ok)
}
