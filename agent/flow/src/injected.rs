//! Trace contexts that the kernel programs have written into requests, until the request is read.

use std::collections::VecDeque;

use foldhash::HashMap;
use weft_proto::trace_context::TraceParent;

/// By socket cookie. A connection has one at most at a time.
#[derive(Default)]
pub(crate) struct Injected {
    waiting: HashMap<u64, Waiting>,
    order: VecDeque<u64>,
}

struct Waiting {
    seq: u32,
    parent: TraceParent,
}

/// The record of the request comes next, if it is not lost.
const MAX_WAITING: usize = 1024;

impl Injected {
    pub(crate) fn put(&mut self, cookie: u64, seq: u32, parent: TraceParent) {
        if self
            .waiting
            .insert(cookie, Waiting { seq, parent })
            .is_none()
        {
            self.order.push_back(cookie);
        }
        if self.order.len() > MAX_WAITING
            && let Some(oldest) = self.order.pop_front()
        {
            self.waiting.remove(&oldest);
        }
    }

    /// What was written into the request that begins at `seq`.
    pub(crate) fn take(&mut self, cookie: u64, seq: Option<u32>) -> Option<TraceParent> {
        if self.waiting.is_empty() {
            return None;
        }
        let waiting = self.waiting.remove(&cookie)?;
        self.order.retain(|other| *other != cookie);
        (Some(waiting.seq) == seq).then_some(waiting.parent)
    }
}
