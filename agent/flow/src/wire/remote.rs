//! Positions that agents of other nodes ask for.

use std::net::SocketAddr;

use smallvec::SmallVec;
use weft_proto::peering::{Ask, Ciphertext, Place};

use super::{Candidate, Position, Positions, TRANSLATED_WITHIN_NS, overlap};
use crate::span::Kind;
use crate::spans::NodeKey;

/// Requests that are listed by one end: where more go, address translation is not seen through.
const MAX_AT_END: usize = 128;

// === impl Positions ===

impl Positions {
    /// Another node may ask for it, and address translation may lie between.
    pub(crate) fn list_ends(&mut self, node: NodeKey, position: Position, time_ns: u64) {
        let Some((client, server)) = position.tls_ends() else {
            return;
        };
        for end in [client, server] {
            let listed = self.by_end.entry(end).or_default();
            if listed.len() < MAX_AT_END {
                listed.push(Candidate {
                    node,
                    kind: Kind::Client,
                    position,
                    time_ns,
                });
            }
        }
    }

    pub(super) fn unlist_ends(&mut self, node: NodeKey, position: &Position) {
        let Some((client, server)) = position.tls_ends() else {
            return;
        };
        for end in [client, server] {
            if let Some(listed) = self.by_end.get_mut(&end) {
                listed.retain(|candidate| candidate.node != node);
                if listed.is_empty() {
                    self.by_end.remove(&end);
                }
            }
        }
    }

    /// Client requests at the position that another node has seen: on the very same connection, else, of
    /// those that are `alike`, behind address translation. More than one: ambiguous.
    pub(crate) fn clients_at(
        &self,
        position: &Position,
        now_ns: u64,
        fits: impl Fn(NodeKey) -> bool,
        alike: impl Fn(NodeKey) -> bool,
    ) -> SmallVec<[NodeKey; 2]> {
        let candidates = self.by_key.get(&position.key());
        let clients = candidates
            .into_iter()
            .flatten()
            .filter(|candidate| candidate.kind == Kind::Client);
        let same = clients
            .clone()
            .filter(|candidate| candidate.position.is_same(position) && fits(candidate.node));
        let found: SmallVec<[NodeKey; 2]> = same.map(|candidate| candidate.node).collect();
        if !found.is_empty() {
            return found;
        }
        let recent = |time_ns: u64| now_ns.abs_diff(time_ns) <= TRANSLATED_WITHIN_NS;
        let Some((client, server)) = position.tls_ends() else {
            return clients
                .filter(|candidate| {
                    recent(candidate.time_ns)
                        && candidate.position.shares_an_end(position)
                        && alike(candidate.node)
                })
                .map(|candidate| candidate.node)
                .collect();
        };
        let mut found = SmallVec::new();
        for end in [client, server] {
            for candidate in self.by_end.get(&end).into_iter().flatten() {
                let node = candidate.node;
                let is_it = recent(candidate.time_ns)
                    && position.is_translation_of(&candidate.position)
                    && alike(node)
                    && !found.contains(&node);
                if is_it {
                    found.push(node);
                }
            }
        }
        found
    }
}

// === impl Position ===

impl Position {
    /// Where another node has read a request.
    pub(crate) fn asked(ask: &Ask) -> Self {
        let (client, server, netns) = (ask.client, ask.server, 0);
        match ask.place {
            Place::Byte(seq) => Self::Tcp {
                seq,
                client,
                server,
                netns,
            },
            Place::Cipher(Ciphertext { seq, len }) => Self::Tls {
                seq,
                len,
                client,
                server,
                netns,
            },
            Place::Stream(stream, cipher) => Self::Stream {
                stream,
                cipher,
                client,
                server,
                netns,
            },
        }
    }

    /// As a question for another node. `None`: it is of this one for certain.
    pub(crate) fn ask(&self) -> Option<Ask> {
        let (client, server, place) = match *self {
            Self::Tcp {
                seq,
                client,
                server,
                ..
            } => (client, server, Place::Byte(seq)),
            Self::Tls {
                seq,
                len,
                client,
                server,
                ..
            } => (client, server, Place::Cipher(Ciphertext { seq, len })),
            Self::Stream {
                stream,
                cipher,
                client,
                server,
                ..
            } => (client, server, Place::Stream(stream, cipher)),
            Self::Unix { .. } => return None,
        };
        Some(Ask {
            id: 0,
            request: None,
            client,
            server,
            place,
        })
    }

    fn tls_ends(&self) -> Option<(SocketAddr, SocketAddr)> {
        match *self {
            Self::Tls { client, server, .. } | Self::Stream { client, server, .. } => {
                Some((client, server))
            }
            Self::Tcp { .. } | Self::Unix { .. } => None,
        }
    }

    /// Of two positions in TLS: an end is the same, and they are in the same bytes. A stream's number alone
    /// says nothing: a client may use one port for two servers.
    fn is_translation_of(&self, other: &Self) -> bool {
        let (Some(ends), Some(other_ends)) = (self.tls_ends(), other.tls_ends()) else {
            return false;
        };
        if ends.0 != other_ends.0 && ends.1 != other_ends.1 {
            return false;
        }
        match (self, other) {
            (
                Self::Tls { seq, len, .. },
                Self::Tls {
                    seq: other_seq,
                    len: other_len,
                    ..
                },
            ) => overlap((*seq, *len), (*other_seq, *other_len)),
            (
                Self::Stream {
                    stream,
                    cipher: Some(cipher),
                    ..
                },
                Self::Stream {
                    stream: other_stream,
                    cipher: Some(other_cipher),
                    ..
                },
            ) => {
                let range = |cipher: &Ciphertext| (cipher.seq, cipher.len);
                stream == other_stream && overlap(range(cipher), range(other_cipher))
            }
            _ => false,
        }
    }
}
