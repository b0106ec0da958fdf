//! OTLP/JSON (the protobuf JSON mapping as the OTLP specification changes it): ids in hexadecimal,
//! 64-bit integers as strings, enums as numbers.

use std::fmt::{Display, Write as _};

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
    name: String,
}

impl JsonLines {
    pub(crate) fn new(conventions: Conventions, clock: Clock) -> Self {
        Self {
            describer: Describer::new(conventions),
            clock,
            name: String::new(),
        }
    }

    /// One `{"resourceSpans":[...]}` and a line feed.
    pub(crate) fn line(&mut self, spans: &[Finished]) -> String {
        self.clock.refresh();
        let mut out = Text::default();
        out.raw(r#"{"resourceSpans":["#);
        out.each(by_resource(spans), |out, (resource, spans)| {
            out.raw(r#"{"resource":{"attributes":["#);
            resource_attributes(resource, &mut KeyValues::new(out));
            out.raw(r#"]},"scopeSpans":[{"scope":{"name":"#);
            out.string(SCOPE);
            out.raw(r#","version":"#);
            out.string(VERSION);
            out.raw(r#"},"spans":["#);
            out.each(spans, |out, span| self.span(span, out));
            out.raw("]}]}");
        });
        out.raw("]}\n");
        out.0
    }

    fn span(&mut self, span: &Span, out: &mut Text) {
        let (start, end) = self.clock.unix_ns(span.start_ns, span.end_ns);
        self.describer.name(span, &mut self.name);
        out.raw("{");
        out.quoted("traceId", span.trace_id);
        out.raw(",");
        out.quoted("spanId", span.span_id);
        if let Some(state) = &span.trace_state {
            out.raw(r#","traceState":"#);
            out.string(&text(state));
        }
        if let Some(parent) = span.parent {
            out.raw(",");
            out.quoted("parentSpanId", parent);
        }
        out.raw(r#","name":"#);
        out.string(&self.name);
        out.format(format_args!(
            r#","flags":{},"kind":{},"#,
            flags(span),
            kind_number(span.kind)
        ));
        out.quoted("startTimeUnixNano", start);
        out.raw(",");
        out.quoted("endTimeUnixNano", end);
        out.raw(r#","attributes":["#);
        self.describer.attributes(span, &mut KeyValues::new(out));
        out.raw(match status(span) {
            Status::Unset => r#"],"status":{}}"#,
            Status::Error => r#"],"status":{"code":2}}"#,
        });
    }
}

fn resource_attributes(resource: &Resource, out: &mut KeyValues<'_>) {
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
}

/// JSON as it is written.
#[derive(Default)]
struct Text(String);

impl Text {
    fn raw(&mut self, json: &str) {
        self.0.push_str(json);
    }

    fn format(&mut self, json: std::fmt::Arguments<'_>) {
        // A `String` takes everything.
        let _ = self.0.write_fmt(json);
    }

    /// A key, and a value that needs no escapes.
    fn quoted(&mut self, key: &str, value: impl Display) {
        self.format(format_args!(r#""{key}":"{value}""#));
    }

    fn string(&mut self, text: &str) {
        let plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
        if text.bytes().all(plain) {
            self.0.push('"');
            self.0.push_str(text);
            return self.0.push('"');
        }
        // Of a `str` it cannot fail.
        self.0
            .push_str(&serde_json::to_string(text).unwrap_or_default());
    }

    fn each<T>(&mut self, items: impl IntoIterator<Item = T>, mut write: impl FnMut(&mut Self, T)) {
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.raw(",");
            }
            write(self, item);
        }
    }
}

/// Elements of an array of attributes.
struct KeyValues<'a> {
    out: &'a mut Text,
    first: bool,
}

impl<'a> KeyValues<'a> {
    fn new(out: &'a mut Text) -> Self {
        Self { out, first: true }
    }

    fn key(&mut self, key: &str) {
        let comma = if std::mem::take(&mut self.first) {
            ""
        } else {
            ","
        };
        self.out.raw(comma);
        self.out.raw(r#"{"key":"#);
        self.out.string(key);
        self.out.raw(r#","value":"#);
    }
}

impl Attributes for KeyValues<'_> {
    fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        self.out.raw(r#"{"stringValue":"#);
        self.out.string(value);
        self.out.raw("}}");
    }

    fn int(&mut self, key: &str, value: i64) {
        self.key(key);
        self.out.raw("{");
        self.out.quoted("intValue", value);
        self.out.raw("}}");
    }

    fn list(&mut self, key: &str, values: &[&str]) {
        self.key(key);
        self.out.raw(r#"{"arrayValue":{"values":["#);
        self.out.each(values, |out, value| {
            out.raw(r#"{"stringValue":"#);
            out.string(value);
            out.raw("}");
        });
        self.out.raw("]}}}");
    }
}
