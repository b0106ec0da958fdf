//! Calls of which it is told who seems to have sent them, and what their response goes on with. A queue in the
//! program may send for one request while it works on another one: then both do not agree, and nothing is linked.

use std::collections::VecDeque;

use foldhash::HashMap;
use foldhash::fast::RandomState;
use hashlink::LinkedHashMap;

use crate::counters::Counters;
use crate::span::{Link, Process};
use crate::spans::NodeKey;

#[derive(Default)]
pub(crate) struct Resumptions {
    calls: HashMap<NodeKey, Call>,
    /// Calls that have ended, or are answered for long, by the time they are judged.
    due: VecDeque<(u64, NodeKey)>,
    /// Of calls that go on for long after their response has begun.
    answered: VecDeque<(u64, NodeKey)>,
    trust: LinkedHashMap<Process, Trust, RandomState>,
}

struct Call {
    process: Process,
    start_ns: u64,
    /// Whom it seems to be sent for.
    sender: Option<NodeKey>,
    believed: Believed,
    /// Its response has begun.
    answered: bool,
    /// What its response has gone on with.
    resumed: Option<NodeKey>,
    /// That is a thread that has read the request, and may work on something else by now.
    thread: bool,
    /// That was more than one request, or there were other calls whose it may be.
    several: bool,
    /// That was something else than what the calls answered at the same time seem to be sent for.
    foreign: bool,
}

/// What has to be told of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Believed {
    /// Who has sent it, unless its response goes on with something else; what that goes on with, where it is
    /// known to agree.
    Either,
    /// Both, of the same request.
    Both,
    /// Neither: only whether its response goes on with something else is asked.
    Neither,
}

/// The request that a call was sent for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Nothing,
    Request(NodeKey, Link),
    /// This one, if the thread answers it that has read it.
    Thread(NodeKey),
}

/// Whether both have agreed in a process.
#[derive(Default)]
struct Trust {
    agreed: u32,
    contradicted: bool,
}

/// What a response goes on with does so soon after its end.
const SOON_NS: u64 = 50_000_000;
/// A call that is answered for so long is judged before its end.
const LONG_NS: u64 = 250_000_000;
/// So often both have to agree before one is believed alone.
const MIN_AGREED: u32 = 3;
const MAX_PROCESSES: usize = 1024;
const MAX_CALLS: usize = 65_536;

// === impl Resumptions ===

impl Resumptions {
    /// `node`, a call, seems to be sent for `sender`. `false`: there are too many to wait for one more.
    pub(crate) fn sent(
        &mut self,
        node: NodeKey,
        process: Process,
        start_ns: u64,
        sender: Option<NodeKey>,
        believed: Believed,
    ) -> bool {
        if self.is_full() {
            return false;
        }
        let call = Call {
            process,
            start_ns,
            sender,
            believed,
            answered: false,
            resumed: None,
            thread: false,
            several: false,
            foreign: false,
        };
        self.calls.insert(node, call);
        true
    }

    /// No more calls are judged for now.
    pub(crate) fn is_full(&self) -> bool {
        self.calls.len() >= MAX_CALLS
    }

    /// Something of its response was read. `false`: it is not to be judged.
    pub(crate) fn answered(&mut self, node: NodeKey, time_ns: u64) -> bool {
        let Some(call) = self.calls.get_mut(&node) else {
            return false;
        };
        if !call.answered {
            call.answered = true;
            self.answered
                .push_back((time_ns.saturating_add(LONG_NS), node));
        }
        true
    }

    /// What was read of the responses to these calls goes on with something of a request, which began at
    /// `begin_ns`; `None`: it is not known any more.
    pub(crate) fn resumed(
        &mut self,
        calls: &[NodeKey],
        request: Option<(NodeKey, u64)>,
        thread: bool,
    ) {
        let expected = calls.iter().any(|node| {
            let call = self.calls.get(node);
            call.is_some_and(|call| {
                call.sender.is_some() && call.sender == request.map(|request| request.0)
            })
        });
        for node in calls {
            let Some(call) = self.calls.get_mut(node) else {
                continue;
            };
            call.foreign |= !expected;
            let Some((request, begin_ns)) = request else {
                call.several = true;
                continue;
            };
            call.several |= calls.len() > 1
                || begin_ns > call.start_ns
                || call.resumed.is_some_and(|before| before != request);
            call.resumed = Some(request);
            call.thread |= thread;
        }
    }

    /// Whom a call seems to be sent for.
    pub(crate) fn sender(&self, node: NodeKey) -> Option<NodeKey> {
        self.calls.get(&node)?.sender
    }

    /// A call has ended, or will not.
    pub(crate) fn end(&mut self, node: NodeKey, end_ns: u64) {
        if self.calls.contains_key(&node) {
            self.due.push_back((end_ns.saturating_add(SOON_NS), node));
        }
    }

    /// Calls that can be judged by now.
    pub(crate) fn judged(
        &mut self,
        now_ns: u64,
        counters: &mut Counters,
    ) -> Vec<(NodeKey, Verdict)> {
        let mut judged = Vec::new();
        for queue in [&mut self.due, &mut self.answered] {
            while let Some(&(until, node)) = queue.front() {
                if until > now_ns {
                    break;
                }
                queue.pop_front();
                let Some(call) = self.calls.remove(&node) else {
                    continue;
                };
                if call.believed == Believed::Neither {
                    counters.calls_contradicted += u64::from(call.foreign);
                    continue;
                }
                let trust = self
                    .trust
                    .entry(call.process)
                    .or_insert_with(Trust::default);
                let request = trust.judge(&call, counters);
                let verdict = match (request, call.believed) {
                    (None, _) => Verdict::Nothing,
                    (Some(request), Believed::Both) if call.thread => Verdict::Thread(request),
                    (Some(request), Believed::Both) => Verdict::Request(request, Link::HandOff),
                    (Some(request), _) => Verdict::Request(request, Link::AsyncContext),
                };
                judged.push((node, verdict));
                if self.trust.len() > MAX_PROCESSES {
                    self.trust.pop_front();
                }
            }
        }
        judged
    }
}

// === impl Trust ===

impl Trust {
    fn judge(&mut self, call: &Call, counters: &mut Counters) -> Option<NodeKey> {
        let one = call.resumed.filter(|_| !call.several);
        if call.believed == Believed::Both {
            let agreed = one.filter(|_| one == call.sender && !call.foreign);
            if call.foreign && call.sender.is_some() {
                counters.calls_contradicted += 1;
            } else if agreed.is_none() {
                counters.calls_unconfirmed += 1;
            }
            return agreed;
        }
        let Some(sender) = call.sender else {
            let trusted = self.agreed >= MIN_AGREED && !self.contradicted;
            let request = one.filter(|_| trusted)?;
            counters.calls_resumed += 1;
            return Some(request);
        };
        if call.foreign {
            counters.calls_contradicted += 1;
            // Not even what seems to have sent it goes on.
            self.contradicted |= one.is_some_and(|one| one != sender);
            return None;
        }
        if one == Some(sender) {
            self.agreed = self.agreed.saturating_add(1);
        }
        Some(sender)
    }
}

#[cfg(test)]
mod tests {
    use slotmap::SlotMap;

    use super::{Believed, Resumptions, Verdict};
    use crate::counters::Counters;
    use crate::span::Process;
    use crate::spans::NodeKey;

    const PROCESS: Process = Process {
        tgid: 7,
        generation: 0,
    };

    struct World {
        keys: SlotMap<NodeKey, ()>,
        resumptions: Resumptions,
        counters: Counters,
        believed: Believed,
    }

    impl World {
        fn new() -> Self {
            Self {
                keys: SlotMap::with_key(),
                resumptions: Resumptions::default(),
                counters: Counters::default(),
                believed: Believed::Either,
            }
        }

        fn node(&mut self) -> NodeKey {
            self.keys.insert(())
        }

        /// A call that seems to be sent for `sender`, whose response goes on with something of these requests, all
        /// older: whom it is linked to.
        fn call(&mut self, sender: Option<NodeKey>, resumed: &[NodeKey]) -> Option<NodeKey> {
            let call = self.node();
            self.resumptions
                .sent(call, PROCESS, 10, sender, self.believed);
            for request in resumed {
                self.resumptions
                    .resumed(&[call], Some((*request, 5)), false);
            }
            self.resumptions.end(call, 20);
            let judged = self.judged();
            assert_eq!(judged.len(), 1);
            assert_eq!(judged[0].0, call);
            judged[0].1
        }

        fn sent(&mut self, call: NodeKey, sender: NodeKey) {
            let sender = Some(sender);
            self.resumptions
                .sent(call, PROCESS, 10, sender, self.believed);
        }

        /// Whom each call is linked to.
        fn judged(&mut self) -> Vec<(NodeKey, Option<NodeKey>)> {
            let judged = self.resumptions.judged(u64::MAX, &mut self.counters);
            let request = |verdict| match verdict {
                Verdict::Nothing => None,
                Verdict::Request(request, _) | Verdict::Thread(request) => Some(request),
            };
            judged.into_iter().map(|it| (it.0, request(it.1))).collect()
        }
    }

    #[test]
    fn nobody_else_may_go_on() {
        let mut world = World::new();
        let (one, other) = (world.node(), world.node());
        assert_eq!(world.call(Some(one), &[one]), Some(one));
        assert_eq!(world.call(Some(one), &[]), Some(one));
        assert_eq!(world.call(Some(one), &[one, other]), None);
        assert_eq!(world.call(Some(one), &[other]), None);
        assert_eq!(world.counters.calls_contradicted, 2);
    }

    #[test]
    fn what_goes_on_is_believed_alone_when_it_was_right() {
        let mut world = World::new();
        let (one, other) = (world.node(), world.node());
        assert_eq!(world.call(None, &[one]), None);
        for _ in 0..3 {
            assert_eq!(world.call(Some(other), &[other]), Some(other));
        }
        assert_eq!(world.call(None, &[one]), Some(one));
        assert_eq!(world.call(None, &[one, other]), None);
        assert_eq!(world.call(None, &[]), None);
        // A slot that is handed on is all that goes on: who got it says nothing.
        assert_eq!(world.call(Some(one), &[other]), None);
        assert_eq!(world.call(None, &[one]), None);
        assert_eq!(world.counters.calls_resumed, 1);
    }

    #[test]
    fn both_have_to_be_told() {
        let mut world = World::new();
        world.believed = Believed::Both;
        let (one, other) = (world.node(), world.node());
        for _ in 0..4 {
            assert_eq!(world.call(Some(one), &[one]), Some(one));
        }
        assert_eq!(world.call(Some(one), &[]), None);
        assert_eq!(world.call(None, &[one]), None);
        assert_eq!(world.counters.calls_unconfirmed, 2);
        assert_eq!(world.call(Some(one), &[other]), None);
        assert_eq!(world.call(Some(one), &[one, other]), None);
        assert_eq!(world.counters.calls_contradicted, 2);
    }

    #[test]
    fn calls_that_are_answered_together() {
        let mut world = World::new();
        let (one, other, third) = (world.node(), world.node(), world.node());
        let calls = [world.node(), world.node()];
        world.sent(calls[0], one);
        world.sent(calls[1], other);
        world.resumptions.resumed(&calls, Some((one, 5)), false);
        world.resumptions.resumed(&calls, Some((other, 5)), false);
        for call in calls {
            world.resumptions.end(call, 20);
        }
        let judged = world.judged();
        assert_eq!(judged, [(calls[0], Some(one)), (calls[1], Some(other))]);
        world.sent(calls[0], one);
        world.sent(calls[1], other);
        world.resumptions.resumed(&calls, Some((third, 5)), false);
        for call in calls {
            world.resumptions.end(call, 20);
        }
        let judged = world.judged();
        assert_eq!(judged, [(calls[0], None), (calls[1], None)]);
    }
}
