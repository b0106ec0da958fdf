//! What a field's name means to anyone who asks.

use crate::propagation;

/// Of a field's name: which of the fields that are always kept it is, and which chosen one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http2) struct Label {
    pub(in crate::http2) field: Field,
    chosen: u16,
}

/// A name, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Title {
    pub(super) label: Label,
    /// Bytes.
    pub(super) len: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::http2) enum Field {
    Method,
    Path,
    Scheme,
    Authority,
    Protocol,
    Status,
    Host,
    UserAgent,
    ContentType,
    ContentLength,
    TraceParent,
    TraceState,
    GrpcTimeout,
    GrpcTraceBin,
    GrpcStatus,
    GrpcMessage,
    B3,
    B3TraceId,
    B3SpanId,
    B3Sampled,
    B3Flags,
    UberTraceId,
    AmznTraceId,
    /// Begins with a colon and is none of the above.
    Pseudo,
    Other,
    /// It stands in an entry that was not seen.
    Unknown,
}

/// Of these one value is kept; they stand first.
pub(in crate::http2) const KEPT_FIELDS: usize = 23;
const NOT_CHOSEN: u16 = u16::MAX;

// === impl Label ===

impl Label {
    pub(super) const UNKNOWN: Self = Self {
        field: Field::Unknown,
        chosen: NOT_CHOSEN,
    };

    /// `wanted`: chosen names.
    pub(super) fn of(name: &[u8], wanted: &[String]) -> Self {
        Self::with(Field::of(name), name, wanted)
    }

    /// `field`: what is known to be meant by `name`.
    pub(super) fn with(field: Field, name: &[u8], wanted: &[String]) -> Self {
        let chosen = wanted
            .iter()
            .take(usize::from(NOT_CHOSEN))
            .position(|wanted| wanted.as_bytes() == name);
        Self {
            field,
            chosen: chosen.map_or(NOT_CHOSEN, |index| index as u16),
        }
    }

    pub(in crate::http2) fn chosen(self) -> Option<u16> {
        (self.chosen != NOT_CHOSEN).then_some(self.chosen)
    }

    /// Anyone asked for the field's value.
    pub(in crate::http2) fn is_kept(self) -> bool {
        (self.field as usize) < KEPT_FIELDS || self.chosen != NOT_CHOSEN
    }
}

// === impl Title ===

impl Title {
    pub(super) const UNKNOWN: Self = Self {
        label: Label::UNKNOWN,
        len: 0,
    };

    pub(super) fn of(name: &[u8], wanted: &[String]) -> Self {
        Self {
            label: Label::of(name, wanted),
            len: u16::try_from(name.len()).unwrap_or(u16::MAX),
        }
    }
}

// === impl Field ===

impl Field {
    pub(super) const fn of(name: &[u8]) -> Self {
        match name {
            b":method" => Self::Method,
            b":path" => Self::Path,
            b":scheme" => Self::Scheme,
            b":authority" => Self::Authority,
            b":protocol" => Self::Protocol,
            b":status" => Self::Status,
            b"host" => Self::Host,
            b"user-agent" => Self::UserAgent,
            b"content-type" => Self::ContentType,
            b"content-length" => Self::ContentLength,
            b"traceparent" => Self::TraceParent,
            b"tracestate" => Self::TraceState,
            b"grpc-timeout" => Self::GrpcTimeout,
            b"grpc-trace-bin" => Self::GrpcTraceBin,
            b"grpc-status" => Self::GrpcStatus,
            b"grpc-message" => Self::GrpcMessage,
            b"b3" => Self::B3,
            b"x-b3-traceid" => Self::B3TraceId,
            b"x-b3-spanid" => Self::B3SpanId,
            b"x-b3-sampled" => Self::B3Sampled,
            b"x-b3-flags" => Self::B3Flags,
            b"uber-trace-id" => Self::UberTraceId,
            b"x-amzn-trace-id" => Self::AmznTraceId,
            [b':', ..] => Self::Pseudo,
            _ => Self::Other,
        }
    }

    pub(in crate::http2) fn is_pseudo(self) -> bool {
        matches!(
            self,
            Self::Method
                | Self::Path
                | Self::Scheme
                | Self::Authority
                | Self::Protocol
                | Self::Status
                | Self::Pseudo
        )
    }

    /// It carries a trace context, or a part of one.
    pub(in crate::http2) fn is_context(self) -> bool {
        matches!(self, Self::TraceParent | Self::TraceState) || self.context().is_some()
    }

    /// In another format than W3C's.
    pub(in crate::http2) fn context(self) -> Option<propagation::Field> {
        Some(match self {
            Self::B3 => propagation::Field::B3,
            Self::B3TraceId => propagation::Field::B3TraceId,
            Self::B3SpanId => propagation::Field::B3SpanId,
            Self::B3Sampled => propagation::Field::B3Sampled,
            Self::B3Flags => propagation::Field::B3Flags,
            Self::UberTraceId => propagation::Field::UberTraceId,
            Self::AmznTraceId => propagation::Field::AmznTraceId,
            _ => return None,
        })
    }
}
