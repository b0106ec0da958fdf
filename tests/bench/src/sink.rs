//! An OTLP receiver in a process of its own that counts spans and keeps nothing, so that what it costs is small and known.

mod server;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

pub(crate) use server::{Arguments, main};

/// The receiver as the bench sees it; ends when dropped.
pub(crate) struct Sink {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
    address: SocketAddr,
}

/// All that was received so far.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) exports: u64,
    pub(crate) bytes: u64,
    /// By `service.name`.
    pub(crate) spans: BTreeMap<String, u64>,
    pub(crate) marked: Vec<Marked>,
}

/// A span that holds the mark.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Marked {
    /// Digits behind the mark.
    pub(crate) number: u64,
    /// Since 1970.
    pub(crate) arrived_ns: u64,
}

// === impl Sink ===

impl Sink {
    pub(crate) fn start(mark: Option<&str>) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("sink")
            .args(mark.map(|mark| format!("--mark={mark}")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the receiver")?;
        let ask = child.stdin.take().context("no standard input")?;
        let mut answers = BufReader::new(child.stdout.take().context("no standard output")?);
        let mut line = String::new();
        answers.read_line(&mut line)?;
        let address = serde_json::from_str(&line).context("the receiver did not start")?;
        Ok(Self {
            child,
            ask,
            answers,
            address,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Value for `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn counts(&mut self) -> Result<Counts> {
        writeln!(self.ask)?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        serde_json::from_str(&line).context("the receiver ended")
    }

    /// Waits until nothing came for a while.
    pub(crate) fn settled(&mut self) -> Result<Counts> {
        const QUIET: Duration = Duration::from_millis(1200);
        const LIMIT: Duration = Duration::from_secs(20);
        let begun = Instant::now();
        let mut counts = self.counts()?;
        let mut changed = Instant::now();
        while changed.elapsed() < QUIET && begun.elapsed() < LIMIT {
            std::thread::sleep(Duration::from_millis(50));
            let now = self.counts()?;
            if now.total() != counts.total() {
                changed = Instant::now();
            }
            counts = now;
        }
        Ok(counts)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

// === impl Counts ===

impl Counts {
    pub(crate) fn total(&self) -> u64 {
        self.spans.values().sum()
    }
}
