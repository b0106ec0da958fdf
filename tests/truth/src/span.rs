//! A span as the agent exported it, reduced to what can be checked.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1 as otlp;

use crate::truth::{Kind, Status};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub trace_id: Vec<u8>,
    pub span_id: Vec<u8>,
    pub parent: Option<Vec<u8>>,
    /// `None`: neither server nor client.
    pub kind: Option<Kind>,
    pub pid: Option<u32>,
    pub service: String,
    /// Path or URL, of whichever attribute holds one; else the span's name.
    pub target: String,
    /// An attribute says what was asked for.
    pub named: bool,
    /// It says that it does not know all (`weft.partial`).
    pub partial: bool,
    pub method: Option<String>,
    pub status: Option<Status>,
    /// Unix time, ns.
    pub start_ns: u64,
    pub end_ns: u64,
    /// Whatever else may help a person: `key=value`.
    pub notes: String,
}

/// Attributes that hold the request's path, best first: stable semantic conventions, then old ones.
const TARGETS: [&str; 4] = ["url.path", "url.full", "http.target", "http.url"];
const METHODS: [&str; 2] = ["http.request.method", "http.method"];
const RPC_SYSTEMS: [&str; 2] = ["rpc.system.name", "rpc.system"];
const STATUSES: [&str; 2] = ["http.response.status_code", "http.status_code"];

/// Spans of one export request.
pub fn spans(request: ExportTraceServiceRequest) -> impl Iterator<Item = Span> {
    request
        .resource_spans
        .into_iter()
        .flat_map(|resource_spans| {
            let resource = resource_spans
                .resource
                .map(|r| r.attributes)
                .unwrap_or_default();
            let service = text(&resource, "service.name")
                .unwrap_or_default()
                .to_owned();
            let pid = number(&resource, "process.pid");
            let spans = resource_spans
                .scope_spans
                .into_iter()
                .flat_map(|scope| scope.spans);
            spans.map(move |span| Span::new(span, service.clone(), pid))
        })
}

impl Span {
    fn new(span: otlp::Span, service: String, resource_pid: Option<i64>) -> Self {
        let attributes = &span.attributes;
        let pid = resource_pid.or_else(|| number(attributes, "process.pid"));
        let path = TARGETS.iter().find_map(|key| text(attributes, key));
        let call = text(attributes, "rpc.method").map(|method| format!("/{method}"));
        let target = path.map(str::to_owned).or(call);
        let is_call = RPC_SYSTEMS
            .iter()
            .any(|key| text(attributes, key).is_some());
        // Every gRPC call is one.
        let method = is_call.then_some("POST");
        let code = text(attributes, "rpc.response.status_code");
        let status = STATUSES.iter().find_map(|key| number(attributes, key));
        let status = status.and_then(|status| u16::try_from(status).ok());
        Self {
            kind: match span.kind() {
                otlp::span::SpanKind::Server => Some(Kind::Server),
                otlp::span::SpanKind::Client => Some(Kind::Client),
                _ => None,
            },
            pid: pid.and_then(|pid| u32::try_from(pid).ok()),
            service,
            named: target.is_some(),
            partial: value(attributes, "weft.partial").is_some(),
            target: target.unwrap_or_else(|| span.name.clone()),
            method: METHODS
                .iter()
                .find_map(|key| text(attributes, key))
                .or(method)
                .map(str::to_owned),
            status: code
                .map(|code| Status::Rpc(code.to_owned()))
                .or(status.filter(|_| !is_call).map(Status::Http)),
            start_ns: span.start_time_unix_nano,
            end_ns: span.end_time_unix_nano,
            notes: notes(attributes),
            trace_id: span.trace_id,
            span_id: span.span_id,
            parent: Some(span.parent_span_id)
                .filter(|id| !id.is_empty() && id.iter().any(|b| *b != 0)),
        }
    }

    /// The target without scheme, authority, query and fragment.
    pub fn path(&self) -> &str {
        let target = self.target.split(['?', '#']).next().unwrap_or_default();
        match target.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or("/", |slash| &rest[slash..]),
            None => target.find('/').map_or(target, |slash| &target[slash..]),
        }
    }
}

fn value<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    attributes
        .iter()
        .find(|a| a.key == key)?
        .value
        .as_ref()?
        .value
        .as_ref()
}

fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    match value(attributes, key)? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

fn number(attributes: &[KeyValue], key: &str) -> Option<i64> {
    match value(attributes, key)? {
        Value::IntValue(number) => Some(*number),
        Value::StringValue(text) => text.parse().ok(),
        _ => None,
    }
}

/// Attributes outside the semantic conventions' HTTP and network ones: an agent's own.
fn notes(attributes: &[KeyValue]) -> String {
    const USUAL: [&str; 7] = [
        "http.",
        "url.",
        "server.",
        "client.",
        "network.",
        "user_agent.",
        "process.",
    ];
    let own = attributes
        .iter()
        .filter(|a| !USUAL.iter().any(|prefix| a.key.starts_with(prefix)));
    own.map(|a| {
        format!(
            "{}={}",
            a.key,
            a.value.as_ref().map(show).unwrap_or_default()
        )
    })
    .collect::<Vec<_>>()
    .join(" ")
}

fn show(value: &AnyValue) -> String {
    match &value.value {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(truth)) => truth.to_string(),
        Some(Value::ArrayValue(array)) => {
            array.values.iter().map(show).collect::<Vec<_>>().join(",")
        }
        _ => "?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_of_any_target() {
        let check = |target: &str, path: &str| {
            let span = otlp::Span {
                name: target.to_owned(),
                ..Default::default()
            };
            assert_eq!(
                Span::new(span, String::new(), None).path(),
                path,
                "{target}"
            );
        };
        check("/hop/1?via=http://x/", "/hop/1");
        check("http://127.0.0.1:80/hop/1?via=", "/hop/1");
        check("http://127.0.0.1:80", "/");
        check("GET /hop/1", "/hop/1");
        check("GET", "GET");
        check("", "");
    }
}
