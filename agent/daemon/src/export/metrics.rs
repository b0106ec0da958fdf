//! weft's own figures by OTLP, through `opentelemetry-otlp`, over the connection that spans use.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use opentelemetry::{
    KeyValue,
    metrics::{AsyncInstrument, Meter, MeterProvider as _},
};
use opentelemetry_http::{HttpClient as OtelHttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{
    ExporterBuildError, MetricExporter, WithExportConfig as _, WithHttpConfig as _,
    WithTonicConfig as _,
};
use opentelemetry_sdk::{
    Resource,
    metrics::{SdkMeterProvider, periodic_reader_with_async_runtime::PeriodicReader},
    runtime::Tokio,
};
use tokio::{runtime, sync::Notify, time::MissedTickBehavior};
use tonic::metadata::MetadataMap;

use super::{
    Error, spawn,
    transport::{self, HttpClient},
};
use crate::{
    config::{Compression, Config, Otlp, Protocol},
    discover::{ProcessFacts, Rules, build_resource},
    telemetry::{FigureKind, Registry},
};

/// The running export of figures.
pub(super) struct Metrics {
    provider: SdkMeterProvider,
    stop: Arc<Notify>,
    thread: JoinHandle<()>,
}

/// Figures that are new since the last look are picked up so often.
const LOOK: Duration = Duration::from_secs(1);
const ANSWER_BYTES: usize = 64 << 10;

impl Metrics {
    pub(super) fn start(
        config: &Config,
        interval: Duration,
        registry: &Registry,
    ) -> Result<Self, Error> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let entered = runtime.enter();
        let reader = PeriodicReader::builder(exporter(&config.otlp)?, Tokio)
            .with_interval(interval)
            .with_timeout(config.otlp.timeout)
            .build();
        let provider = SdkMeterProvider::builder()
            .with_reader(reader)
            .with_resource(resource(config))
            .build();
        drop(entered);
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let meter = provider.meter(super::encode::SCOPE);
        let registry = registry.clone();
        let thread = spawn("weft-metrics", move || {
            runtime.block_on(async {
                tokio::select! {
                    () = observe(&meter, &registry) => {}
                    () = stopped.notified() => {}
                }
            });
        })?;
        Ok(Self {
            provider,
            stop,
            thread,
        })
    }

    /// Sends the last figures.
    pub(super) fn finish(self, deadline: Duration) {
        let Self {
            provider,
            stop,
            thread,
        } = self;
        if let Err(error) = provider.shutdown_with_timeout(deadline) {
            log::debug!("the last figures did not leave: {error}");
        }
        stop.notify_one();
        if thread.join().is_err() {
            log::error!("the export of figures panicked");
        }
    }
}

/// Families of figures appear while the agent starts: each becomes an instrument once.
async fn observe(meter: &Meter, registry: &Registry) {
    let mut known = HashSet::new();
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        for (name, family) in registry.gather().families {
            if !known.insert(name) {
                continue;
            }
            let registry = registry.clone();
            let show = move |instrument: &dyn AsyncInstrument<f64>| {
                let gathered = registry.gather();
                let Some(family) = gathered.families.get(name) else {
                    return;
                };
                for sample in &family.samples {
                    let labels: Vec<KeyValue> = sample
                        .labels
                        .iter()
                        .map(|(key, value)| KeyValue::new(*key, value.clone()))
                        .collect();
                    instrument.observe(sample.value, &labels);
                }
            };
            match family.kind {
                FigureKind::Counter => {
                    let counter = meter.f64_observable_counter(name);
                    counter
                        .with_description(family.help)
                        .with_callback(show)
                        .build();
                }
                FigureKind::Gauge => {
                    let gauge = meter.f64_observable_gauge(name);
                    gauge
                        .with_description(family.help)
                        .with_callback(show)
                        .build();
                }
            }
        }
    }
}

fn exporter(otlp: &Otlp) -> Result<MetricExporter, Error> {
    let uri = otlp.metrics();
    let built = match otlp.protocol {
        Protocol::Grpc => {
            let builder = MetricExporter::builder()
                .with_tonic()
                .with_timeout(otlp.timeout)
                .with_channel(transport::channel(uri, otlp)?)
                .with_metadata(MetadataMap::from_headers(
                    otlp.headers.iter().cloned().collect(),
                ));
            match otlp.compression {
                Compression::None => builder.build(),
                Compression::Gzip => builder
                    .with_compression(opentelemetry_otlp::Compression::Gzip)
                    .build(),
            }
        }
        Protocol::HttpProtobuf => {
            let headers: HashMap<String, String> = otlp
                .headers
                .iter()
                .filter_map(|(name, value)| {
                    Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
                })
                .collect();
            let builder = MetricExporter::builder()
                .with_http()
                .with_http_client(OwnClient(transport::http_client(otlp)?))
                .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
                .with_endpoint(uri.to_string())
                .with_timeout(otlp.timeout)
                .with_headers(headers);
            match otlp.compression {
                Compression::None => builder.build(),
                Compression::Gzip => builder
                    .with_compression(opentelemetry_otlp::Compression::Gzip)
                    .build(),
            }
        }
    };
    built.map_err(|error: ExporterBuildError| Error::Metrics(error.to_string()))
}

/// The agent as a process of this host.
fn resource(config: &Config) -> Resource {
    let facts = ProcessFacts::read(std::process::id()).unwrap_or_default();
    let rules = Rules::of_this_host(config.resource.clone());
    let mut own = build_resource(&facts, 0, &rules, None);
    own.set("service.name", "weft");
    let attributes = own.attributes.into_iter().filter_map(|attribute| {
        let value: opentelemetry::Value = match attribute.value {
            crate::discover::Value::Text(text) => text.into(),
            crate::discover::Value::Int(number) => number.into(),
            crate::discover::Value::List(_) => return None,
        };
        Some(KeyValue::new(attribute.key, value))
    });
    Resource::builder_empty()
        .with_attributes(attributes)
        .build()
}

/// weft's HTTP client as `opentelemetry-otlp` wants it.
#[derive(Debug)]
struct OwnClient(HttpClient);

#[async_trait::async_trait]
impl OtelHttpClient for OwnClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let response = self.0.request(request.map(Full::new)).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES).collect().await?.to_bytes();
        Ok(Response::from_parts(head, body))
    }
}
