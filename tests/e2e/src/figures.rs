//! weft's own figures, and what must hold between them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use weft_workloads::free_port;

use crate::raw::Client;
use crate::{Scene, Weft};

/// weft's own figures, in Prometheus' form.
pub struct Metrics {
    address: SocketAddr,
}

/// weft with its own figures to be read, and more configuration.
pub fn with_metrics(scene: &Scene, configuration: &str) -> Result<(Weft, Metrics)> {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port([127, 0, 0, 1].into())?));
    let file = std::env::temp_dir().join(format!("{}.yaml", scene.tag));
    std::fs::write(
        &file,
        format!("metrics:\n  listen: {address}\n{configuration}"),
    )?;
    let weft = scene
        .weft()?
        .args(["--config", &file.display().to_string()])
        .start();
    std::fs::remove_file(&file)?;
    Ok((weft?, Metrics { address }))
}

impl Metrics {
    /// Of a weft that was told to listen there.
    pub fn at(address: SocketAddr) -> Self {
        Self { address }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn read(&self) -> Result<Figures> {
        let mut client = Client::connect(self.address)?;
        let answer = client
            .send("GET /metrics HTTP/1.1\r\nHost: weft\r\nConnection: close\r\n\r\n")?
            .read_to_end()?;
        Ok(Figures(
            String::from_utf8(answer).context("metrics are no text")?,
        ))
    }

    /// Waits until everything that was seen has left or is counted as lost, at each station.
    pub fn balanced(&self) -> Result<Figures> {
        const LIMIT: Duration = Duration::from_secs(20);
        let begin = Instant::now();
        loop {
            let figures = self.read()?;
            match figures.balanced() {
                Ok(()) => return Ok(figures),
                Err(error) if begin.elapsed() > LIMIT => return Err(error.context(figures.0)),
                Err(_) => std::thread::sleep(Duration::from_millis(200)),
            }
        }
    }
}

/// One reading.
pub struct Figures(pub String);

impl Figures {
    /// Sum over all label sets that hold this piece of text.
    pub fn sum(&self, name: &str, label: &str) -> f64 {
        let value = |line: &str| {
            let rest = line.strip_prefix(name)?;
            (rest.starts_with(['{', ' ']) && rest.contains(label))
                .then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
        };
        self.0.lines().filter_map(value).sum()
    }

    pub fn kernel(&self, event: &str) -> f64 {
        self.sum("weft_kernel_events_total", &format!("\"{event}\""))
    }

    /// seen = passed on + dropped, by whatever reason.
    pub fn balanced(&self) -> Result<()> {
        let outcomes = [
            "calls_recorded",
            "calls_muted",
            "calls_skipped",
            "calls_sampled_out",
            "calls_secure",
            "calls_ring_full",
        ];
        equal(
            "calls",
            self.kernel("calls_seen"),
            outcomes.iter().map(|outcome| self.kernel(outcome)).sum(),
        )?;
        let emitted = self.sum("weft_flow_spans_emitted_total", "");
        let open = self.sum("weft_flow_spans_open_total", "");
        let unfinished = self.sum("weft_flow_spans_dropped_total", "");
        equal(
            "requests",
            self.sum("weft_flow_requests_total", ""),
            emitted + open + unfinished,
        )?;
        let exported = self.sum("weft_spans_exported_total", "otlp");
        equal(
            "spans",
            emitted,
            exported + self.sum("weft_spans_dropped_total", "otlp"),
        )
    }
}

pub fn equal(what: &str, seen: f64, accounted: f64) -> Result<()> {
    ensure!(seen > 0.0, "no {what} were seen");
    ensure!(
        (seen - accounted).abs() < 0.5,
        "{seen} {what} seen, {accounted} accounted for"
    );
    Ok(())
}
