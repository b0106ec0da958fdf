//! The configuration as one plain value: read once, checked, then only passed on.
//!
//! What stands higher wins: flags of the command line, `OTEL_*` variables of the environment, the
//! file, the defaults below. The file has the shape of [`Config`]; `deploy/weft.yaml` explains
//! every key.

mod env;
mod file;
mod kubernetes;
mod peers;
mod propagation;
mod selection;
mod text;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use globset::GlobMatcher;
use http::{HeaderName, HeaderValue, Uri};
use log::LevelFilter;
use serde::{Deserialize, Serialize};

pub(crate) use self::{
    env::Environment,
    kubernetes::Kubernetes,
    peers::{Peers, Place},
    propagation::{Inject, Propagation},
    selection::{Action, Conditions, Selection, Who},
    text::{ByteSize, Text},
};
use crate::export::{Pattern, RouteMode};

/// Fault of the user's. The message names where it stands and what would be accepted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("{}: {reason}", path.display())]
    Unreadable { path: PathBuf, reason: String },
    #[error("{}:{line}: {reason}", path.display())]
    File {
        path: PathBuf,
        line: u64,
        reason: String,
    },
    #[error("{name}: {reason}")]
    Variable { name: &'static str, reason: String },
    #[error("{0}")]
    Combination(String),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Empty until [`Config::resolve`]d, never after.
    pub(crate) outputs: Vec<Output>,
    #[serde(with = "text::optional")]
    pub(crate) duration: Option<Duration>,
    #[serde(with = "text::one")]
    pub(crate) log_level: LevelFilter,
    /// Where `weft why` asks a running agent.
    pub(crate) socket: Option<PathBuf>,
    pub(crate) selection: Selection,
    pub(crate) kubernetes: Kubernetes,
    pub(crate) http: Http,
    pub(crate) propagation: Propagation,
    pub(crate) peers: Peers,
    pub(crate) sampler: Sampling,
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

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Http {
    /// Lower-case names of request headers that are kept as attributes.
    pub(crate) headers: Vec<String>,
    pub(crate) routes: RouteMode,
    #[serde(with = "text::many")]
    pub(crate) route_patterns: Vec<Pattern>,
    pub(crate) instrumented: Instrumented,
    /// A stream of HTTP/2 that is open for longer is reported as it stands, once.
    #[serde(with = "text::one")]
    pub(crate) long_stream: Duration,
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

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Sampling {
    pub(crate) name: SamplerName,
    /// Share of the traces that the ratio samplers keep, 0 to 1.
    pub(crate) ratio: f64,
}

/// Values of `OTEL_TRACES_SAMPLER`. The parent-based ones leave the decision to the caller when
/// the request carries a trace context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SamplerName {
    AlwaysOn,
    AlwaysOff,
    #[serde(rename = "traceidratio")]
    TraceIdRatio,
    #[default]
    #[serde(rename = "parentbased_always_on")]
    ParentBasedAlwaysOn,
    #[serde(rename = "parentbased_always_off")]
    ParentBasedAlwaysOff,
    #[serde(rename = "parentbased_traceidratio")]
    ParentBasedTraceIdRatio,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Otlp {
    /// Of all signals; HTTP appends `/v1/traces` and so on.
    #[serde(with = "text::optional")]
    pub(crate) endpoint: Option<Uri>,
    /// Of traces alone, taken as it is.
    #[serde(with = "text::optional")]
    pub(crate) traces_endpoint: Option<Uri>,
    /// Of weft's own metrics alone, taken as it is.
    #[serde(with = "text::optional")]
    pub(crate) metrics_endpoint: Option<Uri>,
    pub(crate) protocol: Protocol,
    /// May hold secrets: values are not printed.
    #[serde(with = "text::headers")]
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// PEM file of the authorities that are trusted instead of the system's.
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) client_certificate: Option<PathBuf>,
    pub(crate) client_key: Option<PathBuf>,
    /// Of one attempt.
    #[serde(with = "text::one")]
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
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Retry {
    #[serde(with = "text::one")]
    pub(crate) first: Duration,
    #[serde(with = "text::one")]
    pub(crate) longest: Duration,
    /// Spans of a request that nobody took in this time are dropped.
    #[serde(with = "text::one")]
    pub(crate) give_up: Duration,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Batch {
    /// Longest time that a finished span waits for company.
    #[serde(with = "text::one")]
    pub(crate) delay: Duration,
    /// Spans of one request.
    pub(crate) spans: usize,
    /// Bytes of all spans that wait or are on their way.
    #[serde(with = "text::one")]
    pub(crate) queue_bytes: ByteSize,
    pub(crate) queue_spans: usize,
    /// Longest wait for the last spans at the end.
    #[serde(with = "text::one")]
    pub(crate) flush: Duration,
}

/// What is known better than the processes' own environment and files tell.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ResourceOverrides {
    /// Of every process that does not name its service itself.
    pub(crate) service_name: Option<String>,
    #[serde(with = "text::map")]
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) services: Vec<ServiceRule>,
    /// Command lines may hold secrets: they stay at home unless asked for.
    pub(crate) command_args: bool,
}

/// Names the service of executables.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServiceRule {
    #[serde(with = "text::one")]
    pub(crate) exe: GlobMatcher,
    #[serde(default)]
    pub(crate) name: Option<String>,
    #[serde(default)]
    pub(crate) namespace: Option<String>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Metrics {
    /// Address of `/metrics`, `/healthz` and `/readyz`.
    pub(crate) listen: Option<SocketAddr>,
    /// Between two exports by OTLP; `None`: no export.
    #[serde(with = "text::optional")]
    pub(crate) interval: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Kernel {
    #[serde(with = "text::one")]
    pub(crate) ring_bytes: ByteSize,
    /// For tests: take this way into the kernel, not the best.
    pub(crate) door: Option<DoorChoice>,
    /// For tests: attach probes in user programs like this, not by the best way.
    pub(crate) uprobes: Option<UprobeChoice>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DoorChoice {
    Tracepoints,
    Functions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum UprobeChoice {
    Multi,
    PerfEvents,
}

// === impl Config ===

impl Config {
    /// Settles what depends on other settings, and refuses what does not go together.
    pub(crate) fn resolve(mut self) -> Result<Self, Error> {
        let mut seen = Vec::new();
        self.outputs.retain(|output| {
            !seen.contains(output) && {
                seen.push(*output);
                true
            }
        });
        if self.outputs.is_empty() {
            let configured = self.otlp.endpoint.is_some() || self.otlp.traces_endpoint.is_some();
            self.outputs.push(if configured {
                Output::Otlp
            } else {
                Output::Console
            });
        }
        for name in &mut self.http.headers {
            name.make_ascii_lowercase();
        }
        let fault = |reason: &str| Err(Error::Combination(reason.to_owned()));
        if seen.contains(&Output::Json) && seen.contains(&Output::Console) {
            return fault("outputs `json` and `console` both write to standard output: choose one");
        }
        if !(0.0..=1.0).contains(&self.sampler.ratio) {
            return fault("sampler.ratio is a share between 0 and 1");
        }
        if self.otlp.client_certificate.is_some() != self.otlp.client_key.is_some() {
            return fault("otlp.client_certificate and otlp.client_key need each other");
        }
        if self.batch.spans == 0 || self.batch.queue_spans == 0 {
            return fault("batch.spans and batch.queue_spans are at least 1");
        }
        if self.kubernetes.is_enabled() && self.kubernetes.node.is_none() {
            return fault(
                "kubernetes.node is not known: set it, or WEFT_NODE_NAME from spec.nodeName of weft's pod",
            );
        }
        if !self.kernel.ring_bytes.0.is_power_of_two() || self.kernel.ring_bytes.0 < 4096 {
            return fault("kernel.ring_bytes is a power of two, at least 4KiB");
        }
        self.peers.check()?;
        let bad = self
            .http
            .headers
            .iter()
            .find(|name| HeaderName::try_from(name.as_str()).is_err());
        if let Some(name) = bad {
            return Err(Error::Combination(format!(
                "http.headers: `{name}` is no header name"
            )));
        }
        Ok(self)
    }

    /// As a file that would give the same configuration, secrets blotted out.
    pub(crate) fn show(&self) -> String {
        serde_saphyr::to_string(self).unwrap_or_else(|error| format!("# {error}\n"))
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
            kubernetes: Kubernetes::default(),
            http: Http::default(),
            propagation: Propagation::default(),
            peers: Peers::default(),
            sampler: Sampling::default(),
            otlp: Otlp::default(),
            batch: Batch::default(),
            resource: ResourceOverrides::default(),
            metrics: Metrics::default(),
            kernel: Kernel::default(),
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
            retry: Retry::default(),
        }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(5),
            give_up: Duration::from_secs(60),
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            headers: Vec::new(),
            routes: RouteMode::default(),
            route_patterns: Vec::new(),
            instrumented: Instrumented::default(),
            long_stream: Duration::from_secs(120),
        }
    }
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            name: SamplerName::default(),
            ratio: 1.0,
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            listen: None,
            interval: Some(Duration::from_secs(60)),
        }
    }
}

impl Default for Kernel {
    fn default() -> Self {
        Self {
            ring_bytes: ByteSize(8 << 20),
            door: None,
            uprobes: None,
        }
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(500),
            spans: 2048,
            queue_bytes: ByteSize(16 << 20),
            queue_spans: 1 << 20,
            flush: Duration::from_secs(5),
        }
    }
}

impl Sampling {
    /// The caller's sampled flag decides where there is one.
    pub(crate) fn parent_based(self) -> bool {
        match self.name {
            SamplerName::ParentBasedAlwaysOn
            | SamplerName::ParentBasedAlwaysOff
            | SamplerName::ParentBasedTraceIdRatio => true,
            SamplerName::AlwaysOn | SamplerName::AlwaysOff | SamplerName::TraceIdRatio => false,
        }
    }

    /// Share of the traces kept where no caller decides, 0 to 1.
    pub(crate) fn share(self) -> f64 {
        match self.name {
            SamplerName::AlwaysOn | SamplerName::ParentBasedAlwaysOn => 1.0,
            SamplerName::AlwaysOff | SamplerName::ParentBasedAlwaysOff => 0.0,
            SamplerName::TraceIdRatio | SamplerName::ParentBasedTraceIdRatio => self.ratio,
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
                format!("{}{path}", text.trim_end_matches('/'))
                    .parse()
                    .unwrap_or(base)
            }
        }
    }
}
