//! Bytes to messages. They come from another machine: every length is checked before it is used.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;

use bytes::Bytes;

use super::{
    ANEW, Addresses, Answer, Ask, Ciphertext, Fingerprint, HEAD, Hello, MAGIC, MAX_BODY, Message,
    Place, Reason, Refusal, answer, ask, kind,
};
use crate::trace_context::{MAX_TRACE_STATE, SpanId, TraceId, TraceParent, trace_state};

/// Fault of the peer's: nothing more of what it sends can be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("peer: a frame of {0} bytes, where {MAX_BODY} are the most")]
    Long(usize),
    #[error("peer: not an agent's greeting")]
    Greeting,
    #[error("peer: a frame of kind {0} ends inside an entry")]
    Short(u8),
    #[error("peer: a frame of kind {0} has an entry that means nothing")]
    Entry(u8),
}

/// Cuts the bytes of one direction into frames. Holds at most one frame that has not come whole, so
/// that a peer cannot make it grow.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Of the frame that is coming; at most `HEAD + MAX_BODY` bytes.
    held: Vec<u8>,
}

impl Decoder {
    /// Hands over the messages of all frames that are whole now.
    ///
    /// # Errors
    /// The connection has to be given up; messages before the fault have been handed over.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(Message),
    ) -> Result<(), Malformed> {
        while !bytes.is_empty() {
            let wanted = match self.held.len() {
                have @ 0..HEAD => HEAD - have,
                have => HEAD + body_len(&self.held)? - have,
            };
            let (now, later) = bytes.split_at(wanted.min(bytes.len()));
            self.held.extend_from_slice(now);
            bytes = later;
            if self.held.len() >= HEAD && self.held.len() == HEAD + body_len(&self.held)? {
                let result = frame(self.held[2], &self.held[HEAD..], &mut each);
                self.held.clear();
                result?;
            }
        }
        Ok(())
    }

    /// Bytes that are held, and for which there is room.
    pub fn held(&self) -> (usize, usize) {
        (self.held.len(), self.held.capacity())
    }
}

fn body_len(head: &[u8]) -> Result<usize, Malformed> {
    let len = usize::from(u16::from_be_bytes([head[0], head[1]]));
    if len > MAX_BODY {
        return Err(Malformed::Long(len));
    }
    Ok(len)
}

fn frame(kind: u8, body: &[u8], each: &mut impl FnMut(Message)) -> Result<(), Malformed> {
    let mut reader = Reader { rest: body, kind };
    match kind {
        kind::HELLO => each(Message::Hello(hello(&mut reader)?)),
        kind::ADDRESSES => each(Message::Addresses(addresses(&mut reader)?)),
        kind::ASKS => {
            while !reader.rest.is_empty() {
                each(Message::Ask(ask(&mut reader)?));
            }
        }
        kind::ANSWERS => {
            while !reader.rest.is_empty() {
                each(Message::Answer(answer(&mut reader)?));
            }
        }
        kind::REFUSALS => {
            while !reader.rest.is_empty() {
                each(Message::Refusal(refusal(&mut reader)?));
            }
        }
        _ => {}
    }
    Ok(())
}

fn hello(reader: &mut Reader<'_>) -> Result<Hello, Malformed> {
    let greeting = |_| Malformed::Greeting;
    if reader.take::<8>().map_err(greeting)? != MAGIC {
        return Err(Malformed::Greeting);
    }
    let [lowest, highest] = reader.take().map_err(greeting)?;
    let agent = reader.take().map_err(greeting)?;
    // What a newer agent says behind that is not for us.
    Ok(Hello {
        versions: (lowest, highest),
        agent,
    })
}

fn addresses(reader: &mut Reader<'_>) -> Result<Addresses, Malformed> {
    let [bits] = reader.take()?;
    let mut list = Vec::new();
    while !reader.rest.is_empty() {
        let [family] = reader.take()?;
        list.push(match family {
            4 => reader.ip(false)?,
            6 => reader.ip(true)?,
            _ => return Err(reader.senseless()),
        });
    }
    Ok(Addresses {
        anew: bits & ANEW != 0,
        list,
    })
}

fn ask(reader: &mut Reader<'_>) -> Result<Ask, Malformed> {
    let [bits] = reader.take()?;
    if bits & !ask::ALL != 0 {
        return Err(reader.senseless());
    }
    let id = reader.number()?;
    let request = NonZeroU32::new(reader.number()?).map(Fingerprint);
    let client = reader.end(bits & ask::CLIENT_V6 != 0)?;
    let server = reader.end(bits & ask::SERVER_V6 != 0)?;
    let place = match bits & (ask::BYTE | ask::CIPHER | ask::STREAM) {
        ask::BYTE => Place::Byte(reader.number()?),
        ask::CIPHER => Place::Cipher(reader.cipher()?),
        ask::STREAM => Place::Stream(reader.number()?, None),
        both if both == ask::STREAM | ask::CIPHER => {
            Place::Stream(reader.number()?, Some(reader.cipher()?))
        }
        _ => return Err(reader.senseless()),
    };
    Ok(Ask {
        id,
        request,
        client,
        server,
        place,
    })
}

fn answer(reader: &mut Reader<'_>) -> Result<Answer, Malformed> {
    let [flags, bits] = reader.take()?;
    let id = reader.number()?;
    let trace_id = TraceId(reader.take()?);
    let parent_id = SpanId(reader.take()?);
    if bits & !answer::ALL != 0 || trace_id.0 == [0; 16] || parent_id.0 == [0; 8] {
        return Err(reader.senseless());
    }
    let state = if bits & answer::STATE == 0 {
        None
    } else {
        let len = usize::from(u16::from_be_bytes(reader.take()?));
        if len > MAX_TRACE_STATE {
            return Err(reader.senseless());
        }
        // What is no `tracestate` is not passed on.
        trace_state(&Bytes::copy_from_slice(reader.bytes(len)?))
    };
    Ok(Answer {
        id,
        parent: TraceParent {
            trace_id,
            parent_id,
            flags,
        },
        reported: bits & answer::REPORTED != 0,
        state,
    })
}

fn refusal(reader: &mut Reader<'_>) -> Result<Refusal, Malformed> {
    let id = reader.number()?;
    let [reason] = reader.take()?;
    Ok(Refusal {
        id,
        reason: match reason {
            1 => Reason::Ambiguous,
            2 => Reason::Busy,
            _ => Reason::Unknown,
        },
    })
}

/// The rest of a frame's body.
struct Reader<'a> {
    rest: &'a [u8],
    kind: u8,
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let short = Malformed::Short(self.kind);
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(short)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let short = Malformed::Short(self.kind);
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(short)?;
        self.rest = rest;
        Ok(*bytes)
    }

    fn number(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.take()?))
    }

    fn cipher(&mut self) -> Result<Ciphertext, Malformed> {
        Ok(Ciphertext {
            seq: self.number()?,
            len: self.number()?,
        })
    }

    fn ip(&mut self, v6: bool) -> Result<IpAddr, Malformed> {
        Ok(if v6 {
            // As records of sockets name it.
            Ipv6Addr::from(self.take::<16>()?).to_canonical()
        } else {
            Ipv4Addr::from(self.take::<4>()?).into()
        })
    }

    fn end(&mut self, v6: bool) -> Result<SocketAddr, Malformed> {
        let ip = self.ip(v6)?;
        Ok(SocketAddr::new(ip, u16::from_be_bytes(self.take()?)))
    }

    fn senseless(&self) -> Malformed {
        Malformed::Entry(self.kind)
    }
}
