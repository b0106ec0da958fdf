//! Which logical task works on which server request: the task that has read a request, until it reads
//! the next one, and what it has created or handed over meanwhile.

use std::collections::VecDeque;

use foldhash::HashMap;
use foldhash::fast::RandomState;
use hashlink::LinkedHashMap;
use smallvec::SmallVec;
use weft_abi::CONNECTION_BIT;

use crate::counters::Counters;
use crate::record::{Sends, Token, Work};
use crate::span::{Link, Process};
use crate::spans::NodeKey;

pub(crate) struct Tasks {
    by_id: LinkedHashMap<Id, Task, RandomState>,
    /// Who works on each request that is not answered: a stream is known by two names.
    workers: HashMap<NodeKey, SmallVec<[Id; 2]>>,
    cap: usize,
    /// Requests that were answered, in the order in which they are forgotten.
    answered: VecDeque<(u64, Id, NodeKey)>,
    /// What writers of HTTP/2 are about to send, by writer and stream.
    sends: LinkedHashMap<(Id, u32), Work, RandomState>,
    /// What was spawned for requests and has made a call.
    callers: LinkedHashMap<Id, (), RandomState>,
    /// Nobody asks for these any more.
    pub(crate) released: Vec<NodeKey>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Id {
    process: Process,
    task: u64,
}

/// A task that has read server requests.
#[derive(Default)]
struct Task {
    /// In the order in which they were read.
    requests: VecDeque<Request>,
    /// Has read a request while another one, of another connection, was not answered: it reads for
    /// others. Of a connection: while another one was not answered.
    multiplexes: bool,
}

struct Request {
    node: NodeKey,
    cookie: u64,
    token: Token,
    end_ns: Option<u64>,
}

/// So long after its answer a request may still cause others.
const KEPT_NS: u64 = 5_000_000_000;
/// Answered requests that are kept for what may still come of them.
const MAX_ANSWERED: usize = 16_384;
/// Of one task.
const MAX_REQUESTS: usize = 256;
/// Requests of HTTP/2 that are about to be sent.
const MAX_SENDS: usize = 4096;

// === impl Tasks ===

impl Tasks {
    pub(crate) fn new(cap: usize) -> Self {
        Self {
            by_id: LinkedHashMap::with_hasher(RandomState::default()),
            workers: HashMap::default(),
            cap: cap.max(1),
            answered: VecDeque::new(),
            sends: LinkedHashMap::with_hasher(RandomState::default()),
            callers: LinkedHashMap::with_hasher(RandomState::default()),
            released: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// The task has read a request whole.
    pub(crate) fn begin(
        &mut self,
        process: Process,
        task: u64,
        cookie: u64,
        node: NodeKey,
        token: Token,
        counters: &mut Counters,
    ) {
        let id = Id { process, task };
        self.workers.entry(node).or_default().push(id);
        self.by_id.to_back(&id);
        let task = self.by_id.entry(id).or_insert_with(Task::default);
        // Of a connection's requests that overlap it is not known which one it works on.
        let connection = id.task & CONNECTION_BIT != 0;
        let others = |it: &Request| {
            it.end_ns.is_none() && (it.cookie != cookie || connection && it.token != token)
        };
        if !task.multiplexes && task.requests.iter().any(others) {
            task.multiplexes = true;
            counters.tasks_disqualified += 1;
        }
        if task.requests.len() >= MAX_REQUESTS
            && let Some(oldest) = task.requests.pop_front()
        {
            self.workers.remove(&oldest.node);
            self.released.push(oldest.node);
        }
        task.requests.push_back(Request {
            node,
            cookie,
            token,
            end_ns: None,
        });
        if self.by_id.len() > self.cap
            && let Some((_, evicted)) = self.by_id.pop_front()
        {
            counters.tasks_evicted += 1;
            for request in &evicted.requests {
                self.workers.remove(&request.node);
                self.released.push(request.node);
            }
        }
    }

    /// The request was answered, or will not be.
    pub(crate) fn end(&mut self, node: NodeKey, end_ns: u64) {
        for id in self.workers.remove(&node).unwrap_or_default() {
            let Some(task) = self.by_id.get_mut(&id) else {
                continue;
            };
            let request = task.requests.iter_mut().rfind(|it| it.node == node);
            if let Some(request) = request
                && request.end_ns.is_none()
            {
                request.end_ns = Some(end_ns);
                let until = end_ns.saturating_add(KEPT_NS);
                self.answered.push_back((until, id, node));
            }
        }
    }

    pub(crate) fn tick(&mut self, now_ns: u64, counters: &mut Counters) {
        while let Some(&(until, id, node)) = self.answered.front() {
            if until > now_ns {
                if self.answered.len() <= MAX_ANSWERED {
                    break;
                }
                counters.task_requests_forgotten += 1;
            }
            self.answered.pop_front();
            self.forget(id, node);
        }
    }

    fn forget(&mut self, id: Id, node: NodeKey) {
        let Some(task) = self.by_id.get_mut(&id) else {
            return;
        };
        if let Some(index) = task.requests.iter().position(|it| it.node == node) {
            task.requests.remove(index);
            self.released.push(node);
        }
        if task.requests.is_empty() && !task.multiplexes {
            self.by_id.remove(&id);
        }
    }

    pub(crate) fn sends(&mut self, process: Process, sends: &Sends) {
        let writer = Id {
            process,
            task: sends.writer,
        };
        self.sends.insert((writer, sends.stream), sends.work);
        if self.sends.len() > MAX_SENDS {
            self.sends.pop_front();
        }
    }

    /// The task that `writer` sends for on this stream.
    pub(crate) fn sent(&mut self, process: Process, writer: u64, stream: u32) -> Option<Work> {
        let task = writer;
        self.sends.remove(&(Id { process, task }, stream))
    }

    /// As [`Self::request`], of a call that begins now. What a request has spawned may outlive it and work for others,
    /// as a queue's worker does which the first request has started: after the answer only the first call counts that
    /// it makes at all.
    pub(crate) fn call(
        &mut self,
        process: Process,
        work: &Work,
        time_ns: u64,
        counters: &mut Counters,
    ) -> Option<(NodeKey, Link)> {
        let again = self.calls_again(process, work);
        let (node, link) = self.request(process, work, time_ns, counters)?;
        if again && !self.is_open(process, work, node, time_ns) {
            counters.task_ambiguous += 1;
            return None;
        }
        Some((node, link))
    }

    /// Whether what makes this call was spawned and has made one before.
    fn calls_again(&mut self, process: Process, work: &Work) -> bool {
        // The context that a framework makes for the request is named by when it was made.
        let own = |left_ns| work.context && left_ns == work.task;
        let left_ns = work.root.and_then(|root| root.left_ns);
        if left_ns.is_none_or(own) || work.handed_ns.is_some() || work.resumes {
            return false;
        }
        let task = work.task;
        let again = self.callers.insert(Id { process, task }, ()).is_some();
        if self.callers.len() > self.cap {
            self.callers.pop_front();
        }
        again
    }

    fn is_open(&self, process: Process, work: &Work, node: NodeKey, at_ns: u64) -> bool {
        let root = work.root.as_ref().map(|root| root.task);
        let id = root.map(|task| Id { process, task });
        let task = id.and_then(|id| self.by_id.get(&id));
        task.is_some_and(|task| task.is_open(node, at_ns))
    }

    /// The server request that a call at `time_ns` was made for, and how that is proved.
    pub(crate) fn request(
        &self,
        process: Process,
        work: &Work,
        time_ns: u64,
        counters: &mut Counters,
    ) -> Option<(NodeKey, Link)> {
        let root = work.root.as_ref()?;
        let id = Id {
            process,
            task: root.task,
        };
        let task = self.by_id.get(&id)?;
        let at_ns = root.left_ns.or(work.handed_ns).unwrap_or(time_ns);
        let Some(node) = task.at(root.request, at_ns) else {
            counters.task_ambiguous += 1;
            return None;
        };
        // What a request has spawned may outlive it and work for others, whoever tells it to.
        let spawned = work.shared && work.handed_ns.is_none() && root.left_ns.is_some();
        if spawned && !task.is_open(node, time_ns) {
            counters.task_ambiguous += 1;
            return None;
        }
        let link = match work.handed_ns {
            Some(_) => Link::HandOff,
            None if work.context => Link::AsyncContext,
            None => Link::Goroutine,
        };
        Some((node, link))
    }
}

// === impl Task ===

impl Task {
    /// What the task works on at a time at which the kernel programs have named this request: of several
    /// that came at once, the first that is not answered. `None`: its record was lost, or another request
    /// began behind it, or the task reads for others.
    fn at(&self, token: Token, at_ns: u64) -> Option<NodeKey> {
        let later = |it: &Request| match (token, it.token) {
            (Token::At(named), Token::At(other)) => other > named && other <= at_ns,
            _ => false,
        };
        if self.multiplexes || self.requests.iter().any(later) {
            return None;
        }
        let mut begun = self.requests.iter().filter(|it| it.token == token);
        let open = |it: &&Request| it.end_ns.is_none_or(|end| end > at_ns);
        let request = begun.clone().find(open).or_else(|| begun.next_back())?;
        Some(request.node)
    }

    /// Whether the request was not answered by then.
    fn is_open(&self, node: NodeKey, at_ns: u64) -> bool {
        let mut requests = self.requests.iter();
        requests.any(|it| it.node == node && it.end_ns.is_none_or(|end| end > at_ns))
    }
}
