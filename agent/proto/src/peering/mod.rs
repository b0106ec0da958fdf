//! What agents of different nodes tell each other: whose request is it that stands at this place on the wire?
//!
//! ```text
//! the server's node                                          the client's node
//!     Hello      ◀──────────── both ways, once ────────────▶  Hello
//!     Addresses  ◀──────────── both ways ──────────────────▶  Addresses
//!     Ask        ── connection ends, sequence number ───────▶
//!                ◀────────────── trace, span, flags ────────  Answer
//!                ◀───────────────────────────────── or ─────  Refusal
//! ```
//! The node that has read a request asks, since it sees an address of the other's: the client sees the address of a service, which
//! may be anywhere. Frames are `length (16 bits, of what follows the kind), kind (8 bits), entries`; all numbers are big-endian. A
//! frame of an unknown kind is passed over, so that newer agents may send more. Nothing here is secret or authentic by itself:
//! that is the transport's affair.

mod decode;
mod encode;
#[cfg(any(test, feature = "fuzz"))]
mod fuzz;

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;

use bytes::Bytes;

use crate::trace_context::TraceParent;

pub use decode::{Decoder, Malformed};
pub use encode::encode;
#[cfg(any(test, feature = "fuzz"))]
pub use fuzz::fuzz_peering;

/// What this agent speaks: the lowest and the highest version.
pub const VERSIONS: (u8, u8) = (1, 1);
/// Longest body of a frame, bytes; a longer one is malformed.
pub const MAX_BODY: usize = 16 * 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    Hello(Hello),
    Addresses(Addresses),
    Ask(Ask),
    Answer(Answer),
    Refusal(Refusal),
}

/// The first message each way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Versions of this protocol that the sender speaks: the lowest and the highest.
    pub versions: (u8, u8),
    /// Drawn by each agent when it starts.
    pub agent: [u8; 16],
}

/// Addresses that lead to the sender's node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Those told before are not valid any more.
    pub anew: bool,
    pub list: Vec<IpAddr>,
}

/// Who sent the request that was read there?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Comes back in the answer.
    pub id: u32,
    pub request: Option<Fingerprint>,
    /// The connection's ends as the asking node sees them.
    pub client: SocketAddr,
    pub server: SocketAddr,
    pub place: Place,
}

/// Where in its connection a request begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// TCP sequence number of its first byte.
    Byte(u32),
    /// It stands somewhere in this ciphertext.
    Cipher(Ciphertext),
    /// A stream of HTTP/2 inside TLS, and the ciphertext where it is known.
    Stream(u32, Option<Ciphertext>),
}

/// Bytes of a TLS connection that were passed in one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ciphertext {
    /// TCP sequence number of the first one.
    pub seq: u32,
    /// Bytes; 0: not known.
    pub len: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub id: u32,
    /// The parent of what the asking node has read.
    pub parent: TraceParent,
    /// `false`: the client's request itself is not reported, the parent is what it was sent for.
    pub reported: bool,
    /// `tracestate`, at most [`crate::trace_context::MAX_TRACE_STATE`] bytes.
    pub state: Option<Bytes>,
}

/// There is no answer to this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub id: u32,
    pub reason: Reason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No such request was seen; also any reason of a newer agent.
    Unknown,
    /// More than one fits.
    Ambiguous,
    /// Too much was asked.
    Busy,
}

/// Of a request's method and target, which are the same on both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub NonZeroU32);

// === impl Fingerprint ===

impl Fingerprint {
    /// `None`: one of them is not known (empty).
    pub fn of(method: &[u8], target: &[u8]) -> Option<Self> {
        if method.is_empty() || target.is_empty() {
            return None;
        }
        // FNV-1a: the same on every machine.
        let bytes = method.iter().chain(&[0]).chain(target);
        let hash = bytes.fold(0x811c_9dc5_u32, |hash, &byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        Some(Self(NonZeroU32::new(hash).unwrap_or(NonZeroU32::MIN)))
    }
}

/// The kinds of frames.
mod kind {
    pub(super) const HELLO: u8 = 0;
    pub(super) const ADDRESSES: u8 = 1;
    pub(super) const ASKS: u8 = 2;
    pub(super) const ANSWERS: u8 = 3;
    pub(super) const REFUSALS: u8 = 4;
}

/// The first bytes of a greeting: who speaks something else is found out at once.
const MAGIC: [u8; 8] = *b"weftpeer";
/// Length and kind.
const HEAD: usize = 3;

/// Bits of an ask's first byte.
mod ask {
    pub(super) const CLIENT_V6: u8 = 1;
    pub(super) const SERVER_V6: u8 = 2;
    pub(super) const STREAM: u8 = 4;
    pub(super) const CIPHER: u8 = 8;
    pub(super) const BYTE: u8 = 16;
    pub(super) const ALL: u8 = 31;
}

/// Bits of an answer's second byte; the first are the trace flags.
mod answer {
    pub(super) const REPORTED: u8 = 1;
    pub(super) const STATE: u8 = 2;
    pub(super) const ALL: u8 = 3;
}

const ANEW: u8 = 1;
