//! Trace contexts in requests, by whichever of the usual formats they were written: the
//! propagators that `OTEL_PROPAGATORS` names (OpenTelemetry specification, "Propagators API").

mod b3;
mod jaeger;
mod xray;

use bytes::Bytes;

use crate::grpc;
use crate::trace_context::{SpanId, TraceId, TraceParent, trace_state};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Propagator {
    /// `traceparent` and `tracestate`; without a valid one `grpc-trace-bin`.
    TraceContext,
    /// `b3`; without a valid one `X-B3-TraceId` and its companions.
    B3,
    /// `uber-trace-id`.
    Jaeger,
    /// `X-Amzn-Trace-Id`.
    XRay,
}

/// What a request carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    pub propagator: Propagator,
    /// Of the flags only the sampled one has a meaning outside of `traceparent`.
    pub parent: TraceParent,
    /// The sender has decided on sampling. Not so: the flag is 0, the receiver is to decide.
    pub decided: bool,
    /// Fit to be passed on.
    pub state: Option<Bytes>,
}

/// A field that carries a trace context, or a part of one, in another format than W3C's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    B3,
    B3TraceId,
    B3SpanId,
    B3Sampled,
    B3Flags,
    UberTraceId,
    AmznTraceId,
}

/// The fields of one request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fields<'a> {
    pub traceparent: Option<&'a Bytes>,
    pub tracestate: Option<&'a Bytes>,
    pub grpc_trace_bin: Option<&'a Bytes>,
    pub others: &'a [(Field, Bytes)],
}

/// Ids and, where the sender has decided, whether the trace is kept.
type Parsed = (TraceId, SpanId, Option<bool>);

// === impl Fields ===

impl Fields<'_> {
    /// The first valid context in the order of `propagators`.
    pub fn context(&self, propagators: &[Propagator]) -> Option<Context> {
        propagators.iter().find_map(|&propagator| {
            let parsed = match propagator {
                Propagator::TraceContext => return self.trace_context(),
                Propagator::B3 => self.b3(),
                Propagator::Jaeger => self.only(Field::UberTraceId).and_then(jaeger::parse),
                Propagator::XRay => self.only(Field::AmznTraceId).and_then(xray::parse),
            };
            let (trace_id, parent_id, sampled) = parsed?;
            let is_valid = trace_id.0 != [0; 16] && parent_id.0 != [0; 8];
            is_valid.then_some(Context {
                propagator,
                parent: TraceParent {
                    trace_id,
                    parent_id,
                    flags: u8::from(sampled == Some(true)),
                },
                decided: sampled.is_some(),
                state: None,
            })
        })
    }

    fn trace_context(&self) -> Option<Context> {
        let named = self
            .traceparent
            .and_then(|value| TraceParent::parse(value))
            .map(|parent| (parent, self.tracestate.and_then(trace_state)));
        let binary = || Some((grpc::trace_parent(self.grpc_trace_bin?)?, None));
        let (parent, state) = named.or_else(binary)?;
        Some(Context {
            propagator: Propagator::TraceContext,
            parent,
            decided: true,
            state,
        })
    }

    fn b3(&self) -> Option<Parsed> {
        let single = self.only(Field::B3).and_then(b3::single);
        let several = || {
            b3::several(
                self.only(Field::B3TraceId)?,
                self.only(Field::B3SpanId)?,
                self.only(Field::B3Sampled),
                self.only(Field::B3Flags),
            )
        };
        single.or_else(several)
    }

    /// Of a field that came more than once nobody knows which value is meant.
    fn only(&self, field: Field) -> Option<&[u8]> {
        let mut values = self.others.iter().filter(|(name, _)| *name == field);
        let (_, value) = values.next()?;
        values.next().is_none().then_some(value)
    }
}

// === impl Field ===

impl Field {
    /// `name`: in any case.
    pub(crate) fn of(name: &[u8]) -> Option<Self> {
        const NAMES: [(&[u8], Field); 7] = [
            (b"b3", Field::B3),
            (b"x-b3-traceid", Field::B3TraceId),
            (b"x-b3-spanid", Field::B3SpanId),
            (b"x-b3-sampled", Field::B3Sampled),
            (b"x-b3-flags", Field::B3Flags),
            (b"uber-trace-id", Field::UberTraceId),
            (b"x-amzn-trace-id", Field::AmznTraceId),
        ];
        // Few names of fields begin so.
        if !matches!(name, [b'b' | b'B', _] | [b'x' | b'X' | b'u' | b'U', ..]) {
            return None;
        }
        let known = |(text, _): &&(&[u8], Self)| name.eq_ignore_ascii_case(text);
        NAMES.iter().find(known).map(|(_, field)| *field)
    }
}

/// An id of `N` bytes from up to twice as many digits in any case; left ones may be missing.
fn id<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    if digits.is_empty() || digits.len() > 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (place, &byte) in digits.iter().rev().enumerate() {
        bytes[N - 1 - place / 2] |= digit(byte)? << (4 * (place % 2));
    }
    Some(bytes)
}

/// Fields between line ends, `name: value`: what is accepted has ids, and a flag only if the sender
/// has decided.
#[cfg(any(test, feature = "fuzz"))]
pub fn fuzz_propagation(input: &[u8]) {
    const ALL: [Propagator; 4] = [
        Propagator::XRay,
        Propagator::Jaeger,
        Propagator::B3,
        Propagator::TraceContext,
    ];
    let mut others = Vec::new();
    let (mut traceparent, mut tracestate) = (None, None);
    for line in input.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii) {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else {
            continue;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let value = Bytes::copy_from_slice(value);
        match (name, Field::of(name)) {
            (_, Some(field)) => others.push((field, value)),
            (b"traceparent", None) => traceparent = Some(value),
            (b"tracestate", None) => tracestate = Some(value),
            _ => {}
        }
    }
    let fields = Fields {
        traceparent: traceparent.as_ref(),
        tracestate: tracestate.as_ref(),
        grpc_trace_bin: None,
        others: &others,
    };
    for propagator in ALL {
        let Some(context) = fields.context(&[propagator]) else {
            continue;
        };
        assert_eq!(context.propagator, propagator);
        assert!(context.decided || context.parent.flags == 0);
        let written = context.parent.to_string();
        assert_eq!(TraceParent::parse(written.as_bytes()), Some(context.parent));
    }
}

#[cfg(test)]
mod tests;
