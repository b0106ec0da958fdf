//! W3C Trace Context, level 1 and 2: `traceparent` and `tracestate`.

use std::fmt;

use bytes::Bytes;

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId(pub [u8; 16]);

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId(pub [u8; 8]);

/// A valid `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    pub trace_id: TraceId,
    pub parent_id: SpanId,
    /// Bit 0: sampled.
    pub flags: u8,
}

impl TraceParent {
    /// Parses a field value; `None` when the specification says to ignore it.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let _ = value;
        None
    }
}

/// A `tracestate` fit to be passed on: empty members dropped, cut to whole members within
/// [`MAX_TRACE_STATE`]. `None` when nothing is left or it is invalid.
pub fn trace_state(value: &Bytes) -> Option<Bytes> {
    let _ = value;
    None
}

/// Longest `tracestate` that is passed on, bytes.
pub const MAX_TRACE_STATE: usize = 512;

impl fmt::Display for TraceParent {
    /// As version 00.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "00-{}-{}-{:02x}",
            self.trace_id, self.parent_id, self.flags
        )
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
