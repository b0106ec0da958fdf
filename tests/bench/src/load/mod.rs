//! Work that is measured with and without weft.

pub(crate) mod h2load;
pub(crate) mod http;
pub(crate) mod pace;
pub(crate) mod pingpong;
pub(crate) mod wrk;

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::de::DeserializeOwned;

/// What a load generator counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Figures {
    pub(crate) requests: u64,
    pub(crate) requests_per_second: f64,
    pub(crate) mean: Option<Duration>,
    pub(crate) p50: Option<Duration>,
    pub(crate) p99: Option<Duration>,
    /// Answers that were not 2xx or 3xx, and connections that broke.
    pub(crate) errors: u64,
}

/// Runs one of the bench's own helpers, which prints its figures as one JSON value.
fn helper<T: DeserializeOwned>(arguments: &[String]) -> Result<T> {
    let output = Command::new(std::env::current_exe()?)
        .args(arguments)
        .output()
        .context("cannot start a helper")?;
    if !output.status.success() {
        bail!(
            "{arguments:?} failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    serde_json::from_slice(&output.stdout).with_context(|| format!("{arguments:?} said nonsense"))
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
