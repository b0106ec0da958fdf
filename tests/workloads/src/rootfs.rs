//! A root file system of packages, unpacked and never installed: no maintainer script runs, no service starts, nothing outside of
//! the cache directory changes.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};

use crate::Group;
use crate::apt::PrivateApt;

/// Unpacked for nobody: documentation and translations are a third of the files.
const LEFT_OUT: [&str; 5] = [
    "./usr/share/doc/*",
    "./usr/share/man/*",
    "./usr/share/locale/*",
    "./usr/share/info/*",
    "./usr/share/lintian/*",
];

const NO_LISTS: &str = "the package lists could not be fetched: is the network there?";

/// The file system at `dir`, with a stamp for each group it holds.
pub(crate) struct RootFs {
    dir: PathBuf,
}

impl RootFs {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    fn stamps(&self) -> PathBuf {
        self.dir.with_extension("stamps")
    }

    /// What was unpacked for this group; `None` when it was not, or was for another list of packages.
    pub(crate) fn is_warm(&self, group: Group) -> bool {
        fs::read_to_string(self.stamps().join(group.name()))
            .is_ok_and(|stamp| stamp == contents(group))
    }

    pub(crate) fn ensure(&self, groups: &[Group]) -> Result<()> {
        if groups.iter().all(|group| self.is_warm(*group)) {
            return Ok(());
        }
        let lock = self.locked()?;
        let missing: Vec<Group> = groups
            .iter()
            .copied()
            .filter(|group| !self.is_warm(*group))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = missing.iter().map(|group| group.name()).collect();
        self.announce(&names.join(", "));
        let apt = PrivateApt::open(&self.dir.with_extension("apt"), &[])?;
        apt.update().context(NO_LISTS)?;
        let mut packages: Vec<&str> = Group::BASE.to_vec();
        packages.extend(missing.iter().flat_map(|group| group.packages()));
        if missing.contains(&Group::Load) {
            packages.extend(
                Group::OPTIONAL_TOOLS
                    .iter()
                    .filter(|package| apt.has(package)),
            );
        }
        self.install(&apt, &packages)?;
        for group in missing {
            for package in group.fetched() {
                package.fetch(&self.dir.with_extension("fetched"), &self.dir)?;
            }
            fs::write(self.stamps().join(group.name()), contents(group))?;
        }
        drop(lock);
        Ok(())
    }

    /// The same for packages of no group; a list that changed makes it anew.
    pub(crate) fn ensure_packages(&self, more_suites: &[&str], packages: &[&str]) -> Result<()> {
        let (stamp, wanted) = (self.stamps().join("packages"), packages.join("\n"));
        let is_warm = || fs::read_to_string(&stamp).is_ok_and(|found| found == wanted);
        if is_warm() {
            return Ok(());
        }
        let lock = self.locked()?;
        if is_warm() {
            return Ok(());
        }
        for stale in [&self.dir, &self.stamps()] {
            if stale.exists() {
                fs::remove_dir_all(stale)
                    .with_context(|| format!("cannot remove {}", stale.display()))?;
            }
        }
        fs::create_dir_all(self.stamps())?;
        self.announce(&packages.join(", "));
        let apt = PrivateApt::open(&self.dir.with_file_name("packages.apt"), more_suites)?;
        apt.update().context(NO_LISTS)?;
        self.install(&apt, &[&Group::BASE, packages].concat())?;
        fs::write(stamp, wanted)?;
        drop(lock);
        Ok(())
    }

    /// Released with the file. Whoever waited for it finds the work done.
    fn locked(&self) -> Result<fs::File> {
        if !rustix::process::geteuid().is_root() {
            bail!(
                "third-party programs are unpacked into a root file system, which needs root: run again with sudo"
            );
        }
        fs::create_dir_all(self.stamps()).context("cannot make the cache directory")?;
        let lock = fs::File::create(self.dir.with_extension("lock"))?;
        lock.lock().context("cannot lock the cache directory")?;
        Ok(lock)
    }

    fn announce(&self, what: &str) {
        eprintln!(
            "workloads: fetching packages ({what}) into {}; nothing is installed on this system",
            self.dir.display()
        );
    }

    fn install(&self, apt: &PrivateApt, packages: &[&str]) -> Result<()> {
        let files = apt.download(packages)?;
        self.lay_out()?;
        self.unpack(&files)?;
        self.finish()
    }

    /// `/bin` and its like are links into `/usr`, as they are on an installed system.
    fn lay_out(&self) -> Result<()> {
        for dir in ["bin", "sbin", "lib", "lib64"] {
            fs::create_dir_all(self.dir.join("usr").join(dir))?;
            let link = self.dir.join(dir);
            if !link.is_symlink() {
                symlink(format!("usr/{dir}"), link)?;
            }
        }
        for dir in [
            "dev", "etc", "proc", "root", "run", "scratch", "srv", "sys", "tmp", "var/tmp",
        ] {
            fs::create_dir_all(self.dir.join(dir))?;
        }
        Ok(())
    }

    fn unpack(&self, files: &[PathBuf]) -> Result<()> {
        let list = self.stamps().join("unpacked");
        let unpacked: BTreeSet<String> = fs::read_to_string(&list)
            .unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect();
        let name = |file: &Path| {
            file.file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default()
        };
        let todo: Vec<&PathBuf> = files
            .iter()
            .filter(|file| !unpacked.contains(&name(file)))
            .collect();
        let mut log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&list)?;
        let (next, failure) = (AtomicUsize::new(0), Mutex::new(None));
        std::thread::scope(|scope| {
            for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
                scope.spawn(|| {
                    while let Some(file) = todo.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if let Err(error) = unpack_one(file, &self.dir) {
                            if let Ok(mut failure) = failure.lock() {
                                failure.get_or_insert(error);
                            }
                            next.store(todo.len(), Ordering::Relaxed);
                        }
                    }
                });
            }
            let mut shown = 0;
            while next.load(Ordering::Relaxed) < todo.len() {
                let now = next.load(Ordering::Relaxed);
                if now >= shown + 50 {
                    shown = now;
                    eprintln!("workloads: unpacked {now} of {} packages", todo.len());
                }
                std::thread::sleep(std::time::Duration::from_millis(200));
            }
        });
        if let Some(error) = failure.into_inner().ok().flatten() {
            return Err(error);
        }
        for file in todo {
            writeln!(log, "{}", name(file))?;
            // The archive is not needed again: half the room.
            fs::remove_file(file).ok();
        }
        Ok(())
    }

    /// The few things that maintainer scripts would have done and these programs miss.
    fn finish(&self) -> Result<()> {
        let etc = self.dir.join("etc");
        for (from, to) in [("passwd.master", "passwd"), ("group.master", "group")] {
            fs::copy(
                self.dir.join("usr/share/base-passwd").join(from),
                etc.join(to),
            )
            .with_context(|| format!("cannot write /etc/{to} of the root file system"))?;
        }
        fs::write(etc.join("hosts"), "127.0.0.1 localhost\n::1 localhost\n")?;
        fs::write(etc.join("resolv.conf"), "")?;
        fs::write(
            etc.join("nsswitch.conf"),
            "passwd: files\ngroup: files\nhosts: files\n",
        )?;
        if let Some(jvm) = self.find("usr/lib/jvm", |name| {
            name.starts_with("java-") && name.contains("openjdk")
        }) {
            for tool in ["java", "javac"] {
                let link = self.dir.join("usr/bin").join(tool);
                if !link.is_symlink() {
                    symlink(
                        Path::new("/usr/lib/jvm").join(&jvm).join("bin").join(tool),
                        link,
                    )?;
                }
            }
        }
        let status = Command::new("ldconfig")
            .arg("-r")
            .arg(&self.dir)
            .status()
            .context("cannot run ldconfig")?;
        if !status.success() {
            bail!("ldconfig -r {} failed", self.dir.display());
        }
        Ok(())
    }

    /// Name of the first entry of `dir` (inside) that `wanted` accepts.
    pub(crate) fn find(&self, dir: &str, wanted: impl Fn(&str) -> bool) -> Option<String> {
        let mut names: Vec<String> = fs::read_dir(self.dir.join(dir))
            .ok()?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| wanted(name))
            .collect();
        names.sort();
        names.into_iter().next()
    }
}

/// What a stamp says.
fn contents(group: Group) -> String {
    let fetched = group.fetched().iter().map(|package| package.text());
    let packages = group.packages().iter().map(|name| (*name).to_owned());
    packages.chain(fetched).collect::<Vec<_>>().join("\n")
}

fn unpack_one(file: &Path, root: &Path) -> Result<()> {
    let mut archive = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(file)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run dpkg-deb")?;
    let stdout = archive.stdout.take().context("dpkg-deb has no output")?;
    let tar = Command::new("tar")
        .args(["--extract", "--keep-directory-symlink", "--directory"])
        .arg(root)
        .args(
            LEFT_OUT
                .iter()
                .map(|pattern| format!("--exclude={pattern}")),
        )
        .stdin(stdout)
        .status()
        .context("cannot run tar")?;
    if !archive.wait()?.success() || !tar.success() {
        bail!("cannot unpack {}", file.display());
    }
    Ok(())
}
