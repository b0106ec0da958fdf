//! The agent under test: any command that exports OTLP to where the standard variables point.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;

/// How to start the agent, and how to know that it looks.
#[derive(Clone, Debug)]
pub struct AgentCommand {
    pub words: Vec<String>,
    /// `grpc` or `http/protobuf`.
    pub protocol: String,
    pub ready: Ready,
    /// Print what the agent prints.
    pub verbose: bool,
}

#[derive(Clone, Debug)]
pub enum Ready {
    /// A line on its standard error or output holds this text.
    Says(String),
    /// After this time.
    After(Duration),
}

#[derive(Debug)]
pub struct Agent {
    child: Child,
}

#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("no command given for the agent")]
    NoCommand,
    #[error("the agent `{command}` did not start")]
    Spawn {
        command: String,
        source: std::io::Error,
    },
    #[error("the agent ended before it was ready ({status}); it said:\n{said}")]
    Ended { status: ExitStatus, said: String },
    #[error("the agent did not say `{text}` within {} s; it said:\n{said}", READY_WITHIN.as_secs())]
    NotReady { text: String, said: String },
    #[error("the agent did not end within {} s of SIGTERM and was killed", STOP_WITHIN.as_secs())]
    NotEnded,
    #[error("the agent ended with {0}")]
    Failed(ExitStatus),
    #[error("the agent cannot be waited for")]
    Wait(#[from] std::io::Error),
}

const READY_WITHIN: Duration = Duration::from_secs(30);
const STOP_WITHIN: Duration = Duration::from_secs(20);
/// Bytes kept of what the agent says before it is ready, for the error message.
const SAID_MAX: usize = 8 * 1024;

impl AgentCommand {
    /// Starts the agent and waits until it is ready.
    pub async fn start(&self, endpoint: &str) -> Result<Agent, AgentError> {
        let (program, arguments) = self.words.split_first().ok_or(AgentError::NoCommand)?;
        let mut child = Command::new(program)
            .args(arguments)
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", &self.protocol)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| AgentError::Spawn {
                command: self.words.join(" "),
                source,
            })?;
        let (say, mut said) = watch::channel(String::new());
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(listen(stdout, say.clone(), self.verbose));
        }
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(listen(stderr, say, self.verbose));
        }
        match &self.ready {
            Ready::After(wait) => tokio::time::sleep(*wait).await,
            Ready::Says(text) => {
                let heard = timeout(READY_WITHIN, said.wait_for(|said| said.contains(text)));
                let heard = heard.await.map(|closed_or_heard| closed_or_heard.is_ok());
                if heard != Ok(true) {
                    let said = said.borrow().clone();
                    // Both pipes closed: it ends, or has.
                    let ended = timeout(Duration::from_secs(1), child.wait()).await;
                    let text = text.clone();
                    return Err(match ended {
                        Ok(status) => AgentError::Ended {
                            status: status?,
                            said,
                        },
                        Err(_) => AgentError::NotReady { text, said },
                    });
                }
            }
        }
        Ok(Agent { child })
    }
}

impl Agent {
    /// Asks the agent to end, and waits until it has: what it held back is exported now.
    pub async fn stop(mut self) -> Result<(), AgentError> {
        if let Some(pid) = self
            .child
            .id()
            .and_then(|id| Pid::from_raw(id.try_into().ok()?))
        {
            // It may have ended by itself; its status will tell.
            let _ = kill_process(pid, Signal::TERM);
        }
        match timeout(STOP_WITHIN, self.child.wait()).await {
            Ok(status) => match status? {
                status if status.success() => Ok(()),
                status => Err(AgentError::Failed(status)),
            },
            Err(_) => {
                self.child.kill().await?;
                Err(AgentError::NotEnded)
            }
        }
    }
}

/// Reads until the pipe closes, so that the agent never blocks on it.
async fn listen(
    pipe: impl tokio::io::AsyncRead + Unpin,
    say: watch::Sender<String>,
    verbose: bool,
) {
    let mut lines = BufReader::new(pipe).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        let line = String::from_utf8_lossy(&line);
        if verbose {
            eprintln!("  agent: {line}");
        }
        say.send_if_modified(|said| {
            let room = said.len() < SAID_MAX;
            if room {
                said.push_str(&line);
                said.push('\n');
            }
            room
        });
    }
}
