//! A head whose start line is known, and whose end is not.

use memchr::memchr;

use super::head::{Collector, Line};
use super::side::{Extent, Next, Seen, Side};
use super::start_line::trim_end;
use super::{Conversation, MAX_HEAD, Malformed};

#[derive(Debug)]
pub(super) struct Reading<S: Side> {
    start: u64,
    line: S::Line,
    fields: Collector,
    len: usize,
    gap: Gap,
    /// Offset behind the last line that is of the head for sure, or behind its last gap.
    reached: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gap {
    None,
    /// The bytes up to the next line end are the rest of a line that was not seen.
    MidLine,
    Passed,
}

/// What became of some input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// All of it was taken.
    Open,
    /// The head's last byte was the one before this index.
    End(usize, Extent),
    /// The head ended in a gap: this is of the body.
    EndedBefore,
    Malformed(Malformed),
}

impl<S: Side> Reading<S> {
    /// `len`: of the start line with its end, which lies at `reached`.
    pub(super) fn new(
        start: u64,
        line: S::Line,
        fields: Collector,
        len: usize,
        reached: u64,
    ) -> Self {
        Self {
            start,
            line,
            fields,
            len,
            gap: Gap::None,
            reached,
        }
    }

    /// Takes `bytes`, which stand at `offset`. `partial` holds the beginning of a line.
    pub(super) fn bytes(
        &mut self,
        bytes: &[u8],
        offset: u64,
        partial: &mut Vec<u8>,
        wanted: &[String],
    ) -> Progress {
        let mut taken = 0;
        while let Some(end) = memchr(b'\n', &bytes[taken..]) {
            let line = &bytes[taken..=taken + end];
            taken += line.len();
            self.len += line.len();
            if self.len > MAX_HEAD {
                return Progress::Malformed(Malformed::TooLong);
            }
            let reached = offset.saturating_add(taken as u64);
            if self.gap == Gap::MidLine {
                self.gap = Gap::Passed;
                self.reached = reached;
                continue;
            }
            let read = if partial.is_empty() {
                self.fields.line(trim_end(line), wanted)
            } else {
                partial.extend_from_slice(line);
                self.fields.line(trim_end(partial), wanted)
            };
            match (read, self.gap) {
                (Ok(Line::End), Gap::None) => return Progress::End(taken, Extent::Whole),
                (Ok(Line::End), _) => return Progress::End(taken, Extent::WithGap),
                (Ok(Line::Field), _) | (Ok(Line::Stray), Gap::None) => {}
                (Err(why), Gap::None) => return Progress::Malformed(why),
                (Ok(Line::Stray) | Err(_), _) => return Progress::EndedBefore,
            }
            self.reached = reached;
            partial.clear();
        }
        let rest = &bytes[taken..];
        self.len += rest.len();
        if self.len > MAX_HEAD {
            return Progress::Malformed(Malformed::TooLong);
        }
        if self.gap != Gap::MidLine {
            partial.extend_from_slice(rest);
        }
        Progress::Open
    }

    /// Passes over a gap, which ends at `reached`.
    pub(super) fn gap(&mut self, reached: u64) {
        self.gap = Gap::MidLine;
        self.reached = reached;
    }

    pub(super) fn has_gap(&self) -> bool {
        self.gap != Gap::None
    }

    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// See [`Reading::reached`].
    pub(super) fn reached(&self) -> u64 {
        self.reached
    }

    pub(super) fn allocated(&self) -> usize {
        self.fields.allocated()
    }

    pub(super) fn announce<C: Conversation + ?Sized>(
        self,
        end: u64,
        extent: Extent,
        conversation: &mut C,
    ) -> Next {
        let seen = Seen {
            start: self.start,
            end,
            extent,
        };
        S::announce(&self.line, self.fields.finish(), seen, conversation)
    }
}
