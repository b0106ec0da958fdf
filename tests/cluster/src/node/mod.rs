//! The node: its root file system, its network, and the daemons on it.

mod control;
mod daemon;
mod pki;
mod place;
mod runtime;

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use self::daemon::Daemon;
use self::place::Place;
pub(crate) use self::runtime::PAUSE_IMAGE;
use crate::tools;

pub(crate) const NAME: &str = "node-1";
/// Of the node, on an interface of its own.
pub(crate) const ADDRESS: &str = "10.90.0.1";
const POD_NETWORK: &str = "10.91.0.0/22";
const SERVICE_NETWORK: &str = "10.92.0.0/22";
/// The first of the service network, which Kubernetes gives to its API.
const API_SERVICE_ADDRESS: &str = "10.92.0.1";

const NAME_SERVER: &str = "10.92.0.10";

/// What the distribution brings.
const PACKAGES: &[&str] = &[
    "buildah",
    "busybox-static",
    "ca-certificates",
    "containerd",
    "containernetworking-plugins",
    "iproute2",
    "kmod",
    "mount",
    "nftables",
    "procps",
    "runc",
    "util-linux",
];

/// Where everything of clusters is kept.
pub(crate) fn cache() -> PathBuf {
    weft_workloads::cache_dir().join("cluster")
}

/// What a running cluster writes, gone with it.
pub(crate) fn run_directory() -> PathBuf {
    cache().join("run")
}

/// What a node is made of.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) bin: PathBuf,
    pub(crate) root: PathBuf,
    /// Contexts and archives of images, kept between runs.
    pub(crate) images: PathBuf,
}

/// Fetches and builds what is missing.
pub(crate) fn ensure() -> Result<()> {
    ensure_root()?;
    tools::ensure(&cache())
}

/// The packages only.
pub(crate) fn ensure_root() -> Result<()> {
    weft_workloads::root_of_packages(&parts().root, &[], PACKAGES)
        .context("cannot make the node's root file system")
}

pub(crate) fn parts() -> Parts {
    Parts {
        bin: tools::directory(&cache()),
        root: cache().join("node"),
        images: cache().join("images"),
    }
}

/// For commands that talk to the cluster.
pub(crate) fn environment() -> Result<Vec<(String, String)>> {
    let mut path = vec![cache().join("bin")];
    path.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    let path = env::join_paths(path)?.into_string().ok();
    let kubeconfig = run_directory().join("pki/admin.kubeconfig");
    Ok(vec![
        (
            "PATH".to_owned(),
            path.context("a search path that is not UTF-8")?,
        ),
        ("KUBECONFIG".to_owned(), kubeconfig.display().to_string()),
    ])
}

/// A running node. The guard ends it.
pub(crate) struct Node {
    pub(crate) place: Place,
    daemons: Vec<Daemon>,
}

// === impl Node ===

impl Node {
    /// In this process's own mount and network name spaces.
    pub(crate) fn start(parts: &Parts) -> Result<Self> {
        let place = Place::make(parts, &run_directory())?;
        pki::make(&place.run.join("pki"))?;
        let mut node = Self {
            place,
            daemons: Vec::new(),
        };
        node.start_control_plane()?;
        node.start_runtime()?;
        Ok(node)
    }

    fn run(&mut self, daemon: Daemon) {
        self.daemons.push(daemon);
    }

    /// As a crash would.
    fn kill(&mut self, name: &str) -> Result<()> {
        let daemons = &mut self.daemons;
        let place = daemons.iter().position(|daemon| daemon.name() == name);
        let place = place.with_context(|| format!("{name} is not running"))?;
        daemons.remove(place).kill()
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.place.run.join("log").join(name)
    }

    /// Says which daemon has ended, with the last that it said.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.daemons.iter_mut().try_for_each(Daemon::check)
    }
}

/// Asks until the answer is yes, and looks at the daemons meanwhile.
pub(crate) fn wait(
    what: &str,
    limit: Duration,
    mut ready: impl FnMut() -> Result<bool>,
) -> Result<Duration> {
    let begin = std::time::Instant::now();
    loop {
        if ready()? {
            return Ok(begin.elapsed());
        }
        anyhow::ensure!(begin.elapsed() < limit, "{what}: not after {limit:?}");
        std::thread::sleep(Duration::from_millis(250));
    }
}

pub(crate) fn text(path: &Path) -> String {
    path.display().to_string()
}
