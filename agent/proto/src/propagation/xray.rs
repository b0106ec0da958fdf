//! `X-Amzn-Trace-Id` (AWS X-Ray, "Tracing header").

use super::{Parsed, id};
use crate::trace_context::{SpanId, TraceId};

/// ```text
/// Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1
/// ```
/// in any order, among other pairs. A load balancer that records nothing writes no `Parent`: it is
/// no parent, and the trace is anyone's.
pub(super) fn parse(value: &[u8]) -> Option<Parsed> {
    let (mut root, mut parent, mut sampled) = (None, None, None);
    for pair in value.split(|&byte| byte == b';').map(<[u8]>::trim_ascii) {
        let mut halves = pair.splitn(2, |&byte| byte == b'=');
        let slot = match halves.next() {
            Some(b"Root") => &mut root,
            Some(b"Parent") => &mut parent,
            Some(b"Sampled") => &mut sampled,
            _ => continue,
        };
        if slot.replace(halves.next()?).is_some() {
            return None;
        }
    }
    let sampled = match sampled {
        Some(b"1") => Some(true),
        Some(b"0") => Some(false),
        // `?` asks the receiver to decide.
        _ => None,
    };
    let parent = parent.filter(|digits| digits.len() == 16)?;
    Some((trace(root?)?, SpanId(id(parent)?), sampled))
}

/// Version, time in seconds, 96 bits of chance.
fn trace(root: &[u8]) -> Option<TraceId> {
    let digits = root.strip_prefix(b"1-")?;
    let (time, chance) = (digits.get(..8)?, digits.get(8..)?.strip_prefix(b"-")?);
    if chance.len() != 24 {
        return None;
    }
    let mut trace_id = [0; 16];
    trace_id[..4].copy_from_slice(&id::<4>(time)?);
    trace_id[4..].copy_from_slice(&id::<12>(chance)?);
    Some(TraceId(trace_id))
}
