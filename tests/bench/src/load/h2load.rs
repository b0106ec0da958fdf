//! h2load: many streams on few connections.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use weft_workloads::{Workloads, programs};

use super::Figures;

pub(crate) const CONNECTIONS: u32 = 4;
pub(crate) const STREAMS: u32 = 100;

/// One thread, so that it and a server's fill two cores. `options`: what is asked for, the URL last.
pub(crate) fn run(
    workloads: &Workloads,
    options: &[String],
    duration: Duration,
) -> Result<Figures> {
    let output = programs::h2load(workloads)
        .args(["--threads=1".to_owned()])
        .arg(format!("--clients={CONNECTIONS}"))
        .arg(format!("--max-concurrent-streams={STREAMS}"))
        .arg(format!("--duration={}", duration.as_secs().max(1)))
        .args(options)
        .output()
        .context("cannot start h2load")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!(
            "h2load failed: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Figures::of_h2load(&text).with_context(|| format!("h2load said nonsense:\n{text}"))
}

/// One request a second on each of `connections`, until it is ended.
pub(crate) fn hold(workloads: &Workloads, url: &str, connections: u32) -> Command {
    let mut command = programs::h2load(workloads);
    command
        .args(["--threads=1", "--rps=1", "--duration=60"])
        .arg(format!("--clients={connections}"))
        .arg(url);
    command
}

// === impl Figures ===

impl Figures {
    fn of_h2load(text: &str) -> Option<Self> {
        let (mut rate, mut mean, mut requests, mut errors) = (None, None, None, None);
        for line in text.lines().map(str::trim) {
            if let Some(rest) = line.strip_prefix("finished in ") {
                let (_, rest) = rest.split_once(", ")?;
                rate = rest.split_once(" req/s")?.0.parse().ok();
            } else if let Some(rest) = line.strip_prefix("requests: ") {
                let count = |what: &str| {
                    let counts = rest.split(", ").filter_map(|part| part.split_once(' '));
                    let mut counts = counts.filter(|(_, name)| *name == what);
                    counts.next()?.0.parse::<u64>().ok()
                };
                requests = count("succeeded");
                errors = Some(count("failed")? + count("timeout")?);
            } else if let Some(rest) = line.strip_prefix("time for request:") {
                let times: Vec<&str> = rest.split_whitespace().collect();
                mean = super::duration(times.get(2)?);
            }
        }
        Some(Self {
            requests: requests?,
            requests_per_second: rate?,
            mean,
            p50: None,
            p99: None,
            errors: errors?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_h2load_prints() {
        let text = "starting benchmark...
finished in 2.00s, 63422.50 req/s, 1.45MB/s
requests: 126845 total, 127245 started, 126845 done, 126845 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 126845 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 2.91MB (3046280) total, 247.74KB (253690) headers (space savings 98.20%), 743.23KB (761070) data
                     min         max         mean         sd        +/- sd
time for request:      118us     19.52ms      6.29ms      1.10ms    83.44%
time for connect:       82us       157us       117us        31us    50.00%
";
        let expected = Figures {
            requests: 126_845,
            requests_per_second: 63_422.5,
            mean: Some(Duration::from_micros(6290)),
            p50: None,
            p99: None,
            errors: 0,
        };
        assert_eq!(Figures::of_h2load(text), Some(expected));
        assert_eq!(Figures::of_h2load("h2load: no such host"), None);
    }
}
