//! Packages of the languages' own registries: fetched by their ordinary clients, unpacked into the root file system and never
//! installed, so that no script of theirs runs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// One package in one version: programs that are compared need to stay what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Package {
    /// Unpacked to `/srv/npm/<directory>`.
    Npm {
        name: &'static str,
        version: &'static str,
        directory: &'static str,
    },
    /// A wheel, unpacked to `/srv/pypi/<name>`.
    Pypi {
        name: &'static str,
        version: &'static str,
    },
}

// === impl Package ===

impl Package {
    /// `bun 1.4.5`
    pub fn text(self) -> String {
        match self {
            Self::Npm { name, version, .. } | Self::Pypi { name, version } => {
                format!("{name} {version}")
            }
        }
    }

    /// The program that fetches it.
    pub(crate) fn client(self) -> &'static str {
        match self {
            Self::Npm { .. } => "npm",
            Self::Pypi { .. } => "pip",
        }
    }

    /// Fetches it into an empty directory of `scratch`, and unpacks it below `root`.
    pub(crate) fn fetch(self, scratch: &Path, root: &Path) -> Result<()> {
        let to = root.join(self.directory());
        for directory in [scratch, &to] {
            if directory.exists() {
                fs::remove_dir_all(directory)?;
            }
            fs::create_dir_all(directory)?;
        }
        eprintln!("workloads: fetching {}", self.text());
        let mut fetch = match self {
            Self::Npm { name, version, .. } => {
                let mut npm = Command::new("npm");
                npm.args(["pack", "--silent", "--ignore-scripts"])
                    .arg(format!("{name}@{version}"))
                    .current_dir(scratch);
                npm
            }
            Self::Pypi { name, version } => {
                let mut pip = Command::new("pip");
                pip.args(["download", "--quiet", "--disable-pip-version-check"])
                    .args(["--no-deps", "--only-binary", ":all:", "--python-version"])
                    .arg(python(root)?)
                    .arg("--dest")
                    .arg(scratch)
                    .arg(format!("{name}=={version}"));
                pip
            }
        };
        run(&mut fetch)?;
        let archive = only_file(scratch)?;
        match self {
            Self::Npm { .. } => run(Command::new("tar")
                .args(["--extract", "--gzip", "--no-same-owner"])
                .args(["--strip-components", "1", "--file"])
                .arg(&archive)
                .arg("--directory")
                .arg(&to)),
            Self::Pypi { .. } => run(Command::new("python3")
                .args(["-m", "zipfile", "-e"])
                .arg(&archive)
                .arg(&to)),
        }?;
        fs::remove_dir_all(scratch)?;
        Ok(())
    }

    /// Below the root file system.
    pub(crate) fn directory(self) -> PathBuf {
        match self {
            Self::Npm { directory, .. } => Path::new("srv/npm").join(directory),
            Self::Pypi { name, .. } => Path::new("srv/pypi").join(name),
        }
    }
}

/// What an archive does not say of a program.
pub(crate) fn make_executable(program: &Path) -> Result<()> {
    fs::set_permissions(program, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("no program {}", program.display()))
}

/// Version of the root file system's Python: `3.11`.
fn python(root: &Path) -> Result<String> {
    let names = fs::read_dir(root.join("usr/bin"))?;
    let mut versions = names.filter_map(|entry| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        let version = name.strip_prefix("python")?;
        let is_version = version.contains('.') && version.ends_with(|c: char| c.is_ascii_digit());
        is_version.then(|| version.to_owned())
    });
    versions.next().context("no Python in the root file system")
}

fn only_file(directory: &Path) -> Result<PathBuf> {
    let mut files = fs::read_dir(directory)?;
    let file = files.next().context("nothing was fetched")??;
    Ok(file.path())
}

fn run(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?} failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
