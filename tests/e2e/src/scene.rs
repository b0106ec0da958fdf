//! One test at a time on a machine that all of them share.

use std::io::Write as _;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use weft_workloads::{Group, Workloads, programs};

use crate::{Sink, Spans, Weft, WeftCommand, weft_binary};

static TURN: Mutex<()> = Mutex::new(());

/// Runs a test when it can be run here, alone.
pub fn on_scene(groups: &[Group], test: impl FnOnce(&Scene) -> Result<()>) -> Result<()> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    if !rustix::process::geteuid().is_root() {
        return skip("needs root: kernel programs and chroot");
    }
    if let Some(client) = groups.iter().find_map(|group| group.lacks()) {
        return skip(&format!("needs `{client}` to fetch programs"));
    }
    weft_binary()?;
    let workloads = Workloads::ensure(groups)?;
    test(&Scene {
        workloads,
        sink: Sink::start()?,
        tag: tag(),
    })
}

/// Says on the terminal, captured or not, that a test did not run; with `WEFT_E2E_STRICT` set that is a failure.
pub fn skip(reason: &str) -> Result<()> {
    static SKIPPED: AtomicU32 = AtomicU32::new(0);
    let number = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
    if std::env::var_os("WEFT_E2E_STRICT").is_some_and(|value| !value.is_empty()) {
        bail!("skipping is not allowed here: {reason}");
    }
    let name = std::thread::current().name().unwrap_or("test").to_owned();
    writeln!(std::io::stderr(), "SKIPPED ({number}) {name}: {reason}")?;
    Ok(())
}

/// Programs, receiver and the mark that this test's requests carry in their paths.
pub struct Scene {
    pub workloads: Workloads,
    pub sink: Sink,
    pub tag: String,
}

impl Scene {
    /// weft as a person would start it, sending to the sink.
    pub fn weft(&self) -> Result<WeftCommand> {
        Ok(WeftCommand::new(["run"])?.env("OTEL_EXPORTER_OTLP_ENDPOINT", self.sink.endpoint()))
    }

    /// Ends weft, which flushes, and gives the spans of this test.
    pub fn finish(&self, weft: Weft) -> Result<Spans> {
        // What has left the kernel is flushed; a reader that was just woken must have its turn first.
        std::thread::sleep(Duration::from_millis(200));
        weft.stop()?;
        Ok(self.sink.spans(&self.tag))
    }

    /// A name for one request, to stand in its path.
    pub fn id(&self, name: impl std::fmt::Display) -> String {
        format!("{}-{name}", self.tag)
    }

    /// `curl` that has to succeed; gives the answer's body.
    pub fn curl(&self, arguments: &[&str]) -> Result<String> {
        success(programs::curl(&self.workloads).args(arguments))
    }

    /// wrk for one second, over so many connections, none of whose requests may fail; gives how many
    /// were answered.
    pub fn wrk(&self, connections: usize, url: &str) -> Result<usize> {
        let arguments = ["-t1", &format!("-c{connections}"), "-d1s", url];
        let said = success(programs::wrk(&self.workloads).args(arguments))?;
        ensure!(
            !said.contains("Socket errors") && !said.contains("Non-2xx"),
            "wrk saw errors: {said}"
        );
        said.lines()
            .find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok())
            .with_context(|| format!("wrk said {said}"))
    }

    /// Python that has to succeed; gives what it printed.
    pub fn python(&self, code: &str, arguments: &[&str]) -> Result<String> {
        success(programs::python(&self.workloads, code).args(arguments))
    }
}

fn success(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!(
            "{command:?} failed ({}): {}{text}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(text)
}

fn tag() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis();
    format!(
        "e{:x}n{}",
        now & 0xffff_ffff,
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}
