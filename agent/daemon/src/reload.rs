//! The configuration's file, read again on SIGHUP and when it changes.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    time::{self, MissedTickBehavior},
};

use crate::{
    config::{Config, Error, Selection},
    telemetry::Registry,
};

/// Reads all that has a say again; flags still win over variables, those over the file.
pub(crate) struct Reload<'a> {
    file: Option<&'a Path>,
    read: &'a dyn Fn() -> Result<Config, Error>,
    last: Option<String>,
}

/// How often the file is looked at. A look is one system call, and sees what replaces files as mounted
/// ConfigMaps do, which notifications of the kernel do not on every file system.
const LOOK: Duration = Duration::from_millis(500);

/// Tells one state of the file from the next.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Mark {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Mark {
    fn of(path: &Path) -> Option<Self> {
        let file = fs::metadata(path).ok()?;
        Some(Self {
            device: file.dev(),
            inode: file.ino(),
            size: file.size(),
            changed: (file.ctime(), file.ctime_nsec()),
        })
    }
}

impl<'a> Reload<'a> {
    pub(crate) fn new(file: Option<&'a Path>, read: &'a dyn Fn() -> Result<Config, Error>) -> Self {
        Self {
            file,
            read,
            last: None,
        }
    }

    /// Hands over each new selection, for ever.
    ///
    /// # Errors
    /// Signals cannot be had.
    pub(crate) async fn follow(
        mut self,
        registry: &Registry,
        change: impl Fn(Selection),
    ) -> io::Result<()> {
        let counter = |result| {
            let help = "Times the configuration was read again; a refused one has changed nothing.";
            registry.counter("weft_reloads_total", help, &[("result", result)])
        };
        let (taken, refused) = (counter("taken"), counter("refused"));
        let mut hangup = signal(SignalKind::hangup())?;
        let mut looks = time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mark = |file: Option<&Path>| file.and_then(Mark::of);
        let mut known = mark(self.file);
        self.last = (self.read)().ok().map(|config| rest(&config));
        loop {
            tokio::select! {
                _ = hangup.recv() => known = mark(self.file),
                _ = looks.tick() => {
                    let now = mark(self.file);
                    // Gone: it may be on its way back, and SIGHUP asks for it.
                    if now.is_none() || now == known {
                        continue;
                    }
                    known = now;
                }
            }
            match (self.read)() {
                Ok(config) => {
                    let rest = Some(rest(&config));
                    if self.last != rest {
                        log::warn!(
                            "beside selection, what has changed in the configuration counts from the next start"
                        );
                        self.last = rest;
                    }
                    taken.add(1);
                    change(config.selection);
                }
                Err(error) => {
                    refused.add(1);
                    log::error!("the configuration stays as it was: {error}");
                }
            }
        }
    }
}

/// All that does not change while weft runs.
fn rest(config: &Config) -> String {
    let mut config = config.clone();
    config.selection = Selection::default();
    config.show()
}
