//! Requests that an event-loop proxy has read and not passed on yet. It sends nothing of its own accord:
//! a request that leaves it has come in, is read by the same thread, and not answered. If only one fits
//! it by method and target, it is that one; else nothing is said.

use bytes::Bytes;
use foldhash::HashMap;
use foldhash::fast::RandomState;
use hashlink::LinkedHashMap;

use crate::counters::Counters;
use crate::span::Process;
use crate::spans::NodeKey;

pub(crate) struct Forwards {
    by_thread: LinkedHashMap<(Process, u32), Thread, RandomState>,
    /// Who has read each.
    readers: HashMap<NodeKey, (Process, u32)>,
    cap: usize,
}

#[derive(Default)]
struct Thread {
    open: Vec<Open>,
    /// Has had too many to be kept: what is not there may be it.
    overflown: bool,
}

struct Open {
    node: NodeKey,
    line: Line,
    passed_on: bool,
}

/// What a proxy passes on, but for a prefix of the target that it may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    method: Bytes,
    target: Bytes,
}

/// Open requests of one thread.
const MAX_OPEN: usize = 1024;

// === impl Forwards ===

impl Forwards {
    pub(crate) fn new(cap: usize) -> Self {
        Self {
            by_thread: LinkedHashMap::with_hasher(RandomState::default()),
            readers: HashMap::default(),
            cap: cap.max(1),
        }
    }

    /// The thread has read a request.
    pub(crate) fn read(&mut self, process: Process, tid: u32, node: NodeKey, line: Line) {
        let key = (process, tid);
        self.by_thread.to_back(&key);
        let thread = self.by_thread.entry(key).or_insert_with(Thread::default);
        if thread.open.len() >= MAX_OPEN {
            thread.overflown = true;
            return;
        }
        self.readers.insert(node, key);
        thread.open.push(Open {
            node,
            line,
            passed_on: false,
        });
        if self.by_thread.len() > self.cap {
            let evicted = self.by_thread.pop_front();
            for open in evicted.iter().flat_map(|(_, thread)| &thread.open) {
                self.readers.remove(&open.node);
            }
        }
    }

    /// It was answered, or will not be.
    pub(crate) fn end(&mut self, node: NodeKey) {
        let Some(key) = self.readers.remove(&node) else {
            return;
        };
        let Some(thread) = self.by_thread.get_mut(&key) else {
            return;
        };
        if let Some(index) = thread.open.iter().position(|open| open.node == node) {
            thread.open.swap_remove(index);
        }
        if thread.open.is_empty() {
            self.by_thread.remove(&key);
        }
    }

    /// The request that the thread passes on by sending this one.
    pub(crate) fn passed_on(
        &mut self,
        process: Process,
        tid: u32,
        line: &Line,
        counters: &mut Counters,
    ) -> Option<NodeKey> {
        let thread = self.by_thread.get_mut(&(process, tid))?;
        let mut fit = thread
            .open
            .iter_mut()
            .filter(|open| !open.passed_on && open.line.becomes(line));
        let open = fit.next()?;
        if fit.next().is_some() || thread.overflown {
            counters.forwards_ambiguous += 1;
            return None;
        }
        open.passed_on = true;
        Some(open.node)
    }
}

// === impl Line ===

impl Line {
    pub(crate) fn of(method: &Bytes, target: &Bytes) -> Self {
        Self {
            method: method.clone(),
            target: target.clone(),
        }
    }

    fn becomes(&self, other: &Self) -> bool {
        let (one, other_one) = (&self.target[..], &other.target[..]);
        let ends_with = |long: &[u8], short: &[u8]| {
            short.len() > 1 && short.starts_with(b"/") && long.ends_with(short)
        };
        self.method == other.method
            && (one == other_one || ends_with(one, other_one) || ends_with(other_one, one))
    }
}

#[cfg(test)]
mod tests {
    use super::Line;

    #[test]
    fn targets() {
        let line = |target: &'static str| Line {
            method: "GET".into(),
            target: target.into(),
        };
        #[rustfmt::skip]
        let cases = [
            ("/a", "/a", true),
            ("/a", "/b", false),
            ("/", "/", true),
            ("/a/", "/", false),
            ("/api/a?b=1", "/a?b=1", true),
            ("/a", "/base/a", true),
            ("http://host/a", "/a", true),
            ("/ba", "/a", false),
            ("/a?b=1", "/a", false),
        ];
        for (one, other, expected) in cases {
            assert_eq!(line(one).becomes(&line(other)), expected, "{one} {other}");
        }
        let post = Line {
            method: "POST".into(),
            ..line("/a")
        };
        assert!(!post.becomes(&line("/a")));
    }
}
