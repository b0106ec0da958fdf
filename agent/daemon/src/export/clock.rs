//! `CLOCK_MONOTONIC`, in which the kernel stamps records, to Unix time, in which spans leave.
//!
//! The two clocks run at the same rate (NTP slews both); their difference changes only when
//! somebody sets the time, at a leap second, or over a suspend. So the difference is measured
//! once, looked at again about once a second, and a change beyond measuring noise opens a new
//! epoch. A span is mapped as a whole by the epoch in which it *began*: a step of the clock never
//! bends a duration, and spans that were in flight over the step keep their old time base.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Below this a changed difference is measuring noise.
const NOISE_NS: i64 = 1_000_000;
const REMEASURE_NS: u64 = 1_000_000_000;
/// Epochs remembered: spans in flight longer than so many clock steps get the oldest one.
const EPOCHS: usize = 8;

#[derive(Debug)]
pub(crate) struct Clock {
    /// Never empty, oldest first.
    epochs: Vec<Epoch>,
    measured_ns: u64,
}

#[derive(Clone, Copy, Debug)]
struct Epoch {
    /// `CLOCK_MONOTONIC` at which the epoch was noticed.
    since_ns: u64,
    /// Unix time less `CLOCK_MONOTONIC`.
    offset_ns: i64,
}

/// One reading of both clocks.
#[derive(Clone, Copy, Debug)]
struct Reading {
    monotonic_ns: u64,
    offset_ns: i64,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self::at(read())
    }

    fn at(reading: Reading) -> Self {
        let epoch = Epoch {
            since_ns: 0,
            offset_ns: reading.offset_ns,
        };
        Self {
            epochs: vec![epoch],
            measured_ns: reading.monotonic_ns,
        }
    }

    /// Looks for a step of the clock when the last look was a while ago.
    pub(crate) fn refresh(&mut self) {
        if monotonic_ns() >= self.measured_ns.saturating_add(REMEASURE_NS) {
            self.observe(read());
        }
    }

    fn observe(&mut self, reading: Reading) {
        self.measured_ns = reading.monotonic_ns;
        let last = self.epochs.last().map_or(0, |epoch| epoch.offset_ns);
        if (reading.offset_ns - last).abs() < NOISE_NS {
            return;
        }
        if self.epochs.len() == EPOCHS {
            self.epochs.remove(0);
        }
        self.epochs.push(Epoch {
            since_ns: reading.monotonic_ns,
            offset_ns: reading.offset_ns,
        });
    }

    /// Unix nanoseconds of a span's two ends.
    pub(crate) fn unix_ns(&self, start_ns: u64, end_ns: u64) -> (u64, u64) {
        let epoch = self
            .epochs
            .iter()
            .rev()
            .find(|epoch| epoch.since_ns <= start_ns);
        let offset = epoch
            .or(self.epochs.first())
            .map_or(0, |epoch| epoch.offset_ns);
        (
            start_ns.saturating_add_signed(offset),
            end_ns.max(start_ns).saturating_add_signed(offset),
        )
    }
}

pub(crate) fn monotonic_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::Monotonic)).unsigned_abs()
}

/// The tightest of a few readings: the thread may be interrupted between the clocks.
fn read() -> Reading {
    let attempt = || {
        let before = nanoseconds(clock_gettime(ClockId::Monotonic));
        let unix = nanoseconds(clock_gettime(ClockId::Realtime));
        let after = nanoseconds(clock_gettime(ClockId::Monotonic));
        let middle = before + (after - before) / 2;
        (
            after - before,
            Reading {
                monotonic_ns: after.unsigned_abs(),
                offset_ns: unix - middle,
            },
        )
    };
    let mut best = attempt();
    for _ in 0..7 {
        let next = attempt();
        if next.0 < best.0 {
            best = next;
        }
    }
    best.1
}

fn nanoseconds(time: Timespec) -> i64 {
    time.tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_to_the_time_of_the_wall() {
        let clock = Clock::start();
        let (unix, _) = clock.unix_ns(monotonic_ns(), 0);
        let wall = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let wall = u64::try_from(wall.as_nanos()).unwrap();
        assert!(wall.abs_diff(unix) < 50_000_000, "{wall} {unix}");
    }

    #[test]
    fn spans_in_flight_over_a_step_keep_their_time_base() {
        let mut clock = Clock::at(Reading {
            monotonic_ns: 1_000,
            offset_ns: 10_000_000,
        });
        clock.observe(Reading {
            monotonic_ns: 2_000,
            offset_ns: 10_000_400,
        });
        assert_eq!(
            clock.unix_ns(1_500, 1_600),
            (10_001_500, 10_001_600),
            "noise is no step"
        );
        clock.observe(Reading {
            monotonic_ns: 5_000,
            offset_ns: 3_000_000,
        });
        assert_eq!(clock.unix_ns(4_000, 6_000), (10_004_000, 10_006_000));
        assert_eq!(clock.unix_ns(5_000, 6_000), (3_005_000, 3_006_000));
    }

    #[test]
    fn an_end_before_its_start_is_no_negative_duration() {
        let clock = Clock::at(Reading {
            monotonic_ns: 0,
            offset_ns: 7,
        });
        assert_eq!(clock.unix_ns(10, 4), (17, 17));
    }
}
