//! Trace contexts that requests brought to this node: who sends one of them on unchanged has not
//! written it.

use std::collections::VecDeque;

use foldhash::HashMap;
use smallvec::SmallVec;
use weft_proto::trace_context::{SpanId, TraceId, TraceParent};

use crate::record::Ends;
use crate::span::Process;

#[derive(Default)]
pub(crate) struct Incoming {
    by_context: HashMap<(TraceId, SpanId), SmallVec<[Arrival; 1]>>,
    order: VecDeque<(TraceId, SpanId)>,
}

struct Arrival {
    process: Process,
    ends: Ends,
}

/// The latest contexts, whatever their age: a request is long over when this many came after it.
const MAX_CONTEXTS: usize = 16_384;
const MAX_ARRIVALS: usize = 8;

impl Incoming {
    pub(crate) fn came(&mut self, process: Process, parent: &TraceParent, ends: &Ends) {
        let key = (parent.trace_id, parent.parent_id);
        let arrivals = self.by_context.entry(key).or_default();
        if arrivals.is_empty() {
            self.order.push_back(key);
        }
        if arrivals.len() < MAX_ARRIVALS {
            arrivals.push(Arrival {
                process,
                ends: *ends,
            });
        }
        if self.order.len() > MAX_CONTEXTS
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_context.remove(&oldest);
        }
    }

    /// Whether the context came with another request than the one that is sent over `ends`, whose
    /// receiver may have been seen first.
    pub(crate) fn has(&self, process: Process, parent: &TraceParent, ends: &Ends) -> bool {
        self.by_context
            .get(&(parent.trace_id, parent.parent_id))
            .is_some_and(|arrivals| {
                arrivals
                    .iter()
                    .any(|arrival| arrival.process == process || !mirrored(&arrival.ends, ends))
            })
    }
}

/// The two ends of one connection.
pub(crate) fn mirrored(one: &Ends, other: &Ends) -> bool {
    match (one, other) {
        (
            Ends::Inet { local, remote },
            Ends::Inet {
                local: other_local,
                remote: other_remote,
            },
        ) => local == other_remote && remote == other_local,
        (
            Ends::Unix { sk, peer },
            Ends::Unix {
                sk: other_sk,
                peer: other_peer,
            },
        ) => (*peer == *other_sk && *peer != 0) || (*other_peer == *sk && *sk != 0),
        _ => false,
    }
}
