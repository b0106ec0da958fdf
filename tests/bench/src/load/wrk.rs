//! wrk against a small file.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use weft_workloads::{Workloads, programs};

use super::{Figures, duration};

pub(crate) const CONNECTIONS: u32 = 32;

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
    Figures::of_wrk(&text).with_context(|| format!("wrk said nonsense:\n{text}"))
}

// === impl Figures ===

impl Figures {
    fn of_wrk(text: &str) -> Option<Self> {
        let mut requests = None;
        let mut rate = None;
        let (mut mean, mut p50, mut p99) = (None, None, None);
        let mut errors = 0;
        for line in text.lines().map(str::trim) {
            if let Some((count, _)) = line.split_once(" requests in ") {
                requests = count.parse().ok();
            } else if let Some(number) = line.strip_prefix("Requests/sec:") {
                rate = number.trim().parse().ok();
            } else if let Some(times) = line.strip_prefix("Latency  ") {
                mean = times.split_whitespace().next().and_then(duration);
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
            mean,
            p50,
            p99,
            errors,
        })
    }
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
            mean: Some(Duration::from_nanos(241_360)),
            p50: Some(Duration::from_micros(230)),
            p99: Some(Duration::from_micros(1520)),
            errors: 4,
        };
        assert_eq!(Figures::of_wrk(text), Some(expected));
        assert_eq!(Figures::of_wrk("wrk: no such host"), None);
    }
}
