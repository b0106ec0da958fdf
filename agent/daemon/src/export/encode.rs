//! Spans of many processes as one `ExportTraceServiceRequest`
//! (opentelemetry/proto/trace/v1/trace.proto).

use std::sync::Arc;

use bytes::Bytes;
use foldhash::HashMap;
use weft_flow::span::{Kind, Span};

use super::{
    clock::Clock,
    protobuf::{Room, Writer, varint_length},
    semantic::{Attributes, Conventions, Describer, Status, status},
};
use crate::discover::{Resource, Value};

pub(crate) const SCOPE: &str = "weft";
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Bits of `Span.flags` beside the W3C ones.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// More is given back to the system.
const RECYCLED_BYTES: usize = 2 << 20;

pub(crate) type Finished = (Box<Span>, Arc<Resource>);

#[derive(Debug)]
pub(crate) struct Encoder {
    describer: Describer,
    clock: Clock,
    writer: Writer,
    name: String,
}

impl Encoder {
    pub(crate) fn new(conventions: Conventions, clock: Clock) -> Self {
        Self {
            describer: Describer::new(conventions),
            clock,
            writer: Writer::default(),
            name: String::new(),
        }
    }

    /// Takes back the bytes of a request that nobody else holds any more: fresh memory costs a tenth of the encoding.
    pub(crate) fn recycle(&mut self, body: Bytes) {
        if body.len() <= RECYCLED_BYTES
            && let Ok(body) = body.try_into_mut()
        {
            self.writer.give(body.into());
        }
    }

    /// The request's bytes.
    pub(crate) fn encode(&mut self, spans: &[Finished]) -> Vec<u8> {
        self.clock.refresh();
        for (resource, spans) in by_resource(spans) {
            self.resource_spans(resource, &spans);
        }
        self.writer.take()
    }

    /// `ResourceSpans { resource = 1, scope_spans = 2 }` as field 1 of the request.
    fn resource_spans(&mut self, resource: &Resource, spans: &[&Span]) {
        let Self {
            describer,
            clock,
            writer,
            name,
        } = self;
        writer.message(1, Room::Large, |writer| {
            writer.message(1, Room::Medium, |writer| write_resource(resource, writer));
            writer.message(2, Room::Large, |writer| {
                writer.message(1, Room::Small, |writer| {
                    writer.bytes(1, SCOPE.as_bytes());
                    writer.bytes(2, VERSION.as_bytes());
                });
                for span in spans {
                    writer.message(2, Room::Medium, |writer| {
                        write_span(span, clock, describer, name, writer);
                    });
                }
            });
        });
    }
}

fn write_span(
    span: &Span,
    clock: &Clock,
    describer: &mut Describer,
    name: &mut String,
    writer: &mut Writer,
) {
    let (start, end) = clock.unix_ns(span.start_ns, span.end_ns);
    writer.bytes(1, &span.trace_id.0);
    writer.bytes(2, &span.span_id.0);
    if let Some(state) = &span.trace_state {
        writer.bytes(3, super::semantic::text(state).as_bytes());
    }
    if let Some(parent) = span.parent {
        writer.bytes(4, &parent.0);
    }
    describer.name(span, name);
    writer.bytes(5, name.as_bytes());
    writer.uint(6, kind_number(span.kind).into());
    writer.fixed64(7, start);
    writer.fixed64(8, end);
    describer.attributes(span, &mut InField { field: 9, writer });
    if status(span) == Status::Error {
        writer.message(15, Room::Small, |writer| writer.uint(3, 2));
    }
    writer.fixed32(16, flags(span));
}

/// `SPAN_KIND_*`.
pub(crate) fn kind_number(kind: Kind) -> u8 {
    match kind {
        Kind::Server => 2,
        Kind::Client => 3,
    }
}

pub(crate) fn flags(span: &Span) -> u32 {
    let remote = if span.parent_is_remote { IS_REMOTE } else { 0 };
    let known = if span.parent.is_some() {
        HAS_IS_REMOTE | remote
    } else {
        0
    };
    u32::from(span.trace_flags) | known
}

fn write_resource(resource: &Resource, writer: &mut Writer) {
    let mut out = InField { field: 1, writer };
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

/// Spans by their resource, in the order of each resource's first span. `Arc`s are compared, not
/// what they hold: one process has one.
pub(crate) fn by_resource(spans: &[Finished]) -> Vec<(&Resource, Vec<&Span>)> {
    let mut groups: Vec<(&Resource, Vec<&Span>)> = Vec::new();
    let mut indices = HashMap::default();
    for (span, resource) in spans {
        let index = *indices.entry(Arc::as_ptr(resource)).or_insert_with(|| {
            groups.push((resource, Vec::new()));
            groups.len() - 1
        });
        groups[index].1.push(span);
    }
    groups
}

/// Attributes as repeated `KeyValue { key = 1, value = 2 }` in a field.
struct InField<'a> {
    field: u32,
    writer: &'a mut Writer,
}

impl Attributes for InField<'_> {
    /// `AnyValue { string_value = 1 }`
    fn text(&mut self, key: &str, value: &str) {
        let room = key.len() + value.len();
        if room < SHORT {
            let (value_len, any) = (value.len() as u8, value.len() as u8 + 2);
            let pair = key.len() as u8 + 2 + any + 2;
            self.writer.parts([
                &[self.head(), pair, KEY, key.len() as u8],
                key.as_bytes(),
                &[VALUE, any, STRING, value_len],
                value.as_bytes(),
            ]);
            return;
        }
        self.key_value(key, length_delimited(value.len()));
        self.writer.bytes(1, value.as_bytes());
    }

    /// `AnyValue { int_value = 3 }`
    fn int(&mut self, key: &str, value: i64) {
        let value = value.cast_unsigned();
        self.key_value(key, 1 + varint_length(value));
        self.writer.uint(3, value);
    }

    /// `AnyValue { array_value = 5 { values = 1 } }`
    fn list(&mut self, key: &str, values: &[&str]) {
        let any = |value: &str| length_delimited(value.len());
        let array: usize = values
            .iter()
            .map(|value| length_delimited(any(value)))
            .sum();
        self.key_value(key, length_delimited(array));
        self.writer.head(5, array);
        for value in values {
            self.writer.head(1, any(value));
            self.writer.bytes(1, value.as_bytes());
        }
    }
}

/// Text of an attribute, key and value, with which all lengths have one byte.
const SHORT: usize = 0x80 - 6;
/// Fields of the messages above that are written at once: number and wire type.
const KEY: u8 = 1 << 3 | 2;
const VALUE: u8 = 2 << 3 | 2;
const STRING: u8 = 1 << 3 | 2;

impl InField<'_> {
    /// The number of an attribute's field, below 16, and its wire type.
    fn head(&self) -> u8 {
        (self.field as u8) << 3 | 2
    }

    /// Up to the value, whose `length` is known: most of a request is attributes, so nothing is
    /// moved for them.
    fn key_value(&mut self, key: &str, length: usize) {
        let Self { field, writer } = self;
        writer.head(
            *field,
            length_delimited(key.len()) + length_delimited(length),
        );
        writer.bytes(1, key.as_bytes());
        writer.head(2, length);
    }
}

/// Bytes of a field with a number below 16 and a content of `length` bytes.
fn length_delimited(length: usize) -> usize {
    1 + varint_length(length as u64) + length
}
