//! `uber-trace-id`, of Jaeger's clients (jaegertracing.io, "Propagation Format").

use memchr::memchr;

use super::{Parsed, id};
use crate::trace_context::{SpanId, TraceId};

const SAMPLED: u8 = 1;
/// To be kept in any case.
const DEBUG: u8 = 2;

/// `{trace id}:{span id}:{parent's span id}:{flags}`, over HTTP perhaps with its colons
/// percent-encoded. Digits that are zero may be missing on the left; the parent's id is no longer used.
pub(super) fn parse(value: &[u8]) -> Option<Parsed> {
    let mut rest = Some(value);
    let mut next = || {
        let text = rest?;
        let (part, behind) = cut(text);
        rest = behind;
        Some(part)
    };
    let (trace_id, span_id) = (id(next()?)?, id(next()?)?);
    id::<8>(next()?)?;
    let [flags] = id(next()?)?;
    rest.is_none().then_some((
        TraceId(trace_id),
        SpanId(span_id),
        Some(flags & (SAMPLED | DEBUG) != 0),
    ))
}

/// The text before the first colon and, if there is one, behind it.
fn cut(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    if let Some(at) = memchr(b':', text) {
        return (&text[..at], Some(&text[at + 1..]));
    }
    match memchr(b'%', text) {
        Some(at)
            if text[at + 1..]
                .get(..2)
                .is_some_and(|code| code.eq_ignore_ascii_case(b"3a")) =>
        {
            (&text[..at], Some(&text[at + 3..]))
        }
        _ => (text, None),
    }
}
