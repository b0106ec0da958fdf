//! Other programs, run to their end.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, anyhow, bail};

pub(crate) trait Run {
    /// Runs with this process's output.
    fn run(&mut self) -> Result<()>;

    /// Runs silently; what was said is shown only with a failure.
    fn run_quietly(&mut self) -> Result<()>;

    /// Runs silently and gives the standard output.
    fn read(&mut self) -> Result<String>;

    /// Runs, shows the standard output and hands each line of it to `look` as well. Gives whether
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
        let mut child = self
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| cannot_run(self))?;
        let output = child
            .stdout
            .take()
            .ok_or_else(|| anyhow!("no output of `{}`", shown(self)))?;
        for line in BufReader::new(output).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            look(&line);
        }
        Ok(child.wait()?.success())
    }
}

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
