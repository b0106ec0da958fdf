//! weft as a child process.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

const READY_LIMIT: Duration = Duration::from_secs(20);
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// `$WEFT_BIN`, else what `cargo xtask build --release` makes.
pub fn weft_binary() -> Result<PathBuf> {
    let path = std::env::var_os("WEFT_BIN").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/release/weft"),
        PathBuf::from,
    );
    path.canonicalize().with_context(|| {
        format!(
            "{} is missing: run `cargo xtask build --release`, or set WEFT_BIN",
            path.display()
        )
    })
}

/// A weft that is about to be started.
pub struct WeftCommand {
    command: Command,
}

impl WeftCommand {
    /// `weft` with these arguments and none of the caller's own OpenTelemetry variables.
    pub fn new<I: IntoIterator<Item: Into<String>>>(arguments: I) -> Result<Self> {
        let mut command = Command::new(weft_binary()?);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("OTEL_") {
                command.env_remove(name);
            }
        }
        command
            .args(arguments.into_iter().map(Into::into))
            .stdin(Stdio::null());
        Ok(Self { command })
    }

    #[must_use]
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.command.arg(argument.into());
        self
    }

    #[must_use]
    pub fn args<I: IntoIterator<Item: Into<String>>>(mut self, arguments: I) -> Self {
        self.command.args(arguments.into_iter().map(Into::into));
        self
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.command.env(name, value.as_ref());
        self
    }

    /// Inside a network name space; all else is as outside.
    #[must_use]
    pub fn within(mut self, space: &str) -> Self {
        let mut within = Command::new("nsenter");
        within
            .arg(format!("--net=/run/netns/{space}"))
            .arg(self.command.get_program())
            .args(self.command.get_args())
            .stdin(Stdio::null());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => within.env(name, value),
                None => within.env_remove(name),
            };
        }
        self.command = within;
        self
    }

    /// Runs to its end, which must come soon.
    pub fn output(self) -> Result<Output> {
        let mut command = Command::new("timeout");
        command
            .args(["--kill-after=5", "30"])
            .arg(self.command.get_program())
            .args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
            .stdin(Stdio::null())
            .output()
            .context("cannot run weft")
    }

    /// Starts and waits for `weft: ready`.
    pub fn start(mut self) -> Result<Weft> {
        let begin = Instant::now();
        let mut child = self
            .command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run weft")?;
        let errors = Arc::new(Mutex::new(String::new()));
        let stderr = child.stderr.take().context("no standard error")?;
        let mut stdout = child.stdout.take().context("no standard output")?;
        let into = errors.clone();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut text = into.lock().unwrap_or_else(PoisonError::into_inner);
                text.push_str(&line);
                text.push('\n');
            }
        });
        let output = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            stdout.read_to_end(&mut bytes).ok();
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let mut weft = Weft {
            child,
            errors,
            reader: Some(reader),
            output: Some(output),
            ready_after: Duration::ZERO,
        };
        while !weft.errors().lines().any(|line| line == "weft: ready") {
            if let Some(status) = weft.child.try_wait()? {
                bail!(
                    "weft ended ({status}) before it was ready:\n{}",
                    weft.errors()
                );
            }
            if begin.elapsed() > READY_LIMIT {
                bail!(
                    "weft was not ready after {READY_LIMIT:?}:\n{}",
                    weft.errors()
                );
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        weft.ready_after = begin.elapsed();
        Ok(weft)
    }
}

/// A weft that runs; stopped when dropped.
pub struct Weft {
    child: Child,
    errors: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    output: Option<JoinHandle<String>>,
    /// From start to `weft: ready`.
    pub ready_after: Duration,
}

impl Weft {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote on standard error.
    pub fn errors(&self) -> String {
        self.errors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks it to end (SIGTERM), which must succeed; gives what it wrote on standard output.
    pub fn stop(mut self) -> Result<String> {
        self.signal(Signal::TERM)?;
        let status = self.wait(STOP_LIMIT)?;
        let errors = self.errors();
        if !status.success() {
            bail!("weft ended with {status}:\n{errors}");
        }
        self.output.take().map_or(Ok(String::new()), |output| {
            output.join().ok().context("no standard output")
        })
    }

    /// Ends it at once and without its help; gives what it wrote on standard output.
    pub fn kill(mut self) -> Result<String> {
        self.signal(Signal::KILL)?;
        self.wait(STOP_LIMIT)?;
        self.output.take().map_or(Ok(String::new()), |output| {
            output.join().ok().context("no standard output")
        })
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid =
            Pid::from_raw(i32::try_from(self.child.id())?).context("a process without a number")?;
        Ok(kill_process(pid, signal)?)
    }

    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                if let Some(reader) = self.reader.take() {
                    reader.join().ok();
                }
                return Ok(status);
            }
            if begin.elapsed() > limit {
                bail!("weft does not end after {limit:?}:\n{}", self.errors());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Weft {
    fn drop(&mut self) {
        if self.is_running() {
            self.signal(Signal::TERM).ok();
            if self.wait(STOP_LIMIT).is_err() {
                self.child.kill().ok();
                self.child.wait().ok();
            }
        }
    }
}
