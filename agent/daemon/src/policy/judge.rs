//! Carries decisions out: the kernel programs, the watcher of libraries and the flow are told who is
//! traced, process by process.

use std::{collections::HashSet, sync::Arc};

use foldhash::HashMap;
use weft_abi::Verdict;
use weft_flow::{
    Flow,
    sample::{Ratio, Root, Sampler},
    span::Process,
};

use super::{Decision, Policy, Selector};
use crate::{
    bpf::{self, Probes},
    config::Action,
    discover::{self, ProcessFacts},
    kubernetes::Terms,
    telemetry::{Gauge, Registry},
    tls::{News, Watch},
};

/// Knows every process that lives, so that a change of the policy needs no look at `/proc`.
pub(crate) struct Judge {
    selector: Selector,
    live: HashMap<u32, Live>,
    /// As the kernel programs were told.
    general: bpf::Selection,
    figure: Gauge,
}

struct Live {
    facts: Arc<ProcessFacts>,
    /// Some socket of it may be looked at.
    traced: bool,
    verdict: Option<Verdict>,
    ratio: Option<f64>,
    /// Handed to the exporters.
    spans: u64,
    /// The kernel's map was written for it, maybe after its end.
    told: bool,
}

/// What was heard of a process, in order.
pub(crate) enum Heard {
    /// It runs a program that was not judged yet.
    Began {
        facts: Arc<ProcessFacts>,
        /// For the watcher of libraries, if it is traced.
        news: News,
        /// What it ran before.
        previous: Option<Process>,
    },
    /// It runs its parent's program.
    Forked {
        parent: u32,
        facts: Arc<ProcessFacts>,
    },
    Ended(Process),
    /// For the watcher alone.
    News(News),
}

/// Processes remembered; beyond, one is judged by what is heard of it and no more.
const CAPACITY: usize = 65_536;

// === impl Judge ===

impl Judge {
    pub(crate) fn new(selector: Selector, registry: &Registry) -> Self {
        Self {
            selector,
            live: HashMap::default(),
            general: bpf::Selection::default(),
            figure: registry.gauge(
                "weft_traced_processes",
                "Processes some socket of which may be looked at.",
                &[],
            ),
        }
    }

    pub(crate) fn policy(&self) -> Arc<Policy> {
        self.selector.policy()
    }

    /// Judges what runs already, before the kernel programs look at anything.
    ///
    /// # Errors
    /// The kernel's map took no more.
    pub(crate) fn begin(&mut self, probes: &mut Probes) -> Result<(), bpf::Error> {
        let policy = self.selector.policy();
        let cgroups = discover::cgroup_ids(policy.cgroups())?;
        for facts in discover::scan() {
            let decision = self.selector.judge(&facts);
            let terms = policy.terms(&facts);
            let (pid, verdict) = (facts.pid, verdict(&policy, &decision, &terms));
            let told = verdict.is_some();
            if told {
                probes.judge_process(pid, verdict)?;
            }
            let live = Live {
                facts: Arc::new(facts),
                traced: decision.may_trace(),
                verdict,
                // Told to the flow when the cluster is known: nothing is at start.
                ratio: None,
                spans: 0,
                told,
            };
            self.live.insert(pid, live);
        }
        probes.set_cgroups(&cgroups)?;
        probes.select(&bpf::Selection {
            none: false,
            ..selection(&policy)
        })
    }

    /// To be called when all that is tried on weft's own connections has been tried: where nobody may be
    /// traced, their programs go.
    ///
    /// # Errors
    /// The kernel took no word.
    pub(crate) fn watch(&mut self, probes: &mut Probes) -> Result<(), bpf::Error> {
        let policy = self.selector.policy();
        self.general = selection(&policy);
        probes.select(&self.general)?;
        probes.watch(policy.may_select())
    }

    /// How many processes are known, and how many of them are traced.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let traced = self.live.values().filter(|live| live.traced);
        (self.live.len(), traced.count())
    }

    pub(crate) fn publish(&self) {
        self.figure.set(self.counts().1 as u64);
    }

    /// As far as is known.
    pub(crate) fn traces(&self, pid: u32) -> bool {
        self.live.get(&pid).is_none_or(|live| live.traced)
    }

    pub(crate) fn decide(&self, facts: &ProcessFacts) -> Decision {
        self.selector.judge(facts)
    }

    pub(crate) fn known(&self) -> impl Iterator<Item = &ProcessFacts> {
        self.live.values().map(|live| &*live.facts)
    }

    /// With the spans that each has sent.
    pub(crate) fn traced(&self) -> impl Iterator<Item = (&ProcessFacts, u64)> {
        let traced = self.live.values().filter(|live| live.traced);
        traced.map(|live| (&*live.facts, live.spans))
    }

    /// A span of the process was handed to the exporters.
    pub(crate) fn sent(&mut self, pid: u32) {
        if let Some(live) = self.live.get_mut(&pid) {
            live.spans += 1;
        }
    }

    pub(crate) fn hear(&mut self, heard: Heard, probes: &mut Probes, tls: &Watch, flow: &mut Flow) {
        match heard {
            Heard::Began {
                facts,
                news,
                previous: _,
            } => {
                let pid = facts.pid;
                let decision = self.selector.judge(&facts);
                let traced = decision.may_trace();
                let before = self.put(probes, flow, facts, &decision);
                if traced {
                    tls.tell(news);
                } else if before {
                    tls.tell(News::Ended(pid));
                }
            }
            Heard::Forked { parent, facts } => {
                let child = facts.pid;
                let decision = self.selector.judge(&facts);
                self.put(probes, flow, facts, &decision);
                tls.tell(News::Forked { parent, child });
            }
            Heard::Ended(process) => {
                let pid = process.tgid;
                tls.tell(News::Ended(pid));
                self.end(pid, probes, flow);
            }
            Heard::News(news) => tls.tell(news),
        }
    }

    /// Records of processes may have been lost: what runs is compared with what is known.
    pub(crate) fn compare(
        &mut self,
        running: &[ProcessFacts],
        probes: &mut Probes,
        tls: &Watch,
        flow: &mut Flow,
    ) {
        let pids: HashSet<u32> = running.iter().map(|facts| facts.pid).collect();
        let gone: Vec<u32> = self.live.keys().copied().collect();
        for pid in gone.into_iter().filter(|pid| !pids.contains(pid)) {
            // It may have begun since.
            if ProcessFacts::read(pid).is_err() {
                self.end(pid, probes, flow);
                tls.tell(News::Ended(pid));
            }
        }
        let known = |facts: &&ProcessFacts| {
            let live = self.live.get(&facts.pid);
            live.is_some_and(|live| live.facts.exe == facts.exe && live.facts.place == facts.place)
        };
        let news: Vec<u32> = running
            .iter()
            .filter(|facts| !known(facts))
            .map(|facts| facts.pid)
            .collect();
        for pid in news {
            if let Ok(facts) = ProcessFacts::read(pid) {
                let began = Heard::Began {
                    facts: Arc::new(facts),
                    news: News::Talks(pid),
                    previous: None,
                };
                self.hear(began, probes, tls, flow);
            }
        }
    }

    /// Other rules count from now on.
    ///
    /// # Errors
    /// The kernel took no word: what was, stays.
    pub(crate) fn replace(
        &mut self,
        policy: Policy,
        probes: &mut Probes,
        tls: &Watch,
        flow: &mut Flow,
    ) -> Result<(), bpf::Error> {
        let cgroups = discover::cgroup_ids(policy.cgroups())?;
        self.selector.replace(policy);
        let policy = self.selector.policy();
        let (mut chosen, mut dropped) = (Vec::new(), Vec::new());
        let mut judged = false;
        for (pid, live) in &mut self.live {
            let decision = self.selector.judge(&live.facts);
            let terms = policy.terms(&live.facts);
            let verdict = verdict(&policy, &decision, &terms);
            if live.verdict != verdict {
                probes.judge_process(*pid, verdict)?;
                live.verdict = verdict;
                live.told = true;
                judged = true;
            }
            if live.ratio != terms.ratio {
                flow.sample(*pid, terms.ratio.and_then(sampler));
                live.ratio = terms.ratio;
            }
            let traced = decision.may_trace();
            match (live.traced, traced) {
                (false, true) => chosen.push(*pid),
                (true, false) => dropped.push(*pid),
                _ => {}
            }
            live.traced = traced;
        }
        probes.set_cgroups(&cgroups)?;
        // What crossed their sockets before was not seen.
        flow.unix_inodes_before(discover::unix_socket_inodes_of(&chosen));
        probes.watch(policy.may_select())?;
        let general = selection(&policy);
        if self.general != general {
            probes.select(&general)?;
            self.general = general;
        } else if judged {
            probes.judge_anew()?;
        }
        for pid in &dropped {
            flow.deselect(*pid);
        }
        if !dropped.is_empty() {
            tls.tell(News::Dropped(dropped.clone()));
        }
        for pid in &chosen {
            tls.tell(News::Talks(*pid));
        }
        if chosen.is_empty() && dropped.is_empty() {
            return Ok(());
        }
        let (known, traced) = self.counts();
        log::info!(
            "the policy has changed: {} processes more and {} less are traced, {traced} of {known}",
            chosen.len(),
            dropped.len()
        );
        Ok(())
    }

    fn end(&mut self, pid: u32, probes: &mut Probes, flow: &mut Flow) {
        let Some(live) = self.live.remove(&pid) else {
            return;
        };
        if live.told {
            // What was written after its end would stay.
            self.tell(probes, pid, None);
        }
        if live.ratio.is_some() {
            flow.sample(pid, None);
        }
    }

    /// Puts a process in the table and tells the kernel; whether it was traced before.
    fn put(
        &mut self,
        probes: &mut Probes,
        flow: &mut Flow,
        facts: Arc<ProcessFacts>,
        decision: &Decision,
    ) -> bool {
        let pid = facts.pid;
        let policy = self.selector.policy();
        let terms = policy.terms(&facts);
        let verdict = verdict(&policy, decision, &terms);
        let written = self.tell(probes, pid, verdict);
        let before = self.live.get(&pid);
        let before = before.map(|live| (live.traced, live.told, live.ratio));
        let (was_traced, was_told, ratio) = before.unwrap_or_default();
        if ratio != terms.ratio {
            flow.sample(pid, terms.ratio.and_then(sampler));
        }
        if self.live.len() < CAPACITY || before.is_some() {
            let live = Live {
                facts,
                traced: decision.may_trace(),
                verdict,
                ratio: terms.ratio,
                spans: 0,
                told: written || was_told,
            };
            self.live.insert(pid, live);
        }
        was_traced
    }

    /// True: the kernel had another word, and connections judge themselves anew. It hands a parent's word on
    /// to its child, so that what it has is asked, not remembered.
    fn tell(&self, probes: &mut Probes, pid: u32, verdict: Option<Verdict>) -> bool {
        if probes.verdict(pid) == verdict {
            return false;
        }
        let told = probes
            .judge_process(pid, verdict)
            .and_then(|()| probes.judge_anew());
        if let Err(error) = told {
            log::warn!("process {pid} cannot be selected: {error}");
        }
        true
    }
}

fn selection(policy: &Policy) -> bpf::Selection {
    let verdict = |action| match action {
        Action::Include => Verdict::Allow,
        Action::Exclude => Verdict::Deny,
    };
    let ports = policy.ports().into_iter();
    bpf::Selection {
        all: policy.is_all(),
        none: !policy.may_select(),
        ports: ports
            .map(|(port, action)| (port, verdict(action)))
            .collect(),
    }
}

/// `None`: the kernel's general rule says it already.
pub(super) fn verdict(policy: &Policy, decision: &Decision, terms: &Terms) -> Option<Verdict> {
    if decision.selected && terms.unwritten {
        return Some(Verdict::Unwritten);
    }
    match (decision.selected, policy.is_all()) {
        // Ports that are left out.
        (true, true) => None,
        (true, false) => Some(Verdict::Allow),
        (false, true) => Some(Verdict::Deny),
        (false, false) => {
            let by_kernel = decision.may_trace() || !policy.leaves_to_kernel();
            (!by_kernel).then_some(Verdict::Deny)
        }
    }
}

/// Keeps this share of the traces that begin in a process. `None`: no share.
fn sampler(share: f64) -> Option<Sampler> {
    let root = match share {
        share if share >= 1.0 => Root::On,
        share if share <= 0.0 => Root::Off,
        share => Root::Ratio(Ratio::new(share)?),
    };
    Some(Sampler::ParentBased(root))
}
