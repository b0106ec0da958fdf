//! What the kernel programs are told, until someone takes it.

use std::collections::VecDeque;

use weft_abi::{Direction, Hint, Stage};

use crate::counters::Counters;

#[derive(Default)]
pub(crate) struct Hints(VecDeque<(u64, Hint)>);

const MAX_HINTS: usize = 65_536;

impl Hints {
    pub(crate) fn stage(&mut self, cookie: u64, stage: Stage, counters: &mut Counters) {
        let hint = Hint {
            stage: stage as u32,
            ..Hint::default()
        };
        self.push(cookie, hint, counters);
    }

    /// HTTP/2: where in each direction a frame begins, if that is known.
    pub(crate) fn frames(
        &mut self,
        cookie: u64,
        rx_frame_at: Option<u64>,
        tx_frame_at: Option<u64>,
        counters: &mut Counters,
    ) {
        let hint = Hint {
            stage: Stage::Frames as u32,
            rx_frame_at: rx_frame_at.unwrap_or(0),
            tx_frame_at: tx_frame_at.unwrap_or(0),
            ..Hint::default()
        };
        self.push(cookie, hint, counters);
    }

    pub(crate) fn skip(
        &mut self,
        cookie: u64,
        direction: Direction,
        skip_to: u64,
        counters: &mut Counters,
    ) {
        let mut hint = Hint::default();
        match direction {
            Direction::Rx => hint.rx_skip_to = skip_to,
            Direction::Tx => hint.tx_skip_to = skip_to,
        }
        self.push(cookie, hint, counters);
    }

    pub(crate) fn drain(&mut self, mut each: impl FnMut(u64, Hint)) {
        for (cookie, hint) in self.0.drain(..) {
            each(cookie, hint);
        }
    }

    /// The map holds one hint for each connection: one that was not taken yet is completed.
    fn push(&mut self, cookie: u64, hint: Hint, counters: &mut Counters) {
        if let Some((last, waiting)) = self.0.back_mut()
            && *last == cookie
        {
            if hint.stage != 0 {
                waiting.stage = hint.stage;
            }
            waiting.rx_skip_to = waiting.rx_skip_to.max(hint.rx_skip_to);
            waiting.tx_skip_to = waiting.tx_skip_to.max(hint.tx_skip_to);
            waiting.rx_frame_at = waiting.rx_frame_at.max(hint.rx_frame_at);
            waiting.tx_frame_at = waiting.tx_frame_at.max(hint.tx_frame_at);
            return;
        }
        if self.0.len() < MAX_HINTS {
            self.0.push_back((cookie, hint));
        } else {
            counters.hints_dropped += 1;
        }
    }
}
