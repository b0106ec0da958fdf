//! One file per thing that is measured.

mod hooks;
mod ignored;
pub(crate) mod inspect;
mod latency;
mod memory;
mod saturation;
mod steady;
mod streams;

use anyhow::Result;

use crate::lab::Lab;
use crate::plan::Plan;
use crate::report::Report;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Measure {
    Saturation,
    Tls,
    Streams,
    Ignored,
    Hooks,
    Steady,
    Memory,
    Inspect,
    Latency,
}

// === impl Measure ===

impl Measure {
    pub(crate) fn all() -> [Self; 9] {
        [
            Self::Saturation,
            Self::Tls,
            Self::Streams,
            Self::Ignored,
            Self::Hooks,
            Self::Steady,
            Self::Memory,
            Self::Inspect,
            Self::Latency,
        ]
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Saturation => "nginx at saturation",
            Self::Tls => "TLS at saturation",
            Self::Streams => "HTTP/2 and gRPC at saturation",
            Self::Ignored => "cost of being ignored",
            Self::Hooks => "own time of each hook",
            Self::Steady => "CPU at a steady rate",
            Self::Memory => "memory",
            Self::Inspect => "looking into programs",
            Self::Latency => "start and delivery",
        }
    }

    pub(crate) fn run(self, lab: &Lab, plan: &Plan, report: &mut Report) -> Result<()> {
        match self {
            Self::Saturation => saturation::run(lab, plan, report),
            Self::Tls => saturation::run_tls(lab, plan, report),
            Self::Streams => streams::run(lab, plan, report),
            Self::Ignored => ignored::run(lab, plan, report),
            Self::Hooks => hooks::run(lab, plan, report),
            Self::Steady => steady::run(lab, plan, report),
            Self::Memory => memory::run(lab, plan, report),
            Self::Inspect => inspect::run(plan, report),
            Self::Latency => latency::run(lab, plan, report),
        }
    }
}
