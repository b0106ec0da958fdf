//! Progress of what may take long.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// Silence longer than this makes people reach for Ctrl-C.
const REMIND: Duration = Duration::from_secs(30);

/// Says what is done, from time to time that it is still done, and how long it took.
pub(crate) fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("==> {what}");
    let begun = Instant::now();
    let (done, waiting) = channel::<()>();
    let result = thread::scope(|scope| {
        scope.spawn(move || {
            while waiting.recv_timeout(REMIND) == Err(RecvTimeoutError::Timeout) {
                eprintln!("    {what}: {} so far", elapsed(begun.elapsed()));
            }
        });
        let result = work();
        drop(done);
        result
    });
    if result.is_ok() {
        eprintln!("    {what}: done in {}", elapsed(begun.elapsed()));
    }
    result.with_context(|| format!("{what} failed"))
}

/// `4.2 s`, `3 min 20 s`.
pub(crate) fn elapsed(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 60 {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elapsed_reads_naturally() {
        assert_eq!(elapsed(Duration::from_millis(4_240)), "4.2 s");
        assert_eq!(elapsed(Duration::from_secs(200)), "3 min 20 s");
    }
}
