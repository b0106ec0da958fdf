//! wrk against a small file.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use weft_workloads::{Workloads, programs};

pub(crate) const CONNECTIONS: u32 = 32;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Figures {
    pub(crate) requests: u64,
    pub(crate) requests_per_second: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    /// Answers that were not 2xx or 3xx, and connections that broke.
    pub(crate) errors: u64,
}

/// One thread, so that it and nginx's one worker fill two cores.
pub(crate) fn run(workloads: &Workloads, url: &str, duration: Duration) -> Result<Figures> {
    let output = programs::wrk(workloads)
        .args(["--threads", "1", "--latency"])
        .arg(format!("--connections={CONNECTIONS}"))
        .arg(format!("--duration={}s", duration.as_secs().max(1)))
        .arg(url)
        .output()
        .context("cannot start wrk")?;
    if !output.status.success() {
        bail!("wrk failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Figures::parse(&text).with_context(|| format!("wrk said nonsense:\n{text}"))
}

// === impl Figures ===

impl Figures {
    fn parse(text: &str) -> Option<Self> {
        let mut requests = None;
        let mut rate = None;
        let (mut p50, mut p99) = (None, None);
        let mut errors = 0;
        for line in text.lines().map(str::trim) {
            if let Some((count, _)) = line.split_once(" requests in ") {
                requests = count.parse().ok();
            } else if let Some(number) = line.strip_prefix("Requests/sec:") {
                rate = number.trim().parse().ok();
            } else if let Some(time) = line.strip_prefix("50%") {
                p50 = duration(time.trim());
            } else if let Some(time) = line.strip_prefix("99%") {
                p99 = duration(time.trim());
            } else if line.starts_with("Socket errors:") || line.starts_with("Non-2xx") {
                errors += line
                    .split([' ', ','])
                    .filter_map(|word| word.parse::<u64>().ok())
                    .sum::<u64>();
            }
        }
        Some(Self {
            requests: requests?,
            requests_per_second: rate?,
            p50: p50?,
            p99: p99?,
            errors,
        })
    }
}

/// `183.00us`, `1.20ms`, `2.00s`
fn duration(text: &str) -> Option<Duration> {
    let unit = text.find(|character: char| character.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit);
    let seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_wrk_prints() {
        let text = "Running 2s test @ http://127.0.0.1:8080/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   241.36us   88.41us   4.33ms   92.11%
    Req/Sec   126.13k     4.93k  131.64k    85.71%
  Latency Distribution
     50%  230.00us
     75%  252.00us
     90%  280.00us
     99%    1.52ms
  263461 requests in 2.10s, 62.31MB read
  Socket errors: connect 0, read 3, write 0, timeout 1
Requests/sec: 125471.95
Transfer/sec:     29.68MB
";
        let expected = Figures {
            requests: 263_461,
            requests_per_second: 125_471.95,
            p50: Duration::from_micros(230),
            p99: Duration::from_micros(1520),
            errors: 4,
        };
        assert_eq!(Figures::parse(text), Some(expected));
        assert_eq!(Figures::parse("wrk: no such host"), None);
    }
}
