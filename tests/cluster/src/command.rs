//! Other programs, run to their end.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

pub(crate) trait Run {
    /// Runs with this process's output.
    fn run(&mut self) -> Result<()>;

    /// Runs silently and gives the standard output; what was said on the other is shown with a failure.
    fn read(&mut self) -> Result<String>;
}

impl Run for Command {
    fn run(&mut self) -> Result<()> {
        let status = self
            .status()
            .with_context(|| format!("cannot run {}", shown(self)))?;
        if !status.success() {
            bail!("`{}` ended with {status}", shown(self));
        }
        Ok(())
    }

    fn read(&mut self) -> Result<String> {
        let output = self
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot run {}", shown(self)))?;
        if !output.status.success() {
            bail!(
                "`{}` ended with {}: {}",
                shown(self),
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

fn shown(command: &Command) -> String {
    let mut text = command.get_program().display().to_string();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}
