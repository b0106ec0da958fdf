//! One thread from the ring buffer to finished spans: records in, flow, spans out. Nothing here
//! waits for anybody but the kernel.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender},
    },
    time::Duration,
};

use weft_abi::{Hint, Wake};
use weft_flow::{ConnectionSummary, Flow, ProcessEvent, record::Record, span::Process};

use crate::{
    bpf::{self, Probes},
    discover::{OwnAddresses, Processes},
    export::{Finished, SpanSink, monotonic_ns},
    figures::Published,
    gate::Gate,
    kubernetes::SeenPods,
    peers::Exchange,
    policy::{Change, Heard, Judge, Looks, Policy},
    status::{Found, Status, seen_pods},
    telemetry::Health,
    tls::{News, Watch},
};

/// Owns everything between the kernel and the exporters.
pub(crate) struct Pipeline {
    pub(crate) probes: Probes,
    pub(crate) flow: Flow,
    pub(crate) processes: Processes,
    pub(crate) judge: Judge,
    pub(crate) tls: Watch,
    pub(crate) gate: Gate,
    pub(crate) sink: SpanSink,
    pub(crate) published: Published,
    /// `None`: nobody asks.
    pub(crate) alive: Option<Health>,
    pub(crate) questions: Receiver<Question>,
    /// Other rules.
    pub(crate) changes: Receiver<Change>,
    /// Nothing is written into what goes there.
    pub(crate) nearby: Option<OwnAddresses>,
    pub(crate) looks: Looks,
    pub(crate) pods_seen: SeenPods,
    pub(crate) pods_seen_ns: u64,
    pub(crate) peers: Option<Exchange>,
    pub(crate) stop: Arc<AtomicBool>,
}

/// What `weft why` and `weft status` ask of a running agent.
pub(crate) enum Question {
    Process {
        tgid: u32,
        answer: Sender<Vec<ConnectionSummary>>,
    },
    Status(Sender<Status>),
    /// Who is meant by a pod's or a service's name.
    Find(String, Sender<Found>),
}

/// Longest sleep: timeouts, figures and the stop flag are looked at so often.
const IDLE: Duration = Duration::from_millis(50);
/// Sleep while records come in numbers.
const BUSY: Duration = Duration::from_millis(4);
/// Records handled before spans and hints are looked at again: one of HTTP/2 may hold some hundreds of
/// requests.
const BURST: usize = 256;
/// Records in [`BUSY`] from which the kernel stops waking us for each, and below which it does again. Of
/// time, not of one look: a thread that is faster than what it reads finds few in each look.
const MANY: usize = 64;
const FEW: usize = 16;
/// Quiet looks in a row before waking for each record is worth it again.
const QUIET: u32 = 8;
const PUBLISH_NS: u64 = 250_000_000;
/// How often it is looked at what of the pods is seen, where TracePolicies ask for it.
const PODS_NS: u64 = 2_000_000_000;

/// Counts records over the time of a [`BUSY`] sleep.
#[derive(Default)]
struct Lately {
    since_ns: u64,
    records: usize,
}

impl Lately {
    /// Whether there have been many, with those that were just taken.
    fn many(&mut self, taken: usize, now_ns: u64) -> bool {
        if u128::from(now_ns.saturating_sub(self.since_ns)) > BUSY.as_nanos() {
            *self = Self {
                since_ns: now_ns,
                records: 0,
            };
        }
        self.records += taken;
        self.records > MANY
    }
}

impl Pipeline {
    /// Runs until the stop flag is set; then flushes what is open.
    ///
    /// # Errors
    /// The kernel refused a map or the poll: nothing can go on without them.
    pub(crate) fn run(mut self) -> Result<(), bpf::Error> {
        let mut wake = Wake::Each;
        let mut quiet = 0;
        let mut lately = Lately::default();
        let mut published_ns = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let longest = if wake == Wake::Each { IDLE } else { BUSY };
            let bell = self.peers.as_ref().map(Exchange::bell);
            self.probes.ring.wait(longest, bell)?;
            let mut taken = 0;
            loop {
                let burst = self.drain();
                self.settle();
                taken += burst;
                if burst < BURST {
                    break;
                }
            }
            self.follow_policy();
            let now = monotonic_ns();
            quiet = if taken < FEW { quiet + 1 } else { 0 };
            match wake {
                Wake::Each if lately.many(taken, now) => {
                    wake = Wake::Batch;
                    self.probes.wake(wake)?;
                }
                Wake::Batch if quiet >= QUIET => {
                    wake = Wake::Each;
                    self.probes.wake(wake)?;
                    // What came just before has woken nobody.
                    self.drain();
                    self.settle();
                }
                Wake::Each | Wake::Batch => {}
            }
            if now.saturating_sub(published_ns) >= PUBLISH_NS {
                published_ns = now;
                if let Some(alive) = &self.alive {
                    alive.moved(now);
                }
                self.housekeeping();
            }
        }
        while self.drain() == BURST {
            self.settle();
        }
        self.flow.finish(monotonic_ns());
        self.settle();
        let mut last = Vec::new();
        let policy = self.judge.policy();
        self.gate
            .finish(&mut self.processes, &policy, monotonic_ns(), &mut last);
        if !last.is_empty() {
            self.sink.submit(last);
        }
        self.housekeeping();
        let missed = self.probes.missed();
        if missed > 0 {
            log::warn!("the kernel left out {missed} hooks: spans may lack parts, and say so");
        }
        Ok(())
    }

    /// Takes records out of the ring; gives their number.
    fn drain(&mut self) -> usize {
        let Self {
            probes,
            flow,
            processes,
            ..
        } = self;
        let mut heard = Vec::new();
        let taken = probes.ring.drain(BURST, |bytes| {
            match Record::decode(bytes) {
                Ok(record) => flow.record(&record),
                Err(error) => flow.bad_record(&error),
            }
            // At once: a short-lived process is gone before the next look.
            flow.drain_processes(|event| heard.push(learn(event, processes)));
        });
        for heard in heard {
            let over = match &heard {
                Heard::Ended(process) => Some(*process),
                Heard::Began { previous, .. } => *previous,
                Heard::Forked { .. } | Heard::News(_) => None,
            };
            if let Some(process) = over.filter(|process| !self.judge.traces(process.tgid)) {
                self.processes.forget(process);
            }
            self.judge
                .hear(heard, &mut self.probes, &self.tls, &mut self.flow);
        }
        taken
    }

    fn follow_policy(&mut self) {
        let before = self.judge.policy();
        let changes = self.changes.try_iter();
        let after = changes.fold(None, |policy: Option<Policy>, change| {
            Some(policy.as_ref().unwrap_or(&before).with(change))
        });
        let Some(policy) = after else {
            return;
        };
        let Self {
            probes,
            flow,
            judge,
            tls,
            ..
        } = self;
        if let Err(error) = judge.replace(policy, probes, tls, flow) {
            log::error!("the new policy is not in effect for everybody: {error}");
        }
    }

    /// Hands on what the records led to.
    fn settle(&mut self) {
        let now_ns = monotonic_ns();
        let policy = self.judge.policy();
        if let Some(peers) = &mut self.peers {
            peers.hear(|peer, event| self.flow.peer(peer, event, now_ns));
        }
        self.flow.tick(now_ns);
        if let Some(peers) = &self.peers {
            let mut messages = Vec::new();
            self.flow
                .drain_messages(|peer, message| messages.push((peer, message)));
            peers.say(messages);
        }
        let Self {
            probes,
            flow,
            processes,
            sink,
            gate,
            judge,
            published,
            nearby,
            ..
        } = self;
        let mut finished: Vec<Finished> = Vec::new();
        gate.tick(processes, &policy, now_ns, &mut finished);
        flow.drain_spans(|span| gate.pass(span, processes, &policy, now_ns, &mut finished));
        if !finished.is_empty() {
            for (span, _) in &finished {
                judge.sent(span.process.tgid);
            }
            sink.submit(finished);
        }
        flow.drain_workers(|tgid, alone| probes.works_alone(tgid, alone));
        flow.drain_peers(|peer| {
            let here = nearby.as_ref().is_some_and(|own| own.contains(peer.ip()));
            if !here && !probes.learn_destination(peer) {
                log::debug!("{peer} is not written to: the kernel's map took no more");
            }
        });
        flow.drain_hints(|cookie, hint: Hint| {
            if !probes.hint(cookie, hint) {
                published.hint_refused();
            }
        });
    }

    fn housekeeping(&mut self) {
        self.probes.flush_log();
        self.published.publish(&self.probes, self.flow.counters());
        while let Ok(question) = self.questions.try_recv() {
            self.answer(question);
        }
        self.judge.publish();
        self.look_again();
        let now_ns = monotonic_ns();
        let policy = self.judge.policy();
        let asked = policy
            .cluster()
            .is_some_and(|it| it.policies().next().is_some());
        if asked && now_ns.saturating_sub(self.pods_seen_ns) >= PODS_NS {
            self.pods_seen_ns = now_ns;
            self.pods_seen.set(seen_pods(&self.judge, &self.flow));
        }
    }

    /// After a loss of records, some of which may have told of processes. Looking at `/proc` takes longer than
    /// the pipeline has time.
    fn look_again(&mut self) {
        let Self {
            probes,
            flow,
            judge,
            tls,
            looks,
            ..
        } = self;
        if let Some(running) = looks.done() {
            judge.compare(&running, probes, tls, flow);
        }
        looks.begin(probes.lost());
    }

    /// Who asked may have gone.
    fn answer(&self, question: Question) {
        let Self {
            judge,
            flow,
            processes,
            probes,
            ..
        } = self;
        let _gone = match question {
            Question::Process { tgid, answer } => answer.send(flow.diagnose(tgid)).is_err(),
            Question::Status(answer) => {
                let status = Status::of(judge, flow, processes, probes.is_watching());
                answer.send(status).is_err()
            }
            Question::Find(name, answer) => {
                answer.send(Found::of(&name, judge, processes)).is_err()
            }
        };
    }
}

/// Puts a process in the table.
fn learn(event: ProcessEvent, processes: &mut Processes) -> Heard {
    match event {
        ProcessEvent::Seen(process) => Heard::Began {
            facts: processes.seen(process),
            news: News::Talks(process.tgid),
            previous: None,
        },
        ProcessEvent::Tried {
            tgid,
            library,
            shown,
        } => Heard::News(News::Tried {
            pid: tgid,
            library,
            shown,
        }),
        ProcessEvent::Mapped { tgid } => Heard::News(News::Mapped(tgid)),
        ProcessEvent::SpeaksTls(process) => Heard::News(News::Talks(process.tgid)),
        ProcessEvent::Forked { process, parent } => Heard::Forked {
            parent: parent.tgid,
            facts: processes.forked(process, parent),
        },
        ProcessEvent::Execed {
            process,
            previous,
            comm,
        } => {
            processes.exited(previous);
            Heard::Began {
                facts: processes.execed(process, &comm),
                news: News::Began(process.tgid),
                previous: Some(previous),
            }
        }
        // Older than the agent, and silent: only its id is known to anybody.
        ProcessEvent::Ended { tgid } => Heard::Ended(Process {
            tgid,
            generation: 0,
        }),
        ProcessEvent::Exited(process) => {
            processes.exited(process);
            Heard::Ended(process)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_records_come_in_a_short_time() {
        const MS: u64 = 1_000_000;
        let mut lately = Lately::default();
        // 10 in each millisecond: more than 64 in none of the windows.
        assert!((100..200).all(|now| !lately.many(10, now * MS)));
        // 4 in each of 50 looks in a millisecond.
        let looks = (0..50).map(|look| lately.many(4, 300 * MS + look * 20_000));
        assert_eq!(looks.filter(|many| *many).count(), 34);
        assert!(lately.many(100, 400 * MS));
    }
}
