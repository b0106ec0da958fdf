//! The configuration as one plain value: read once, checked, then only passed on.
//!
//! What stands higher wins: flags of the command line, `OTEL_*` variables of the environment, the
//! file, the defaults below.


use std::{net::SocketAddr, path::PathBuf, time::Duration};

use globset::GlobMatcher;
use http::{HeaderName, HeaderValue, Uri};
use log::LevelFilter;
use serde::{Deserialize, Serialize};


use crate::export::{Pattern, RouteMode};

#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Empty until [`Config::resolve`]d, never after.
    pub(crate) outputs: Vec<Output>,
    pub(crate) duration: Option<Duration>,
    pub(crate) log_level: LevelFilter,
    /// Where `weft why` asks a running agent.
    pub(crate) socket: Option<PathBuf>,
    pub(crate) selection: Selection,
    pub(crate) http: Http,
    pub(crate) sampler: Sampler,
    pub(crate) otlp: Otlp,
    pub(crate) batch: Batch,
    pub(crate) resource: ResourceOverrides,
    pub(crate) metrics: Metrics,
    pub(crate) kernel: Kernel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Output {
    /// To a collector.
    Otlp,
    /// Each finished trace as a tree, for people.
    Console,
    /// One OTLP/JSON object a line on standard output.
    Json,
}

/// Which processes are traced. Nothing given: every process but weft itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    pub(crate) pids: Vec<u32>,
    /// Local ports of servers.
    pub(crate) ports: Vec<u16>,
    /// Of the executable's path, or of its last part when the glob has no `/`.
    pub(crate) exes: Vec<GlobMatcher>,
    /// Never traced, whatever else says.
    pub(crate) exclude_exes: Vec<GlobMatcher>,
    pub(crate) exclude_pids: Vec<u32>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Http {
    /// Lower-case names of request headers that are kept as attributes.
    pub(crate) headers: Vec<String>,
    pub(crate) routes: RouteMode,
    pub(crate) route_patterns: Vec<Pattern>,
    pub(crate) instrumented: Instrumented,
}

/// What to do with a program that exports OpenTelemetry spans of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Instrumented {
    /// Leave its spans to itself.
    #[default]
    Skip,
    /// Report its exchanges all the same.
    Keep,
}

/// `OTEL_TRACES_SAMPLER`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Sampler {
    AlwaysOn,
    AlwaysOff,
    /// The share of traces that is kept.
    TraceIdRatio(f64),
    /// The caller's sampled flag decides, without a caller the root does.
    ParentBased(Root),
}

/// What a [`Sampler::ParentBased`] does with requests that carry no trace context.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Root {
    AlwaysOn,
    AlwaysOff,
    TraceIdRatio(f64),
}

#[derive(Clone, Debug)]
pub(crate) struct Otlp {
    /// Of all signals; HTTP appends `/v1/traces` and so on.
    pub(crate) endpoint: Option<Uri>,
    /// Of traces alone, taken as it is.
    pub(crate) traces_endpoint: Option<Uri>,
    /// Of weft's own metrics alone, taken as it is.
    pub(crate) metrics_endpoint: Option<Uri>,
    pub(crate) protocol: Protocol,
    /// May hold secrets: values are not printed.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// PEM file of the authorities that are trusted instead of the system's.
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) client_certificate: Option<PathBuf>,
    pub(crate) client_key: Option<PathBuf>,
    /// Of one attempt.
    pub(crate) timeout: Duration,
    pub(crate) compression: Compression,
    pub(crate) retry: Retry,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Protocol {
    #[default]
    #[serde(rename = "grpc")]
    Grpc,
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Compression {
    #[default]
    None,
    Gzip,
}

/// Waits grow from `first` by half to `longest`, each with a random share taken off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retry {
    pub(crate) first: Duration,
    pub(crate) longest: Duration,
    /// Spans of a request that nobody took in this time are dropped.
    pub(crate) give_up: Duration,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch {
    /// Longest time that a finished span waits for company.
    pub(crate) delay: Duration,
    /// Spans of one request.
    pub(crate) spans: usize,
    /// Bytes of all spans that wait or are on their way.
    pub(crate) queue_bytes: usize,
    pub(crate) queue_spans: usize,
    /// Longest wait for the last spans at the end.
    pub(crate) flush: Duration,
}

/// What is known better than the processes' own environment and files tell.
#[derive(Clone, Debug, Default)]
pub(crate) struct ResourceOverrides {
    /// Of every process that does not name its service itself.
    pub(crate) service_name: Option<String>,
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) services: Vec<ServiceRule>,
    /// Command lines may hold secrets: they stay at home unless asked for.
    pub(crate) command_args: bool,
}

/// Names the service of executables.
#[derive(Clone, Debug)]
pub(crate) struct ServiceRule {
    pub(crate) exe: GlobMatcher,
    pub(crate) name: Option<String>,
    pub(crate) namespace: Option<String>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Metrics {
    /// Address of `/metrics`, `/healthz` and `/readyz`.
    pub(crate) listen: Option<SocketAddr>,
    /// Between two exports by OTLP; `None`: no export.
    pub(crate) interval: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernel {
    pub(crate) ring_bytes: u32,
    /// For tests: take this way into the kernel, not the best.
    pub(crate) door: Option<DoorChoice>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DoorChoice {
    Tracepoints,
    Functions,
}

// === impl Config ===

impl Config {
    /// Settles what depends on other settings.
    #[must_use]
    pub(crate) fn resolve(mut self) -> Self {
        self.outputs.dedup();
        if self.outputs.is_empty() {
            let configured = self.otlp.endpoint.is_some() || self.otlp.traces_endpoint.is_some();
            self.outputs.push(if configured { Output::Otlp } else { Output::Console });
        }
        self
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            outputs: Vec::new(),
            duration: None,
            log_level: LevelFilter::Info,
            socket: Some(PathBuf::from("/run/weft.sock")),
            selection: Selection::default(),
            http: Http::default(),
            sampler: Sampler::ParentBased(Root::AlwaysOn),
            otlp: Otlp::default(),
            batch: Batch::default(),
            resource: ResourceOverrides::default(),
            metrics: Metrics { listen: None, interval: Some(Duration::from_secs(60)) },
            kernel: Kernel { ring_bytes: 8 << 20, door: None },
        }
    }
}

impl Default for Otlp {
    fn default() -> Self {
        Self {
            endpoint: None,
            traces_endpoint: None,
            metrics_endpoint: None,
            protocol: Protocol::default(),
            headers: Vec::new(),
            certificate: None,
            client_certificate: None,
            client_key: None,
            timeout: Duration::from_secs(10),
            compression: Compression::default(),
            retry: Retry {
                first: Duration::from_secs(1),
                longest: Duration::from_secs(5),
                give_up: Duration::from_secs(60),
            },
        }
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(500),
            spans: 2048,
            queue_bytes: 16 << 20,
            queue_spans: 1 << 20,
            flush: Duration::from_secs(5),
        }
    }
}

impl Otlp {
    /// Where traces go: what is configured, else the protocol's usual place on this machine.
    pub(crate) fn traces(&self) -> Uri {
        self.signal(self.traces_endpoint.as_ref(), "/v1/traces")
    }

    pub(crate) fn metrics(&self) -> Uri {
        self.signal(self.metrics_endpoint.as_ref(), "/v1/metrics")
    }

    fn signal(&self, own: Option<&Uri>, path: &str) -> Uri {
        if let Some(own) = own {
            return own.clone();
        }
        let usual = match self.protocol {
            Protocol::Grpc => Uri::from_static("http://localhost:4317"),
            Protocol::HttpProtobuf => Uri::from_static("http://localhost:4318"),
        };
        let base = self.endpoint.clone().unwrap_or(usual);
        match self.protocol {
            Protocol::Grpc => base,
            Protocol::HttpProtobuf => {
                let text = base.to_string();
                format!("{}{path}", text.trim_end_matches('/')).parse().unwrap_or(base)
            }
        }
    }
}
