//! weft's own figures and how they leave: Prometheus text, OTLP.

mod registry;

pub(crate) use registry::{Counter, Gathered, Gauge, Registry};
