//! Which program a process id stands for, from the order of fork, exec and exit.

use std::collections::VecDeque;

use foldhash::HashMap;
use foldhash::fast::RandomState;
use hashlink::LinkedHashMap;

use crate::counters::Counters;
use crate::record::{ProcessChange, ProcessChangeKind};
use crate::sample::Sampler;
use crate::span::Process;
use crate::trial::Shown;

/// What the owner of resources needs to know, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessEvent {
    /// First sight, of a process whose beginning was not.
    Seen(Process),
    Forked {
        process: Process,
        parent: Process,
    },
    Execed {
        process: Process,
        previous: Process,
        comm: String,
    },
    Exited(Process),
    /// One has ended of which nothing was told.
    Ended {
        tgid: u32,
    },
    /// TLS was recognised on one of its connections.
    SpeaksTls(Process),
    /// The first calls of a TLS session have shown what passes the sites of their library.
    Tried {
        tgid: u32,
        library: u8,
        shown: Shown,
    },
    /// Its dynamic loader has mapped libraries.
    Mapped {
        tgid: u32,
    },
}

pub(crate) struct Processes {
    by_tgid: LinkedHashMap<u32, Entry, RandomState>,
    cap: usize,
    generation: u32,
    exited: VecDeque<(u64, Process)>,
    /// Of processes that do not follow `Config::sampler`, by tgid.
    samplers: HashMap<u32, Sampler>,
    events: VecDeque<ProcessEvent>,
}

pub(crate) struct Entry {
    pub(crate) process: Process,
    exited_ns: Option<u64>,
    /// Sends OTLP.
    exports: bool,
    /// Has been asked for something.
    serves: bool,
    /// Requests sent with a `traceparent` that no request had brought.
    own_contexts: u32,
    /// Requests sent with the `traceparent` of a request that came.
    forwarded_contexts: u32,
    /// A response was sent by another thread than the one that read its request.
    pub(crate) hand_off: bool,
    /// Threads that answer requests which others have read do other work as well.
    pub(crate) other_work: bool,
    /// Threads of a JVM: what they have sent while they worked on a request, and how much of that was for another one.
    pub(crate) sent: u32,
    pub(crate) in_passing: u32,
    /// A thread has read a request as event loops do.
    pub(crate) polls: bool,
    /// Its threads read requests, each alone, and answer them; told to the kernel programs.
    pub(crate) works_alone: bool,
}

/// The last records of a process may follow its exit.
const EXITED_KEPT_NS: u64 = 10_000_000_000;
const MAX_EVENTS: usize = 65_536;

// === impl Processes ===

impl Processes {
    pub(crate) fn new(cap: usize) -> Self {
        Self {
            by_tgid: LinkedHashMap::with_hasher(RandomState::default()),
            cap: cap.max(2),
            generation: 0,
            exited: VecDeque::new(),
            samplers: HashMap::default(),
            events: VecDeque::new(),
        }
    }

    /// `None`: as configured.
    pub(crate) fn sample(&mut self, tgid: u32, sampler: Option<Sampler>) {
        match sampler {
            Some(sampler)
                if self.samplers.len() < self.cap || self.samplers.contains_key(&tgid) =>
            {
                self.samplers.insert(tgid, sampler);
            }
            _ => drop(self.samplers.remove(&tgid)),
        }
    }

    pub(crate) fn sampler(&self, process: Process) -> Option<&Sampler> {
        self.samplers.get(&process.tgid)
    }

    /// The process a data or open record of this time belongs to.
    pub(crate) fn at(&mut self, tgid: u32, time_ns: u64, counters: &mut Counters) -> Process {
        if let Some(entry) = self.by_tgid.get(&tgid)
            && entry.exited_ns.is_none_or(|exited| time_ns <= exited)
        {
            let process = entry.process;
            self.by_tgid.to_back(&tgid);
            return process;
        }
        let process = self.begin(tgid, counters);
        self.tell(ProcessEvent::Seen(process), counters);
        process
    }

    pub(crate) fn speaks_tls(&mut self, process: Process, counters: &mut Counters) {
        self.tell(ProcessEvent::SpeaksTls(process), counters);
    }

    pub(crate) fn tried(&mut self, process: Process, tried: (u8, Shown), counters: &mut Counters) {
        let (library, shown) = tried;
        let tgid = process.tgid;
        let event = ProcessEvent::Tried {
            tgid,
            library,
            shown,
        };
        self.tell(event, counters);
    }

    pub(crate) fn entry(&self, process: Process) -> Option<&Entry> {
        let entry = self.by_tgid.get(&process.tgid)?;
        (entry.process == process).then_some(entry)
    }

    pub(crate) fn entry_mut(&mut self, process: Process) -> Option<&mut Entry> {
        let entry = self.by_tgid.get_mut(&process.tgid)?;
        (entry.process == process).then_some(entry)
    }

    pub(crate) fn change(&mut self, change: &ProcessChange, counters: &mut Counters) {
        let tgid = change.tgid;
        match change.kind {
            ProcessChangeKind::Fork { parent } => {
                let parent = self.at(parent, change.origin.time_ns, counters);
                self.end(tgid, counters);
                let process = self.begin(tgid, counters);
                self.tell(ProcessEvent::Forked { process, parent }, counters);
            }
            ProcessChangeKind::Exec => {
                let previous = self.at(tgid, change.origin.time_ns, counters);
                let process = self.begin(tgid, counters);
                let comm = change.comm();
                self.tell(
                    ProcessEvent::Execed {
                        process,
                        previous,
                        comm,
                    },
                    counters,
                );
            }
            ProcessChangeKind::Mapped => self.tell(ProcessEvent::Mapped { tgid }, counters),
            ProcessChangeKind::Exit => {
                if let Some(process) = self.end(tgid, counters) {
                    let time_ns = change.origin.time_ns;
                    if let Some(entry) = self.by_tgid.get_mut(&tgid) {
                        entry.exited_ns = Some(time_ns);
                    }
                    self.exited.push_back((time_ns, process));
                } else if !self.by_tgid.contains_key(&tgid) {
                    self.tell(ProcessEvent::Ended { tgid }, counters);
                }
            }
        }
    }

    pub(crate) fn tick(&mut self, now_ns: u64) {
        while let Some((time_ns, process)) = self.exited.front().copied() {
            if now_ns.saturating_sub(time_ns) < EXITED_KEPT_NS {
                break;
            }
            self.exited.pop_front();
            if self.entry(process).is_some() {
                self.by_tgid.remove(&process.tgid);
            }
        }
    }

    pub(crate) fn drain(&mut self, each: impl FnMut(ProcessEvent)) {
        self.events.drain(..).for_each(each);
    }

    /// Tells the exit of whoever lives under this id.
    fn end(&mut self, tgid: u32, counters: &mut Counters) -> Option<Process> {
        let entry = self.by_tgid.get(&tgid)?;
        if entry.exited_ns.is_some() {
            return None;
        }
        let process = entry.process;
        self.tell(ProcessEvent::Exited(process), counters);
        Some(process)
    }

    fn begin(&mut self, tgid: u32, counters: &mut Counters) -> Process {
        self.generation = self.generation.wrapping_add(1);
        let process = Process {
            tgid,
            generation: self.generation,
        };
        self.by_tgid.insert(
            tgid,
            Entry {
                process,
                exited_ns: None,
                exports: false,
                serves: false,
                own_contexts: 0,
                forwarded_contexts: 0,
                hand_off: false,
                other_work: false,
                sent: 0,
                in_passing: 0,
                polls: false,
                works_alone: false,
            },
        );
        if self.by_tgid.len() > self.cap
            && let Some((_, evicted)) = self.by_tgid.pop_front()
        {
            counters.processes_evicted += 1;
            if evicted.exited_ns.is_none() {
                self.tell(ProcessEvent::Exited(evicted.process), counters);
            }
        }
        process
    }

    fn tell(&mut self, event: ProcessEvent, counters: &mut Counters) {
        if self.events.len() < MAX_EVENTS {
            self.events.push_back(event);
        } else {
            counters.process_events_dropped += 1;
        }
    }
}

// === impl Entry ===

impl Entry {
    /// A thread that waits may wake another one for some reason of its own, but not often.
    pub(crate) fn sends_in_passing(&self) -> bool {
        self.in_passing > 1 && self.in_passing.saturating_mul(16) > self.sent
    }

    /// It reports spans itself. A proxy whose incoming request was lost seems to write a context
    /// of its own once in a while: what it does mostly decides. One that only asks, such as a load
    /// generator, need not report what it writes.
    pub(crate) fn is_self_instrumented(&self) -> bool {
        self.exports || (self.serves && self.writes_contexts())
    }

    /// The trace contexts that it sends are mostly of its own making.
    pub(crate) fn writes_contexts(&self) -> bool {
        self.exports || self.own_contexts > self.forwarded_contexts
    }

    pub(crate) fn serves(&mut self, counters: &mut Counters) {
        if !self.serves {
            self.judge(counters, |entry| entry.serves = true);
        }
    }

    pub(crate) fn exports_spans(&mut self, counters: &mut Counters) {
        self.judge(counters, |entry| entry.exports = true);
    }

    pub(crate) fn wrote_own_context(&mut self, counters: &mut Counters) {
        self.judge(counters, |entry| {
            entry.own_contexts = entry.own_contexts.saturating_add(1);
        });
    }

    pub(crate) fn forwarded_context(&mut self, counters: &mut Counters) {
        self.judge(counters, |entry| {
            entry.forwarded_contexts = entry.forwarded_contexts.saturating_add(1);
        });
    }

    fn judge(&mut self, counters: &mut Counters, change: impl FnOnce(&mut Self)) {
        let before = self.is_self_instrumented();
        change(self);
        if !before && self.is_self_instrumented() {
            counters.processes_self_instrumented += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Origin;

    fn change(tgid: u32, kind: ProcessChangeKind, time_ns: u64) -> ProcessChange {
        ProcessChange {
            origin: Origin {
                tid: tgid,
                tgid,
                time_ns,
            },
            kind,
            tgid,
            comm: *b"sh\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        }
    }

    fn events(processes: &mut Processes) -> Vec<ProcessEvent> {
        let mut events = Vec::new();
        processes.drain(|event| events.push(event));
        events
    }

    #[test]
    fn a_reused_id_is_another_process_even_when_its_fork_was_lost() {
        let counters = &mut Counters::default();
        let mut processes = Processes::new(10);
        let first = processes.at(5, 1, counters);
        processes.change(&change(5, ProcessChangeKind::Exit, 10), counters);
        assert_eq!(processes.at(5, 9, counters), first);
        let second = processes.at(5, 11, counters);
        assert_ne!(second, first);
        assert_eq!(
            events(&mut processes),
            [
                ProcessEvent::Seen(first),
                ProcessEvent::Exited(first),
                ProcessEvent::Seen(second),
            ]
        );
    }

    #[test]
    fn a_fork_ends_the_one_whose_exit_was_lost() {
        let counters = &mut Counters::default();
        let mut processes = Processes::new(10);
        let old = processes.at(5, 1, counters);
        let fork = ProcessChangeKind::Fork { parent: 4 };
        processes.change(&change(5, fork, 10), counters);
        let parent = processes.at(4, 11, counters);
        let process = processes.at(5, 11, counters);
        assert_eq!(
            events(&mut processes),
            [
                ProcessEvent::Seen(old),
                ProcessEvent::Seen(parent),
                ProcessEvent::Exited(old),
                ProcessEvent::Forked { process, parent },
            ]
        );
    }

    #[test]
    fn the_end_of_a_process_that_was_not_seen_is_told() {
        let counters = &mut Counters::default();
        let mut processes = Processes::new(10);
        processes.change(&change(5, ProcessChangeKind::Exit, 10), counters);
        assert_eq!(events(&mut processes), [ProcessEvent::Ended { tgid: 5 }]);
        let seen = processes.at(5, 11, counters);
        processes.change(&change(5, ProcessChangeKind::Exit, 12), counters);
        processes.change(&change(5, ProcessChangeKind::Exit, 12), counters);
        let expected = [ProcessEvent::Seen(seen), ProcessEvent::Exited(seen)];
        assert_eq!(events(&mut processes), expected);
    }

    #[test]
    fn an_exec_begins_another_program() {
        let counters = &mut Counters::default();
        let mut processes = Processes::new(10);
        processes.change(&change(5, ProcessChangeKind::Exec, 10), counters);
        let told = events(&mut processes);
        let [
            ProcessEvent::Seen(before),
            ProcessEvent::Execed {
                process,
                previous,
                comm,
            },
        ] = told.as_slice()
        else {
            panic!("{told:?}");
        };
        assert_eq!(before, previous);
        assert_ne!(process, previous);
        assert_eq!(comm, "sh");
    }

    #[test]
    fn the_table_is_capped() {
        let counters = &mut Counters::default();
        let mut processes = Processes::new(3);
        for tgid in 1..=10 {
            processes.at(tgid, 1, counters);
        }
        assert_eq!(processes.by_tgid.len(), 3);
        assert_eq!(counters.processes_evicted, 7);
    }
}
