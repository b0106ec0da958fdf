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
    /// What was sent for each, until that is over.
    calls: HashMap<NodeKey, NodeKey>,
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
    stage: Stage,
}

/// ```text
///         sent                answered, or not
///  Waits ──────▶ PassedOn ─────────────────────▶ Over
///                   ▲           sent again        │
///                   └─────────────────────────────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Waits,
    PassedOn,
    /// It may be sent to another server, as long as nothing was answered.
    Over,
}

/// What a proxy passes on, but for the beginning of the target, which it may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    method: Bytes,
    target: Bytes,
}

/// From the loosest to the closest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// One prefix in place of another.
    OtherPrefix,
    /// A prefix more or less.
    Prefix,
    Same,
}

/// Open requests of one thread.
const MAX_OPEN: usize = 1024;

// === impl Forwards ===

impl Forwards {
    pub(crate) fn new(cap: usize) -> Self {
        Self {
            by_thread: LinkedHashMap::with_hasher(RandomState::default()),
            readers: HashMap::default(),
            calls: HashMap::default(),
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
            stage: Stage::Waits,
        });
        if self.by_thread.len() > self.cap {
            let evicted = self.by_thread.pop_front();
            for open in evicted.iter().flat_map(|(_, thread)| &thread.open) {
                self.readers.remove(&open.node);
            }
        }
    }

    /// What was sent for the request `server`.
    pub(crate) fn sent(&mut self, server: NodeKey, call: NodeKey) {
        if self.readers.contains_key(&server) {
            self.calls.insert(call, server);
        }
    }

    /// It was answered, or will not be.
    pub(crate) fn end(&mut self, node: NodeKey) {
        if let Some(server) = self.calls.remove(&node)
            && let Some(open) = self.open_mut(server)
        {
            open.stage = Stage::Over;
        }
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

    /// The request that the thread passes on by sending this one. `is_answered`: the response has begun.
    pub(crate) fn passed_on(
        &mut self,
        process: Process,
        tid: u32,
        line: &Line,
        is_answered: impl Fn(NodeKey) -> bool,
        counters: &mut Counters,
    ) -> Option<NodeKey> {
        let thread = self.by_thread.get_mut(&(process, tid))?;
        let closest = thread.open.iter().filter_map(|open| open.line.fit(line));
        let closest = closest.max()?;
        let mut fit = thread
            .open
            .iter_mut()
            .filter(|open| open.line.fit(line) == Some(closest))
            .filter(|open| match open.stage {
                Stage::Waits => true,
                Stage::PassedOn => false,
                Stage::Over => !is_answered(open.node),
            });
        let open = fit.next()?;
        if fit.next().is_some() || thread.overflown {
            counters.forwards_ambiguous += 1;
            return None;
        }
        open.stage = Stage::PassedOn;
        Some(open.node)
    }

    fn open_mut(&mut self, node: NodeKey) -> Option<&mut Open> {
        let thread = self.by_thread.get_mut(self.readers.get(&node)?)?;
        thread.open.iter_mut().find(|open| open.node == node)
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

    /// How close `other` is to it, if it may be the same request passed on.
    fn fit(&self, other: &Self) -> Option<Fit> {
        let (one, other_one) = (&self.target[..], &other.target[..]);
        let ends_with = |long: &[u8], short: &[u8]| {
            short.len() > 1 && short.starts_with(b"/") && long.ends_with(short)
        };
        if self.method != other.method {
            None
        } else if one == other_one {
            Some(Fit::Same)
        } else if ends_with(one, other_one) || ends_with(other_one, one) {
            Some(Fit::Prefix)
        } else {
            same_end(one, other_one).then_some(Fit::OtherPrefix)
        }
    }
}

/// The last segment of the path, at least, and the query.
fn same_end(one: &[u8], other: &[u8]) -> bool {
    let last = |target: &[u8]| {
        let path = target
            .iter()
            .position(|&byte| byte == b'?')
            .unwrap_or(target.len());
        let named = target[..path].strip_suffix(b"/").unwrap_or(&target[..path]);
        named
            .iter()
            .rposition(|&byte| byte == b'/')
            .filter(|start| start + 1 < named.len())
    };
    match (last(one), last(other)) {
        (Some(start), Some(other_start)) => one[start..] == other[other_start..],
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{Fit, Line};

    fn line(target: &'static str) -> Line {
        Line {
            method: "GET".into(),
            target: target.into(),
        }
    }

    #[test]
    fn targets() {
        #[rustfmt::skip]
        let cases = [
            ("/a", "/a", Some(Fit::Same)),
            ("/a", "/b", None),
            ("/", "/", Some(Fit::Same)),
            ("/a/", "/", None),
            ("/api/a?b=1", "/a?b=1", Some(Fit::Prefix)),
            ("/a", "/base/a", Some(Fit::Prefix)),
            ("http://host/a", "/a", Some(Fit::Prefix)),
            ("/ba", "/a", None),
            ("/a?b=1", "/a", None),
            ("/a/1?b=1", "/b/1?b=1", Some(Fit::OtherPrefix)),
            ("/a/x/", "/b/x/", Some(Fit::OtherPrefix)),
            ("/a/x/", "/b/x", None),
            ("/a/", "/b/", None),
            ("/a?next=/c", "/b?next=/c", None),
            ("/a/1?b=1", "/b/1?b=2", None),
            ("*", "*", Some(Fit::Same)),
            ("", "/", None),
        ];
        for (one, other, expected) in cases {
            assert_eq!(line(one).fit(&line(other)), expected, "{one} {other}");
        }
        let post = Line {
            method: "POST".into(),
            ..line("/a")
        };
        assert_eq!(post.fit(&line("/a")), None);
    }
}
