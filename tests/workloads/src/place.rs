//! What a program is told before it starts, and what it says about itself.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::Workloads;

/// Where a program listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    Tcp(SocketAddr),
    /// A unix socket in the program's scratch directory, path as the program sees it.
    Unix(PathBuf),
}

impl Listen {
    /// A free port on the loopback address.
    pub fn loopback() -> Result<Self> {
        Self::on(Ipv4Addr::LOCALHOST.into())
    }

    pub fn on(address: IpAddr) -> Result<Self> {
        Ok(Self::Tcp(SocketAddr::new(address, free_port(address)?)))
    }

    /// `127.0.0.1:80` or `unix:/path`, as nginx, gunicorn and others write it.
    pub fn text(&self) -> String {
        match self {
            Self::Tcp(address) => address.to_string(),
            Self::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    pub fn port(&self) -> u16 {
        match self {
            Self::Tcp(address) => address.port(),
            Self::Unix(_) => 0,
        }
    }
}

/// A port that was free a moment ago.
pub fn free_port(address: IpAddr) -> Result<u16> {
    let listener =
        TcpListener::bind((address, 0)).with_context(|| format!("no free port on {address}"))?;
    Ok(listener.local_addr()?.port())
}

/// How to start a program: made by [`crate::Program::prepare`].
#[derive(Clone, Debug)]
pub struct Launch {
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
    pub dir: PathBuf,
    /// The program is ready when this answers.
    pub listen: Listen,
}

impl Launch {
    pub fn new<S: Into<String>>(listen: Listen, argv: impl IntoIterator<Item = S>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            dir: "/".into(),
            listen,
        }
    }

    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// Names the service and its address by the variables that our own applications read.
    pub(crate) fn hosted(self, service: &str) -> Result<Self> {
        let Listen::Tcp(address) = &self.listen else {
            bail!("{service} has no unix sockets")
        };
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        Ok(self
            .env("SERVICE", service)
            .env("HOST", host)
            .env("PORT", port))
    }

    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = dir.into();
        self
    }
}

/// The scratch directory of one run of one program.
pub struct Place<'a> {
    pub workloads: &'a Workloads,
    /// As the program sees it.
    inside: PathBuf,
    outside: PathBuf,
}

impl<'a> Place<'a> {
    pub(crate) fn make(workloads: &'a Workloads, name: &str) -> Result<Self> {
        let inside = Path::new("/scratch").join(name);
        let outside = workloads.root().join("scratch").join(name);
        fs::create_dir_all(&outside)
            .with_context(|| format!("cannot make {}", outside.display()))?;
        Ok(Self {
            workloads,
            inside,
            outside,
        })
    }

    pub fn inside(&self) -> &Path {
        &self.inside
    }

    pub fn outside(&self) -> &Path {
        &self.outside
    }

    /// Writes a file and gives its path as the program sees it.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> Result<String> {
        let path = self.outside.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(self.path(name))
    }

    /// Path of a file of this directory as the program sees it.
    pub fn path(&self, name: &str) -> String {
        self.inside.join(name).display().to_string()
    }
}
