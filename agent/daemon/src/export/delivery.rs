//! One encoded request to a collector, and what became of it (OTLP specification 1.x, "OTLP/gRPC
//! Response", "OTLP/HTTP Response").

use std::{error::Error as _, io::Write as _, time::Duration};

use bytes::{Buf as _, BufMut as _, Bytes};
use http::{HeaderMap, Request, StatusCode, Uri, header, uri::PathAndQuery};
use http_body_util::{BodyExt as _, Full, Limited};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use tonic::{
    Code,
    client::Grpc,
    codec::{CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::MetadataMap,
    transport::Channel,
};
use tonic_types::StatusExt as _;

use super::transport::{self, HttpClient, USER_AGENT};
use crate::config::{Compression, Otlp, Protocol};

/// What a collector did with a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Accepted {
        /// Spans that it did not want.
        rejected: u64,
        message: String,
    },
    /// It may work later.
    Later {
        reason: String,
        after: Option<Duration>,
    },
    /// It never will.
    Refused { reason: String },
}

#[derive(Clone)]
pub(crate) enum Collector {
    Grpc(Box<Grpc<Channel>>, HeaderMap),
    Http(Box<HttpCollector>),
}

#[derive(Clone)]
pub(crate) struct HttpCollector {
    client: HttpClient,
    uri: Uri,
    headers: HeaderMap,
    compression: Compression,
}

const EXPORT: PathAndQuery =
    PathAndQuery::from_static("/opentelemetry.proto.collector.trace.v1.TraceService/Export");
/// An answer holds a count and a sentence.
const ANSWER_BYTES: usize = 64 << 10;

impl Collector {
    pub(crate) fn new(otlp: &Otlp) -> Result<Self, transport::Error> {
        let headers: HeaderMap = otlp.headers.iter().cloned().collect();
        let uri = otlp.traces();
        Ok(match otlp.protocol {
            Protocol::Grpc => {
                let channel = transport::channel(uri.clone(), otlp)?;
                let grpc = Grpc::with_origin(channel, uri);
                let grpc = match otlp.compression {
                    Compression::None => grpc,
                    Compression::Gzip => grpc.send_compressed(CompressionEncoding::Gzip),
                };
                Self::Grpc(
                    Box::new(grpc.accept_compressed(CompressionEncoding::Gzip)),
                    headers,
                )
            }
            Protocol::HttpProtobuf => Self::Http(Box::new(HttpCollector {
                client: transport::http_client(otlp)?,
                uri,
                headers,
                compression: otlp.compression,
            })),
        })
    }

    /// One attempt. Dropping it gives it up.
    pub(crate) async fn send(&self, body: Bytes, timeout: Duration) -> Outcome {
        let attempt = async {
            match self {
                Self::Grpc(grpc, headers) => by_grpc(grpc.as_ref().clone(), headers, body).await,
                Self::Http(collector) => by_http(collector, body).await,
            }
        };
        tokio::time::timeout(timeout, attempt)
            .await
            .unwrap_or_else(|_| Outcome::Later {
                reason: format!("no answer within {timeout:?}"),
                after: None,
            })
    }
}

async fn by_grpc(mut grpc: Grpc<Channel>, headers: &HeaderMap, body: Bytes) -> Outcome {
    if let Err(error) = grpc.ready().await {
        return Outcome::Later {
            reason: with_sources(&error),
            after: None,
        };
    }
    let mut request = tonic::Request::new(body);
    *request.metadata_mut() = MetadataMap::from_headers(headers.clone());
    match grpc.unary(request, EXPORT, Raw).await {
        Ok(response) => accepted(response.into_inner()),
        Err(status) => by_code(&status),
    }
}

fn by_code(status: &tonic::Status) -> Outcome {
    let after = status
        .get_error_details()
        .retry_info()
        .and_then(|info| info.retry_delay);
    let worth_it = match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => true,
        Code::ResourceExhausted => after.is_some(),
        // Broken connections come as `Unknown` with their cause.
        Code::Unknown | Code::Internal => status.source().is_some(),
        _ => false,
    };
    let reason = match status.source() {
        Some(source) => with_sources(source),
        None => format!("{:?}: {}", status.code(), status.message()),
    };
    if worth_it {
        Outcome::Later { reason, after }
    } else {
        Outcome::Refused { reason }
    }
}

async fn by_http(collector: &HttpCollector, body: Bytes) -> Outcome {
    let HttpCollector {
        client,
        uri,
        headers,
        compression,
    } = collector;
    let mut request = Request::post(uri.clone());
    if let Some(all) = request.headers_mut() {
        all.insert(
            header::USER_AGENT,
            header::HeaderValue::from_static(USER_AGENT),
        );
        all.extend(headers.clone());
        let protobuf = header::HeaderValue::from_static("application/x-protobuf");
        all.insert(header::CONTENT_TYPE, protobuf);
        if *compression == Compression::Gzip {
            all.insert(
                header::CONTENT_ENCODING,
                header::HeaderValue::from_static("gzip"),
            );
        }
    }
    let body = match compression {
        Compression::None => body,
        Compression::Gzip => gzip(&body),
    };
    let request = match request.body(Full::new(body)) {
        Ok(request) => request,
        Err(error) => {
            return Outcome::Refused {
                reason: error.to_string(),
            };
        }
    };
    let response = match client.request(request).await {
        Ok(response) => response,
        Err(error) => {
            return Outcome::Later {
                reason: with_sources(&error),
                after: None,
            };
        }
    };
    let status = response.status();
    let after = retry_after(response.headers());
    let answer = Limited::new(response.into_body(), ANSWER_BYTES)
        .collect()
        .await;
    let answer = answer
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    match status {
        status if status.is_success() => {
            accepted(ExportTraceServiceResponse::decode(answer).unwrap_or_default())
        }
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Outcome::Later {
            reason: status.to_string(),
            after,
        },
        _ => Outcome::Refused {
            reason: status.to_string(),
        },
    }
}

fn accepted(response: ExportTraceServiceResponse) -> Outcome {
    let partial = response.partial_success.unwrap_or_default();
    Outcome::Accepted {
        rejected: u64::try_from(partial.rejected_spans).unwrap_or(0),
        message: partial.error_message,
    }
}

/// Seconds only: collectors do not send dates.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers
        .get(header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds))
}

fn gzip(body: &[u8]) -> Bytes {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    match encoder.write_all(body).and_then(|()| encoder.finish()) {
        Ok(packed) => packed.into(),
        // Writing to memory does not fail.
        Err(_) => Bytes::new(),
    }
}

fn with_sources(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let source_text = source.to_string();
        if !text.contains(&source_text) {
            text.push_str(": ");
            text.push_str(&source_text);
        }
        next = source.source();
    }
    text
}

/// Requests are encoded already.
struct Raw;

impl tonic::codec::Codec for Raw {
    type Encode = Bytes;
    type Decode = ExportTraceServiceResponse;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = tonic::Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), tonic::Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = ExportTraceServiceResponse;
    type Error = tonic::Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, tonic::Status> {
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        ExportTraceServiceResponse::decode(bytes)
            .map(Some)
            .map_err(|error| tonic::Status::internal(error.to_string()))
    }
}
