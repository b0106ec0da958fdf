//! For which request a call was sent, where only the response or who answers tells.

use smallvec::SmallVec;

use super::{Around, Node, NodeKey, Progress, Spans};
use crate::span::Link;

impl Spans {
    /// The thread that read the request has begun the response: what it sent meanwhile belongs to
    /// the request.
    pub(crate) fn by_thread(&mut self, server: NodeKey, around: &mut Around<'_>) {
        for child in self.take_thread_children(server, true) {
            self.attach_waited_for(child, server, around);
        }
    }

    /// The thread that has sent a request has read the response.
    pub(crate) fn waited_for(&mut self, key: NodeKey) {
        if let Some(node) = self.nodes.get_mut(key) {
            node.waited_for = true;
        }
    }

    /// The response goes on with another request than the thread works on that has sent this one. True: it has read the
    /// response, too, in passing.
    pub(crate) fn passed_on(&mut self, key: NodeKey) -> bool {
        let node = self.nodes.get_mut(key);
        node.is_some_and(|node| std::mem::take(&mut node.waited_for))
    }

    /// A thread that waits for the response sends for what it works on itself. One that does not may have sent in
    /// passing what waited for a connection that it has released.
    pub(super) fn attach_waited_for(
        &mut self,
        key: NodeKey,
        server: NodeKey,
        around: &mut Around<'_>,
    ) {
        if self.is_of_worker(key, server) || self.nodes.get(key).is_some_and(|it| it.confirmed) {
            self.attach(key, server, Link::Thread, around);
        } else {
            around.counters.calls_not_waited_for += 1;
            self.settle_alone(key, around);
        }
    }

    /// A response has woken the thread that has read this request.
    pub(crate) fn woken(&mut self, key: NodeKey) {
        if let Some(node) = self.nodes.get_mut(key) {
            node.woken = true;
        }
    }

    fn is_of_worker(&self, key: NodeKey, server: NodeKey) -> bool {
        let is = |key, fact: fn(&Node) -> bool| self.nodes.get(key).is_some_and(fact);
        is(key, |call| call.waited_for) && !is(server, |server| server.woken)
    }

    /// Another thread responds, or none that was seen.
    pub(crate) fn not_by_thread(&mut self, server: NodeKey, around: &mut Around<'_>) {
        for child in self.take_thread_children(server, false) {
            self.settle_alone(child, around);
        }
    }

    /// The thread that has read the request works on others, too: what it has sent may have been for any.
    pub(crate) fn disown(&mut self, server: NodeKey, around: &mut Around<'_>) {
        let node = self.nodes.get_mut(server);
        let children = node.map(|node| std::mem::take(&mut node.thread_children));
        for child in children.into_iter().flatten() {
            self.settle_alone(child, around);
        }
    }

    /// The thread that has sent a request answers another one: this was sent for that, or for none.
    pub(crate) fn sender_answers(
        &mut self,
        key: NodeKey,
        server: Option<(NodeKey, Link)>,
        around: &mut Around<'_>,
    ) {
        let Some(node) = self.nodes.get(key) else {
            return;
        };
        if !node.waited_for && node.resumes {
            return;
        }
        let of_worker = server.filter(|(server, _)| self.is_of_worker(key, *server));
        if server.is_some() && of_worker.is_none() {
            around.counters.calls_not_waited_for += 1;
        }
        self.settle_call(key, of_worker, around);
    }

    /// A thread that has read `server` was woken by the response to this one: it was sent for that if the thread answers.
    pub(crate) fn waits_for(&mut self, key: NodeKey, server: NodeKey, around: &mut Around<'_>) {
        let by_reader = self.nodes.get(server).map(|node| node.by_reader);
        if by_reader != Some(None) {
            let answers = by_reader == Some(Some(true));
            return self.judged(key, answers.then_some((server, Link::HandOff)), around);
        }
        let Some(node) = self.nodes.get_mut(key) else {
            return;
        };
        if matches!(node.progress, Progress::AwaitsAnswer) {
            node.confirmed = true;
            node.progress = Progress::AwaitsThread(server);
            self.nodes[server].thread_children.push(key);
        }
    }

    /// It is told for which request this one was sent, if for any.
    pub(crate) fn judged(
        &mut self,
        key: NodeKey,
        server: Option<(NodeKey, Link)>,
        around: &mut Around<'_>,
    ) {
        // Where its response goes on with nothing, the thread that has read that may go on itself.
        let waited_for = |node: &Node| node.resumes && node.waited_for;
        if server.is_some() || !self.nodes.get(key).is_some_and(waited_for) {
            self.settle_call(key, server, around);
        }
    }

    fn settle_call(
        &mut self,
        key: NodeKey,
        server: Option<(NodeKey, Link)>,
        around: &mut Around<'_>,
    ) {
        let awaits = |node: &Node| matches!(node.progress, Progress::AwaitsAnswer);
        if !self.nodes.get(key).is_some_and(awaits) {
            return;
        }
        match server {
            Some((server, link)) => self.attach(key, server, link, around),
            None => self.settle_alone(key, around),
        }
    }

    fn take_thread_children(&mut self, server: NodeKey, by_reader: bool) -> SmallVec<[NodeKey; 2]> {
        let Some(node) = self.nodes.get_mut(server) else {
            return SmallVec::new();
        };
        node.by_reader.get_or_insert(by_reader);
        std::mem::take(&mut node.thread_children)
    }
}
