//! Which thread works on which server request, as far as it can be told from outside: blocking
//! workers read a request, work on it alone, and send the response.

use foldhash::fast::RandomState;
use hashlink::LinkedHashMap;

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
}

#[derive(Clone, Copy)]
struct Live {
    cookie: u64,
    node: NodeKey,
}

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
        match thread.live {
            Some(live) if live.cookie != cookie => thread.disqualify(counters),
            _ => thread.live = Some(Live { cookie, node }),
        }
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
    /// request it is no blocking worker.
    pub(crate) fn works_on(&mut self, tgid: u32, tid: u32, cookie: u64, counters: &mut Counters) {
        if let Some(thread) = self.by_id.get_mut(&id(tgid, tid))
            && thread.live.is_some_and(|live| live.cookie != cookie)
        {
            thread.disqualify(counters);
        }
    }

    /// The thread has read a request in another way than a blocking worker does.
    pub(crate) fn disqualify(&mut self, process: Process, tid: u32, counters: &mut Counters) {
        self.thread(process, tid, counters).disqualify(counters);
    }

    /// The only server request this blocking worker is on.
    pub(crate) fn live(&self, process: Process, tid: u32) -> Option<NodeKey> {
        let thread = self.by_id.get(&id(process.tgid, tid))?;
        let usable = thread.process == process && !thread.disqualified;
        thread.live.filter(|_| usable).map(|live| live.node)
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
    fn disqualify(&mut self, counters: &mut Counters) {
        if !self.disqualified {
            self.disqualified = true;
            counters.threads_disqualified += 1;
        }
        self.live = None;
    }
}
