//! Files that a process executes code from.

use std::{
    ffi::OsStr,
    fs::{File, Metadata},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use procfs::process::{MMPermissions, MMapPath, Process};
use serde::{Deserialize, Serialize};
use weft_inspect::{Error as InspectError, Inspection};

use crate::bpf::map_file;

/// The same file, wherever and by whomever it is mapped: device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Identity {
    device: (i32, i32),
    inode: u64,
}

/// One file of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mapped {
    pub(crate) identity: Identity,
    /// As the process sees it, for people.
    pub(crate) path: PathBuf,
    /// Where its code lies in the process's memory, less the code's offset in the file (wraps around), if it does.
    pub(crate) code: Option<u64>,
    /// Leads to the very file, also when it was deleted or lies in another mount namespace.
    link: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Inspect(#[from] InspectError),
}

/// Files larger than this are not looked into.
const MAX_BYTES: u64 = 4 << 30;

/// What a process executes code from; first what is a TLS library by its name, because the others can
/// wait, and OpenSSL before GnuTLS, which often comes along with libraries that nobody uses.
///
/// # Errors
/// The process is gone, or may not be looked at.
pub(crate) fn mapped(pid: u32) -> io::Result<Vec<Mapped>> {
    let process = Process::new(i32::try_from(pid).unwrap_or(i32::MAX));
    let maps = process
        .and_then(|process| process.maps())
        .map_err(io::Error::other)?;
    let mut files: Vec<Mapped> = Vec::new();
    for map in maps {
        let MMapPath::Path(path) = map.pathname else {
            continue;
        };
        let identity = Identity {
            device: map.dev,
            inode: map.inode,
        };
        let executable = map.perms.contains(MMPermissions::EXECUTE);
        if !executable || map.inode == 0 || files.iter().any(|file| file.identity == identity) {
            continue;
        }
        let (from, to) = map.address;
        files.push(Mapped {
            identity,
            path,
            code: Some(from.wrapping_sub(map.offset)),
            link: format!("/proc/{pid}/map_files/{from:x}-{to:x}").into(),
        });
    }
    files.sort_by_key(Mapped::rank);
    Ok(files)
}

impl Identity {
    /// Some file systems show another device where the file is mapped.
    pub(super) fn of(metadata: &Metadata) -> Self {
        let device = metadata.dev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        Self {
            device: (major.cast_signed(), minor.cast_signed()),
            inode: metadata.ino(),
        }
    }
}

impl Mapped {
    /// A file below `root` that may be mapped one day.
    pub(super) fn ready(identity: Identity, root: &Path, path: &Path) -> Self {
        let below = path.strip_prefix("/").unwrap_or(path);
        Self {
            identity,
            path: path.to_owned(),
            code: None,
            link: root.join(below),
        }
    }

    /// The less, the sooner.
    fn rank(&self) -> usize {
        const FIRST: [&str; 2] = ["libssl", "libgnutls"];
        let name = self.path.file_name().and_then(OsStr::to_str);
        let rank = name.and_then(|name| FIRST.iter().position(|first| name.starts_with(first)));
        rank.unwrap_or(FIRST.len())
    }

    /// The file itself, which stays there when the process ends.
    ///
    /// # Errors
    /// The process is gone, or may not be looked at.
    pub(crate) fn open(&self) -> io::Result<File> {
        File::open(&self.link)
    }
}

/// What the file contains of TLS.
///
/// # Errors
/// The file is too large, or no ELF file for this machine.
pub(crate) fn inspect(file: &File) -> Result<Inspection, Error> {
    let bytes = file.metadata()?.len();
    if bytes > MAX_BYTES {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge).into());
    }
    let contents = map_file(file)?;
    Ok(weft_inspect::inspect(&contents)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_is_among_its_own_files() {
        let files = mapped(std::process::id()).unwrap();
        let own = std::env::current_exe().unwrap();
        let file = files.iter().find(|file| file.path == own).unwrap();
        assert!(inspect(&file.open().unwrap()).is_ok());
        assert!(inspect(&File::open("/dev/null").unwrap()).is_err());
    }
}
