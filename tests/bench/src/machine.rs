//! Where the figures come from.

use std::fmt;
use std::thread::available_parallelism;

use anyhow::Result;
use procfs::{Current as _, LoadAverage, sys::kernel::Version};
use serde::Serialize;

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Machine {
    kernel: String,
    cores: usize,
    /// Of the minute before: others at work here make the figures worse.
    load_before: f32,
}

// === impl Machine ===

impl Machine {
    pub(crate) fn look() -> Result<Self> {
        let Version {
            major,
            minor,
            patch,
        } = Version::current()?;
        Ok(Self {
            kernel: format!("{major}.{minor}.{patch}"),
            cores: available_parallelism()?.get(),
            load_before: LoadAverage::current()?.one,
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kernel,
            cores,
            load_before,
        } = self;
        write!(
            f,
            "Linux {kernel}, {cores} cores, load {load_before:.2} before"
        )
    }
}
