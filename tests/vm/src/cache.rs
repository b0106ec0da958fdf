//! What comes from outside, kept between runs: kernels, QEMU and busybox. An entry appears by a
//! rename when it is complete, so its existence is its stamp.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::apt::{self, Suite};
use crate::guest::Qemu;
use crate::matrix::Kernel;

pub(crate) struct Cache {
    root: PathBuf,
}

/// A kernel ready to boot.
pub(crate) struct Image {
    /// As `uname -r` says it.
    pub(crate) release: String,
    pub(crate) path: PathBuf,
}

const METAPACKAGE: &str = "linux-image-cloud-amd64";
const TOOLS_SUITE: &str = "bookworm";
const QEMU: &str = "qemu-system-x86_64";

// === impl Cache ===

impl Cache {
    pub(crate) fn open() -> Result<Self> {
        let root = env::var_os("WEFT_CACHE")
            .map(PathBuf::from)
            .or_else(|| env::var_os("XDG_CACHE_HOME").map(|home| Path::new(&home).join("weft")))
            .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cache/weft")))
            .context("no cache directory: set WEFT_CACHE or HOME")?
            .join("vm");
        fs::create_dir_all(&root).with_context(|| root.display().to_string())?;
        Ok(Self {
            root: fs::canonicalize(root)?,
        })
    }

    pub(crate) fn forget_kernels(&self) -> Result<()> {
        let kernels = self.root.join("kernels");
        if kernels.exists() {
            fs::remove_dir_all(kernels)?;
        }
        Ok(())
    }

    pub(crate) fn kernel(&self, kernel: Kernel) -> Result<Image> {
        let name = format!("kernels/{kernel}");
        let directory = self.entry(&name, &format!("Debian's kernel {kernel}"), |into| {
            let suite = self.best_suite(kernel)?;
            let unpacked = into.join("unpacked");
            suite.unpack(&image_packages(&suite)?, &unpacked)?;
            let image = unpacked_image(&unpacked)?;
            fs::rename(&image.path, into.join(image.release))?;
            fs::remove_dir_all(unpacked)?;
            Ok(())
        })?;
        let (release, path) = children(&directory)?
            .pop()
            .with_context(|| format!("{} is empty", directory.display()))?;
        Ok(Image { release, path })
    }

    pub(crate) fn busybox(&self) -> Result<PathBuf> {
        let directory = self.entry("busybox", "busybox", |into| {
            self.suite(TOOLS_SUITE)?
                .unpack(&["busybox-static".to_owned()], into)
        })?;
        Ok(directory.join("bin/busybox"))
    }

    /// The installed QEMU, else one unpacked with its whole closure and started by its own loader.
    pub(crate) fn qemu(&self) -> Result<Qemu> {
        let path = env::var_os("PATH").unwrap_or_default();
        if let Some(program) = env::split_paths(&path)
            .map(|part| part.join(QEMU))
            .find(|path| path.exists())
        {
            return Ok(Qemu::Installed(program));
        }
        let root = self.entry("qemu", "QEMU (unpacked, not installed)", |into| {
            self.suite(TOOLS_SUITE)?
                .unpack_closure("qemu-system-x86", into)
        })?;
        Ok(Qemu::Unpacked(root))
    }

    /// Where a guest leaves its consoles; emptied.
    pub(crate) fn run_directory(&self, kernel: Kernel) -> Result<PathBuf> {
        let directory = self.root.join("runs").join(kernel.name());
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        fs::create_dir_all(&directory)?;
        Ok(directory)
    }

    fn suite(&self, name: &str) -> Result<Suite> {
        Suite::open(name, &self.root.join("apt").join(name))
    }

    /// A suite that cannot be had is left out as long as another one can.
    fn best_suite(&self, kernel: Kernel) -> Result<Suite> {
        let mut best: Option<(String, Suite)> = None;
        let mut refusals = Vec::new();
        for name in kernel.suites() {
            let found = self
                .suite(name)
                .and_then(|suite| Ok((suite.version(METAPACKAGE)?, suite)));
            let (version, suite) = match found {
                Ok((Some(version), suite)) => (version, suite),
                Ok((None, _)) => continue,
                Err(error) => {
                    refusals.push(format!("{error:#}"));
                    continue;
                }
            };
            let is_better = match &best {
                Some((best_version, _)) => apt::is_newer(&version, best_version)?,
                None => true,
            };
            if is_better {
                best = Some((version, suite));
            }
        }
        match best {
            Some((_, suite)) => Ok(suite),
            None => bail!("no kernel {kernel} to be had: {}", refusals.join("; ")),
        }
    }

    fn entry(
        &self,
        name: &str,
        what: &str,
        fill: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let complete = self.root.join(name);
        if complete.exists() {
            return Ok(complete);
        }
        eprintln!("vm: fetching {what} into {}", self.root.display());
        let partial = self.root.join(format!("{name}.partial"));
        if partial.exists() {
            fs::remove_dir_all(&partial)?;
        }
        fs::create_dir_all(&partial)?;
        fill(&partial).with_context(|| format!("cannot fetch {what}"))?;
        fs::rename(&partial, &complete)?;
        Ok(complete)
    }
}

/// Debian's newer kernels (7.2 was seen) keep the image itself in a `linux-binary` package.
fn image_packages(suite: &Suite) -> Result<Vec<String>> {
    let mut packages = suite.depends(METAPACKAGE)?;
    packages.retain(|name| name.starts_with("linux-image-"));
    for package in packages.clone() {
        packages.extend(
            suite
                .depends(&package)?
                .into_iter()
                .filter(|name| name.starts_with("linux-binary-")),
        );
    }
    Ok(packages)
}

/// `boot/vmlinuz-RELEASE`, or `usr/lib/modules/RELEASE/vmlinuz` in the newer packages.
fn unpacked_image(root: &Path) -> Result<Image> {
    for (name, path) in children(&root.join("boot"))? {
        if let Some(release) = name.strip_prefix("vmlinuz-") {
            return Ok(Image {
                release: release.to_owned(),
                path,
            });
        }
    }
    for (release, modules) in children(&root.join("usr/lib/modules"))? {
        let path = modules.join("vmlinuz");
        if path.exists() {
            return Ok(Image { release, path });
        }
    }
    bail!("the packages hold no kernel image")
}

/// Names and paths in a directory; none if it does not exist.
fn children(directory: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut children = Vec::new();
    if directory.exists() {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            children.push((
                entry.file_name().to_string_lossy().into_owned(),
                entry.path(),
            ));
        }
    }
    Ok(children)
}
