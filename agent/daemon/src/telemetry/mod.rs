//! weft's own figures and how they are read: Prometheus text here, OTLP in
//! [`export`](crate::export).

mod own;
mod prometheus;
mod registry;
mod server;

pub(crate) use own::watch_own_process;
pub(crate) use registry::{Counter, FigureKind, Gauge, Registry};
pub(crate) use server::{Health, Server};
