//! The exporter against collectors that are down, slow, refusing, and back again.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use prost::Message as _;
use tokio::{net::TcpListener, runtime::Runtime};
use weft_flow::span::Kind;

use super::{resource, span};
use crate::{
    config::{ByteSize, Compression, Config, Output, Protocol},
    export::{Exports, Finished},
    telemetry::Registry,
};

/// What the collector does with a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mood {
    Accept,
    Partial(i64),
    Busy,
    Refuse,
    Slow,
}

#[derive(Clone)]
pub(super) struct Collector {
    mood: Arc<Mutex<Mood>>,
    spans: Arc<AtomicU64>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Collector {
    pub(super) fn new(mood: Mood) -> Self {
        let mood = Arc::new(Mutex::new(mood));
        Self {
            mood,
            spans: Arc::default(),
            seen: Arc::default(),
        }
    }

    fn mood(&self) -> Mood {
        *self.mood.lock().unwrap()
    }

    fn take(&self, request: &ExportTraceServiceRequest) {
        let spans: usize = request
            .resource_spans
            .iter()
            .flat_map(|group| &group.scope_spans)
            .map(|scope| scope.spans.len())
            .sum();
        self.spans.fetch_add(spans as u64, Ordering::SeqCst);
    }

    pub(super) fn taken(&self) -> u64 {
        self.spans.load(Ordering::SeqCst)
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let tenant = request
            .metadata()
            .get("x-tenant")
            .and_then(|value| value.to_str().ok());
        self.seen
            .lock()
            .unwrap()
            .push(tenant.unwrap_or_default().to_owned());
        match self.mood() {
            Mood::Busy => Err(tonic::Status::unavailable("busy")),
            Mood::Refuse => Err(tonic::Status::invalid_argument("no")),
            Mood::Slow => {
                tokio::time::sleep(Duration::from_secs(30)).await;
                Err(tonic::Status::internal("never"))
            }
            Mood::Accept => {
                self.take(request.get_ref());
                Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
            }
            Mood::Partial(rejected_spans) => {
                let error_message = "too old".to_owned();
                let partial = ExportTracePartialSuccess {
                    rejected_spans,
                    error_message,
                };
                let partial_success = Some(partial);
                Ok(tonic::Response::new(ExportTraceServiceResponse {
                    partial_success,
                }))
            }
        }
    }
}

fn grpc_server(address: SocketAddr, collector: Collector) -> (Runtime, SocketAddr) {
    let runtime = Runtime::new().unwrap();
    let listener = runtime.block_on(TcpListener::bind(address)).unwrap();
    let address = listener.local_addr().unwrap();
    let service = TraceServiceServer::new(collector)
        .accept_compressed(tonic::codec::CompressionEncoding::Gzip);
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    runtime.spawn(
        tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(incoming),
    );
    (runtime, address)
}

fn http_server(collector: Collector) -> (Runtime, SocketAddr) {
    let runtime = Runtime::new().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let collector = collector.clone();
            let answer = service_fn(move |request| answer(collector.clone(), request));
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
        }
    });
    (runtime, address)
}

pub(super) async fn answer(
    collector: Collector,
    request: Request<Incoming>,
) -> Result<Response<Full<bytes::Bytes>>, hyper::Error> {
    let head = format!(
        "{} {} {:?}",
        request.method(),
        request.uri().path(),
        request.headers().get("content-encoding"),
    );
    collector.seen.lock().unwrap().push(head);
    let packed = request.headers().contains_key("content-encoding");
    let body = request.into_body().collect().await?.to_bytes();
    let reply = |status| {
        Response::builder()
            .status(status)
            .body(Full::default())
            .unwrap()
    };
    Ok(match collector.mood() {
        Mood::Busy => {
            let mut response = reply(StatusCode::SERVICE_UNAVAILABLE);
            response
                .headers_mut()
                .insert("retry-after", http::HeaderValue::from_static("1"));
            response
        }
        Mood::Refuse => reply(StatusCode::BAD_REQUEST),
        Mood::Slow | Mood::Partial(_) => reply(StatusCode::NOT_IMPLEMENTED),
        Mood::Accept => {
            let body = if packed {
                let mut plain = Vec::new();
                let mut decoder = flate2::read::GzDecoder::new(&*body);
                std::io::Read::read_to_end(&mut decoder, &mut plain).unwrap();
                plain
            } else {
                body.to_vec()
            };
            collector.take(&ExportTraceServiceRequest::decode(body.as_slice()).unwrap());
            reply(StatusCode::OK)
        }
    })
}

pub(super) fn config(address: SocketAddr) -> Config {
    let mut config = Config {
        outputs: vec![Output::Otlp],
        ..Config::default()
    };
    config.otlp.endpoint = Some(format!("http://{address}").parse().unwrap());
    config.otlp.timeout = Duration::from_secs(20);
    config.otlp.retry.first = Duration::from_millis(50);
    config.otlp.retry.longest = Duration::from_millis(200);
    config.batch.delay = Duration::from_millis(50);
    config.batch.flush = Duration::from_secs(20);
    config.metrics.interval = None;
    config
}

pub(super) fn spans(count: usize) -> Vec<Finished> {
    let resource = resource("shop");
    (0..count)
        .map(|_| (span(Kind::Server), Arc::clone(&resource)))
        .collect()
}

pub(super) fn start(config: &Config) -> (Exports, Registry) {
    let registry = Registry::default();
    let exports = Exports::start(config, &registry, || {}).unwrap();
    (exports, registry)
}

pub(super) fn figure(registry: &Registry, name: &str, reason: &str) -> u64 {
    let gathered = registry.gather();
    let samples = gathered
        .families
        .get(name)
        .map(|family| family.samples.as_slice());
    let has = |labels: &[(&str, String)]| {
        reason.is_empty()
            || labels
                .iter()
                .any(|(key, value)| *key == "reason" && value == reason)
    };
    let sum: f64 = samples
        .unwrap_or_default()
        .iter()
        .filter(|sample| has(&sample.labels))
        .map(|sample| sample.value)
        .sum();
    sum as u64
}

pub(super) fn exported(registry: &Registry) -> u64 {
    figure(registry, "weft_spans_exported_total", "")
}

pub(super) fn dropped(registry: &Registry, reason: &str) -> u64 {
    figure(registry, "weft_spans_dropped_total", reason)
}

#[track_caller]
pub(super) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

const ANY: &str = "127.0.0.1:0";

#[test]
fn spans_arrive_by_grpc_with_headers_and_gzip() {
    let collector = Collector::new(Mood::Accept);
    let (_server, address) = grpc_server(ANY.parse().unwrap(), collector.clone());
    let mut config = config(address);
    config.otlp.compression = Compression::Gzip;
    let header = (
        http::HeaderName::from_static("x-tenant"),
        http::HeaderValue::from_static("blue"),
    );
    config.otlp.headers = vec![header];
    let (exports, registry) = start(&config);
    let submitted = Instant::now();
    exports.sink().submit(spans(1));
    eventually("arrival", || collector.taken() == 1);
    assert!(
        submitted.elapsed() < Duration::from_secs(2),
        "the first span left late"
    );
    exports.sink().submit(spans(5000));
    exports.finish();
    assert_eq!(
        (
            collector.taken(),
            exported(&registry),
            dropped(&registry, "")
        ),
        (5001, 5001, 0)
    );
    assert!(
        collector
            .seen
            .lock()
            .unwrap()
            .iter()
            .all(|tenant| tenant == "blue")
    );
}

#[test]
fn spans_arrive_by_http() {
    for compression in [Compression::None, Compression::Gzip] {
        let collector = Collector::new(Mood::Busy);
        let (_server, address) = http_server(collector.clone());
        let mut config = config(address);
        config.otlp.protocol = Protocol::HttpProtobuf;
        config.otlp.compression = compression;
        let (exports, registry) = start(&config);
        exports.sink().submit(spans(10));
        eventually("a retry", || {
            figure(&registry, "weft_export_retries_total", "") > 0
        });
        *collector.mood.lock().unwrap() = Mood::Accept;
        exports.finish();
        assert_eq!((collector.taken(), exported(&registry)), (10, 10));
        let seen = collector.seen.lock().unwrap();
        assert!(seen[0].starts_with("POST /v1/traces"), "{seen:?}");
        assert_eq!(seen[0].contains("gzip"), compression == Compression::Gzip);
    }
}

#[test]
fn refusals_are_counted_and_not_repeated() {
    let collector = Collector::new(Mood::Refuse);
    let (_server, address) = grpc_server(ANY.parse().unwrap(), collector.clone());
    let (exports, registry) = start(&config(address));
    exports.sink().submit(spans(7));
    eventually("refusal", || dropped(&registry, "refused") == 7);
    *collector.mood.lock().unwrap() = Mood::Partial(2);
    exports.sink().submit(spans(7));
    exports.finish();
    assert_eq!(
        (exported(&registry), dropped(&registry, "rejected")),
        (5, 2)
    );
    assert_eq!(collector.seen.lock().unwrap().len(), 2);
}

#[test]
fn a_collector_that_comes_back_gets_what_waited() {
    // A port that nobody listens on.
    let (server, address) = grpc_server(ANY.parse().unwrap(), Collector::new(Mood::Accept));
    server.shutdown_timeout(Duration::from_secs(1));
    let (exports, registry) = start(&config(address));
    exports.sink().submit(spans(100));
    eventually("retries", || {
        figure(&registry, "weft_export_retries_total", "") > 1
    });
    assert_eq!((exported(&registry), dropped(&registry, "")), (0, 0));
    let collector = Collector::new(Mood::Accept);
    let (_server, _) = grpc_server(address, collector.clone());
    eventually("arrival", || collector.taken() == 100);
    exports.finish();
    assert_eq!((exported(&registry), dropped(&registry, "")), (100, 0));
}

#[test]
fn a_slow_collector_costs_bounded_memory_and_counted_drops() {
    let collector = Collector::new(Mood::Slow);
    let (_server, address) = grpc_server(ANY.parse().unwrap(), collector.clone());
    let mut config = config(address);
    config.batch.queue_bytes = ByteSize(1 << 20);
    config.batch.spans = 256;
    config.batch.flush = Duration::from_millis(200);
    let (exports, registry) = start(&config);
    let sink = exports.sink();
    let total = 40 * 500;
    for _ in 0..40 {
        let begun = Instant::now();
        sink.submit(spans(500));
        assert!(
            begun.elapsed() < Duration::from_secs(1),
            "submitting blocked"
        );
        std::thread::sleep(Duration::from_millis(5));
        let waiting = figure(&registry, "weft_export_queue_bytes", "");
        assert!(waiting <= 2 << 20, "{waiting} bytes wait");
    }
    eventually("drops", || dropped(&registry, "queue_full") > 5000);
    let begun = Instant::now();
    exports.finish();
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "the flush has a deadline"
    );
    assert_eq!(
        exported(&registry) + dropped(&registry, ""),
        total,
        "every span has one fate"
    );
}

#[test]
fn what_nobody_takes_is_given_up() {
    let (server, address) = grpc_server(ANY.parse().unwrap(), Collector::new(Mood::Accept));
    server.shutdown_timeout(Duration::from_secs(1));
    let mut config = config(address);
    config.otlp.retry.give_up = Duration::from_millis(300);
    let (exports, registry) = start(&config);
    exports.sink().submit(spans(3));
    eventually("giving up", || dropped(&registry, "unreachable") == 3);
    exports.finish();
}
