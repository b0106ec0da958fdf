//! Spans whose other end is on another node: what is asked for them, and what is answered of them.

use weft_proto::peering::{Addresses, Answer, Ask, Message, Reason, Refusal};
use weft_proto::trace_context::TraceParent;

use super::context::Context;
use super::{Around, NodeKey, Progress, Spans};
use crate::remote::{PeerEvent, PeerId, Question, Route};
use crate::span::{Kind, Link};
use crate::wire::Position;

/// A client's request is remembered so long after its end for who asks late.
const AWAY_LINGER_NS: u64 = 1_000_000_000;
/// So many spans may hang on one another when one of them has to leave.
const MAX_CHAIN: usize = 64;

// === impl Spans ===

impl Spans {
    pub(crate) fn peer(
        &mut self,
        peer: PeerId,
        event: PeerEvent,
        now_ns: u64,
        around: &mut Around<'_>,
    ) {
        match event {
            PeerEvent::Up => self.remote.up(peer, around.counters),
            PeerEvent::Down => {
                for id in self.remote.down(peer, around.counters) {
                    self.nobody_knows(id, now_ns, around);
                }
            }
            PeerEvent::Says(Message::Hello(_)) => {}
            PeerEvent::Says(Message::Addresses(Addresses { anew, list })) => {
                self.remote.addresses.claim(peer, anew, &list);
            }
            PeerEvent::Says(Message::Ask(ask)) => {
                around.counters.questions += 1;
                self.question(Question::new(peer, ask), now_ns, around);
            }
            PeerEvent::Says(Message::Answer(answer)) => {
                self.told(peer, answer, now_ns, around);
            }
            PeerEvent::Says(Message::Refusal(Refusal { id, .. })) => {
                if self.remote.asked_of(peer, id).is_none() {
                    around.counters.answers_late += 1;
                } else if self.remote.refused(peer, id) {
                    self.nobody_knows(id, now_ns, around);
                }
            }
        }
    }

    /// A server's request has met no client here: it may have come from another node.
    pub(super) fn ask(&mut self, key: NodeKey, now_ns: u64, around: &mut Around<'_>) {
        if !self.remote.has_peers() {
            return;
        }
        let Some(node) = self.nodes.get_mut(key) else {
            return;
        };
        let Some(ask) = node.position.and_then(|position| position.ask()) else {
            return;
        };
        let ask = Ask {
            request: node.request,
            ..ask
        };
        let all = self.remote.peers();
        let peers = match self
            .remote
            .addresses
            .route(ask.client.ip(), all.len(), now_ns)
        {
            Route::Nobody => return,
            Route::Peers(peers) => peers,
            // It has a parent without that.
            Route::Everybody if node.header.is_some() => return,
            Route::Everybody => all,
            Route::Vain => {
                around.counters.asks_vain += 1;
                return;
            }
        };
        node.asked = Some(self.remote.ask(key, ask, &peers, now_ns, around.counters));
    }

    /// Whoever was asked does not know.
    fn nobody_knows(&mut self, id: u32, now_ns: u64, around: &mut Around<'_>) {
        let Some(asked) = self.remote.forget(id, around.counters) else {
            return;
        };
        around.counters.asks_refused += 1;
        self.remote.addresses.missed(asked.client, now_ns);
        let Some(node) = self.nodes.get_mut(asked.node) else {
            return;
        };
        node.asked = None;
        if matches!(node.progress, Progress::AwaitsPeer) {
            self.settle_alone(asked.node, around);
        }
    }

    /// A peer tells the parent of what was read here.
    fn told(&mut self, peer: PeerId, answer: Answer, now_ns: u64, around: &mut Around<'_>) {
        let Some(asked) = self.remote.asked_of(peer, answer.id) else {
            around.counters.answers_late += 1;
            return;
        };
        let (key, client, asked_ns) = (asked.node, asked.client, asked.asked_ns);
        self.remote.forget(answer.id, around.counters);
        self.remote.addresses.answered(client, peer);
        let waits =
            |progress: &Progress| matches!(progress, Progress::AwaitsWire | Progress::AwaitsPeer);
        let Some(node) = self.nodes.get_mut(key) else {
            around.counters.asks_superseded += 1;
            return;
        };
        node.asked = None;
        if !waits(&node.progress) {
            around.counters.asks_superseded += 1;
            return;
        }
        let header = node.header.as_ref().filter(|_| node.has_span);
        let context = match header {
            // What the application said wins; a parent that is not reported is passed over.
            Some(header)
                if header.context.parent.trace_id != answer.parent.trace_id || !answer.reported =>
            {
                around.counters.asks_disowned += 1;
                self.alone(key, around)
            }
            header => {
                around.counters.asks_linked += 1;
                around.counters.asks_wait_us += now_ns.saturating_sub(asked_ns) / 1000;
                let state = header.and_then(|header| header.context.state.clone());
                Context {
                    trace_id: answer.parent.trace_id,
                    parent: Some(answer.parent.parent_id),
                    flags: answer.parent.flags,
                    state: state.or(answer.state),
                    link: Link::WirePosition,
                    parent_flags: Some(answer.parent.flags),
                }
            }
        };
        self.unlist(key);
        self.know(key, context, around);
    }

    /// A peer asks who has sent what it has read.
    pub(super) fn question(&mut self, question: Question, now_ns: u64, around: &mut Around<'_>) {
        let Question { peer, ask, .. } = question;
        // Of another node's loopback nothing is known here.
        let local = ask.client.ip().is_loopback() || ask.server.ip().is_loopback();
        let position = Position::asked(&ask);
        let request = |key| self.nodes.get(key).and_then(|node| node.request);
        let fits = |key| match (request(key), ask.request) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        };
        let alike = |key| ask.request.is_some() && request(key) == ask.request;
        let found = self.positions.clients_at(&position, now_ns, fits, alike);
        match found.as_slice() {
            [client] if !local => self.answer(*client, peer, ask.id, around),
            _ if found.len() > 1 => {
                around.counters.questions_ambiguous += 1;
                let remote = &mut self.remote;
                remote.refuse(peer, ask.id, Reason::Ambiguous, around.counters);
            }
            _ => self.remote.look_later(question, now_ns, around.counters),
        }
    }

    /// Now, or when there is something to tell.
    fn answer(&mut self, client: NodeKey, peer: PeerId, id: u32, around: &mut Around<'_>) {
        let known = self
            .nodes
            .get(client)
            .is_some_and(|node| node.known().is_some());
        if known {
            self.tell(client, peer, id, around);
        } else {
            self.remote.answer_later(client, peer, id, around.counters);
        }
        // It has met its other end.
        self.unlist(client);
    }

    /// The client's context is known.
    pub(super) fn tell(&mut self, client: NodeKey, peer: PeerId, id: u32, around: &mut Around<'_>) {
        let known = self.nodes.get(client).and_then(|node| {
            let (node, context) = node.known()?;
            let reported = node.is_reported(around);
            let parent_id = if reported {
                Some(node.id)
            } else {
                context.parent
            };
            Some(Answer {
                id,
                parent: TraceParent {
                    trace_id: context.trace_id,
                    parent_id: parent_id?,
                    flags: context.flags,
                },
                reported,
                state: context.state.clone(),
            })
        });
        let Some(answer) = known else {
            around.counters.questions_unknown += 1;
            return self
                .remote
                .refuse(peer, id, Reason::Unknown, around.counters);
        };
        around.counters.questions_told += 1;
        self.remote
            .say(peer, Message::Answer(answer), around.counters);
    }

    /// The span has its context: who waits for it is told, and nobody need be asked any more.
    pub(super) fn known_to_peers(&mut self, key: NodeKey, around: &mut Around<'_>) {
        if let Some((peer, id)) = self.remote.take_asker(key, around.counters) {
            self.tell(key, peer, id, around);
        }
        let asked = self.nodes.get_mut(key).and_then(|node| node.asked.take());
        if let Some(id) = asked
            && self.remote.forget(id, around.counters).is_some()
        {
            around.counters.asks_superseded += 1;
        }
    }

    /// No answer has come in time.
    pub(super) fn give_up_peers(&mut self, key: NodeKey, around: &mut Around<'_>) {
        let asked = self.nodes.get_mut(key).and_then(|node| node.asked.take());
        if let Some(asked) = asked.and_then(|id| self.remote.forget(id, around.counters)) {
            around.counters.asks_unanswered += 1;
            self.remote.addresses.missed(asked.client, self.now_ns);
        }
        self.settle_alone(key, around);
    }

    /// Until when a span waits whose evidence may still come from another node.
    pub(super) fn patience(&self, key: NodeKey, around: &Around<'_>) -> Option<u64> {
        let span = self.nodes.get(key)?.span.as_ref()?;
        let mut next = key;
        for _ in 0..MAX_CHAIN {
            let node = self.nodes.get(next)?;
            next = match node.progress {
                Progress::AwaitsParent(parent) | Progress::AwaitsThread(parent) => parent,
                Progress::AwaitsWire | Progress::AwaitsPeer if node.asked.is_some() => {
                    return Some(
                        span.end_ns
                            .saturating_add(around.config.limits.peer_hold_ns),
                    );
                }
                _ => return None,
            };
        }
        None
    }

    /// How long a client's request stays listed after its end.
    pub(super) fn away_linger(&self, key: NodeKey) -> u64 {
        let position = self.nodes.get(key).and_then(|node| node.position);
        let server = position.and_then(|position| position.ask());
        let own = |ask: Ask| self.remote.addresses.is_own(&ask.server.ip());
        match server {
            Some(ask) if self.remote.has_peers() && !own(ask) => AWAY_LINGER_NS,
            _ => 0,
        }
    }

    /// What is compared with what another node has read.
    pub(super) fn list_for_peers(&mut self, key: NodeKey, kind: Kind, around: &Around<'_>) {
        if !around.config.links.nodes {
            return;
        }
        let Some(node) = self.nodes.get(key) else {
            return;
        };
        if let (Kind::Client, Some(position)) = (kind, node.position) {
            let start_ns = node.span.as_ref().map_or(0, |span| span.start_ns);
            self.positions.list_ends(key, position, start_ns);
        }
    }
}
