//! TLS libraries of the traced processes: found in the files they have mapped, watched in the
//! kernel, once for each file.
//!
//! A thread of its own: looking into a file takes milliseconds, putting a probe into the kernel
//! may take longer, and neither may keep records waiting.

mod files;
mod going;
mod known;
mod places;
mod roots;
mod trials;
mod watching;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use weft_abi::Runtime;
use weft_flow::Shown;

use crate::{
    bpf::{Attached, UserProbes},
    discover::{self, ProcessFacts},
    policy::Selector,
    telemetry::{Counter, Gauge, Registry},
};

use going::Going;
use known::{File, Known, LINGER, Watched};
use roots::Roots;
use watching::watch;

pub(crate) use files::{Identity, Mapped, inspect, mapped};
pub(crate) use places::{name as site_name, stack_name};
pub(crate) use trials::{Trial, Trials, Tried};

/// What the watcher is told of processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// It runs a program that has just begun: what it loads comes one after the other.
    Began(u32),
    /// It uses sockets, or speaks TLS on one: by now its libraries are there.
    Talks(u32),
    /// Its dynamic loader has mapped libraries; of any process, selected or not.
    Mapped(u32),
    /// The first calls of a session have shown what passes the sites of its library.
    Tried {
        pid: u32,
        /// As the sites name it.
        library: u8,
        shown: Shown,
    },
    Ended(u32),
    /// They are not traced any more.
    Dropped(Vec<u32>),
    /// The child runs what its parent does.
    Forked {
        parent: u32,
        child: u32,
    },
}

/// The sending end, for the pipeline. The watcher ends when it is dropped.
pub(crate) struct Watch(Option<Told>);

struct Told {
    tell: Sender<News>,
    over: Arc<AtomicBool>,
}

/// The watcher's thread.
pub(crate) struct Detaching(Option<JoinHandle<()>>);

/// So long tracing waits until those that run have been looked at.
const FIRST_LOOK: Duration = Duration::from_secs(10);
/// When a new process is looked at again.
const LOOKS: [Duration; 5] = [
    Duration::from_millis(2),
    Duration::from_millis(15),
    Duration::from_millis(60),
    Duration::from_millis(300),
    Duration::from_millis(1500),
];
/// A process is not looked at more often than this for its talking.
const AGAIN: Duration = Duration::from_millis(50);

struct Watcher {
    probes: UserProbes,
    selector: Selector,
    known: Known,
    roots: Roots,
    /// Libraries that lie ready for processes: looked into when there is nothing else to do.
    ready: VecDeque<(u32, Mapped)>,
    processes: HashMap<u32, Process>,
    /// Looks to come.
    due: Vec<(Instant, u32)>,
    trials: Trials,
    going: Going,
    /// Nobody is to be looked at any more.
    over: Arc<AtomicBool>,
    figures: Figures,
}

struct Process {
    looked: Instant,
    /// As they are known.
    files: HashSet<Identity>,
    /// What the kernel programs know of it.
    runtime: Runtime,
}

struct Figures {
    inspected: Counter,
    failed: Counter,
    disproved: Counter,
    watched: Gauge,
}

// === impl Watch ===

impl Watch {
    /// Starts the watcher, which first looks at the processes that run; returns when it
    /// has, or when that takes too long. The second value is to be waited for when the first is gone.
    ///
    /// # Errors
    /// No thread could be had.
    pub(crate) fn start(
        probes: Option<UserProbes>,
        selector: Selector,
        registry: &Registry,
        trials: Trials,
    ) -> io::Result<(Self, Detaching)> {
        let Some(probes) = probes else {
            return Ok((Self(None), Detaching(None)));
        };
        let figures = Figures {
            inspected: registry.counter(
                "weft_tls_files_inspected_total",
                "Mapped files that were searched for TLS libraries.",
                &[],
            ),
            failed: registry.counter(
                "weft_tls_files_failed_total",
                "Files with a TLS library that the kernel let no probe into.",
                &[],
            ),
            disproved: registry.counter(
                "weft_tls_libraries_disproved_total",
                "Libraries found by their code whose live calls showed no plaintext.",
                &[],
            ),
            watched: registry.gauge(
                "weft_tls_files_watched",
                "Files with a TLS library that is watched.",
                &[],
            ),
        };
        let (tell, news) = channel();
        let (looked, first_look) = channel();
        let over = Arc::new(AtomicBool::new(false));
        let told = Told {
            tell,
            over: Arc::clone(&over),
        };
        let thread = thread::Builder::new()
            .name("weft-tls".to_owned())
            .spawn(move || {
                let mut watcher = Watcher {
                    probes,
                    selector,
                    known: Known::default(),
                    roots: Roots::default(),
                    ready: VecDeque::new(),
                    processes: HashMap::new(),
                    due: Vec::new(),
                    trials,
                    going: Going::default(),
                    over,
                    figures,
                };
                watcher.look_at_new();
                while watcher.look_at_ready() {}
                let _late = looked.send(());
                watcher.run(&news);
                watcher.detach();
            })?;
        if first_look.recv_timeout(FIRST_LOOK) == Err(RecvTimeoutError::Timeout) {
            log::info!("still looking for TLS libraries in the programs that run");
        }
        Ok((Self(Some(told)), Detaching(Some(thread))))
    }

    pub(crate) fn tell(&self, news: News) {
        if let Some(told) = &self.0 {
            // The watcher ends only with the agent.
            let _ended = told.tell.send(news);
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

// === impl Detaching ===

impl Detaching {
    /// Returns when no library has a probe of weft's any more.
    pub(crate) fn wait(self) {
        let panicked = self.0.map(JoinHandle::join);
        if let Some(Err(_)) = panicked {
            log::warn!("the thread that watches TLS libraries has panicked");
        }
    }
}

// === impl Process ===

impl Process {
    fn new() -> Self {
        Self {
            looked: Instant::now(),
            files: HashSet::new(),
            runtime: Runtime::default(),
        }
    }
}

// === impl Watcher ===

impl Watcher {
    fn run(&mut self, news: &Receiver<News>) {
        loop {
            let now = Instant::now();
            let next = self.due.iter().map(|(at, _)| *at).min();
            let wait = match next {
                _ if !self.ready.is_empty() => Duration::ZERO,
                Some(at) => at.saturating_duration_since(now),
                None => LINGER,
            };
            let mut idle = false;
            match news.recv_timeout(wait) {
                Ok(News::Began(pid)) => {
                    self.ended(pid);
                    let now = Instant::now();
                    self.due.extend(LOOKS.map(|after| (now + after, pid)));
                }
                Ok(News::Talks(pid)) => self.talks(pid),
                Ok(News::Mapped(pid)) if self.knows(pid) => self.due.push((Instant::now(), pid)),
                Ok(News::Mapped(_)) => {}
                Ok(News::Tried {
                    pid,
                    library,
                    shown,
                }) => self.tried(pid, library, shown),
                Ok(News::Forked { parent, child }) => self.forked(parent, child),
                Ok(News::Ended(pid)) => {
                    self.ended(pid);
                    self.due.retain(|(_, due)| *due != pid);
                }
                Ok(News::Dropped(pids)) => {
                    for pid in &pids {
                        self.ended(*pid);
                    }
                    self.due.retain(|(_, due)| !pids.contains(due));
                    self.known.let_go(now);
                }
                Err(RecvTimeoutError::Timeout) => idle = true,
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let now = Instant::now();
            let mut ripe = Vec::new();
            self.due.retain(|(at, pid)| {
                let wait = *at > now;
                if !wait {
                    ripe.push(*pid);
                }
                wait
            });
            ripe.sort_unstable();
            ripe.dedup();
            if idle && ripe.is_empty() {
                self.look_at_ready();
            }
            for pid in ripe {
                self.look(pid);
            }
            self.drop_unused(now);
        }
    }

    /// The kernel programs hand on what they know of the parent; of one that has just begun they may have
    /// known nothing yet.
    fn forked(&mut self, parent: u32, child: u32) {
        self.inherits(parent, child);
        let due = self.due.iter().filter(|(_, due)| *due == parent);
        if let Some((at, _)) = due.max_by_key(|(at, _)| *at) {
            self.due.push((*at, child));
        }
        let soon = LOOKS[2];
        if self
            .processes
            .get(&parent)
            .is_some_and(|it| it.looked.elapsed() < soon)
        {
            self.due.push((Instant::now() + soon, child));
        }
    }

    /// What the child maps by itself is added to what is known of its parent's runtime by now.
    fn inherits(&mut self, parent: u32, child: u32) {
        let known = self.processes.get(&parent);
        let Some(known) = known.filter(|it| it.runtime.kind != 0) else {
            return;
        };
        let process = Process {
            looked: Instant::now(),
            files: known.files.clone(),
            runtime: known.runtime,
        };
        if let Err(error) = self.probes.know(child, process.runtime) {
            log::warn!("process {child}: its runtime is not noted: {error}");
        }
        for name in &process.files {
            if let Some(file) = self.known.get_mut(*name) {
                file.used_by(child);
            }
        }
        self.processes.insert(child, process);
    }

    /// Takes all probes out.
    fn detach(self) {
        let attached: Vec<_> = self.known.into_probes().collect();
        let probes: usize = attached.iter().map(Attached::len).sum();
        let begun = Instant::now();
        Attached::take_out(attached);
        self.going.wait();
        if probes > 0 {
            let took = begun.elapsed().as_secs_f64() * 1e3;
            log::info!("{probes} probes in libraries were taken out in {took:.0} ms");
        }
    }

    /// Whether the process is selected, as far as the watcher was told.
    fn knows(&self, pid: u32) -> bool {
        self.processes.contains_key(&pid) || self.due.iter().any(|(_, due)| *due == pid)
    }

    /// Whether any other program would be traced in the place of this one: probes cost those that are not.
    fn traces_whoever_comes(&self, pid: u32) -> bool {
        let facts = ProcessFacts::read(pid);
        facts.is_ok_and(|facts| self.selector.judge(&facts).counts_for_others())
    }

    /// Looks at the selected processes that were not looked at yet.
    fn look_at_new(&mut self) {
        for facts in discover::scan() {
            if !self.processes.contains_key(&facts.pid) && self.selector.may_trace(&facts) {
                self.look(facts.pid);
            }
        }
    }

    fn talks(&mut self, pid: u32) {
        match self.processes.get(&pid) {
            Some(process) if process.looked.elapsed() < AGAIN => {
                let at = process.looked + AGAIN;
                if !self.due.contains(&(at, pid)) {
                    self.due.push((at, pid));
                }
            }
            _ => self.look(pid),
        }
    }

    /// Looks at what a process has mapped by now.
    fn look(&mut self, pid: u32) {
        let Ok(mapped) = mapped(pid) else {
            return self.ended(pid);
        };
        let new = !self.processes.contains_key(&pid);
        for file in mapped {
            self.uses(pid, &file);
        }
        if new && self.traces_whoever_comes(pid) {
            let ready = self.roots.libraries(pid).into_iter();
            self.ready.extend(ready.map(|file| (pid, file)));
        }
        self.processes
            .entry(pid)
            .or_insert_with(Process::new)
            .looked = Instant::now();
        self.count();
    }

    /// Looks into a file, if nobody has yet.
    fn uses(&mut self, pid: u32, file: &Mapped) {
        let process = self.processes.entry(pid).or_insert_with(Process::new);
        let known = self.known.name(file.identity);
        if known.is_some_and(|name| process.files.contains(&name)) {
            return;
        }
        let Some(name) = known.or_else(|| self.known_now(file)) else {
            return;
        };
        let process = self.processes.entry(pid).or_insert_with(Process::new);
        process.files.insert(name);
        let Some(known) = self.known.get_mut(name) else {
            return;
        };
        known.used_by(pid);
        if let (Some(runtime), Some(code)) = (&known.runtime, file.code) {
            runtime.add_to(&mut process.runtime, code);
            if process.runtime.kind != 0
                && let Err(error) = self.probes.know(pid, process.runtime)
            {
                log::warn!("process {pid}: its runtime is not noted: {error}");
            }
        }
    }

    /// A file's name, once it has been looked into. The next process that maps it brings the chance again.
    fn known_now(&mut self, file: &Mapped) -> Option<Identity> {
        // A look into a large file takes a while.
        if self.over.load(Ordering::Relaxed) {
            return None;
        }
        let open = file.open().ok()?;
        let twin = self.known.twin(file.identity, &open).ok()?;
        if let Some(name) = twin {
            self.trials.also(file.identity, name);
            return Some(name);
        }
        self.going.wait_for(file.identity);
        let (watched, runtime) = watch(&mut self.probes, &file.path, &open, &self.figures);
        let looked_into = File::new(file.path.clone(), open, watched, runtime);
        self.known.insert(file.identity, looked_into);
        Some(file.identity)
    }

    /// Looks into a library that nobody may have loaded yet: a program that lives for one request would have sent it before
    /// it is found. False: there is none.
    fn look_at_ready(&mut self) -> bool {
        let Some((pid, file)) = self.ready.pop_front() else {
            return false;
        };
        if self.processes.contains_key(&pid) {
            self.uses(pid, &file);
            self.count();
        }
        true
    }

    /// A library that was found by its code holds, or goes.
    fn tried(&mut self, pid: u32, library: u8, shown: Shown) {
        let Some(process) = self.processes.get(&pid) else {
            return;
        };
        for identity in &process.files {
            let Some(file) = self.known.get_mut(*identity) else {
                continue;
            };
            if file.watched.iter().all(|it| it.library != Some(library)) {
                continue;
            }
            let tried = Tried {
                file: *identity,
                library,
            };
            let path = file.path.display();
            match self.trials.shown(tried, shown) {
                Some(Trial::Failed) => {
                    log::warn!("{path}: a library found by its code: {}", Trial::Failed);
                    self.figures.disproved.add(1);
                    let disproved = |it: &mut Watched| it.library == Some(library);
                    let probes = file.watched.extract_if(.., disproved);
                    let probes = probes.map(|it| it.probes).collect();
                    self.going.let_go(*identity, probes);
                }
                Some(end) => log::info!("{path}: a library found by its code: {end}"),
                None => {}
            }
        }
        self.count();
    }

    fn ended(&mut self, pid: u32) {
        // Else a process that comes to have this id would seem to run it.
        self.probes.forget(pid);
        if let Some(process) = self.processes.remove(&pid) {
            self.known.left(pid, process.files);
        }
    }

    /// A probe keeps its file from being freed.
    fn drop_unused(&mut self, now: Instant) {
        if !self.known.any_unused(now) {
            return;
        }
        // A forked child goes on with its parent's files, and was not looked at.
        self.look_at_new();
        for (identity, file) in self.known.take_unused(now) {
            self.trials.forget(identity);
            let probes = file.watched.into_iter().map(|it| it.probes).collect();
            self.going.let_go(identity, probes);
        }
        self.count();
    }

    fn count(&self) {
        self.figures.watched.set(self.known.libraries() as u64);
    }
}
