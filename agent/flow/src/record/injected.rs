//! A trace context that was written into a request.

use std::mem::offset_of;

use weft_abi::InjectedRecord;
use weft_proto::trace_context::{SpanId, TraceId, TraceParent};

use super::layout::{Reader, Writer};
use super::{Origin, RecordError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injected {
    pub origin: Origin,
    /// Socket cookie.
    pub cookie: u64,
    /// TCP sequence number of the request's first byte.
    pub seq: u32,
    /// The parent's id is that of the request's client span.
    pub parent: TraceParent,
}

impl Injected {
    pub(super) fn decode(bytes: &[u8], origin: Origin) -> Result<Self, RecordError> {
        let reader = Reader::new(bytes, size_of::<InjectedRecord>())?;
        Ok(Self {
            origin,
            cookie: reader.u64(offset_of!(InjectedRecord, cookie)),
            seq: reader.u32(offset_of!(InjectedRecord, seq)),
            parent: TraceParent {
                trace_id: TraceId(reader.array(offset_of!(InjectedRecord, trace_id))),
                parent_id: SpanId(reader.array(offset_of!(InjectedRecord, span_id))),
                flags: reader.u32(offset_of!(InjectedRecord, flags)) as u8,
            },
        })
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        let Self {
            origin: _,
            cookie,
            seq,
            parent,
        } = self;
        writer.put(offset_of!(InjectedRecord, cookie), &cookie.to_ne_bytes());
        writer.put(offset_of!(InjectedRecord, seq), &seq.to_ne_bytes());
        writer.put(
            offset_of!(InjectedRecord, flags),
            &u32::from(parent.flags).to_ne_bytes(),
        );
        writer.put(offset_of!(InjectedRecord, trace_id), &parent.trace_id.0);
        writer.put(offset_of!(InjectedRecord, span_id), &parent.parent_id.0);
    }
}
