//! Looks at all processes again, on a thread of their own.

use std::{
    sync::mpsc::{Receiver, TryRecvError, channel},
    thread,
    time::{Duration, Instant},
};

use crate::discover::{self, ProcessFacts};

/// At most one look at a time, for all losses before it.
#[derive(Default)]
pub(crate) struct Looks {
    /// Losses that a look has been begun for.
    lost: u64,
    begun: Option<Instant>,
    running: Option<Receiver<Vec<ProcessFacts>>>,
}

/// Between two looks, however much is lost.
const PAUSE: Duration = Duration::from_secs(3);

impl Looks {
    /// `lost`: how many records have been lost by now.
    pub(crate) fn begin(&mut self, lost: u64) {
        let soon = self.begun.is_some_and(|begun| begun.elapsed() < PAUSE);
        if lost == self.lost || soon || self.running.is_some() {
            return;
        }
        let (tell, running) = channel();
        let look = thread::Builder::new()
            .name("weft-look".to_owned())
            .spawn(move || {
                // Who asked may have gone.
                let _gone = tell.send(discover::scan());
            });
        match look {
            Ok(_) => {
                self.lost = lost;
                self.begun = Some(Instant::now());
                self.running = Some(running);
            }
            Err(error) => log::debug!("a thread to look at processes: {error}"),
        }
    }

    /// What a look has found.
    pub(crate) fn done(&mut self) -> Option<Vec<ProcessFacts>> {
        let found = match self.running.as_ref()?.try_recv() {
            Ok(found) => Some(found),
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => None,
        };
        self.running = None;
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_look_for_each_loss() {
        let mut looks = Looks::default();
        looks.begin(0);
        assert!(looks.running.is_none() && looks.done().is_none());
        looks.begin(3);
        looks.begin(4);
        let begun = Instant::now();
        let found = loop {
            if let Some(found) = looks.done() {
                break found;
            }
            assert!(begun.elapsed() < Duration::from_secs(20));
            thread::yield_now();
        };
        assert!(found.iter().any(|facts| facts.pid == std::process::id()));
        // The second loss is looked into later.
        assert!(looks.running.is_none() && looks.lost == 3);
    }
}
