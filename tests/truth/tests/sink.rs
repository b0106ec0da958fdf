//! The receiver takes what any exporter may send: gRPC or HTTP/protobuf, plain or gzip.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use tokio::net::TcpStream;
use tonic::codec::CompressionEncoding::Gzip;
use weft_truth::sink::Sink;
use weft_truth::truth::{Kind, Status};

#[tokio::test]
async fn grpc() {
    let sink = Sink::start().await.unwrap();
    let client = TraceServiceClient::connect(sink.endpoint()).await.unwrap();
    client.clone().export(request()).await.unwrap();
    client
        .send_compressed(Gzip)
        .export(request())
        .await
        .unwrap();
    check(&sink, 2);
}

#[tokio::test]
async fn http_protobuf() {
    let sink = Sink::start().await.unwrap();
    let plain = request().encode_to_vec();
    assert_eq!(post(&sink, "identity", &plain).await, StatusCode::OK);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&plain).unwrap();
    assert_eq!(
        post(&sink, "gzip", &gzip.finish().unwrap()).await,
        StatusCode::OK
    );
    assert_eq!(post(&sink, "gzip", &plain).await, StatusCode::BAD_REQUEST);
    assert_eq!(
        post(&sink, "identity", b"{}").await,
        StatusCode::BAD_REQUEST
    );
    check(&sink, 2);
}

fn check(sink: &Sink, count: usize) {
    let (spans, dropped) = sink.take();
    assert_eq!((spans.len(), dropped), (count, 0));
    for span in spans {
        assert_eq!((span.kind, span.pid), (Some(Kind::Client), Some(7)));
        assert_eq!(span.path(), "/hop/1");
        assert_eq!(span.status, Some(Status::Http(200)));
        assert_eq!((span.parent, span.notes.as_str()), (None, "weft.link=none"));
    }
}

async fn post(sink: &Sink, encoding: &str, body: &[u8]) -> StatusCode {
    let address = sink.endpoint().trim_start_matches("http://").to_owned();
    let stream = TokioIo::new(TcpStream::connect(&address).await.unwrap());
    let (mut send, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post("/v1/traces")
        .header("host", address)
        .header("content-type", "application/x-protobuf")
        .header("content-encoding", encoding)
        .body(Full::new(Bytes::copy_from_slice(body)))
        .unwrap();
    send.send_request(request).await.unwrap().status()
}

fn request() -> ExportTraceServiceRequest {
    let text = |text: &str| Value::StringValue(text.to_owned());
    let attribute = |key: &str, value| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    };
    let span = Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        kind: SpanKind::Client.into(),
        attributes: vec![
            attribute("url.full", text("http://127.0.0.1:80/hop/1?via=")),
            attribute("http.response.status_code", Value::IntValue(200)),
            attribute("weft.link", text("none")),
        ],
        ..Span::default()
    };
    let attributes = vec![attribute("process.pid", Value::IntValue(7))];
    let resource_spans = ResourceSpans {
        resource: Some(Resource {
            attributes,
            ..Resource::default()
        }),
        scope_spans: vec![ScopeSpans {
            spans: vec![span],
            ..ScopeSpans::default()
        }],
        ..ResourceSpans::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![resource_spans],
    }
}
