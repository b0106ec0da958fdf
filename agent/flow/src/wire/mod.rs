//! Requests that wait for the other end's record, by their position on the wire.

mod remote;

use std::collections::VecDeque;
use std::net::SocketAddr;

use foldhash::HashMap;
use smallvec::SmallVec;
use weft_proto::peering::Ciphertext;

use crate::span::Kind;
use crate::spans::NodeKey;

#[derive(Default)]
pub(crate) struct Positions {
    by_key: HashMap<Key, SmallVec<[Candidate; 1]>>,
    /// Requests in TLS that other nodes may ask for, by the ends of their connection.
    by_end: HashMap<SocketAddr, SmallVec<[Candidate; 1]>>,
    len: usize,
    /// Client requests whose exchange has ended, by the time they are given up.
    expiring: VecDeque<(u64, NodeKey)>,
}

/// Where a request began.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Position {
    Tcp {
        seq: u32,
        client: SocketAddr,
        server: SocketAddr,
        netns: u32,
    },
    /// Of a request inside TLS, only the ciphertext is known that it stands in.
    Tls {
        seq: u32,
        /// 0: unknown.
        len: u32,
        client: SocketAddr,
        server: SocketAddr,
        netns: u32,
    },
    /// Of a stream of HTTP/2 inside TLS: its number is the same on both ends.
    Stream {
        stream: u32,
        /// Where it is known: what it stands in.
        cipher: Option<Ciphertext>,
        client: SocketAddr,
        server: SocketAddr,
        netns: u32,
    },
    Unix {
        /// The client's socket where it is known, else the server's.
        sk: u64,
        offset: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Tcp(u32),
    Tls(SocketAddr, SocketAddr),
    Stream(u32, SocketAddr, SocketAddr),
    Unix(u64, u64),
}

#[derive(Clone, Copy)]
struct Candidate {
    node: NodeKey,
    kind: Kind,
    position: Position,
    time_ns: u64,
}

/// What was found behind address translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Translated {
    None,
    One(NodeKey),
    Ambiguous,
}

/// Length of a TLS client's last flight without a certificate, at most.
const HANDSHAKE_END: u32 = 256;
/// Two ends of which only one address is the same must have been seen within this time.
const TRANSLATED_WITHIN_NS: u64 = 5_000_000_000;

// === impl Positions ===

impl Positions {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn list(&mut self, node: NodeKey, kind: Kind, position: Position, time_ns: u64) {
        self.len += 1;
        self.by_key
            .entry(position.key())
            .or_default()
            .push(Candidate {
                node,
                kind,
                position,
                time_ns,
            });
    }

    pub(crate) fn unlist(&mut self, node: NodeKey, position: &Position) {
        let key = position.key();
        if let Some(candidates) = self.by_key.get_mut(&key) {
            let before = candidates.len();
            candidates.retain(|candidate| candidate.node != node);
            self.len -= before - candidates.len();
            if candidates.is_empty() {
                self.by_key.remove(&key);
            }
        }
        if !self.by_end.is_empty() {
            self.unlist_ends(node, position);
        }
    }

    /// The other end of the same connection.
    pub(crate) fn other_end(&self, kind: Kind, position: &Position) -> Option<NodeKey> {
        let candidates = self.by_key.get(&position.key())?;
        let mut others = candidates
            .iter()
            .filter(|candidate| candidate.kind != kind && candidate.position.is_same(position));
        let one = others.next()?;
        // In TLS, more than one request may stand in the same ciphertext.
        others.next().is_none().then_some(one.node)
    }

    /// A client's request at the same sequence number that shares one end.
    pub(crate) fn translated(&self, position: &Position, time_ns: u64) -> Translated {
        let Some(candidates) = self.by_key.get(&position.key()) else {
            return Translated::None;
        };
        let mut found = candidates.iter().filter(|candidate| {
            candidate.kind == Kind::Client
                && candidate.time_ns.abs_diff(time_ns) <= TRANSLATED_WITHIN_NS
                && candidate.position.shares_an_end(position)
        });
        match (found.next(), found.next()) {
            (None, _) => Translated::None,
            (Some(one), None) => Translated::One(one.node),
            (Some(_), Some(_)) => Translated::Ambiguous,
        }
    }

    pub(crate) fn expire_at(&mut self, time_ns: u64, node: NodeKey) {
        self.expiring.push_back((time_ns, node));
    }

    pub(crate) fn expired(&mut self, now_ns: u64) -> Option<NodeKey> {
        let (time_ns, node) = *self.expiring.front()?;
        if time_ns > now_ns {
            return None;
        }
        self.expiring.pop_front();
        Some(node)
    }
}

// === impl Position ===

impl Position {
    fn key(&self) -> Key {
        match *self {
            Self::Tcp { seq, .. } => Key::Tcp(seq),
            Self::Tls { client, server, .. } => Key::Tls(client, server),
            Self::Stream {
                stream,
                client,
                server,
                ..
            } => Key::Stream(stream, client, server),
            Self::Unix { sk, offset } => Key::Unix(sk, offset),
        }
    }

    /// Of two positions with the same key.
    fn is_same(&self, other: &Self) -> bool {
        let (Some(ends), Some(other_ends)) = (self.ends(), other.ends()) else {
            return matches!((self, other), (Self::Unix { .. }, Self::Unix { .. }));
        };
        let (client, server, netns) = ends;
        // Every network namespace has a loopback of its own.
        let loopback = client.ip().is_loopback() || server.ip().is_loopback();
        if loopback && netns != other_ends.2 {
            return false;
        }
        match (self, other) {
            (Self::Tcp { .. }, Self::Tcp { .. }) => {
                (client, server) == (other_ends.0, other_ends.1)
            }
            // The key has the ends.
            (
                Self::Tls { seq, len, .. },
                Self::Tls {
                    seq: other_seq,
                    len: other_len,
                    ..
                },
            ) => overlap((*seq, *len), (*other_seq, *other_len)),
            (Self::Stream { .. }, Self::Stream { .. }) => true,
            _ => false,
        }
    }

    /// Client, server, and the network namespace they are of.
    fn ends(&self) -> Option<(SocketAddr, SocketAddr, u32)> {
        match *self {
            Self::Tcp {
                client,
                server,
                netns,
                ..
            }
            | Self::Tls {
                client,
                server,
                netns,
                ..
            }
            | Self::Stream {
                client,
                server,
                netns,
                ..
            } => Some((client, server, netns)),
            Self::Unix { .. } => None,
        }
    }

    fn shares_an_end(&self, other: &Self) -> bool {
        let (
            Self::Tcp {
                seq: _,
                client,
                server,
                netns,
            },
            Self::Tcp {
                seq: _,
                client: other_client,
                server: other_server,
                netns: other_netns,
            },
        ) = (self, other)
        else {
            return false;
        };
        let shared = |one: &SocketAddr, other: &SocketAddr| {
            one == other && (!one.ip().is_loopback() || netns == other_netns)
        };
        shared(client, other_client) || shared(server, other_server)
    }
}

/// Whether one of two ranges of ciphertext, from a sequence number on and so long, begins in the other.
fn overlap((seq, len): (u32, u32), (other_seq, other_len): (u32, u32)) -> bool {
    begins_in(seq, other_seq, other_len) || begins_in(other_seq, seq, len)
}

/// Whether `at` stands in the `len` bytes from `seq` on. Where the length is unknown, the end of a
/// handshake may have gone before the request's own bytes.
fn begins_in(at: u32, seq: u32, len: u32) -> bool {
    at.wrapping_sub(seq) < if len == 0 { HANDSHAKE_END } else { len }
}
