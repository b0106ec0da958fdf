//! How a body ends (RFC 9112 §6), and what is said of it when it has.

use super::chunked::{Chunks, Step};
use super::{Body as Report, Interest};

/// A body that is being counted through.
#[derive(Clone, Copy, Debug)]
pub struct Body {
    pub(super) framing: Framing,
    pub(super) doubt: Doubt,
    /// Payload bytes so far.
    pub(super) payload: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    None,
    Length {
        left: u64,
    },
    Chunked(Chunks),
    /// Up to the end of the stream.
    Close,
    /// A gap took what would tell. The next head, the last chunk at the end of a call or the end
    /// of the stream shows that the message is over.
    Lost {
        announced: Option<u64>,
    },
}

/// When to look whether there is a head instead of what the framing promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    Never,
    /// Perhaps there is no body: the response may answer a HEAD, the request awaits a `100`.
    FirstByte,
    /// Fields that bear on the framing may be among those not seen.
    EachCall,
}

impl Body {
    pub(super) fn new(framing: Framing, doubt: Doubt) -> Self {
        let doubt = match framing {
            Framing::Lost { .. } => Doubt::EachCall,
            _ => doubt,
        };
        Self {
            framing,
            doubt,
            payload: 0,
        }
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Step {
        let len = bytes.len() as u64;
        self.settle();
        match &mut self.framing {
            Framing::None => Step::End(0),
            Framing::Length { left } => {
                let run = len.min(*left);
                *left -= run;
                self.payload += run;
                if *left == 0 {
                    Step::End(run as usize)
                } else {
                    Step::More
                }
            }
            Framing::Chunked(chunks) => match chunks.bytes(bytes, &mut self.payload) {
                Step::Malformed(_) if self.doubt == Doubt::EachCall => {
                    self.lose();
                    Step::More
                }
                step => step,
            },
            Framing::Close => {
                self.payload = self.payload.saturating_add(len);
                Step::More
            }
            Framing::Lost { .. } => Step::More,
        }
    }

    /// Counts through a gap; returns how much of it the body took, less than all if it ended.
    pub(super) fn gap(&mut self, len: u64) -> u64 {
        self.settle();
        match &mut self.framing {
            Framing::None => 0,
            Framing::Length { left } => {
                let run = len.min(*left);
                *left -= run;
                self.payload += run;
                run
            }
            Framing::Chunked(chunks) => {
                if chunks.gap(len, &mut self.payload).is_err() {
                    self.lose();
                }
                len
            }
            Framing::Close => {
                self.payload = self.payload.saturating_add(len);
                len
            }
            Framing::Lost { .. } => len,
        }
    }

    /// Before the next byte it is to be asked whether that begins a head.
    pub(super) fn is_doubtful(&self, at_call_start: bool) -> bool {
        match self.doubt {
            Doubt::Never => false,
            Doubt::FirstByte => true,
            Doubt::EachCall => at_call_start,
        }
    }

    /// `offset`: of the next byte.
    pub(super) fn wants(&self, offset: u64) -> Interest {
        match (self.framing, self.doubt) {
            (_, Doubt::FirstByte) => Interest::Now,
            (Framing::Lost { .. } | Framing::Close, _) | (_, Doubt::EachCall) => Interest::Tail,
            (Framing::Length { left }, _) => Interest::From(offset.saturating_add(left)),
            (Framing::Chunked(chunks), _) => match chunks.known_ahead() {
                0 => Interest::Now,
                ahead => Interest::From(offset.saturating_add(ahead)),
            },
            (Framing::None, _) => Interest::Now,
        }
    }

    /// Nothing of it is left.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.framing, Framing::None | Framing::Length { left: 0 })
    }

    /// Its end, once found, is that of the message.
    pub(super) fn is_certain(&self) -> bool {
        self.doubt != Doubt::EachCall
    }

    /// The last chunk at the end of a call ends it.
    pub(super) fn ends_by_tail(&self) -> bool {
        matches!(self.framing, Framing::Lost { announced: None })
    }

    /// It ended where the framing said.
    pub(super) fn complete(&self) -> Report {
        Report {
            bytes: Some(self.payload),
            inferred: !self.is_certain(),
            truncated: false,
        }
    }

    /// It ended by other evidence.
    pub(super) fn inferred(&self) -> Report {
        let bytes = match self.framing {
            Framing::Lost { announced } => announced,
            _ => Some(self.payload),
        };
        Report {
            bytes,
            inferred: true,
            truncated: false,
        }
    }

    /// The stream ended.
    pub(super) fn at_end_of_stream(&self) -> Report {
        match (self.framing, self.doubt) {
            (Framing::Close, _) => Report {
                inferred: false,
                ..self.complete()
            },
            (Framing::Lost { .. }, _) | (_, Doubt::FirstByte) => self.inferred(),
            _ => Report {
                truncated: true,
                ..self.complete()
            },
        }
    }

    fn settle(&mut self) {
        if self.doubt == Doubt::FirstByte {
            self.doubt = Doubt::Never;
        }
    }

    fn lose(&mut self) {
        *self = Self::new(Framing::Lost { announced: None }, Doubt::EachCall);
    }
}
