//! An OTLP receiver: gRPC and HTTP/protobuf on one port, well-behaved or not.

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::routing::post;
use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tonic::codec::CompressionEncoding::Gzip;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::{Span, Spans};

/// How the receiver treats exports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Behaviour {
    #[default]
    Accept,
    /// Says that it is not available now: to be tried again.
    Refuse,
    /// Answers after this long, and keeps what it got.
    Stall(Duration),
}

/// Ends, with its connections, when dropped.
pub struct Sink {
    address: SocketAddr,
    received: Received,
    runtime: Option<Runtime>,
}

#[derive(Clone, Default)]
struct Received(Arc<Mutex<Inbox>>);

#[derive(Default)]
struct Inbox {
    spans: Vec<Span>,
    behaviour: Behaviour,
    /// Headers or metadata of the last export.
    headers: Vec<(String, String)>,
}

impl Sink {
    pub fn start() -> Result<Self> {
        Self::start_on(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// On a port chosen before: a receiver that comes back.
    pub fn start_on(address: SocketAddr) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let received = Received::default();
        let listener = runtime
            .block_on(TcpListener::bind(address))
            .with_context(|| format!("cannot listen on {address}"))?;
        let address = listener.local_addr()?;
        let service = axum::serve(listener, router(received.clone()));
        runtime.spawn(async move { service.await });
        Ok(Self {
            address,
            received,
            runtime: Some(runtime),
        })
    }

    /// Value for `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn behave(&self, behaviour: Behaviour) {
        self.received.locked().behaviour = behaviour;
    }

    /// Spans so far whose path or URL holds `tag`.
    pub fn spans(&self, tag: &str) -> Spans {
        let wanted = |span: &&Span| span.path().contains(tag);
        Spans(
            self.received
                .locked()
                .spans
                .iter()
                .filter(wanted)
                .cloned()
                .collect(),
        )
    }

    /// Spans of any path.
    pub fn received(&self) -> usize {
        self.received.locked().spans.len()
    }

    pub fn headers(&self) -> Vec<(String, String)> {
        self.received.locked().headers.clone()
    }

    /// Waits until so many spans with the tag have come.
    pub fn wait(&self, tag: &str, count: usize, limit: Duration) -> Result<Spans> {
        let begin = Instant::now();
        loop {
            let spans = self.spans(tag);
            if spans.len() >= count {
                return Ok(spans);
            }
            if begin.elapsed() > limit {
                bail!(
                    "only {} of {count} spans after {limit:?}:\n{spans}",
                    spans.len()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Received {
    fn locked(&self) -> MutexGuard<'_, Inbox> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `false`: try again later.
    async fn add(&self, request: ExportTraceServiceRequest, headers: &HeaderMap) -> bool {
        let behaviour = self.locked().behaviour;
        match behaviour {
            Behaviour::Accept => {}
            Behaviour::Refuse => return false,
            Behaviour::Stall(time) => tokio::time::sleep(time).await,
        }
        let mut state = self.locked();
        state.headers = headers
            .iter()
            .map(|(name, value)| {
                (
                    name.to_string(),
                    String::from_utf8_lossy(value.as_bytes()).into_owned(),
                )
            })
            .collect();
        state.spans.extend(Spans::of_request(request).0);
        true
    }
}

fn router(received: Received) -> Router {
    let grpc = TraceServiceServer::new(received.clone())
        .accept_compressed(Gzip)
        .max_decoding_message_size(usize::MAX);
    Routes::new(grpc)
        .into_axum_router()
        .merge(
            Router::new()
                .route("/v1/traces", post(http_export))
                .with_state(received),
        )
        .layer(DefaultBodyLimit::disable())
}

#[tonic::async_trait]
impl TraceService for Received {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let headers = request.metadata().clone().into_headers();
        match self.add(request.into_inner(), &headers).await {
            true => Ok(Response::new(ExportTraceServiceResponse::default())),
            false => Err(Status::unavailable("not now")),
        }
    }
}

async fn http_export(
    State(received): State<Received>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Vec<u8>, StatusCode> {
    let mut plain = Vec::new();
    match headers
        .get(header::CONTENT_ENCODING)
        .map(HeaderValue::as_bytes)
    {
        None | Some(b"identity") => plain.extend_from_slice(&body),
        Some(b"gzip") => {
            GzDecoder::new(&*body)
                .read_to_end(&mut plain)
                .map_err(|_| StatusCode::BAD_REQUEST)?;
        }
        Some(_) => return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE),
    }
    let request =
        ExportTraceServiceRequest::decode(&*plain).map_err(|_| StatusCode::BAD_REQUEST)?;
    match received.add(request, &headers).await {
        true => Ok(ExportTraceServiceResponse::default().encode_to_vec()),
        false => Err(StatusCode::SERVICE_UNAVAILABLE),
    }
}
