//! Spans as they arrived, in a form that is easy to assert on.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Result, bail};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1 as otlp;

#[derive(Clone, Debug)]
pub struct Span {
    pub name: String,
    pub kind: Kind,
    /// Lower-case hexadecimal, as everywhere in tracing tools.
    pub trace_id: String,
    pub span_id: String,
    pub parent: Option<String>,
    /// The status is `Error`.
    pub is_error: bool,
    pub trace_state: String,
    /// Unix time, ns.
    pub start_ns: u64,
    pub end_ns: u64,
    attributes: Attributes,
    resource: Attributes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Server,
    Client,
    Other,
}

type Attributes = BTreeMap<String, String>;

/// Spans of one test.
#[derive(Clone, Debug, Default)]
pub struct Spans(pub Vec<Span>);

impl Span {
    /// An attribute's value as text; nothing when there is none.
    pub fn get(&self, key: &str) -> &str {
        self.attributes.get(key).map_or("", String::as_str)
    }

    pub fn has(&self, key: &str) -> bool {
        self.attributes.contains_key(key)
    }

    pub fn resource(&self, key: &str) -> &str {
        self.resource.get(key).map_or("", String::as_str)
    }

    pub fn service(&self) -> &str {
        self.resource("service.name")
    }

    pub fn pid(&self) -> u32 {
        self.resource("process.pid").parse().unwrap_or(0)
    }

    pub fn status(&self) -> &str {
        self.get("http.response.status_code")
    }

    pub fn method(&self) -> &str {
        self.get("http.request.method")
    }

    pub fn link(&self) -> &str {
        self.get("weft.link")
    }

    /// Path without query, of whichever attribute holds it; of a gRPC call its method, `package.Service/Method`.
    pub fn path(&self) -> &str {
        if self.has("rpc.method") {
            return self.get("rpc.method");
        }
        if self.has("url.path") {
            return self.get("url.path");
        }
        let full = self.get("url.full");
        let target = full.split_once("://").map_or(full, |(_, rest)| {
            rest.find('/').map_or("/", |at| &rest[at..])
        });
        target.split(['?', '#']).next().unwrap_or(target)
    }

    pub fn is_child_of(&self, parent: &Span) -> bool {
        self.trace_id == parent.trace_id && self.parent.as_deref() == Some(&parent.span_id)
    }

    /// Fails with the whole span when an attribute is not as expected.
    pub fn check(&self, expected: &[(&str, &str)]) -> Result<&Self> {
        for (key, value) in expected {
            let found = self.get(key);
            if found != *value {
                bail!("{key} is {found:?} and not {value:?} in\n{self}");
            }
        }
        Ok(self)
    }

    fn new(span: otlp::Span, resource: Attributes) -> Self {
        Self {
            kind: match span.kind() {
                otlp::span::SpanKind::Server => Kind::Server,
                otlp::span::SpanKind::Client => Kind::Client,
                _ => Kind::Other,
            },
            trace_id: hex(&span.trace_id),
            span_id: hex(&span.span_id),
            parent: (!span.parent_span_id.is_empty()).then(|| hex(&span.parent_span_id)),
            is_error: span
                .status
                .as_ref()
                .is_some_and(|status| status.code() == otlp::status::StatusCode::Error),
            trace_state: span.trace_state,
            start_ns: span.start_time_unix_nano,
            end_ns: span.end_time_unix_nano,
            attributes: attributes(span.attributes),
            name: span.name,
            resource,
        }
    }
}

impl Spans {
    pub fn of_request(request: ExportTraceServiceRequest) -> Self {
        let mut spans = Vec::new();
        for group in request.resource_spans {
            let resource = attributes(
                group
                    .resource
                    .map(|resource| resource.attributes)
                    .unwrap_or_default(),
            );
            for span in group.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                spans.push(Span::new(span, resource.clone()));
            }
        }
        Self(spans)
    }

    /// What `--output json` wrote: one object a line.
    pub fn of_json_lines(text: &str) -> Result<Self> {
        let mut spans = Self::default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            spans
                .0
                .extend(Self::of_request(serde_json::from_str(line)?).0);
        }
        Ok(spans)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn filter(&self, wanted: impl Fn(&Span) -> bool) -> Self {
        Self(self.0.iter().filter(|span| wanted(span)).cloned().collect())
    }

    pub fn servers(&self) -> Self {
        self.filter(|span| span.kind == Kind::Server)
    }

    pub fn clients(&self) -> Self {
        self.filter(|span| span.kind == Kind::Client)
    }

    /// Of these processes.
    pub fn of(&self, pids: &[u32]) -> Self {
        self.filter(|span| pids.contains(&span.pid()))
    }

    pub fn at(&self, path: &str) -> Self {
        self.filter(|span| span.path() == path)
    }

    /// The only one; fails with all of them when there are none or more.
    pub fn one(&self) -> Result<&Span> {
        match self.0.as_slice() {
            [span] => Ok(span),
            _ => bail!("expected one span, found {}:\n{self}", self.len()),
        }
    }

    pub fn count(&self, expected: usize) -> Result<&Self> {
        if self.len() != expected {
            bail!("expected {expected} spans, found {}:\n{self}", self.len());
        }
        Ok(self)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            kind,
            trace_id,
            span_id,
            parent,
            ..
        } = self;
        write!(
            f,
            "{kind:?} {name:?} of {} trace {trace_id} span {span_id} parent {parent:?}",
            self.service()
        )?;
        write!(
            f,
            " error {} {}µs",
            self.is_error,
            self.end_ns.saturating_sub(self.start_ns) / 1000
        )?;
        for (key, value) in &self.attributes {
            write!(f, " {key}={value}")?;
        }
        write!(f, " pid={}", self.pid())
    }
}

impl fmt::Display for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 20;
        for span in self.0.iter().take(SHOWN) {
            writeln!(f, "  {span}")?;
        }
        match self.len().checked_sub(SHOWN) {
            Some(more) if more > 0 => writeln!(f, "  and {more} more"),
            _ => Ok(()),
        }
    }
}

fn attributes(list: Vec<KeyValue>) -> Attributes {
    list.into_iter()
        .map(|pair| (pair.key, pair.value.map(text).unwrap_or_default()))
        .collect()
}

fn text(value: AnyValue) -> String {
    match value.value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(yes)) => yes.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(Value::ArrayValue(list)) => list
            .values
            .into_iter()
            .map(text)
            .collect::<Vec<_>>()
            .join(","),
        Some(other) => format!("{other:?}"),
        None => String::new(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
