//! A private view of Debian's archive: own sources, lists and downloads, an empty package
//! database. Nothing is installed and nothing of the machine's apt is touched; only its mirror,
//! proxy and keys are used.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// One suite, its lists up to date.
pub(crate) struct Suite {
    configuration: PathBuf,
}

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring";
const SUITES: [&str; 9] = [
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "sid",
    "oldstable",
    "stable",
    "testing",
    "unstable",
];

// === impl Suite ===

impl Suite {
    /// Each suite is a view of its own, because one missing suite fails a whole update.
    pub(crate) fn open(name: &str, directory: &Path) -> Result<Self> {
        for part in ["lists/partial", "archives/partial"] {
            fs::create_dir_all(directory.join(part))?;
        }
        fs::write(directory.join("status"), "")?;
        let keyring = ["gpg", "pgp"]
            .map(|extension| format!("{KEYRING}.{extension}"))
            .into_iter()
            .find(|path| Path::new(path).exists())
            .map(|path| format!("[signed-by={path}] "))
            .unwrap_or_default();
        fs::write(
            directory.join("sources.list"),
            format!("deb {keyring}{} {name} main\n", mirror()?),
        )?;

        let configuration = directory.join("apt.conf");
        let root = directory.display();
        fs::write(
            &configuration,
            format!(
                r#"Dir::Etc::SourceList "{root}/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State "{root}";
Dir::State::lists "{root}/lists";
Dir::State::status "{root}/status";
Dir::Cache "{root}";
Dir::Cache::archives "{root}/archives";
Debug::NoLocking "true";
APT::Architecture "amd64";
APT::Sandbox::User "root";
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
#clear APT::Default-Release;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
"#
            ),
        )?;
        let suite = Self { configuration };
        run(suite.tool("apt-get").args(["update", "--error-on=any"]))
            .with_context(|| format!("no lists of Debian {name}"))?;
        Ok(suite)
    }

    /// Version that would be installed; `None` if the suite lacks the package.
    pub(crate) fn version(&self, package: &str) -> Result<Option<String>> {
        let output = run(self.tool("apt-cache").args(["policy", package]))?;
        Ok(output
            .lines()
            .find_map(|line| line.trim().strip_prefix("Candidate: "))
            .filter(|version| *version != "(none)")
            .map(str::to_owned))
    }

    /// Names of direct dependencies.
    pub(crate) fn depends(&self, package: &str) -> Result<Vec<String>> {
        let output = run(self
            .tool("apt-cache")
            .args(["depends", "--important", package]))?;
        Ok(output
            .lines()
            .filter_map(|line| line.split_once("Depends: "))
            .map(|(_, name)| name.trim().to_owned())
            .collect())
    }

    /// Unpacks these packages, without what they depend on.
    pub(crate) fn unpack(&self, packages: &[String], into: &Path) -> Result<()> {
        let downloads = self.empty_downloads()?;
        run(self
            .tool("apt-get")
            .arg("download")
            .args(packages)
            .current_dir(&downloads))?;
        unpack_all(&downloads, into)
    }

    /// Unpacks the package with everything it needs, down to its C library.
    pub(crate) fn unpack_closure(&self, package: &str, into: &Path) -> Result<()> {
        let downloads = self.empty_downloads()?;
        run(self
            .tool("apt-get")
            .args(["install", "--yes", "--download-only", package]))?;
        unpack_all(&downloads, into)
    }

    fn empty_downloads(&self) -> Result<PathBuf> {
        let downloads = self.configuration.with_file_name("archives");
        if downloads.exists() {
            fs::remove_dir_all(&downloads)?;
        }
        fs::create_dir_all(downloads.join("partial"))?;
        Ok(downloads)
    }

    fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command
            .arg("--quiet")
            .arg("--config-file")
            .arg(&self.configuration);
        command
    }
}

/// Whether Debian version `left` is higher than `right`.
pub(crate) fn is_newer(left: &str, right: &str) -> Result<bool> {
    let status = Command::new("dpkg")
        .args(["--compare-versions", left, "gt", right])
        .status()
        .context("dpkg")?;
    Ok(status.success())
}

/// The Debian mirror this machine's apt is configured for.
fn mirror() -> Result<String> {
    let output = run(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI) $(RELEASE)",
        "Created-By: Packages",
        "Component: main",
    ]))?;
    output
        .lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(_, release)| SUITES.contains(release))
        .map(|(uri, _)| uri.to_owned())
        .context("apt on this machine names no Debian mirror, which the kernels come from")
}

fn unpack_all(downloads: &Path, into: &Path) -> Result<()> {
    let mut unpacked = 0;
    for entry in fs::read_dir(downloads)? {
        let package = entry?.path();
        if package
            .extension()
            .is_some_and(|extension| extension == "deb")
        {
            run(Command::new("dpkg-deb")
                .arg("--extract")
                .arg(&package)
                .arg(into))?;
            unpacked += 1;
        }
    }
    fs::remove_dir_all(downloads)?;
    ensure!(unpacked > 0, "apt downloaded no package");
    Ok(())
}

/// Runs to the end, gives standard output; an error carries what the tool said.
fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .env("LC_ALL", "C")
        .output()
        .with_context(|| program.clone())?;
    if !output.status.success() {
        bail!(
            "{program}: {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
