//! Several measurements of one thing.

use std::fmt;

use serde::Serialize;

#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

// === impl Samples ===

impl Samples {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn map(&self, change: impl Fn(f64) -> f64) -> Self {
        self.0.iter().copied().map(change).collect()
    }

    /// Pair by pair: by how many percent `self` differs from `base`.
    pub(crate) fn change_from(&self, base: &Self) -> Self {
        self.0
            .iter()
            .zip(&base.0)
            .map(|(with, without)| (with / without - 1.0) * 100.0)
            .collect()
    }

    pub(crate) fn plus(&self, other: &Self) -> Self {
        self.0
            .iter()
            .zip(&other.0)
            .map(|(one, other)| one + other)
            .collect()
    }

    /// Pair by pair: `self` less `base`.
    pub(crate) fn less(&self, base: &Self) -> Self {
        self.0
            .iter()
            .zip(&base.0)
            .map(|(with, without)| with - without)
            .collect()
    }

    /// Halfway between two samples where none stands at the place itself.
    pub(crate) fn quantile(&self, share: f64) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let place = share * sorted.len().checked_sub(1)? as f64;
        let (low, high) = (place.floor() as usize, place.ceil() as usize);
        Some(f64::midpoint(*sorted.get(low)?, *sorted.get(high)?))
    }

    pub(crate) fn summary(&self) -> Option<Summary> {
        Some(Summary {
            median: self.quantile(0.5)?,
            low: self.quantile(0.0)?,
            high: self.quantile(1.0)?,
        })
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

// === impl Summary ===

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.low.abs().max(self.high.abs());
        let digits = match size {
            _ if size >= 100.0 => 0,
            _ if size >= 10.0 => 1,
            _ => 2,
        };
        write!(f, "{:.digits$}", self.median)?;
        if self.low < self.high {
            write!(f, " ({:.digits$} … {:.digits$})", self.low, self.high)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: &[f64]) -> Samples {
        values.iter().copied().collect()
    }

    #[test]
    fn says_median_and_spread() {
        let show = |values: &[f64]| samples(values).summary().map(|summary| summary.to_string());
        assert_eq!(show(&[]), None);
        assert_eq!(show(&[3.0]).as_deref(), Some("3.00"));
        assert_eq!(
            show(&[250.0, 100.4, 120.0]).as_deref(),
            Some("120 (100 … 250)")
        );
        assert_eq!(show(&[1.0, 2.0]).as_deref(), Some("1.50 (1.00 … 2.00)"));
    }

    #[test]
    fn compares_pair_by_pair() {
        let change = samples(&[90.0, 120.0]).change_from(&samples(&[100.0, 100.0]));
        let summary = change.summary().unwrap();
        assert!((summary.low + 10.0).abs() < 1e-9 && (summary.high - 20.0).abs() < 1e-9);
    }
}
