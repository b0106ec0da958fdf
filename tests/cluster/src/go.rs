//! The Go tool. Any since 1.21 fetches by itself the version that a `go.mod` asks for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::command::Run as _;

const OLDEST: (u32, u32) = (1, 21);
/// The distribution's, where the machine has none: of its own suite or of its backports.
const PACKAGES: &[&str] = &["golang-1.24-go", "golang-1.23-go", "golang-1.22-go"];

/// A `go` that is new enough, fetched into `directory` if need be.
pub(crate) fn ensure(directory: &Path) -> Result<PathBuf> {
    let own = PathBuf::from("go");
    if is_new_enough(&own) {
        return Ok(own);
    }
    if let Some(fetched) = find(directory) {
        return Ok(fetched);
    }
    let release = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let codename = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .context("/etc/os-release names no VERSION_CODENAME")?;
    let backports = format!("{codename}-backports");
    let mut last = None;
    for package in PACKAGES {
        match weft_workloads::root_of_packages(directory, &[&backports], &[package]) {
            Ok(()) => return find(directory).context("the package of Go holds no `go`"),
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) => Err(error.context("no Go of 1.21 or newer could be fetched")),
        None => bail!("no package of Go is known"),
    }
}

/// `usr/lib/go-1.23/bin/go`: it finds its library by its own place.
fn find(directory: &Path) -> Option<PathBuf> {
    let versions = fs::read_dir(directory.join("usr/lib")).ok()?;
    let programs = versions.filter_map(|entry| Some(entry.ok()?.path().join("bin/go")));
    programs.into_iter().find(|program| is_new_enough(program))
}

fn is_new_enough(go: &Path) -> bool {
    let version = Command::new(go).args(["env", "GOVERSION"]).read();
    version.is_ok_and(|version| release(&version) >= Some(OLDEST))
}

/// `go1.26.8` is 1.26.
fn release(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.trim().strip_prefix("go")?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_numbers() {
        assert_eq!(release("go1.26.8\n"), Some((1, 26)));
        assert!(release("go1.9.2") < Some(OLDEST));
        assert_eq!(release("devel"), None);
    }
}
