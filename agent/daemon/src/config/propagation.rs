//! Trace contexts of requests: which are read, and where one is written.

use serde::{Deserialize, Serialize};
use weft_proto::propagation::Propagator;

use super::{Error, env::Environment};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Propagation {
    /// The first valid one of this list counts.
    pub(crate) read: Vec<Format>,
    pub(crate) inject: Inject,
}

/// Into which requests a `traceparent` is written, if they carry no trace context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Inject {
    #[default]
    Never,
    /// To where no other end is seen on this node.
    Auto,
    Always,
}

/// Values of `OTEL_PROPAGATORS` that stand for a trace context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    TraceContext,
    /// Reading, both names mean both forms.
    #[serde(alias = "b3multi")]
    B3,
    Jaeger,
    XRay,
}

// === impl Propagation ===

impl Propagation {
    pub(crate) fn propagators(&self) -> impl Iterator<Item = Propagator> {
        self.read.iter().map(|format| match format {
            Format::TraceContext => Propagator::TraceContext,
            Format::B3 => Propagator::B3,
            Format::Jaeger => Propagator::Jaeger,
            Format::XRay => Propagator::XRay,
        })
    }

    pub(super) fn apply(&mut self, env: &Environment) -> Result<(), Error> {
        env.read(&["OTEL_PROPAGATORS"], formats, |formats| {
            self.read = formats;
        })
    }
}

impl Default for Propagation {
    fn default() -> Self {
        Self {
            read: vec![
                Format::TraceContext,
                Format::B3,
                Format::Jaeger,
                Format::XRay,
            ],
            inject: Inject::default(),
        }
    }
}

/// Names between commas. `baggage` is one of the standard ones, and carries no trace context.
fn formats(text: &str) -> Result<Vec<Format>, String> {
    let mut formats = Vec::new();
    let names: Vec<&str> = text.split(',').map(str::trim).collect();
    if names == ["none"] {
        return Ok(formats);
    }
    for name in names {
        let format = match name {
            "tracecontext" => Format::TraceContext,
            "b3" | "b3multi" => Format::B3,
            "jaeger" => Format::Jaeger,
            "xray" => Format::XRay,
            "baggage" | "" => continue,
            _ => {
                return Err(format!(
                    "`{name}` is not known: tracecontext, b3, b3multi, jaeger, xray, baggage, or none alone"
                ));
            }
        };
        if !formats.contains(&format) {
            formats.push(format);
        }
    }
    Ok(formats)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_standard_variable() {
        use Format::{B3, Jaeger, TraceContext, XRay};
        check("tracecontext,baggage", Ok(&[TraceContext]));
        check("b3multi, b3 ,tracecontext", Ok(&[B3, TraceContext]));
        check("jaeger,xray", Ok(&[Jaeger, XRay]));
        check("baggage", Ok(&[]));
        check("none", Ok(&[]));
        check("none,b3", Err("`none`"));
        check("ottrace", Err("b3multi"));
        check("B3", Err("`B3`"));
        fn check(text: &str, expected: Result<&[Format], &str>) {
            match (formats(text), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{text}"),
                (Err(reason), Err(word)) => assert!(reason.contains(word), "{reason}"),
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
    }
}
