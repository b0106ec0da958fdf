//! Which calls' responses were read on a connection, and when: what that goes on with is told later.

use std::collections::VecDeque;

use smallvec::SmallVec;

use crate::spans::NodeKey;

/// In the order in which they were read.
#[derive(Default)]
pub(crate) struct Answering(VecDeque<(u64, NodeKey)>);

/// Of those read with one callback.
const MAX_ANSWERING: usize = 64;

// === impl Answering ===

impl Answering {
    pub(super) fn read(&mut self, node: NodeKey, time_ns: u64) {
        if self.0.back() == Some(&(time_ns, node)) {
            return;
        }
        if self.0.len() >= MAX_ANSWERING {
            self.0.pop_front();
        }
        self.0.push_back((time_ns, node));
    }

    /// Each once.
    pub(super) fn since(&self, since_ns: u64) -> SmallVec<[NodeKey; 4]> {
        let mut calls = SmallVec::new();
        for (_, node) in self.0.iter().filter(|(time_ns, _)| *time_ns >= since_ns) {
            if !calls.contains(node) {
                calls.push(*node);
            }
        }
        calls
    }
}
