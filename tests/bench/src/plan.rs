//! How long everything takes.

use std::time::Duration;

pub(crate) struct Plan {
    /// Times that each turn of with and without is taken.
    pub(crate) rounds: usize,
    /// One run of wrk.
    pub(crate) saturation: Duration,
    /// One run of the ping-pong.
    pub(crate) pingpong: Duration,
    /// One run of either with the kernel's statistics switched on.
    pub(crate) statistics: Duration,
    pub(crate) steady_rounds: usize,
    /// One run at a fixed rate.
    pub(crate) steady: Duration,
    pub(crate) idle: Duration,
    pub(crate) short_processes: u32,
    /// Single requests whose way to the receiver is timed.
    pub(crate) probes: u32,
}

// === impl Plan ===

impl Plan {
    /// About eight minutes.
    pub(crate) fn full() -> Self {
        Self {
            rounds: 5,
            saturation: Duration::from_secs(4),
            pingpong: Duration::from_secs(1),
            statistics: Duration::from_secs(4),
            steady_rounds: 3,
            steady: Duration::from_secs(6),
            idle: Duration::from_secs(5),
            short_processes: 10_000,
            probes: 50,
        }
    }

    /// A minute and a half.
    pub(crate) fn quick() -> Self {
        Self {
            rounds: 1,
            saturation: Duration::from_secs(2),
            pingpong: Duration::from_millis(500),
            statistics: Duration::from_secs(1),
            steady_rounds: 1,
            steady: Duration::from_secs(3),
            idle: Duration::from_secs(2),
            short_processes: 1_000,
            probes: 20,
        }
    }
}
