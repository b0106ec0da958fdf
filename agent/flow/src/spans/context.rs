//! How a span comes by its trace: from its parent on this node, from its request, or anew.

use bytes::Bytes;
use weft_proto::trace_context::{SpanId, TraceId};

use super::{Around, Author, Header, Node, NodeKey, Progress, Spans};
use crate::config::SelfInstrumented;
use crate::processes::Entry;
use crate::sample::{SAMPLED, Sampler};
use crate::span::Link;
use crate::wire::Translated;

#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) trace_id: TraceId,
    pub(super) parent: Option<SpanId>,
    pub(super) flags: u8,
    pub(super) state: Option<Bytes>,
    pub(super) link: Link,
    /// For the sampler: the flags that the parent had.
    pub(super) parent_flags: Option<u8>,
}

/// So many spans may hang on one another when one of them has to leave.
const MAX_CHAIN: usize = 64;

// === impl Spans ===

impl Spans {
    /// The other end was not seen in time.
    pub(super) fn give_up_wire(&mut self, key: NodeKey, around: &mut Around<'_>) {
        let Some(node) = self.nodes.get(key) else {
            return;
        };
        if !matches!(node.progress, Progress::AwaitsWire) {
            return;
        }
        let start_ns = node.span.as_ref().map_or(0, |span| span.start_ns);
        let translated = node.position.map_or(Translated::None, |position| {
            self.positions.translated(&position, start_ns)
        });
        self.unlist(key);
        match translated {
            Translated::One(client) => {
                self.unlist(client);
                self.attach(key, client, Link::WirePosition, around);
            }
            Translated::Ambiguous => {
                around.counters.wire_ambiguous += 1;
                self.settle_alone(key, around);
            }
            Translated::None => match self.nodes.get_mut(key) {
                Some(node) if node.asked.is_some() => node.progress = Progress::AwaitsPeer,
                _ => self.settle_alone(key, around),
            },
        }
    }

    /// Gives the span a context with the evidence there is.
    pub(super) fn force(&mut self, key: NodeKey, around: &mut Around<'_>) {
        let mut next = key;
        for _ in 0..MAX_CHAIN {
            let Some(node) = self.nodes.get(next) else {
                break;
            };
            match node.progress {
                Progress::Known(_) => break,
                Progress::AwaitsWire => self.give_up_wire(next, around),
                Progress::AwaitsPeer => self.give_up_peers(next, around),
                Progress::AwaitsThread(server) => {
                    if let Some(server) = self.nodes.get_mut(server) {
                        server.thread_children.retain(|child| *child != next);
                    }
                    self.attach_waited_for(next, server, around);
                }
                Progress::AwaitsAnswer => self.settle_alone(next, around),
                Progress::AwaitsParent(parent) => next = parent,
            }
        }
        let unsettled = |node: &Node| !matches!(node.progress, Progress::Known(_));
        if self.nodes.get(key).is_some_and(unsettled) {
            self.settle_alone(key, around);
        }
    }

    /// `parent` is the true parent of `child`.
    pub(super) fn attach(
        &mut self,
        child: NodeKey,
        parent: NodeKey,
        link: Link,
        around: &mut Around<'_>,
    ) {
        let awaits = |node: &Node| !matches!(node.progress, Progress::Known(_));
        if !self.nodes.get(child).is_some_and(awaits) {
            return;
        }
        if link == Link::WirePosition {
            self.order_ends(parent, child);
        }
        match self.nodes.get_mut(parent) {
            Some(node) if awaits(node) => {
                node.children.push((child, link));
                self.nodes[child].progress = Progress::AwaitsParent(parent);
            }
            Some(_) => {
                let context = self.inherited(child, parent, link, around);
                self.know(child, context, around);
            }
            None => self.settle_alone(child, around),
        }
    }

    /// A request is stamped when the client's call returns; by then the server may have read it.
    fn order_ends(&mut self, client: NodeKey, server: NodeKey) {
        let Some(read_ns) = self.span_mut(server).map(|span| span.start_ns) else {
            return;
        };
        if let Some(span) = self.span_mut(client) {
            span.start_ns = span.start_ns.min(read_ns);
        }
    }

    pub(super) fn settle_alone(&mut self, key: NodeKey, around: &mut Around<'_>) {
        let context = self.alone(key, around);
        self.know(key, context, around);
    }

    pub(super) fn know(&mut self, key: NodeKey, context: Context, around: &mut Around<'_>) {
        let mut known = vec![(key, context)];
        while let Some((key, context)) = known.pop() {
            let Some(node) = self.nodes.get_mut(key) else {
                continue;
            };
            node.progress = Progress::Known(context);
            let children = std::mem::take(&mut node.children);
            if around.config.links.nodes {
                self.known_to_peers(key, around);
            }
            for (child, link) in children {
                let context = self.inherited(child, key, link, around);
                known.push((child, context));
            }
            if self.nodes[key].ended {
                self.leave(key, around);
            }
        }
    }

    /// The context of a child whose parent has one.
    pub(super) fn inherited(
        &mut self,
        child: NodeKey,
        parent: NodeKey,
        link: Link,
        around: &Around<'_>,
    ) -> Context {
        let header = self
            .nodes
            .get(child)
            .filter(|node| node.has_span)
            .and_then(|node| node.header.as_ref());
        let Some((node, context)) = self.nodes.get(parent).and_then(Node::known) else {
            return self.alone(child, around);
        };
        let reported = node.is_reported(around);
        if let Some(header) = header {
            // What the application said wins; a parent that is not reported is passed over.
            if header.context.parent.trace_id != context.trace_id || !reported {
                return self.alone(child, around);
            }
        }
        let parent = if reported {
            Some(node.id)
        } else {
            context.parent
        };
        let state = header.and_then(|header| header.context.state.clone());
        Context {
            trace_id: context.trace_id,
            parent,
            flags: context.flags,
            state: state.or_else(|| context.state.clone()),
            link: if parent.is_some() { link } else { Link::None },
            parent_flags: Some(context.flags),
        }
    }

    /// Without a parent on this node: the header's, or a new trace.
    pub(super) fn alone(&mut self, key: NodeKey, around: &Around<'_>) -> Context {
        let header = self.nodes.get(key).and_then(|node| node.header.as_ref());
        let process = self.nodes.get(key).map(|node| node.process);
        let sampler = process.and_then(|process| around.processes.sampler(process));
        let sampler = sampler.copied().unwrap_or(around.config.sampler);
        let (Sampler::Always(root) | Sampler::ParentBased(root)) = sampler;
        let decide = |trace_id| if root.keeps(trace_id) { SAMPLED } else { 0 };
        if let Some(header) = header {
            let context = &header.context;
            let parent = context.parent;
            let parent_flags = context.decided.then_some(parent.flags);
            return Context {
                trace_id: parent.trace_id,
                parent: (!header.is_own()).then_some(parent.parent_id),
                flags: parent_flags.unwrap_or_else(|| decide(&parent.trace_id)),
                state: context.state.clone(),
                link: match header.author {
                    Author::Weft => Link::None,
                    Author::Sender | Author::Other => Link::by(context.propagator),
                },
                parent_flags,
            };
        }
        let trace_id = TraceId(self.random_id());
        Context {
            flags: decide(&trace_id),
            trace_id,
            parent: None,
            state: None,
            link: Link::None,
            parent_flags: None,
        }
    }
}

// === impl Header ===

impl Header {
    /// It names the very request that carries it.
    pub(super) fn is_own(&self) -> bool {
        self.author != Author::Other
    }
}

// === impl Node ===

impl Node {
    pub(super) fn known(&self) -> Option<(&Self, &Context)> {
        match &self.progress {
            Progress::Known(context) => Some((self, context)),
            _ => None,
        }
    }

    /// The sending process has a span of its own for it, whose parent is its affair.
    pub(super) fn is_its_senders(&self) -> bool {
        self.header
            .as_ref()
            .is_some_and(|header| header.author == Author::Sender)
    }

    pub(super) fn is_reported(&self, around: &Around<'_>) -> bool {
        let skipped = || {
            around.config.self_instrumented == SelfInstrumented::Skip
                && around
                    .processes
                    .entry(self.process)
                    .is_some_and(Entry::is_self_instrumented)
        };
        !self.abandoned && self.has_span && !skipped()
    }
}
