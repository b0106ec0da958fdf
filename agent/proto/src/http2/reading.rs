//! Frames one behind the other: the state of a direction that is in step.

mod frames;

use super::block::Collector;
use super::frame::Frame;
use super::hpack::Decoder;
use super::{Conversation, Ends, FRAME_HEADER, Malformed, PREFACE, Sender};
use crate::Piece;
use crate::http1::Wanted;

/// Reads frames, and where one begins that is not known says so and waits to be told.
#[derive(Debug)]
pub(super) struct Reading {
    sender: Sender,
    wanted: Wanted,
    /// Stream offset behind the bytes taken so far.
    pub(super) offset: u64,
    pub(super) phase: Phase,
    decoder: Decoder,
    fields: Collector,
    /// The field block that has begun.
    block: Option<Block>,
    /// The next frame is the connection's first.
    first: bool,
    pub(super) trust: Trust,
    /// Of frames that were only guessed: how hard it is to meet them by chance.
    pub(super) points: u32,
}

/// ```text
///  Preface ──▶ Header ──▶ Prelude ──▶ Data | Fields | Skip ──▶ Header
///                 └─ gap, malformed ─▶ Out
/// ```
#[derive(Clone, Copy, Debug)]
pub(super) enum Phase {
    /// So many bytes of [`PREFACE`] have come.
    Preface {
        come: usize,
    },
    /// Among the bytes of a frame's header.
    Header {
        header: [u8; FRAME_HEADER],
        come: usize,
    },
    /// Among bytes that say how to read the rest of `frame`.
    Prelude {
        frame: Frame,
        bytes: [u8; MAX_PRELUDE],
        come: u8,
        /// All that came before were seen.
        seen: bool,
    },
    Data {
        stream: u32,
        /// Bytes of payload, and of padding, that are still to come.
        left: u32,
        padding: u32,
        /// Of payload, when known.
        bytes: Option<u64>,
        ends: Ends,
    },
    /// Among bytes of a field block.
    Fields {
        left: u32,
        padding: u32,
        last: bool,
    },
    Skip {
        left: u32,
    },
    /// Where a frame begins is not known.
    Out,
}

/// Whether what is read is known to be frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    Known,
    Guessed,
}

#[derive(Clone, Copy, Debug)]
struct Block {
    stream: u32,
    ends: Ends,
    start: u64,
    /// The block belongs to a request that the server makes up.
    promise: bool,
}

const MAX_PRELUDE: usize = 8;

impl Phase {
    pub(super) const HEADER: Self = Self::Header {
        header: [0; FRAME_HEADER],
        come: 0,
    };
}

// === impl Reading ===

impl Reading {
    pub(super) fn new(sender: Sender, wanted: Wanted, offset: u64, phase: Phase) -> Self {
        Self {
            sender,
            wanted,
            offset,
            phase,
            decoder: Decoder::new(),
            fields: Collector::default(),
            block: None,
            first: false,
            trust: Trust::Known,
            points: 0,
        }
    }

    /// The next frame has to be that which begins a connection.
    pub(super) fn expect_first(&mut self) {
        self.first = true;
    }

    /// Of the same direction, from here on, if a frame begins here.
    pub(super) fn anew(&self) -> Self {
        let mut anew = Self::new(self.sender, self.wanted.clone(), self.offset, Phase::HEADER);
        anew.decoder.forget();
        anew.trust = Trust::Guessed;
        anew
    }

    /// Where a frame begins is not known any more, and fields may pass unseen.
    pub(super) fn leave(&mut self) {
        self.phase = Phase::Out;
        self.decoder.forget();
        self.fields.clear();
        self.block = None;
        self.first = false;
    }

    /// Where the next frame begins, from what is known of the present one.
    pub(super) fn boundary(&self) -> Option<u64> {
        let ahead = match self.phase {
            Phase::Preface { come } => PREFACE.len() - come,
            Phase::Header { come, .. } => return Some(self.offset.saturating_sub(come as u64)),
            Phase::Prelude { frame, come, .. } => frame.length as usize - usize::from(come),
            Phase::Data { left, padding, .. } | Phase::Fields { left, padding, .. } => {
                left as usize + padding as usize
            }
            Phase::Skip { left } => left as usize,
            Phase::Out => return None,
        };
        Some(self.offset.saturating_add(ahead as u64))
    }

    pub(super) fn is_between_frames(&self) -> bool {
        matches!(self.phase, Phase::Header { come: 0, .. })
    }

    /// The bytes up to [`boundary`](Self::boundary) are of no use but as payload.
    pub(super) fn passes_over(&self) -> bool {
        match self.phase {
            Phase::Data { .. } | Phase::Skip { .. } => true,
            Phase::Fields { .. } => self.decoder.is_cut(),
            Phase::Preface { .. } | Phase::Header { .. } | Phase::Prelude { .. } | Phase::Out => {
                false
            }
        }
    }

    /// Bytes of memory beside the value itself.
    pub(super) fn allocated(&self) -> usize {
        self.decoder.allocated() + self.fields.allocated()
    }

    /// Takes some of `bytes`, at least one; returns how many.
    pub(super) fn step<C: Conversation + ?Sized>(
        &mut self,
        bytes: &[u8],
        conversation: &mut C,
    ) -> usize {
        match &mut self.phase {
            Phase::Preface { come } => {
                let taken = bytes.len().min(PREFACE.len() - *come);
                let same = bytes[..taken] == PREFACE[*come..][..taken];
                let at = self.offset.saturating_sub(*come as u64);
                *come += taken;
                self.skip(taken as u64);
                if same {
                    self.settle(conversation);
                } else {
                    self.malformed(at, Malformed::Preface, conversation);
                }
                taken
            }
            Phase::Header { header, come } => {
                let taken = bytes.len().min(FRAME_HEADER - *come);
                header[*come..][..taken].copy_from_slice(&bytes[..taken]);
                *come += taken;
                let whole = (*come == FRAME_HEADER).then_some(*header);
                self.skip(taken as u64);
                if let Some(header) = whole {
                    self.begin(header, conversation);
                }
                taken
            }
            Phase::Prelude {
                frame,
                bytes: prelude,
                come,
                ..
            } => {
                let taken = bytes.len().min(usize::from(frame.prelude() - *come));
                prelude[usize::from(*come)..][..taken].copy_from_slice(&bytes[..taken]);
                *come += taken as u8;
                self.skip(taken as u64);
                self.settle(conversation);
                taken
            }
            Phase::Data { left, stream, .. } => {
                let taken = bytes.len().min(*left as usize);
                *left -= taken as u32;
                conversation.payload(*stream, Piece::Bytes(&bytes[..taken]));
                self.skip(taken as u64);
                self.settle(conversation);
                taken
            }
            Phase::Fields { left, .. } => {
                let taken = bytes.len().min(*left as usize);
                *left -= taken as u32;
                self.skip(taken as u64);
                let wanted = &self.wanted.0;
                match self
                    .decoder
                    .bytes(&bytes[..taken], wanted, &mut self.fields)
                {
                    Ok(()) => self.settle(conversation),
                    Err(_) => self.bad_block(conversation),
                }
                taken
            }
            Phase::Skip { left } => {
                let taken = bytes.len().min(*left as usize);
                *left -= taken as u32;
                self.skip(taken as u64);
                self.settle(conversation);
                taken
            }
            Phase::Out => {
                self.skip(bytes.len() as u64);
                bytes.len()
            }
        }
    }

    /// Takes a gap.
    pub(super) fn gap<C: Conversation + ?Sized>(&mut self, mut len: u64, conversation: &mut C) {
        while len > 0 {
            let taken = match &mut self.phase {
                Phase::Preface { come } => {
                    let taken = len.min((PREFACE.len() - *come) as u64);
                    *come += taken as usize;
                    taken
                }
                Phase::Header { .. } => {
                    self.lose(conversation);
                    len
                }
                Phase::Prelude {
                    frame, come, seen, ..
                } => {
                    let taken = len.min(u64::from(frame.prelude() - *come));
                    *come += taken as u8;
                    *seen = false;
                    taken
                }
                Phase::Data { left, stream, .. } => {
                    let taken = len.min(u64::from(*left));
                    *left -= taken as u32;
                    conversation.payload(*stream, Piece::Gap(taken));
                    taken
                }
                Phase::Fields { left, .. } => {
                    let taken = len.min(u64::from(*left));
                    *left -= taken as u32;
                    self.decoder.gap(taken, &self.wanted.0, &mut self.fields);
                    taken
                }
                Phase::Skip { left } => {
                    let taken = len.min(u64::from(*left));
                    *left -= taken as u32;
                    taken
                }
                Phase::Out => len,
            };
            self.skip(taken);
            len -= taken;
            self.settle(conversation);
        }
    }

    fn skip(&mut self, len: u64) {
        self.offset = self.offset.saturating_add(len);
    }
}
