//! Work that is measured with and without weft.

pub(crate) mod http;
pub(crate) mod pace;
pub(crate) mod pingpong;
pub(crate) mod wrk;

use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde::de::DeserializeOwned;

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
