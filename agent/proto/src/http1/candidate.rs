//! A start line that is expected or tried.

use memchr::memchr;

use super::head::Collector;
use super::reading::Reading;
use super::side::Side;
use super::start_line::trim_end;
use super::{MAX_HEAD, Malformed};

#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    /// Offset of its first byte.
    pub(super) start: u64,
    pub(super) basis: Basis,
    /// Index in the buffer where the present call began.
    call: usize,
}

/// Why a start line is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Basis {
    /// The message before ended here.
    Framing,
    /// A call begins here, or a message that is not known well ended: to be dropped silently, and
    /// taken only with a registered method. The rest of a torn start line may look like a start
    /// line that nobody sent (`OST / HTTP/1.1`).
    Guess,
}

/// What became of a candidate.
pub(super) enum Trial<S: Side> {
    /// Its end has not come.
    Open,
    Head(Reading<S>),
    Not(Malformed),
}

enum Judgement<S: Side> {
    Open,
    /// An empty line, to be passed over (RFC 9112 §2.2).
    Blank,
    Line(S::Line, Collector),
    Not(Malformed),
}

/// How much of a line there is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    Beginning,
    Whole,
    TooLong,
}

impl Candidate {
    pub(super) fn new(start: u64, basis: Basis) -> Self {
        Self {
            start,
            basis,
            call: 0,
        }
    }

    /// Takes `bytes`, which stand at `offset`, up to the line's end; returns how many. `partial`
    /// holds what came of the line before.
    pub(super) fn bytes<S: Side>(
        &mut self,
        bytes: &[u8],
        offset: u64,
        at_call_start: bool,
        partial: &mut Vec<u8>,
    ) -> (usize, Trial<S>) {
        let end = memchr(b'\n', bytes).map(|at| at + 1);
        let taken = end.unwrap_or(bytes.len());
        let behind = offset.saturating_add(taken as u64);
        let mut known = partial.len();
        if at_call_start {
            self.call = known;
        }
        let room = MAX_HEAD - known;
        let extent = match end {
            _ if taken > room => Extent::TooLong,
            Some(_) => Extent::Whole,
            None => Extent::Beginning,
        };
        let buffered = known > 0 || extent != Extent::Whole;
        if buffered {
            partial.extend_from_slice(&bytes[..taken.min(room)]);
        }
        let trial = loop {
            let line = if buffered { &*partial } else { &bytes[..taken] };
            match self.judge::<S>(line, known, extent) {
                Judgement::Open => break Trial::Open,
                Judgement::Blank => {
                    partial.clear();
                    *self = Self::new(behind, self.basis);
                    break Trial::Open;
                }
                Judgement::Line(start_line, fields) => {
                    let head = Reading::new(self.start, start_line, fields, line.len(), behind);
                    partial.clear();
                    break Trial::Head(head);
                }
                Judgement::Not(_)
                    if self.basis == Basis::Guess && self.call > 0 && extent != Extent::TooLong =>
                {
                    // Not from there, perhaps from where the present call began.
                    partial.drain(..self.call);
                    *self = Self::new(self.start.saturating_add(self.call as u64), Basis::Guess);
                    known = 0;
                }
                Judgement::Not(why) => break Trial::Not(why),
            }
        };
        (taken, trial)
    }

    /// `known`: so many bytes of `line` have been judged before.
    fn judge<S: Side>(&self, line: &[u8], known: usize, extent: Extent) -> Judgement<S> {
        if self.basis == Basis::Guess && !S::is_usual(line) {
            return Judgement::Not(Malformed::StartLine);
        }
        if extent != Extent::Whole {
            return match S::may_begin(line, known) {
                false => Judgement::Not(Malformed::StartLine),
                true if extent == Extent::TooLong => Judgement::Not(Malformed::TooLong),
                true => Judgement::Open,
            };
        }
        let line = trim_end(line);
        if line.is_empty() {
            return Judgement::Blank;
        }
        let mut fields = Collector::new();
        match S::parse(line, &mut fields) {
            Some(line) => Judgement::Line(line, fields),
            None => Judgement::Not(Malformed::StartLine),
        }
    }
}
