//! Who is connected now.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use tokio::sync::mpsc;
use weft_flow::{PeerEvent, PeerId};
use weft_proto::peering::Message;

use super::{Heard, bell::Bell};
use crate::telemetry::{Counter, Gauge, Registry};

/// An agent of its own, drawn when it started.
pub(super) type AgentId = [u8; 16];

pub(super) struct Roster {
    pub(super) own: AgentId,
    pub(super) figures: Figures,
    next: AtomicU32,
    seats: Mutex<HashMap<AgentId, Seat>>,
    outboxes: Mutex<HashMap<PeerId, mpsc::Sender<Message>>>,
    events: mpsc::Sender<Heard>,
    bell: Bell,
}

struct Seat {
    peer: PeerId,
    dialer: AgentId,
    session: u32,
}

/// What a session has while it stands.
pub(super) struct Admitted {
    /// The same for all sessions with an agent that follow one another.
    pub(super) peer: PeerId,
    pub(super) session: u32,
    pub(super) is_first: bool,
    /// Ends when another session has the seat.
    pub(super) outbox: mpsc::Receiver<Message>,
}

pub(super) struct Figures {
    connected: Gauge,
    pub(super) accepted: Counter,
    pub(super) dialed: Counter,
    /// TLS failed: a wrong secret, or no agent at all.
    pub(super) refused_tls: Counter,
    pub(super) refused_greeting: Counter,
    pub(super) refused_version: Counter,
    pub(super) refused_busy: Counter,
    /// Sessions that ended with nonsense.
    pub(super) malformed: Counter,
    pub(super) sent_bytes: Counter,
    pub(super) received_bytes: Counter,
    pub(super) dropped_pipeline: Counter,
    dropped_slow: Counter,
    dropped_gone: Counter,
}

/// Messages that wait for one peer: it is slow, and what comes too late for it is of no use.
const OUTBOX: usize = 8192;

// === impl Roster ===

impl Roster {
    pub(super) fn new(events: mpsc::Sender<Heard>, bell: Bell, registry: &Registry) -> Arc<Self> {
        Arc::new(Self {
            own: rand::random(),
            figures: Figures::register(registry),
            next: AtomicU32::new(1),
            seats: Mutex::default(),
            outboxes: Mutex::default(),
            events,
            bell,
        })
    }

    /// A session with this agent. One has the seat: of two that dial each other at the same time both sides keep
    /// what the agent with the lower id has dialed, of two in one direction the newer one. The other one has
    /// nothing to say any more, but the other end may have.
    pub(super) fn admit(&self, agent: AgentId, dialer: AgentId) -> Admitted {
        let mut seats = lock(&self.seats);
        let session = self.next.fetch_add(1, Ordering::Relaxed);
        let (inbox, outbox) = mpsc::channel(OUTBOX);
        let seat = seats.get(&agent);
        let peer = seat.map_or(PeerId(session), |seat| seat.peer);
        let is_first = seat.is_none();
        if seat.is_none_or(|seat| seat.dialer >= dialer) {
            lock(&self.outboxes).insert(peer, inbox);
            seats.insert(
                agent,
                Seat {
                    peer,
                    dialer,
                    session,
                },
            );
        }
        self.figures.connected.set(seats.len() as u64);
        Admitted {
            peer,
            session,
            is_first,
            outbox,
        }
    }

    /// The session is over. True: it had the seat, which is free now.
    pub(super) fn dismiss(&self, agent: &AgentId, session: u32) -> bool {
        let mut seats = lock(&self.seats);
        let had_seat = seats.get(agent).filter(|seat| seat.session == session);
        let Some(seat) = had_seat else {
            return false;
        };
        lock(&self.outboxes).remove(&seat.peer);
        seats.remove(agent);
        self.figures.connected.set(seats.len() as u64);
        true
    }

    pub(super) fn has(&self, agent: &AgentId) -> bool {
        lock(&self.seats).contains_key(agent)
    }

    /// Waits until the pipeline's thread has room.
    pub(super) async fn tell(&self, peer: PeerId, events: Vec<PeerEvent>) {
        if !events.is_empty() && self.events.send((peer, events)).await.is_ok() {
            self.bell.ring();
        }
    }

    pub(super) async fn share_out(&self, mut messages: mpsc::Receiver<Vec<(PeerId, Message)>>) {
        while let Some(batch) = messages.recv().await {
            let outboxes = lock(&self.outboxes);
            for (peer, message) in batch {
                match outboxes.get(&peer).map(|outbox| outbox.try_send(message)) {
                    Some(Ok(())) => {}
                    Some(Err(_)) => self.figures.dropped_slow.add(1),
                    None => self.figures.dropped_gone.add(1),
                }
            }
        }
    }
}

// === impl Figures ===

impl Figures {
    fn register(registry: &Registry) -> Self {
        let connections = |result| {
            let help = "Connections to and from agents of other nodes.";
            registry.counter("weft_peer_connections_total", help, &[("result", result)])
        };
        let bytes = |direction| {
            let help = "Bytes of TCP to and from agents of other nodes, TLS included.";
            registry.counter("weft_peer_bytes_total", help, &[("direction", direction)])
        };
        let dropped = |reason| {
            let help = "Messages to agents of other nodes that were not sent.";
            registry.counter(
                "weft_peer_messages_dropped_total",
                help,
                &[("reason", reason)],
            )
        };
        let help = "Agents of other nodes that are connected.";
        Self {
            connected: registry.gauge("weft_peers_connected", help, &[]),
            accepted: connections("accepted"),
            dialed: connections("dialed"),
            refused_tls: connections("tls"),
            refused_greeting: connections("greeting"),
            refused_version: connections("version"),
            refused_busy: connections("busy"),
            malformed: connections("malformed"),
            sent_bytes: bytes("sent"),
            received_bytes: bytes("received"),
            dropped_pipeline: dropped("not_drained"),
            dropped_slow: dropped("slow"),
            dropped_gone: dropped("gone"),
        }
    }
}

/// Nothing is left half done under it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
