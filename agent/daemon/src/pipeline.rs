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

use weft_abi::{Hint, Verdict, Wake};
use weft_flow::{ConnectionSummary, Flow, ProcessEvent, record::Record};

use crate::{
    bpf::{self, Probes},
    discover::{self, OwnAddresses, ProcessFacts, Processes, Rule, Selector},
    export::{Finished, SpanSink, monotonic_ns},
    figures::Published,
    tls::{News, Watch},
};

/// Owns everything between the kernel and the exporters.
pub(crate) struct Pipeline {
    pub(crate) probes: Probes,
    pub(crate) flow: Flow,
    pub(crate) processes: Processes,
    pub(crate) selector: Selector,
    pub(crate) tls: Watch,
    pub(crate) sink: SpanSink,
    pub(crate) published: Published,
    pub(crate) questions: Receiver<Question>,
    /// Nothing is written into what goes there.
    pub(crate) nearby: Option<OwnAddresses>,
    pub(crate) stop: Arc<AtomicBool>,
}

/// What `weft why` asks of a running agent.
pub(crate) struct Question {
    pub(crate) tgid: u32,
    pub(crate) answer: Sender<Vec<ConnectionSummary>>,
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
            self.probes
                .ring
                .wait(if wake == Wake::Each { IDLE } else { BUSY })?;
            let mut taken = 0;
            loop {
                let burst = self.drain();
                self.settle();
                taken += burst;
                if burst < BURST {
                    break;
                }
            }
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
                self.housekeeping();
            }
        }
        while self.drain() == BURST {
            self.settle();
        }
        self.flow.finish(monotonic_ns());
        self.settle();
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
            selector,
            tls,
            ..
        } = self;
        let mut judged = Vec::new();
        let taken = probes.ring.drain(BURST, |bytes| {
            match Record::decode(bytes) {
                Ok(record) => flow.record(&record),
                Err(error) => flow.bad_record(&error),
            }
            // At once: a short-lived process is gone before the next look.
            flow.drain_processes(|event| learn(event, processes, selector, tls, &mut judged));
        });
        for (tgid, verdict) in judged {
            self.judge(tgid, verdict);
        }
        taken
    }

    /// Hands on what the records led to.
    fn settle(&mut self) {
        self.flow.tick(monotonic_ns());
        let Self {
            probes,
            flow,
            processes,
            sink,
            published,
            nearby,
            ..
        } = self;
        let mut finished: Vec<Finished> = Vec::new();
        flow.drain_spans(|span| {
            let resource = processes.resource(span.process);
            finished.push((span, resource));
        });
        if !finished.is_empty() {
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
        while let Ok(Question { tgid, answer }) = self.questions.try_recv() {
            // Who asked may have gone.
            let _gone = answer.send(self.flow.diagnose(tgid));
        }
    }

    fn judge(&mut self, tgid: u32, verdict: Verdict) {
        let judged = self
            .probes
            .judge_process(tgid, verdict)
            .and_then(|()| self.probes.judge_anew());
        if let Err(error) = judged {
            log::warn!("process {tgid} cannot be selected: {error}");
        }
    }
}

/// Puts a process in the table, and judges its program when the selection asks for that.
fn learn(
    event: ProcessEvent,
    processes: &mut Processes,
    selector: &Selector,
    tls: &Watch,
    judged: &mut Vec<(u32, Verdict)>,
) {
    let (process, facts, news) = match event {
        ProcessEvent::Seen(process) => {
            let facts = processes.seen(process);
            (process, facts, News::Talks(process.tgid))
        }
        ProcessEvent::Tried {
            tgid,
            library,
            shown,
        } => {
            let pid = tgid;
            return tls.tell(News::Tried {
                pid,
                library,
                shown,
            });
        }
        ProcessEvent::Mapped { tgid } => return tls.tell(News::Mapped(tgid)),
        ProcessEvent::SpeaksTls(process) => return tls.tell(News::Talks(process.tgid)),
        ProcessEvent::Forked { process, parent } => {
            // The kernel has handed the parent's verdict on.
            processes.forked(process, parent);
            return tls.tell(News::Forked {
                parent: parent.tgid,
                child: process.tgid,
            });
        }
        ProcessEvent::Execed {
            process,
            previous: _,
            comm,
        } => {
            let facts = processes.execed(process, &comm);
            (process, facts, News::Began(process.tgid))
        }
        ProcessEvent::Exited(process) => {
            tls.tell(News::Ended(process.tgid));
            return processes.exited(process);
        }
    };
    if selector.may_trace(&facts) {
        tls.tell(news);
    }
    if let Some(verdict) = verdict(selector, &facts) {
        judged.push((process.tgid, verdict));
    }
}

/// `None`: the kernel's general rule says it already.
fn verdict(selector: &Selector, facts: &ProcessFacts) -> Option<Verdict> {
    let decision = selector.judge(facts);
    match (decision.selected, selector.is_all()) {
        (true, true) => None,
        (true, false) => Some(Verdict::Allow),
        // A program that was selected may have executed one that is not.
        (false, _) => (decision.rule != Rule::Ports).then_some(Verdict::Deny),
    }
}

/// Judges what runs already, before the kernel programs look at anything.
///
/// # Errors
/// The kernel's map took no more.
pub(crate) fn judge_running(probes: &mut Probes, selector: &Selector) -> Result<(), bpf::Error> {
    for facts in discover::scan() {
        if let Some(verdict) = verdict(selector, &facts) {
            probes.judge_process(facts.pid, verdict)?;
        }
    }
    Ok(())
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
