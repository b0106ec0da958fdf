use std::io::Write as _;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::post;
use memchr::memmem::Finder;
use prost::Message as _;
use tokio::net::TcpListener;

use super::{Counts, Marked};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Note when spans arrive that hold this text and a number behind it.
    #[arg(long)]
    mark: Option<String>,
}

/// Says its address, then what it counted for each line that it reads, until there are no more.
pub(crate) fn main(arguments: &Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    let mut stdout = std::io::stdout();
    writeln!(
        stdout,
        "{}",
        serde_json::to_string(&listener.local_addr()?)?
    )?;
    let received = Received {
        counts: Arc::default(),
        mark: arguments
            .mark
            .as_deref()
            .map(|mark| Arc::new(Finder::new(mark).into_owned())),
    };
    let answering = received.clone();
    std::thread::spawn(move || {
        let answered: Result<()> = std::io::stdin().lines().try_for_each(|line| {
            line?;
            let text = serde_json::to_string(&*answering.locked())?;
            writeln!(stdout, "{text}")?;
            Ok(())
        });
        std::process::exit(i32::from(answered.is_err()));
    });
    let router = Router::new()
        .route("/v1/traces", post(export))
        .route("/v1/metrics", post(|| async {}))
        .layer(DefaultBodyLimit::disable())
        .with_state(received);
    Ok(runtime.block_on(async { axum::serve(listener, router).await })?)
}

async fn export(State(received): State<Received>, body: Bytes) -> StatusCode {
    let size = body.len();
    match Export::decode(body) {
        Ok(export) => {
            received.add(size, &export);
            StatusCode::OK
        }
        Err(_) => StatusCode::BAD_REQUEST,
    }
}

#[derive(Clone)]
struct Received {
    counts: Arc<Mutex<Counts>>,
    mark: Option<Arc<Finder<'static>>>,
}

// === impl Received ===

impl Received {
    fn locked(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, size: usize, export: &Export) {
        let arrived_ns = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_nanos() as u64;
        let mut counts = self.locked();
        counts.exports += 1;
        counts.bytes += size as u64;
        for resource in &export.resource_spans {
            let spans = resource.scope_spans.iter().flat_map(|scope| &scope.spans);
            let count = spans.clone().count() as u64;
            let service = resource.service().to_owned();
            *counts.spans.entry(service).or_default() += count;
            if let Some(mark) = &self.mark {
                let marked = spans.filter_map(|span| number_behind(mark, span));
                counts
                    .marked
                    .extend(marked.map(|number| Marked { number, arrived_ns }));
            }
        }
    }
}

fn number_behind(mark: &Finder<'_>, bytes: &[u8]) -> Option<u64> {
    let behind = bytes.get(mark.find(bytes)? + mark.needle().len()..)?;
    let digits = behind
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    str::from_utf8(behind.get(..digits)?).ok()?.parse().ok()
}

// What is needed of opentelemetry/proto/trace/v1/trace.proto; spans stay the bytes they are.

#[derive(Clone, PartialEq, prost::Message)]
struct Export {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Value>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Value {
    #[prost(string, optional, tag = "1")]
    string: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ScopeSpans {
    #[prost(bytes = "bytes", repeated, tag = "2")]
    spans: Vec<Bytes>,
}

// === impl ResourceSpans ===

impl ResourceSpans {
    fn service(&self) -> &str {
        self.resource
            .iter()
            .flat_map(|resource| &resource.attributes)
            .find(|attribute| attribute.key == "service.name")
            .and_then(|attribute| attribute.value.as_ref()?.string.as_deref())
            .unwrap_or("?")
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
    use opentelemetry_proto::tonic::resource::v1 as resource;
    use opentelemetry_proto::tonic::trace::v1 as trace;

    use super::*;

    #[test]
    fn counts_real_exports() {
        let name = AnyValue {
            value: Some(any_value::Value::StringValue("shop".to_owned())),
        };
        let spans = ["GET", "GET /?probe=17"].map(|name| trace::Span {
            name: name.to_owned(),
            ..Default::default()
        });
        let request = ExportTraceServiceRequest {
            resource_spans: vec![trace::ResourceSpans {
                resource: Some(resource::Resource {
                    attributes: vec![KeyValue {
                        key: "service.name".to_owned(),
                        value: Some(name),
                        ..Default::default()
                    }],
                    ..Default::default()
                }),
                scope_spans: vec![trace::ScopeSpans {
                    spans: spans.to_vec(),
                    ..Default::default()
                }],
                ..Default::default()
            }],
        };
        let received = Received {
            counts: Arc::default(),
            mark: Some(Arc::new(Finder::new("probe=").into_owned())),
        };
        let bytes = Bytes::from(request.encode_to_vec());
        received.add(bytes.len(), &Export::decode(bytes).unwrap());
        let counts = received.locked();
        assert_eq!(counts.spans.get("shop"), Some(&2));
        let numbers: Vec<_> = counts.marked.iter().map(|marked| marked.number).collect();
        assert_eq!(numbers, [17]);
    }
}
