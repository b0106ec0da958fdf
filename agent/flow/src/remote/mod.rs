//! Links to requests of other nodes: who is asked, who has asked, and what waits for it.
//!
//! ```text
//! read here, sent there:   server span ── ask ─▶ out      in ── answer ─▶ context
//! sent here, read there:   in ── ask ─▶ look ─▶ client span ── context known ─▶ answer ─▶ out
//! ```
//! A connection between agents is only a number here. Nothing waits for a peer longer than it
//! would for itself, but for [`Limits::peer_hold_ns`](crate::config::Limits::peer_hold_ns).

mod addresses;

use std::collections::VecDeque;

use foldhash::HashMap;
use smallvec::SmallVec;
use weft_proto::peering::{Addresses as Told, Ask, Message, Reason, Refusal};

use crate::counters::Counters;
use crate::spans::NodeKey;

pub(crate) use addresses::{Addresses, Route};

/// A connection to the agent of another node, for as long as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub u32);

#[derive(Clone, Debug)]
pub enum PeerEvent {
    /// Both have greeted.
    Up,
    /// Anything but a greeting.
    Says(Message),
    Down,
}

pub(crate) struct Remote {
    peers: Vec<PeerId>,
    pub(crate) addresses: Addresses,
    /// By the id that stands in the question.
    asked: HashMap<u32, Asked>,
    next: u32,
    /// Their clients are not seen yet: by the time of the next look, for each of [`LOOKS_NS`].
    looks: [VecDeque<Question>; LOOKS_NS.len()],
    /// Their client's context is not known yet.
    askers: HashMap<NodeKey, (PeerId, u32)>,
    out: VecDeque<(PeerId, Message)>,
}

/// A server request whose client is looked for.
pub(crate) struct Asked {
    pub(crate) node: NodeKey,
    /// Have not said anything yet.
    waits: SmallVec<[PeerId; 2]>,
    pub(crate) client: std::net::IpAddr,
    pub(crate) asked_ns: u64,
}

/// Asked by a peer.
#[derive(Clone, Copy)]
pub(crate) struct Question {
    due_ns: u64,
    pub(crate) peer: PeerId,
    pub(crate) ask: Ask,
    pub(crate) looked: usize,
}

/// A peer may ask before the record of what it asks for has been read here, and before the socket of
/// a TLS session is proved: so long after each look comes the next.
const LOOKS_NS: [u64; 3] = [20_000_000, 100_000_000, 400_000_000];
/// Questions that wait for their next look.
const MAX_QUESTIONS: usize = 16_384;
/// Messages between two drains.
const MAX_OUT: usize = 65_536;
const MAX_PEERS: usize = 4096;

// === impl Remote ===

impl Remote {
    pub(crate) fn new(first: u32) -> Self {
        Self {
            peers: Vec::new(),
            addresses: Addresses::default(),
            asked: HashMap::default(),
            next: first,
            looks: Default::default(),
            askers: HashMap::default(),
            out: VecDeque::new(),
        }
    }

    pub(crate) fn has_peers(&self) -> bool {
        !self.peers.is_empty()
    }

    pub(crate) fn peers(&self) -> SmallVec<[PeerId; 2]> {
        SmallVec::from_slice(&self.peers)
    }

    pub(crate) fn say(&mut self, peer: PeerId, message: Message, counters: &mut Counters) {
        if self.out.len() >= MAX_OUT {
            counters.peer_messages_dropped += 1;
            return;
        }
        self.out.push_back((peer, message));
    }

    pub(crate) fn drain(&mut self, each: impl FnMut((PeerId, Message))) {
        self.out.drain(..).for_each(each);
    }

    pub(crate) fn up(&mut self, peer: PeerId, counters: &mut Counters) {
        if self.peers.len() >= MAX_PEERS || self.peers.contains(&peer) {
            return;
        }
        self.peers.push(peer);
        self.tell_addresses(&[peer], counters);
    }

    /// Gives the questions that nobody is left to answer.
    pub(crate) fn down(&mut self, peer: PeerId, counters: &mut Counters) -> Vec<u32> {
        self.peers.retain(|other| *other != peer);
        self.addresses.unclaim(peer);
        let before = self.questions();
        for questions in &mut self.looks {
            questions.retain(|question| question.peer != peer);
        }
        self.askers.retain(|_, (asker, _)| *asker != peer);
        let gone = (before - self.questions()) as u64;
        counters.questions_open -= gone;
        counters.questions_gone += gone;
        let mut over = Vec::new();
        for (id, asked) in &mut self.asked {
            asked.waits.retain(|other| *other != peer);
            if asked.waits.is_empty() {
                over.push(*id);
            }
        }
        over
    }

    /// Questions that wait.
    fn questions(&self) -> usize {
        self.looks.iter().map(VecDeque::len).sum::<usize>() + self.askers.len()
    }

    fn tell_addresses(&mut self, peers: &[PeerId], counters: &mut Counters) {
        let list: Vec<_> = self.addresses.own().collect();
        for peer in peers {
            let told = Told {
                anew: true,
                list: list.clone(),
            };
            self.say(*peer, Message::Addresses(told), counters);
        }
    }

    /// A socket of this node has this address.
    pub(crate) fn here(&mut self, address: std::net::IpAddr, now_ns: u64, counters: &mut Counters) {
        if !self.addresses.here(address, now_ns) {
            return;
        }
        for peer in self.peers.clone() {
            let told = Told {
                anew: false,
                list: vec![address],
            };
            self.say(peer, Message::Addresses(told), counters);
        }
    }

    /// Puts the question to these peers; gives its id.
    pub(crate) fn ask(
        &mut self,
        node: NodeKey,
        mut ask: Ask,
        peers: &[PeerId],
        now_ns: u64,
        counters: &mut Counters,
    ) -> u32 {
        while self.asked.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        ask.id = self.next;
        self.next = self.next.wrapping_add(1);
        for peer in peers {
            self.say(*peer, Message::Ask(ask), counters);
        }
        let asked = Asked {
            node,
            waits: SmallVec::from_slice(peers),
            client: ask.client.ip(),
            asked_ns: now_ns,
        };
        self.asked.insert(ask.id, asked);
        counters.asks_sent += 1;
        counters.asks_open += 1;
        ask.id
    }

    /// The question, if this peer has been asked and has not said anything.
    pub(crate) fn asked_of(&self, peer: PeerId, id: u32) -> Option<&Asked> {
        let asked = self.asked.get(&id)?;
        asked.waits.contains(&peer).then_some(asked)
    }

    /// This peer does not know. True: nobody is left who might.
    pub(crate) fn refused(&mut self, peer: PeerId, id: u32) -> bool {
        let Some(asked) = self.asked.get_mut(&id) else {
            return false;
        };
        let before = asked.waits.len();
        asked.waits.retain(|other| *other != peer);
        asked.waits.is_empty() && before > 0
    }

    /// Nothing is waited for any more; to be counted by the caller.
    pub(crate) fn forget(&mut self, id: u32, counters: &mut Counters) -> Option<Asked> {
        let asked = self.asked.remove(&id)?;
        counters.asks_open -= 1;
        Some(asked)
    }

    /// What is asked for has not been seen: there will be another look, or a refusal.
    pub(crate) fn look_later(&mut self, question: Question, now_ns: u64, counters: &mut Counters) {
        let Some(wait_ns) = LOOKS_NS.get(question.looked) else {
            counters.questions_unknown += 1;
            return self.refuse(question.peer, question.ask.id, Reason::Unknown, counters);
        };
        if self.questions() >= MAX_QUESTIONS {
            counters.questions_busy += 1;
            return self.refuse(question.peer, question.ask.id, Reason::Busy, counters);
        }
        self.looks[question.looked].push_back(Question {
            due_ns: now_ns.saturating_add(*wait_ns),
            looked: question.looked + 1,
            ..question
        });
        counters.questions_open += 1;
    }

    /// The next that is to be looked at again.
    pub(crate) fn due(&mut self, now_ns: u64, counters: &mut Counters) -> Option<Question> {
        for questions in &mut self.looks {
            if questions
                .front()
                .is_some_and(|first| first.due_ns <= now_ns)
            {
                counters.questions_open -= 1;
                return questions.pop_front();
            }
        }
        None
    }

    pub(crate) fn refuse(
        &mut self,
        peer: PeerId,
        id: u32,
        reason: Reason,
        counters: &mut Counters,
    ) {
        self.say(peer, Message::Refusal(Refusal { id, reason }), counters);
    }

    /// To be answered when the client's context is known, if no other one waits for that.
    pub(crate) fn answer_later(
        &mut self,
        client: NodeKey,
        peer: PeerId,
        id: u32,
        counters: &mut Counters,
    ) {
        if self.askers.contains_key(&client) {
            counters.questions_ambiguous += 1;
            return self.refuse(peer, id, Reason::Ambiguous, counters);
        }
        if self.questions() >= MAX_QUESTIONS {
            counters.questions_busy += 1;
            return self.refuse(peer, id, Reason::Busy, counters);
        }
        self.askers.insert(client, (peer, id));
        counters.questions_open += 1;
    }

    pub(crate) fn take_asker(
        &mut self,
        client: NodeKey,
        counters: &mut Counters,
    ) -> Option<(PeerId, u32)> {
        if self.askers.is_empty() {
            return None;
        }
        let asker = self.askers.remove(&client)?;
        counters.questions_open -= 1;
        Some(asker)
    }

    pub(crate) fn tick(&mut self, now_ns: u64, counters: &mut Counters) {
        if self.has_peers() && self.addresses.forget_old(now_ns) {
            let peers = self.peers.clone();
            self.tell_addresses(&peers, counters);
        }
    }
}

// === impl Question ===

impl Question {
    pub(crate) fn new(peer: PeerId, ask: Ask) -> Self {
        Self {
            due_ns: 0,
            peer,
            ask,
            looked: 0,
        }
    }
}
