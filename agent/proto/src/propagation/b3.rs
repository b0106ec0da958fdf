//! B3, of Zipkin (openzipkin/b3-propagation).

use super::{Parsed, id};
use crate::trace_context::{SpanId, TraceId};

/// ```text
/// {trace id}-{span id}
/// {trace id}-{span id}-{sampling state}
/// {trace id}-{span id}-{sampling state}-{parent's span id}
/// ```
/// A sampling state that stands alone names no trace.
pub(super) fn single(value: &[u8]) -> Option<Parsed> {
    let mut parts = value.split(|&byte| byte == b'-');
    let (trace_id, span_id) = (trace(parts.next()?)?, span(parts.next()?)?);
    let sampled = match parts.next() {
        None => None,
        Some(b"1" | b"d") => Some(true),
        Some(b"0") => Some(false),
        Some(_) => return None,
    };
    if let Some(parent) = parts.next() {
        span(parent)?;
    }
    parts
        .next()
        .is_none()
        .then_some((trace_id, span_id, sampled))
}

/// `X-B3-TraceId`, `X-B3-SpanId`, `X-B3-Sampled` and `X-B3-Flags`, which is 1 for "debug": to be kept
/// in any case.
pub(super) fn several(
    trace_id: &[u8],
    span_id: &[u8],
    sampled: Option<&[u8]>,
    flags: Option<&[u8]>,
) -> Option<Parsed> {
    let sampled = match (sampled, flags) {
        (_, Some(b"1")) => Some(true),
        (Some(b"1"), _) => Some(true),
        (Some(b"0"), _) => Some(false),
        // As the first implementations wrote it.
        (Some(word), _) if word.eq_ignore_ascii_case(b"true") => Some(true),
        (Some(word), _) if word.eq_ignore_ascii_case(b"false") => Some(false),
        _ => None,
    };
    Some((trace(trace_id)?, span(span_id)?, sampled))
}

/// 64 bits, as they were once, or 128.
fn trace(digits: &[u8]) -> Option<TraceId> {
    matches!(digits.len(), 16 | 32).then(|| id(digits).map(TraceId))?
}

fn span(digits: &[u8]) -> Option<SpanId> {
    (digits.len() == 16).then(|| id(digits).map(SpanId))?
}
