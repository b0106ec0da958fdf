//! Who holds the cluster's life: started in a group of processes of its own, so that it is there when its caller is killed.
//!
//! ```text
//! caller ends or is killed ─▶ its end of a pipe closes ─▶ every process of the control group is killed ─▶ files are removed
//! ```

use std::env;
use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::cgroup::Group;
use crate::node::{cache, run_directory};
use crate::proof::Extent;
use crate::{Arguments, STEPS};

const READY_LIMIT: Duration = Duration::from_secs(180);
const DOWN_LIMIT: Duration = Duration::from_secs(60);

/// How long a cluster lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Keep {
    /// As long as its caller, at most.
    WhileAsked,
    UntilDown,
}

impl Keep {
    fn word(self) -> &'static str {
        match self {
            Self::WhileAsked => "while-asked",
            Self::UntilDown => "until-down",
        }
    }
}

/// Starts a guard, and with it a cluster; gives its exit code, or that the cluster is ready.
pub(crate) fn start(keep: Keep, extent: Extent, arguments: &Arguments) -> Result<ExitCode> {
    let mut command = Command::new(env::current_exe()?);
    let weft = &arguments.weft;
    let weft = weft
        .canonicalize()
        .with_context(|| format!("{} was not built", weft.display()))?;
    command
        .args(["guard", keep.word(), extent.word()])
        .env("WEFT_BIN", weft)
        .process_group(0);
    if let Some(steps) = &arguments.steps {
        command.env(STEPS, steps);
    }
    match keep {
        Keep::WhileAsked => {
            let mut guard = command
                .stdin(Stdio::piped())
                .spawn()
                .context("cannot start the guard")?;
            // Held until this process ends, whatever ends it.
            let life = guard.stdin.take();
            let status = guard.wait()?;
            drop(life);
            Ok(if status.success() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
        Keep::UntilDown => {
            let log = cache().join("up.log");
            let file = fs::File::create(&log)
                .with_context(|| format!("cannot write {}", log.display()))?;
            let mut guard = command
                .stdin(Stdio::null())
                .stdout(file.try_clone()?)
                .stderr(file)
                .spawn()
                .context("cannot start the guard")?;
            let begin = Instant::now();
            while holder().is_none() {
                if let Some(status) = guard.try_wait()? {
                    let said = fs::read_to_string(&log).unwrap_or_default();
                    bail!("the cluster ended with {status}:\n{said}");
                }
                if begin.elapsed() > READY_LIMIT {
                    bail!("no cluster after {READY_LIMIT:?}: see {}", log.display());
                }
                thread::sleep(Duration::from_millis(200));
            }
            eprintln!("cluster: ready; `exec kubectl get nodes`, `down`");
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The guard itself.
pub(crate) fn run(keep: Keep, extent: Extent) -> Result<ExitCode> {
    let lock = fs::File::create(cache().join("cluster.lock"))?;
    if lock.try_lock().is_err() {
        bail!("a cluster is running on this machine: `down` ends it");
    }
    let group = Group::make()?;
    clean(&group)?;
    fs::create_dir_all(run_directory())?;

    let this = env::current_exe()?;
    let mut inside = Command::new("/bin/sh")
        .args(["-c", r#"echo $$ > "$1" && shift && exec "$@""#, "sh"])
        .arg(group.door())
        .args(["unshare", "--net", "--mount", "--propagation", "private"])
        .arg("--")
        .arg(this)
        .args(["inside", keep.word(), extent.word()])
        .stdin(Stdio::null())
        .spawn()
        .context("cannot run unshare")?;
    if keep == Keep::WhileAsked {
        let killed = Group::make()?;
        thread::spawn(move || {
            // Ends when the caller does.
            std::io::stdin().read_to_end(&mut Vec::new()).ok();
            killed.kill().ok();
        });
    }
    let status = inside.wait()?;
    clean(&group)?;
    group.remove();
    drop(lock);
    if !status.success() {
        // Nobody may be left to read it.
        let log = cache().join("log");
        writeln!(
            std::io::stderr(),
            "cluster: ended with {status}; what its daemons said: {}",
            log.display()
        )
        .ok();
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Ends what is left of a cluster and removes its files but for the daemons' output, which the next one replaces. Its mounts were in a name space that is gone with its processes.
fn clean(group: &Group) -> Result<()> {
    fs::remove_file(state()).ok();
    group.kill()?;
    let directory = run_directory();
    let (log, kept) = (directory.join("log"), cache().join("log"));
    if log.is_dir() {
        fs::remove_dir_all(&kept).ok();
        fs::rename(log, kept)?;
    }
    match fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}

pub(crate) fn down() -> Result<ExitCode> {
    let lock = fs::File::create(cache().join("cluster.lock"))?;
    let group = Group::make()?;
    if lock.try_lock().is_ok() {
        // But its guard may have been killed.
        clean(&group)?;
        group.remove();
        eprintln!("cluster: none is running");
        return Ok(ExitCode::SUCCESS);
    }
    group.kill()?;
    let begin = Instant::now();
    // Its guard cleans up and lets go.
    while lock.try_lock().is_err() {
        if begin.elapsed() > DOWN_LIMIT {
            bail!("the cluster's guard does not end");
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs a command in the cluster's name spaces, with its programs and its administrator's rights.
pub(crate) fn exec(words: &[String]) -> Result<ExitCode> {
    let holder = holder().context("no cluster is running: `up` starts one")?;
    let status = Command::new("nsenter")
        .args(["--target", &holder.to_string(), "--net", "--mount"])
        .arg("--")
        .args(words)
        .envs(crate::node::environment()?)
        .status()
        .context("cannot run nsenter")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Tells others that the cluster is ready.
pub(crate) fn announce() -> Result<()> {
    fs::write(state(), std::process::id().to_string()).context("cannot write the cluster's state")
}

fn holder() -> Option<u32> {
    fs::read_to_string(state()).ok()?.parse().ok()
}

fn state() -> PathBuf {
    cache().join("cluster.pid")
}
