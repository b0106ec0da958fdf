use std::process::Command;

use crate::{OPENTELEMETRY, Workloads, apps};

/// A client under the OpenTelemetry SDK for Python: requests each URL in turn, and prints trace id, span id
/// and parent (`-`: none) of each span of its own, a request's before the one of the whole.
///
/// `propagators`: value of `OTEL_PROPAGATORS`.
pub fn instrumented_python(workloads: &Workloads, propagators: &str) -> Command {
    let mut command = workloads.command("/usr/bin/python3");
    let directories: Vec<String> = OPENTELEMETRY
        .iter()
        .map(|package| format!("/{}", package.directory().display()))
        .collect();
    command
        .arg(format!("{}/otel/client.py", apps::DIR))
        .env("PYTHONPATH", directories.join(":"))
        .env("OTEL_PROPAGATORS", propagators);
    command
}
