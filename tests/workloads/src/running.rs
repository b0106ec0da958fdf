//! A program that runs, and ends with its value.

use std::collections::HashMap;
use std::fs;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::{Listen, Place, Program, Workloads};

const START_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// One running program with all its workers: its process group.
pub struct Running {
    name: String,
    child: Child,
    listen: Listen,
    /// Scratch directory, as this process sees it.
    dir: PathBuf,
    root: PathBuf,
}

impl Running {
    pub(crate) fn start(
        workloads: &Workloads,
        program: &dyn Program,
        network: Option<&str>,
    ) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = program.name();
        let run = format!(
            "{}-{}-{name}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let place = Place::make(workloads, &run)?;
        let launch = program
            .prepare(&place)
            .with_context(|| format!("cannot prepare {name}"))?;
        let (path, arguments) = launch
            .argv
            .split_first()
            .context("a program without a command")?;
        let log = fs::File::create(place.outside().join("log"))?;
        let child = workloads
            .command_in(network, &launch.dir, path)
            .args(arguments)
            .envs(launch.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let mut running = Self {
            name: name.to_owned(),
            child,
            listen: launch.listen,
            dir: place.outside().to_owned(),
            root: workloads.root().to_owned(),
        };
        running.wait_until_ready(network)?;
        Ok(running)
    }

    /// The first process; its workers are in [`Self::pids`].
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All living processes of the program, parents before children.
    pub fn pids(&self) -> Vec<u32> {
        let tree = Tree::read();
        let mut pids = vec![self.pid()];
        let mut next = 0;
        while let Some(pid) = pids.get(next).copied() {
            next += 1;
            pids.extend(tree.children.get(&pid).into_iter().flatten());
        }
        pids
    }

    /// `http://127.0.0.1:8080`
    pub fn url(&self) -> String {
        format!("http://{}", self.listen.text())
    }

    pub fn listen(&self) -> &Listen {
        &self.listen
    }

    /// # Panics
    /// When the program listens on a unix socket.
    pub fn address(&self) -> SocketAddr {
        match &self.listen {
            Listen::Tcp(address) => *address,
            Listen::Unix(path) => panic!("{} listens on {}", self.name, path.display()),
        }
    }

    /// The unix socket's path as this process sees it.
    pub fn socket(&self) -> Option<PathBuf> {
        match &self.listen {
            Listen::Tcp(_) => None,
            Listen::Unix(path) => Some(outside(&self.root, path)),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the program wrote on its standard output and error.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(pid(&self.child)?, signal)?)
    }

    fn wait_until_ready(&mut self, network: Option<&str>) -> Result<()> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended at once ({status}):\n{}", self.name, self.log());
            }
            let answers = match (&self.listen, network) {
                (Listen::Tcp(address), None) => {
                    TcpStream::connect(address).map(|stream| drop(stream.shutdown(Shutdown::Both)))
                }
                (Listen::Unix(path), _) => UnixStream::connect(outside(&self.root, path)).map(drop),
                (Listen::Tcp(address), Some(_)) => listens(self.child.id(), address.port()),
            };
            if answers.is_ok() {
                return Ok(());
            }
            if begin.elapsed() > START_LIMIT {
                bail!(
                    "{} does not listen on {} after {START_LIMIT:?}:\n{}",
                    self.name,
                    self.listen.text(),
                    self.log()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Ok(group) = pid(&self.child) else { return };
        let begin = Instant::now();
        kill_process(group, Signal::TERM).ok();
        while matches!(self.child.try_wait(), Ok(None)) && begin.elapsed() < STOP_LIMIT {
            std::thread::sleep(Duration::from_millis(10));
        }
        kill_process_group(group, Signal::KILL).ok();
        self.child.wait().ok();
        if std::env::var_os("WEFT_KEEP_SCRATCH").is_none() {
            fs::remove_dir_all(&self.dir).ok();
        }
    }
}

/// Scratch directories of runs whose caller was killed.
pub(crate) fn remove_stale(root: &Path) {
    for entry in fs::read_dir(root.join("scratch"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = entry.file_name();
        let caller = name
            .to_str()
            .and_then(|name| name.split_once('-')?.0.parse::<u32>().ok());
        if caller.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            fs::remove_dir_all(entry.path()).ok();
        }
    }
}

/// Children of each process, in one reading of `/proc`.
struct Tree {
    children: HashMap<u32, Vec<u32>>,
}

impl Tree {
    fn read() -> Self {
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            // pid (comm) state ppid: the name may hold anything, a parenthesis too.
            let parent = stat
                .rsplit_once(") ")
                .and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
            if let Some(parent) = parent {
                children.entry(parent).or_default().push(pid);
            }
        }
        Self { children }
    }
}

/// Whether any socket of the process's network name space listens on the port: it cannot be reached from here.
fn listens(pid: u32, port: u16) -> std::io::Result<()> {
    let wanted = format!(":{port:04X}");
    for table in ["tcp", "tcp6"] {
        let text = fs::read_to_string(format!("/proc/{pid}/net/{table}"))?;
        let found = text.lines().any(|line| {
            let mut words = line.split_whitespace().skip(1);
            words.next().is_some_and(|local| local.ends_with(&wanted)) && words.nth(1) == Some("0A")
        });
        if found {
            return Ok(());
        }
    }
    Err(std::io::ErrorKind::ConnectionRefused.into())
}

fn pid(child: &Child) -> Result<Pid> {
    let raw = i32::try_from(child.id())?;
    Pid::from_raw(raw).context("a process without a number")
}

fn outside(root: &Path, inside: &Path) -> PathBuf {
    root.join(inside.strip_prefix("/").unwrap_or(inside))
}
