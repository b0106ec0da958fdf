//! TLS libraries that lie in the root directory of a process, where programs to come will find them.

use std::{
    collections::HashMap,
    fs::{self, DirEntry},
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use super::files::{Identity, Mapped};

/// Where distributions for x86-64 have them.
const DIRECTORIES: [&str; 6] = [
    "usr/lib/x86_64-linux-gnu",
    "usr/lib64",
    "usr/lib",
    "lib/x86_64-linux-gnu",
    "lib64",
    "lib",
];
/// What is worth a look; what is in it decides.
const NAMES: [&str; 2] = ["libssl.so", "libgnutls.so"];
/// A directory may have any number of files.
const MAX_LIBRARIES: usize = 8;
/// Of more root directories the first are forgotten, and read again.
const MAX_ROOTS: usize = 1024;

/// What was found in each, by device and inode.
#[derive(Default)]
pub(super) struct Roots(HashMap<(u64, u64), Vec<Library>>);

struct Library {
    identity: Identity,
    /// Below the root.
    path: PathBuf,
}

// === impl Roots ===

impl Roots {
    /// What the process may load one day; none if it may not be looked at.
    pub(super) fn libraries(&mut self, pid: u32) -> Vec<Mapped> {
        let root = PathBuf::from(format!("/proc/{pid}/root"));
        let Ok(metadata) = fs::metadata(&root) else {
            return Vec::new();
        };
        let name = (metadata.dev(), metadata.ino());
        if self.0.len() >= MAX_ROOTS && !self.0.contains_key(&name) {
            self.0.clear();
        }
        let found = self.0.entry(name).or_insert_with(|| find(&root));
        let mapped = found
            .iter()
            .map(|it| Mapped::ready(it.identity, &root, &it.path));
        mapped.collect()
    }
}

fn find(root: &Path) -> Vec<Library> {
    let mut libraries: Vec<Library> = Vec::new();
    for directory in DIRECTORIES {
        let entries = fs::read_dir(root.join(directory));
        for entry in entries.into_iter().flatten().flatten() {
            let Some(library) = library(directory, &entry) else {
                continue;
            };
            let seen = |it: &Library| it.identity == library.identity;
            if libraries.len() < MAX_LIBRARIES && !libraries.iter().any(seen) {
                libraries.push(library);
            }
        }
    }
    libraries
}

/// A link may lead out of the root directory, and the file is there under its own name.
fn library(directory: &str, entry: &DirEntry) -> Option<Library> {
    let name = entry.file_name();
    let mut names = NAMES.iter();
    if !names.any(|prefix| name.as_bytes().starts_with(prefix.as_bytes())) {
        return None;
    }
    // Of a link, not of what it leads to.
    let metadata = entry.metadata().ok().filter(fs::Metadata::is_file)?;
    Some(Library {
        identity: Identity::of(&metadata),
        path: Path::new("/").join(directory).join(&name),
    })
}
