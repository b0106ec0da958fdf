//! What frames are, and what they come to: from a header that is whole to what stands behind it.

use super::{Block, MAX_PRELUDE, Phase, Reading, Trust};
use crate::http2::frame::{END_HEADERS, END_STREAM, Frame, Kind};
use crate::http2::{Conversation, Ends, FRAME_HEADER, Malformed, PREFACE, guess};

// === impl Reading ===

impl Reading {
    /// A frame's header has come.
    pub(super) fn begin<C: Conversation + ?Sized>(
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
    pub(super) fn settle<C: Conversation + ?Sized>(&mut self, conversation: &mut C) {
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

    pub(super) fn bad_block<C: Conversation + ?Sized>(&mut self, conversation: &mut C) {
        let at = self.block.map_or(self.offset, |block| block.start);
        self.malformed(at, Malformed::Compression, conversation);
    }

    /// A gap hides a frame's header.
    pub(super) fn lose<C: Conversation + ?Sized>(&mut self, conversation: &mut C) {
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

    pub(super) fn malformed<C: Conversation + ?Sized>(
        &mut self,
        at: u64,
        why: Malformed,
        conversation: &mut C,
    ) {
        self.leave();
        conversation.malformed(at, why);
    }
}

fn word(bytes: &[u8]) -> u32 {
    bytes
        .first_chunk()
        .map_or(0, |bytes| u32::from_be_bytes(*bytes))
}
