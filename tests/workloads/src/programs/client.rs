//! Clients are commands, not servers: the caller adds arguments and runs them.

use std::process::Command;

use crate::Workloads;

/// `curl`, silent but for errors.
pub fn curl(workloads: &Workloads) -> Command {
    let mut command = workloads.command("/usr/bin/curl");
    command.args(["--silent", "--show-error", "--max-time", "60"]);
    command
}

/// The load generator `wrk`.
pub fn wrk(workloads: &Workloads) -> Command {
    workloads.command("/usr/bin/wrk")
}

/// Python with the code given, `requests` at hand.
pub fn python(workloads: &Workloads, code: &str) -> Command {
    let mut command = workloads.command("/usr/bin/python3");
    command.args(["-c", code]);
    command
}
