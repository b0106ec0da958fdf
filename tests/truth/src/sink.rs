//! OTLP receiver: gRPC and HTTP/protobuf on one loopback port. Keeps spans, drops the rest.

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::post;
use bytes::Bytes;
use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::collector::logs::v1 as logs;
use opentelemetry_proto::tonic::collector::metrics::v1 as metrics;
use opentelemetry_proto::tonic::collector::trace::v1 as trace;
use prost::Message as _;
use tokio::net::TcpListener;
use tonic::codec::CompressionEncoding::Gzip;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::span::{self, Span};

/// Longest export request, bytes, after decompression.
const MAX_EXPORT: usize = 64 << 20;
/// Spans kept; what comes after them is counted and dropped.
const MAX_SPANS: usize = 4_000_000;

#[derive(Clone, Debug)]
pub struct Sink {
    address: SocketAddr,
    received: Received,
}

/// Spans in order of arrival.
#[derive(Clone, Debug, Default)]
struct Received(Arc<Mutex<Spans>>);

#[derive(Debug, Default)]
struct Spans {
    kept: Vec<Span>,
    dropped: u64,
}

impl Sink {
    /// Listens until the runtime ends.
    pub async fn start() -> std::io::Result<Self> {
        let received = Received::default();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let sink = Self {
            address: listener.local_addr()?,
            received: received.clone(),
        };
        tokio::spawn(axum::serve(listener, router(received)).into_future());
        Ok(sink)
    }

    /// Value for `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn len(&self) -> usize {
        self.received.locked().kept.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All spans so far, and how many more there were than could be kept.
    pub fn take(&self) -> (Vec<Span>, u64) {
        let mut spans = self.received.locked();
        (
            std::mem::take(&mut spans.kept),
            std::mem::take(&mut spans.dropped),
        )
    }
}

impl Received {
    fn locked(&self) -> std::sync::MutexGuard<'_, Spans> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, request: trace::ExportTraceServiceRequest) {
        let mut spans = self.locked();
        for span in span::spans(request) {
            if spans.kept.len() < MAX_SPANS {
                spans.kept.push(span);
            } else {
                spans.dropped += 1;
            }
        }
    }
}

fn router(received: Received) -> Router {
    let traces = trace::trace_service_server::TraceServiceServer::new(received.clone());
    let metrics = metrics::metrics_service_server::MetricsServiceServer::new(Discard);
    let logs = logs::logs_service_server::LogsServiceServer::new(Discard);
    let http = Router::new()
        .route("/v1/traces", post(http_traces))
        .route("/v1/metrics", post(async || StatusCode::OK))
        .route("/v1/logs", post(async || StatusCode::OK))
        .layer(DefaultBodyLimit::max(MAX_EXPORT))
        .with_state(received);
    Routes::new(
        traces
            .accept_compressed(Gzip)
            .max_decoding_message_size(MAX_EXPORT),
    )
    .add_service(metrics.accept_compressed(Gzip))
    .add_service(logs.accept_compressed(Gzip))
    .into_axum_router()
    .merge(http)
}

async fn http_traces(
    State(received): State<Received>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let gzip = headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|value| value == "gzip");
    let body = if gzip { gunzip(&body) } else { Some(body) };
    match body.map(trace::ExportTraceServiceRequest::decode) {
        Some(Ok(request)) => {
            received.add(request);
            StatusCode::OK
        }
        _ => StatusCode::BAD_REQUEST,
    }
}

fn gunzip(body: &[u8]) -> Option<Bytes> {
    let mut plain = Vec::new();
    let read = GzDecoder::new(body)
        .take(MAX_EXPORT as u64 + 1)
        .read_to_end(&mut plain)
        .ok()?;
    (read <= MAX_EXPORT).then(|| plain.into())
}

#[tonic::async_trait]
impl trace::trace_service_server::TraceService for Received {
    async fn export(
        &self,
        request: Request<trace::ExportTraceServiceRequest>,
    ) -> Result<Response<trace::ExportTraceServiceResponse>, Status> {
        self.add(request.into_inner());
        Ok(Response::new(Default::default()))
    }
}

/// Accepts what is not asked for.
struct Discard;

#[tonic::async_trait]
impl metrics::metrics_service_server::MetricsService for Discard {
    async fn export(
        &self,
        _: Request<metrics::ExportMetricsServiceRequest>,
    ) -> Result<Response<metrics::ExportMetricsServiceResponse>, Status> {
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl logs::logs_service_server::LogsService for Discard {
    async fn export(
        &self,
        _: Request<logs::ExportLogsServiceRequest>,
    ) -> Result<Response<logs::ExportLogsServiceResponse>, Status> {
        Ok(Response::new(Default::default()))
    }
}
