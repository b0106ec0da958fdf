//! Files that were looked into: each once, whatever the mounts through which processes see it.
//!
//! Containers of one image share its files, and an overlay shows each under a device of its own. Probes stand in
//! the file below, so that a call would pass as many as there are containers.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::{bpf::Attached, runtimes};

use super::files::Identity;

/// A file that no process has mapped any more keeps its probes so long.
pub(super) const LINGER: Duration = Duration::from_secs(30);

/// A file that was looked into.
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) watched: Vec<Watched>,
    /// What the kernel programs are to know of each process that runs it.
    pub(super) runtime: Option<runtimes::Runtime>,
    /// To be told from others, with its inode's number; of those that are watched only.
    open: Option<(u64, fs::File)>,
    users: HashSet<u32>,
    unused_since: Option<Instant>,
}

/// What is watched in a file.
pub(super) struct Watched {
    /// As its sites name the library; `None`: the dynamic loader, or a runtime.
    pub(super) library: Option<u8>,
    pub(super) probes: Attached,
}

#[derive(Default)]
pub(super) struct Known {
    files: HashMap<Identity, File>,
    /// From what another mount calls a file to what it is known as.
    aliases: HashMap<Identity, Identity>,
}

// === impl File ===

impl File {
    pub(super) fn new(
        path: PathBuf,
        open: fs::File,
        watched: Vec<Watched>,
        runtime: Option<runtimes::Runtime>,
    ) -> Self {
        let inode = open.metadata().ok().filter(|_| !watched.is_empty());
        let open = inode.map(|it| (it.ino(), open));
        Self {
            path,
            watched,
            runtime,
            open,
            users: HashSet::new(),
            unused_since: Some(Instant::now()),
        }
    }

    pub(super) fn used_by(&mut self, pid: u32) {
        self.users.insert(pid);
        self.unused_since = None;
    }

    fn is(&self, other: &fs::Metadata) -> bool {
        let open = self.open.as_ref();
        let open = open.filter(|(inode, _)| *inode == other.ino());
        let own = open.and_then(|(_, file)| file.metadata().ok());
        own.is_some_and(|own| same(&own, other))
    }

    fn unused(&self, now: Instant) -> bool {
        let since = self.unused_since;
        since.is_some_and(|since| now.saturating_duration_since(since) >= LINGER)
    }
}

// === impl Known ===

impl Known {
    /// What the file is known as.
    pub(super) fn name(&self, identity: Identity) -> Option<Identity> {
        if self.files.contains_key(&identity) {
            return Some(identity);
        }
        self.aliases.get(&identity).copied()
    }

    /// The same, of a file that is seen through this mount for the first time.
    ///
    /// # Errors
    /// It is gone.
    pub(super) fn twin(
        &mut self,
        identity: Identity,
        open: &fs::File,
    ) -> io::Result<Option<Identity>> {
        let metadata = open.metadata()?;
        let mut files = self.files.iter();
        let twin = files.find(|(_, file)| file.is(&metadata));
        let twin = twin.map(|(known, _)| *known);
        self.aliases.extend(twin.map(|known| (identity, known)));
        Ok(twin)
    }

    pub(super) fn insert(&mut self, identity: Identity, file: File) {
        self.files.insert(identity, file);
    }

    pub(super) fn get_mut(&mut self, name: Identity) -> Option<&mut File> {
        self.files.get_mut(&name)
    }

    /// The process does not use its files any more.
    pub(super) fn left(&mut self, pid: u32, files: HashSet<Identity>) {
        for name in files {
            if let Some(file) = self.files.get_mut(&name) {
                file.users.remove(&pid);
                if file.users.is_empty() {
                    file.unused_since = Some(Instant::now());
                }
            }
        }
    }

    /// What no process needs any more has not to linger.
    pub(super) fn let_go(&mut self, now: Instant) {
        for file in self.files.values_mut().filter(|file| file.users.is_empty()) {
            file.unused_since = now.checked_sub(LINGER).or(Some(now));
        }
    }

    pub(super) fn any_unused(&self, now: Instant) -> bool {
        self.files.values().any(|file| file.unused(now))
    }

    pub(super) fn take_unused(&mut self, now: Instant) -> Vec<(Identity, File)> {
        let unused = self.files.extract_if(|_, file| file.unused(now));
        let unused: Vec<_> = unused.collect();
        self.aliases.retain(|_, name| self.files.contains_key(name));
        unused
    }

    /// In how many files a TLS library is watched.
    pub(super) fn libraries(&self) -> usize {
        let watched = |file: &&File| file.watched.iter().any(|it| it.library.is_some());
        self.files.values().filter(watched).count()
    }

    pub(super) fn into_probes(self) -> impl Iterator<Item = Attached> {
        let watched = self.files.into_values().flat_map(|file| file.watched);
        watched.map(|it| it.probes)
    }
}

/// Whether both are one file. An overlay hands on all of this but the device; another file with the same inode
/// number would have to have been written, and changed, in the same tick.
fn same(one: &fs::Metadata, other: &fs::Metadata) -> bool {
    let facts = |it: &fs::Metadata| {
        let modified = (it.mtime(), it.mtime_nsec());
        (it.ino(), it.size(), modified, (it.ctime(), it.ctime_nsec()))
    };
    facts(one) == facts(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_another_file() {
        let directory = std::env::temp_dir().join(format!("weft-known-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("one");
        fs::write(&path, "text").unwrap();
        let one = fs::File::open(&path).unwrap().metadata().unwrap();
        let again = fs::metadata(&path).unwrap();
        assert!(same(&one, &again));
        let copy = directory.join("two");
        fs::copy(&path, &copy).unwrap();
        assert!(!same(&one, &fs::metadata(&copy).unwrap()));
        fs::remove_dir_all(&directory).unwrap();
    }
}
