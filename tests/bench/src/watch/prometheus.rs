//! weft's own figures, from its Prometheus endpoint.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::load::http::Connection;

/// By name with labels, as `weft_calls_total{outcome="muted"}`.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct OwnFigures(BTreeMap<String, f64>);

// === impl OwnFigures ===

impl OwnFigures {
    pub(crate) fn scrape(address: SocketAddr) -> Result<Self> {
        let mut connection = Connection::open(address)
            .with_context(|| format!("weft does not answer on {address}"))?;
        let text = connection
            .get("/metrics")
            .context("weft's own figures cannot be read")?;
        Ok(Self::parse(&String::from_utf8_lossy(text)))
    }

    fn parse(text: &str) -> Self {
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Self(
            text.lines()
                .filter(|line| !line.starts_with('#'))
                .filter_map(sample)
                .collect(),
        )
    }

    pub(crate) fn kernel_event(&self, name: &str) -> u64 {
        let name = format!("weft_kernel_events_total{{event=\"{name}\"}}");
        self.0.get(&name).map_or(0, |value| *value as u64)
    }

    /// Figures that say that something was left out, and are not zero.
    pub(crate) fn losses(&self) -> Vec<(&str, f64)> {
        const WORDS: [&str; 8] = [
            "dropped",
            "evicted",
            "failed",
            "lost",
            "missed",
            "missing",
            "refused",
            "ring_full",
        ];
        self.0
            .iter()
            .filter(|(name, value)| **value > 0.0 && WORDS.iter().any(|word| name.contains(word)))
            .map(|(name, value)| (name.as_str(), *value))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_was_lost() {
        let figures = OwnFigures::parse(
            "# TYPE weft_spans_dropped_total counter\n\
             weft_spans_dropped_total{reason=\"queue full\"} 3\n\
             weft_spans_dropped_total{reason=\"too old\"} 0\n\
             weft_spans_exported_total 12\n",
        );
        assert_eq!(
            figures.losses(),
            [("weft_spans_dropped_total{reason=\"queue full\"}", 3.0)]
        );
    }
}
