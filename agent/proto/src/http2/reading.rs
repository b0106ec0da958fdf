//! Frames one behind the other: the state of a direction that is in step.

use super::block::Collector;
use super::frame::{END_HEADERS, END_STREAM, Frame, Kind};
use super::hpack::Decoder;
use super::{Conversation, Ends, FRAME_HEADER, Malformed, PREFACE, Sender, guess};
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

    /// A frame's header has come.
    fn begin<C: Conversation + ?Sized>(
        &mut self,
        header: [u8; FRAME_HEADER],
        conversation: &mut C,
    ) {
        let start = self.offset.saturating_sub(FRAME_HEADER as u64);
        let frame = Frame::parse(header);
        if let Err(why) = self.judge(&frame) {
            self.malformed(start, why, conversation);
            return;
        }
        if self.trust == Trust::Guessed {
            if !frame.is_usual(header[5] & 0x80 != 0) {
                self.refute(start, conversation);
                return;
            }
            self.points += frame.points();
        }
        if matches!(frame.kind, Kind::Headers | Kind::PushPromise) {
            let ends = frame.kind == Kind::Headers && frame.has(END_STREAM);
            self.block = Some(Block {
                stream: frame.stream,
                ends: Ends::of(ends),
                start,
                promise: frame.kind == Kind::PushPromise,
            });
        }
        self.phase = Phase::Prelude {
            frame,
            bytes: [0; MAX_PRELUDE],
            come: 0,
            seen: true,
        };
        self.settle(conversation);
    }

    fn judge(&mut self, frame: &Frame) -> Result<(), Malformed> {
        frame.judge(self.sender)?;
        if std::mem::take(&mut self.first) && frame.kind != Kind::Settings {
            return Err(Malformed::Preface);
        }
        match (&self.block, frame.kind) {
            (Some(block), Kind::Continuation) if block.stream == frame.stream => Ok(()),
            (Some(_), _) | (None, Kind::Continuation) => Err(Malformed::Continuation),
            (None, _) => Ok(()),
        }
    }

    /// Goes on to where the next byte belongs.
    fn settle<C: Conversation + ?Sized>(&mut self, conversation: &mut C) {
        loop {
            match self.phase {
                Phase::Preface { come } if come == PREFACE.len() => self.phase = Phase::HEADER,
                Phase::Prelude {
                    frame,
                    bytes,
                    come,
                    seen,
                } if come == frame.prelude() => {
                    let prelude = seen.then_some(bytes);
                    if let Err((at, why)) = self.open(&frame, prelude, conversation) {
                        self.malformed(at, why, conversation);
                    }
                }
                Phase::Data {
                    stream,
                    left: 0,
                    padding,
                    bytes,
                    ends,
                } => {
                    conversation.data(stream, bytes, ends, self.offset);
                    self.phase = Phase::Skip { left: padding };
                }
                Phase::Fields {
                    left: 0,
                    padding,
                    last,
                } => {
                    self.phase = Phase::Skip { left: padding };
                    if last {
                        self.end_block(conversation);
                    }
                }
                Phase::Skip { left: 0 } => self.phase = Phase::HEADER,
                _ => return,
            }
        }
    }

    /// What stands before the payload or field block has come; `prelude`: if it was seen.
    fn open<C: Conversation + ?Sized>(
        &mut self,
        frame: &Frame,
        prelude: Option<[u8; MAX_PRELUDE]>,
        conversation: &mut C,
    ) -> Result<(), (u64, Malformed)> {
        let of_prelude = frame.prelude();
        let start = self
            .offset
            .saturating_sub((FRAME_HEADER + usize::from(of_prelude)) as u64);
        let rest = frame.length - u32::from(of_prelude);
        let stream = frame.stream;
        let is_padded = frame.is_padded();
        let padding = match prelude {
            Some([padding, ..]) if is_padded => u32::from(padding),
            _ => 0,
        };
        let left = rest
            .checked_sub(padding)
            .ok_or((start, Malformed::Padding))?;
        let framed = !is_padded || prelude.is_some();
        let last = frame.has(END_HEADERS);
        self.phase = match (frame.kind, prelude) {
            (Kind::Data, _) => Phase::Data {
                stream,
                left,
                padding,
                bytes: framed.then_some(u64::from(left)),
                ends: Ends::of(frame.has(END_STREAM)),
            },
            (Kind::Headers | Kind::PushPromise | Kind::Continuation, _) => {
                if let (Kind::PushPromise, Some(prelude)) = (frame.kind, prelude) {
                    let promised = word(&prelude[usize::from(is_padded)..]) & 0x7fff_ffff;
                    if promised == 0 || promised % 2 == 1 {
                        return Err((start, Malformed::Stream));
                    }
                    conversation.promised(stream, promised, start);
                }
                if !framed {
                    // Where the block ends and the padding begins is not known.
                    self.decoder.cut(&mut self.fields);
                }
                Phase::Fields {
                    left,
                    padding,
                    last,
                }
            }
            (Kind::RstStream, prelude) => {
                conversation.reset(stream, prelude.map(|code| word(&code)), start);
                Phase::HEADER
            }
            (Kind::GoAway, Some(prelude)) => {
                let last_stream = word(&prelude) & 0x7fff_ffff;
                conversation.go_away(last_stream, word(&prelude[4..]), start);
                Phase::Skip { left }
            }
            _ => Phase::Skip { left },
        };
        Ok(())
    }

    fn end_block<C: Conversation + ?Sized>(&mut self, conversation: &mut C) {
        if self.decoder.end().is_err() {
            self.bad_block(conversation);
            return;
        }
        let Some(block) = self.block.take() else {
            return;
        };
        let odd = self.fields.odd;
        let fields = self.fields.finish();
        if self.trust == Trust::Guessed {
            match guess::sense(&fields, self.sender, block.ends) {
                Some(points) if !odd => self.points += points,
                _ => {
                    self.refute(block.start, conversation);
                    return;
                }
            }
        }
        if !block.promise {
            conversation.fields(block.stream, fields, block.ends, block.start, self.offset);
        }
    }

    fn bad_block<C: Conversation + ?Sized>(&mut self, conversation: &mut C) {
        let at = self.block.map_or(self.offset, |block| block.start);
        self.malformed(at, Malformed::Compression, conversation);
    }

    /// A gap hides a frame's header.
    fn lose<C: Conversation + ?Sized>(&mut self, conversation: &mut C) {
        let at = self.boundary().unwrap_or(self.offset);
        if let Some(block) = self.block.take()
            && !block.promise
        {
            self.decoder.cut(&mut self.fields);
            let fields = self.fields.finish();
            conversation.fields(block.stream, fields, block.ends, block.start, at);
        }
        self.leave();
        conversation.lost(at);
    }

    /// Nobody would send what was taken for a frame.
    fn refute<C: Conversation + ?Sized>(&mut self, at: u64, conversation: &mut C) {
        self.leave();
        conversation.lost(at);
    }

    fn malformed<C: Conversation + ?Sized>(
        &mut self,
        at: u64,
        why: Malformed,
        conversation: &mut C,
    ) {
        self.leave();
        conversation.malformed(at, why);
    }

    fn skip(&mut self, len: u64) {
        self.offset = self.offset.saturating_add(len);
    }
}

fn word(bytes: &[u8]) -> u32 {
    bytes
        .first_chunk()
        .map_or(0, |bytes| u32::from_be_bytes(*bytes))
}
