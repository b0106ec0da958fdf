//! The little of OTLP/JSON that the smoke test reads.

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Span {
    pub(crate) trace_id: String,
    pub(crate) span_id: String,
    #[serde(default)]
    pub(crate) parent_span_id: String,
    /// 2 is server, 3 is client.
    #[serde(default)]
    pub(crate) kind: u8,
    #[serde(default)]
    pub(crate) attributes: Vec<Attribute>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Attribute {
    key: String,
    value: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Export {
    #[serde(default)]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans {
    #[serde(default)]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Deserialize)]
struct ScopeSpans {
    #[serde(default)]
    spans: Vec<Span>,
}

/// All spans of one `{"resourceSpans":[...]}` object a line.
pub(crate) fn parse(lines: &[String]) -> Result<Vec<Span>> {
    let mut spans = Vec::new();
    for line in lines {
        let export: Export =
            serde_json::from_str(line).with_context(|| format!("not OTLP/JSON: {line}"))?;
        for resource in export.resource_spans {
            spans.extend(
                resource
                    .scope_spans
                    .into_iter()
                    .flat_map(|scope| scope.spans),
            );
        }
    }
    Ok(spans)
}

// === impl Span ===

impl Span {
    /// A string or integer attribute as text; OTLP/JSON writes 64-bit integers as strings.
    pub(crate) fn attribute(&self, key: &str) -> Option<String> {
        let value = &self
            .attributes
            .iter()
            .find(|attribute| attribute.key == key)?
            .value;
        let value = value.get("stringValue").or_else(|| value.get("intValue"))?;
        Some(
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned),
        )
    }
}
