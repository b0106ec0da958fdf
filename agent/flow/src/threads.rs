//! Which thread works on which server request, as far as it can be told from outside: blocking
//! workers read a request, or have it read for them, work on it alone, and send the response.

use foldhash::fast::RandomState;
use hashlink::LinkedHashMap;
use smallvec::SmallVec;

use crate::counters::Counters;
use crate::span::Process;
use crate::spans::NodeKey;

pub(crate) struct Threads {
    by_id: LinkedHashMap<u64, Thread, RandomState>,
    cap: usize,
}

/// A thread that has read a server request.
struct Thread {
    process: Process,
    live: Option<Live>,
    /// Had more than one request at a time, or reads as an event loop does: never again.
    disqualified: bool,
    /// Has read requests as event loops do, and in another way. Loops do so always; a worker does when it is faster
    /// than the reactor that lets go of a connection.
    polls: bool,
    waits: bool,
    /// The request that it has read last, unless somebody has answered that.
    last: Option<NodeKey>,
    /// What it has sent, where others read requests for it, since it has answered last.
    calls: SmallVec<[Call; 2]>,
}

/// A request that a thread has sent and waits for.
#[derive(Clone, Copy)]
struct Call {
    node: NodeKey,
    time_ns: u64,
    /// The request that it had read last, if that was not answered.
    own: Option<NodeKey>,
}

#[derive(Clone, Copy)]
struct Live {
    cookie: u64,
    node: NodeKey,
}

/// What a thread has done for a response that it begins.
#[derive(Default)]
pub(crate) struct Answer {
    /// The requests that it has sent, and whether they can be for this one.
    pub(crate) calls: SmallVec<[(NodeKey, bool); 2]>,
    /// It has called out before the request came, for something else.
    pub(crate) has_other_work: bool,
}

/// Calls for one answer that are kept.
const MAX_CALLS: usize = 256;

// === impl Threads ===

impl Threads {
    pub(crate) fn new(cap: usize) -> Self {
        Self {
            by_id: LinkedHashMap::with_hasher(RandomState::default()),
            cap: cap.max(1),
        }
    }

    /// The thread has read a request whole, as a blocking worker does.
    pub(crate) fn begin(
        &mut self,
        process: Process,
        tid: u32,
        cookie: u64,
        node: NodeKey,
        counters: &mut Counters,
    ) {
        let thread = self.thread(process, tid, counters);
        thread.waits = true;
        thread.last = Some(node);
        match thread.live {
            Some(live) if live.cookie != cookie => thread.disqualify(counters),
            _ => {
                thread.live = Some(Live { cookie, node });
            }
        }
    }

    /// The thread has read a request as event loops do.
    pub(crate) fn polls(
        &mut self,
        process: Process,
        tid: u32,
        node: NodeKey,
        counters: &mut Counters,
    ) {
        let thread = self.thread(process, tid, counters);
        thread.polls = true;
        thread.last = Some(node);
        thread.disqualify(counters);
    }

    pub(crate) fn end(&mut self, process: Process, tid: u32, node: NodeKey) {
        if let Some(thread) = self.by_id.get_mut(&id(process.tgid, tid))
            && thread.live.is_some_and(|live| live.node == node)
        {
            thread.live = None;
        }
    }

    /// It is not known any more what the thread works on.
    pub(crate) fn forget(&mut self, process: Process, tid: u32) {
        if let Some(thread) = self.by_id.get_mut(&id(process.tgid, tid)) {
            thread.live = None;
        }
    }

    /// The thread has moved bytes on a server connection: on another one than that of its live
    /// request it is no blocking worker. Gives that request.
    pub(crate) fn works_on(
        &mut self,
        tgid: u32,
        tid: u32,
        cookie: u64,
        counters: &mut Counters,
    ) -> Option<NodeKey> {
        let thread = self.by_id.get_mut(&id(tgid, tid))?;
        let live = thread.live.filter(|live| live.cookie != cookie)?;
        thread.disqualify(counters);
        Some(live.node)
    }

    /// The only server request this blocking worker is on.
    pub(crate) fn live(&self, process: Process, tid: u32) -> Option<NodeKey> {
        let thread = self.by_id.get(&id(process.tgid, tid))?;
        let usable = thread.process == process && !thread.disqualified;
        thread.live.filter(|_| usable).map(|live| live.node)
    }

    /// The thread has sent a request and waits for the response: whose it is shows by what it answers next.
    /// `false`: it will not.
    pub(crate) fn calls(
        &mut self,
        process: Process,
        tid: u32,
        node: NodeKey,
        time_ns: u64,
        counters: &mut Counters,
    ) -> bool {
        let thread = self.thread(process, tid, counters);
        if thread.is_loop() || thread.calls.len() >= MAX_CALLS {
            return false;
        }
        let own = thread.last;
        thread.calls.push(Call { node, time_ns, own });
        true
    }

    /// The thread begins the response to a request that was read at `read_ns`: what it has sent since it answered
    /// last.
    pub(crate) fn answers(
        &mut self,
        process: Process,
        tid: u32,
        server: NodeKey,
        read_ns: u64,
    ) -> Answer {
        let mut answer = Answer::default();
        let thread = self.by_id.get_mut(&id(process.tgid, tid));
        let Some(thread) = thread.filter(|thread| thread.process == process) else {
            return answer;
        };
        thread.last = None;
        for call in std::mem::take(&mut thread.calls) {
            answer.has_other_work |= call.time_ns < read_ns;
            let for_it = !thread.is_loop() && call.own.is_none_or(|own| own == server);
            answer.calls.push((call.node, for_it));
        }
        answer
    }

    /// Another thread answers a request that this one has read.
    pub(crate) fn leaves(&mut self, process: Process, tid: u32, node: NodeKey) {
        if let Some(thread) = self.by_id.get_mut(&id(process.tgid, tid))
            && thread.last == Some(node)
        {
            thread.last = None;
        }
    }

    fn thread(&mut self, process: Process, tid: u32, counters: &mut Counters) -> &mut Thread {
        let id = id(process.tgid, tid);
        self.by_id.to_back(&id);
        if self.by_id.len() >= self.cap && !self.by_id.contains_key(&id) {
            self.by_id.pop_front();
            counters.threads_evicted += 1;
        }
        let new = || Thread {
            process,
            live: None,
            disqualified: false,
            polls: false,
            waits: false,
            last: None,
            calls: SmallVec::new(),
        };
        let thread = self.by_id.entry(id).or_insert_with(new);
        if thread.process != process {
            *thread = new();
        }
        thread
    }
}

fn id(tgid: u32, tid: u32) -> u64 {
    u64::from(tgid) << 32 | u64::from(tid)
}

// === impl Thread ===

impl Thread {
    fn is_loop(&self) -> bool {
        self.polls && !self.waits
    }

    fn disqualify(&mut self, counters: &mut Counters) {
        if !self.disqualified {
            self.disqualified = true;
            counters.threads_disqualified += 1;
        }
        self.live = None;
    }
}
