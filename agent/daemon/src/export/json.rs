//! OTLP/JSON (the protobuf JSON mapping as the OTLP specification changes it): ids in hexadecimal,
//! 64-bit integers as strings, enums as numbers.

use serde_json::{Map, Value as Json, json};
use weft_flow::span::Span;

use super::{
    clock::Clock,
    encode::{Finished, SCOPE, VERSION, by_resource, flags, kind_number},
    semantic::{Attributes, Conventions, Describer, Status, status, text},
};
use crate::discover::{Resource, Value};

#[derive(Debug)]
pub(crate) struct JsonLines {
    describer: Describer,
    clock: Clock,
}

impl JsonLines {
    pub(crate) fn new(conventions: Conventions, clock: Clock) -> Self {
        Self {
            describer: Describer::new(conventions),
            clock,
        }
    }

    /// One `{"resourceSpans":[...]}` and a line feed.
    pub(crate) fn line(&mut self, spans: &[Finished]) -> String {
        self.clock.refresh();
        let groups: Vec<Json> = by_resource(spans)
            .into_iter()
            .map(|(resource, spans)| {
                let spans: Vec<Json> = spans.into_iter().map(|span| self.span(span)).collect();
                json!({
                    "resource": { "attributes": resource_attributes(resource) },
                    "scopeSpans": [{
                        "scope": { "name": SCOPE, "version": VERSION },
                        "spans": spans,
                    }],
                })
            })
            .collect();
        format!("{}\n", json!({ "resourceSpans": groups }))
    }

    fn span(&mut self, span: &Span) -> Json {
        let (start, end) = self.clock.unix_ns(span.start_ns, span.end_ns);
        let mut name = String::new();
        self.describer.name(span, &mut name);
        let mut attributes = KeyValues::default();
        self.describer.attributes(span, &mut attributes);

        let mut object = Map::new();
        let mut put = |key: &str, value: Json| object.insert(key.to_owned(), value);
        put("traceId", span.trace_id.to_string().into());
        put("spanId", span.span_id.to_string().into());
        if let Some(state) = &span.trace_state {
            put("traceState", text(state).into());
        }
        if let Some(parent) = span.parent {
            put("parentSpanId", parent.to_string().into());
        }
        put("flags", flags(span).into());
        put("name", name.into());
        put("kind", kind_number(span.kind).into());
        put("startTimeUnixNano", start.to_string().into());
        put("endTimeUnixNano", end.to_string().into());
        put("attributes", attributes.0.into());
        let status = match status(span) {
            Status::Unset => json!({}),
            Status::Error => json!({ "code": 2 }),
        };
        put("status", status);
        object.into()
    }
}

fn resource_attributes(resource: &Resource) -> Vec<Json> {
    let mut out = KeyValues::default();
    for attribute in &resource.attributes {
        match &attribute.value {
            Value::Text(value) => out.text(&attribute.key, value),
            Value::Int(value) => out.int(&attribute.key, *value),
            Value::List(values) => {
                let values: Vec<&str> = values.iter().map(String::as_str).collect();
                out.list(&attribute.key, &values);
            }
        }
    }
    out.0
}

#[derive(Default)]
struct KeyValues(Vec<Json>);

impl Attributes for KeyValues {
    fn text(&mut self, key: &str, value: &str) {
        self.0
            .push(json!({ "key": key, "value": { "stringValue": value } }));
    }

    fn int(&mut self, key: &str, value: i64) {
        self.0
            .push(json!({ "key": key, "value": { "intValue": value.to_string() } }));
    }

    fn list(&mut self, key: &str, values: &[&str]) {
        let values: Vec<Json> = values
            .iter()
            .map(|value| json!({ "stringValue": value }))
            .collect();
        self.0
            .push(json!({ "key": key, "value": { "arrayValue": { "values": values } } }));
    }
}
