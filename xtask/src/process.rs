//! Other programs, run to their end.

use std::io::{self, BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

pub(crate) trait Run {
    /// Runs with this process's output.
    fn run(&mut self) -> Result<()>;

    /// Runs silently; what was said is shown only with a failure.
    fn run_quietly(&mut self) -> Result<()>;

    /// Runs silently and gives the standard output.
    fn read(&mut self) -> Result<String>;

    /// Runs, shows all output and hands each line of it to `look` as well. Gives whether
    /// the program was successful.
    fn watch(&mut self, look: impl FnMut(&str)) -> Result<bool>;
}

impl Run for Command {
    fn run(&mut self) -> Result<()> {
        let status = self.status().with_context(|| cannot_run(self))?;
        if !status.success() {
            bail!("`{}` ended with {status}", shown(self));
        }
        Ok(())
    }

    fn run_quietly(&mut self) -> Result<()> {
        self.read().map(drop)
    }

    fn read(&mut self) -> Result<String> {
        let output = self
            .stdin(Stdio::null())
            .output()
            .with_context(|| cannot_run(self))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = if said.trim().is_empty() {
                &text
            } else {
                &*said
            };
            bail!(
                "`{}` ended with {}:\n{}",
                shown(self),
                output.status,
                tail(said)
            );
        }
        Ok(text)
    }

    fn watch(&mut self, mut look: impl FnMut(&str)) -> Result<bool> {
        let (output, input) = io::pipe()?;
        self.stdout(input.try_clone()?).stderr(input);
        let mut child = self.spawn().with_context(|| cannot_run(self))?;
        // The command keeps its ends of the pipe: the output would never be at its end.
        self.stdout(Stdio::inherit()).stderr(Stdio::inherit());

        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut ended = None;
        loop {
            match lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    let line = String::from_utf8_lossy(&line);
                    println!("{line}");
                    look(&line);
                }
                Err(RecvTimeoutError::Disconnected) => break,
                // What a program left behind may hold its output open for ever.
                Err(RecvTimeoutError::Timeout) if ended.is_some() => break,
                Err(RecvTimeoutError::Timeout) => ended = child.try_wait()?,
            }
        }
        Ok(child.wait()?.success())
    }
}

/// How long the output of an ended program is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether a program of this name can be found.
pub(crate) fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

fn cannot_run(command: &Command) -> String {
    format!("cannot run {}", command.get_program().display())
}

fn shown(command: &Command) -> String {
    let mut text = command.get_program().display().to_string();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

fn tail(text: &str) -> String {
    const LINES: usize = 30;
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
