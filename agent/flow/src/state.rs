//! Everything that is not of one connection.

use foldhash::HashMap;
use weft_proto::trace_context::TraceParent;

use crate::config::{Config, Inject};
use crate::counters::Counters;
use crate::forwards::Forwards;
use crate::incoming::Incoming;
use crate::injected::Injected;
use crate::processes::Processes;
use crate::record::Ends;
use crate::resumptions::{Resumptions, Verdict};
use crate::span::Process;
use crate::spans::{Around, NodeKey, Spans};
use crate::tasks::Tasks;
use crate::threads::Threads;

pub(crate) struct State {
    pub(crate) config: Config,
    pub(crate) counters: Counters,
    pub(crate) processes: Processes,
    pub(crate) threads: Threads,
    pub(crate) tasks: Tasks,
    pub(crate) forwards: Forwards,
    pub(crate) resumptions: Resumptions,
    pub(crate) spans: Spans,
    pub(crate) incoming: Incoming,
    pub(crate) injected: Injected,
    /// News of processes: whether their threads work alone.
    pub(crate) workers: Vec<(u32, bool)>,
    /// Unix sockets named as the other end by an open record: to the socket that named them.
    pub(crate) unix_peers: HashMap<u64, u64>,
}

impl State {
    pub(crate) fn new(config: Config, seed: u64) -> Self {
        Self {
            counters: Counters::default(),
            processes: Processes::new(config.limits.processes),
            threads: Threads::new(config.limits.threads),
            tasks: Tasks::new(config.limits.tasks),
            forwards: Forwards::new(config.limits.threads),
            resumptions: Resumptions::default(),
            spans: Spans::new(seed),
            incoming: Incoming::default(),
            injected: Injected::default(),
            workers: Vec::new(),
            unix_peers: HashMap::default(),
            config,
        }
    }

    pub(crate) fn with_spans<T>(
        &mut self,
        act: impl FnOnce(&mut Spans, &mut Around<'_>) -> T,
    ) -> T {
        let mut around = Around {
            config: &self.config,
            processes: &self.processes,
            counters: &mut self.counters,
        };
        act(&mut self.spans, &mut around)
    }

    /// A request was answered, or will not be.
    pub(crate) fn no_longer_waits(&mut self, node: NodeKey, end_ns: u64) {
        self.tasks.end(node, end_ns);
        self.forwards.end(node);
        self.resumptions.end(node, end_ns);
    }

    /// What was read of the responses to these calls goes on with something of a request, which began at that time.
    pub(crate) fn goes_on(
        &mut self,
        process: Process,
        calls: &[NodeKey],
        request: Option<(NodeKey, u64)>,
        thread: bool,
    ) {
        self.resumptions.resumed(calls, request, thread);
        if let (Some((request, _)), true) = (request, thread) {
            self.spans.woken(request);
        }
        for call in calls {
            if self.resumptions.sender(*call) != request.map(|(request, _)| request)
                && self.spans.passed_on(*call)
                && let Some(entry) = self.processes.entry_mut(process)
            {
                entry.in_passing = entry.in_passing.saturating_add(1);
            }
        }
    }

    /// Calls are judged whose responses have gone on with something, or had time to.
    pub(crate) fn tick_resumptions(&mut self, now_ns: u64) {
        let judged = self.resumptions.judged(now_ns, &mut self.counters);
        self.with_spans(|spans, around| {
            for (call, verdict) in judged {
                match verdict {
                    Verdict::Nothing => spans.judged(call, None, around),
                    Verdict::Request(request, link) => {
                        spans.judged(call, Some((request, link)), around);
                    }
                    Verdict::Thread(request) => spans.waits_for(call, request, around),
                }
            }
        });
    }

    pub(crate) fn tick_tasks(&mut self, now_ns: u64) {
        self.tasks.tick(now_ns, &mut self.counters);
        for node in self.tasks.released.drain(..) {
            self.spans.release(node);
        }
    }

    /// Only one end of a unix connection may know the other.
    pub(crate) fn unix_ends(&self, ends: &Ends) -> Ends {
        match *ends {
            Ends::Unix { sk, peer: 0 } => Ends::Unix {
                sk,
                peer: self.unix_peers.get(&sk).copied().unwrap_or(0),
            },
            ends => ends,
        }
    }

    /// Whether the sender of a trace context has written it as its own span.
    pub(crate) fn is_own_context(
        &mut self,
        process: Process,
        parent: &TraceParent,
        ends: &Ends,
    ) -> bool {
        let ends = self.unix_ends(ends);
        let forwarded = self.incoming.has(process, parent, &ends);
        let Some(entry) = self.processes.entry_mut(process) else {
            return false;
        };
        if forwarded {
            entry.forwarded_context(&mut self.counters);
        } else {
            entry.wrote_own_context(&mut self.counters);
        }
        !forwarded && entry.writes_contexts()
    }

    pub(crate) fn exports_spans(&mut self, process: Process) {
        if let Some(entry) = self.processes.entry_mut(process) {
            entry.exports_spans(&mut self.counters);
        }
    }

    pub(crate) fn serves(&mut self, process: Process) {
        if let Some(entry) = self.processes.entry_mut(process) {
            entry.serves(&mut self.counters);
        }
    }

    /// A thread of the process has answered the request that it alone has read.
    pub(crate) fn works_alone(&mut self, process: Process) {
        if self.config.inject == Inject::Never {
            return;
        }
        if let Some(entry) = self.processes.entry_mut(process)
            && !entry.hand_off
            && !entry.works_alone
        {
            entry.works_alone = true;
            self.workers.push((process.tgid, true));
        }
    }

    pub(crate) fn hand_off(&mut self, process: Process) {
        if let Some(entry) = self.processes.entry_mut(process)
            && !entry.hand_off
        {
            entry.hand_off = true;
            self.counters.processes_hand_off += 1;
            if entry.works_alone {
                entry.works_alone = false;
                self.workers.push((process.tgid, false));
            }
        }
    }
}
