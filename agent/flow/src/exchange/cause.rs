//! Which server request a request is sent for, as far as tasks and proxies tell.

use bytes::Bytes;

use super::Listener;
use crate::connection::Mark;
use crate::forwards::Line;
use crate::record::Token;
use crate::span::Link;
use crate::spans::{Cause, NodeKey};
use crate::state::State;

// === impl Listener ===

impl Listener<'_> {
    /// The logical task that has read the end of the head is on the request.
    pub(super) fn work_on(&mut self, node: NodeKey, start: u64, end: u64) {
        let mark = self.mark(end.saturating_sub(1));
        let Some(work) = mark.work.filter(|_| self.state.config.links.task) else {
            return;
        };
        let State {
            tasks,
            counters,
            spans,
            ..
        } = &mut *self.state;
        let cookie = self.cookie;
        let first_ns = self.marks.first_by(work.task, start);
        let begin_ns = first_ns.unwrap_or(mark.time_ns);
        spans.hold(node);
        let token = Token::At(begin_ns);
        tasks.begin(self.process, work.task, cookie, node, token, counters);
    }

    /// The server request that the logical task works on which has sent a request.
    fn task(&mut self, mark: &Mark) -> Option<Cause> {
        let work = mark.work.filter(|_| self.state.config.links.task)?;
        let State {
            tasks, counters, ..
        } = &mut *self.state;
        let (server, link) = tasks.call(self.process, &work, mark.time_ns, counters)?;
        Some(Cause::Request(server, link))
    }

    /// The server request that a request is sent for, and how that is known.
    pub(super) fn cause(
        &mut self,
        mark: &Mark,
        start: u64,
        method: &Bytes,
        target: &Bytes,
    ) -> Option<Cause> {
        if let Some(work) = mark.work {
            let cause = resumes(self.task(mark), work.resumes);
            let worker = work.thread.then(|| self.worker(mark, start)).flatten();
            return match (worker, cause) {
                (Some(Cause::Answered), Some(Cause::Resumes(Some(sender)))) => {
                    Some(Cause::AnsweredOrResumes(sender))
                }
                (worker, cause) => worker.or(cause),
            };
        }
        if mark.forwards {
            return self.forwarded(mark, &Line::of(method, target));
        }
        self.worker(mark, start)
    }

    /// For what a blocking worker has sent a request.
    fn worker(&self, mark: &Mark, start: u64) -> Option<Cause> {
        let State {
            config,
            processes,
            threads,
            resumptions,
            ..
        } = &*self.state;
        if !config.links.thread || mark.tid == 0 || !self.marks.blocking_since(start) {
            return None;
        }
        let entry = processes.entry(self.process)?;
        // Of a thread of a JVM what its response goes on with has a say.
        if entry.sends_in_passing() || mark.work.is_some() && resumptions.is_full() {
            return None;
        }
        let live = threads.live(self.process, mark.tid);
        if let (Some(live), false) = (live, entry.hand_off) {
            return Some(Cause::Request(live, Link::Thread));
        }
        let others_read = entry.hand_off || entry.polls;
        (others_read && !entry.other_work).then_some(Cause::Answered)
    }

    /// The same on a connection that several send on.
    pub(super) fn cause_of_stream(
        &mut self,
        mark: &Mark,
        stream: u32,
        line: Option<&Line>,
    ) -> Option<Cause> {
        if let Some(line) = line {
            return self.forwarded(mark, line);
        }
        let writer = mark.work?.task;
        if mark.work?.shared {
            self.state.counters.task_ambiguous += 1;
            return None;
        }
        let handed = self.state.tasks.sent(self.process, writer, stream);
        let work = handed.or(mark.work);
        let cause = self.task(&Mark { work, ..*mark });
        resumes(cause, mark.work?.resumes)
    }

    /// Some task will work on the stream: it is named by the one that reads the connection, or by who has
    /// created that.
    pub(super) fn works_on_stream(&mut self, node: NodeKey, mark: &Mark, stream: u32) {
        let Some(work) = mark.work.filter(|_| self.state.config.links.task) else {
            return;
        };
        let State {
            tasks,
            counters,
            spans,
            ..
        } = &mut *self.state;
        spans.hold(node);
        let token = Token::Stream(stream);
        let ids = [Some(work.task), work.root.map(|root| root.task)];
        let process = self.process;
        for id in ids.into_iter().flatten() {
            tasks.begin(process, id, self.cookie, node, token, counters);
        }
    }

    /// The server request that a proxy passes on.
    fn forwarded(&mut self, mark: &Mark, line: &Line) -> Option<Cause> {
        let State {
            forwards,
            counters,
            config,
            spans,
            ..
        } = &mut *self.state;
        let is_answered = |node| spans.is_answered(node);
        let server = forwards.passed_on(self.process, mark.tid, line, is_answered, counters);
        let server = server.filter(|_| config.links.forward)?;
        Some(Cause::Request(server, Link::Forwarded))
    }
}

/// The response will show whether it is true.
fn resumes(cause: Option<Cause>, resumes: bool) -> Option<Cause> {
    if !resumes {
        return cause;
    }
    match cause {
        Some(Cause::Request(server, _)) => Some(Cause::Resumes(Some(server))),
        _ => Some(Cause::Resumes(None)),
    }
}
