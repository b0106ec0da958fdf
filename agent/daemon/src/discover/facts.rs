//! One process as `/proc` shows it.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use procfs::{ProcError, process::Process};

use super::container::Place;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProcessFacts {
    pub(crate) pid: u32,
    /// The process that executed the program: itself, or the one that it descends from by `fork` alone.
    pub(crate) began_as: u32,
    /// Clock ticks between boot and the process's start; with the pid it names a process.
    pub(crate) start_ticks: u64,
    /// At most 15 bytes.
    pub(crate) comm: String,
    /// Empty when it could not be read: a kernel thread, or gone already.
    pub(crate) exe: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) cwd: PathBuf,
    pub(crate) uid: Option<u32>,
    /// Control group, container and pod.
    pub(crate) place: Place,
    /// `OTEL_SERVICE_NAME` of its own environment.
    pub(crate) otel_service_name: Option<String>,
    /// `OTEL_RESOURCE_ATTRIBUTES` of its own environment, decoded.
    pub(crate) otel_attributes: Vec<(String, String)>,
}

impl ProcessFacts {
    /// What can be read is read: a process may end between two files.
    pub(crate) fn read(pid: u32) -> Result<Self, ProcError> {
        let process = Process::new(i32::try_from(pid).unwrap_or(i32::MAX))?;
        let stat = process.stat()?;
        let environment = process.environ().unwrap_or_default();
        let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        Ok(Self {
            pid,
            began_as: pid,
            start_ticks: stat.starttime,
            comm: stat.comm,
            exe: without_deleted(process.exe().unwrap_or_default()),
            args: process.cmdline().unwrap_or_default(),
            cwd: process.cwd().unwrap_or_default(),
            uid: process.uid().ok(),
            place: Place::read(&cgroup),
            otel_service_name: variable(&environment, "OTEL_SERVICE_NAME"),
            otel_attributes: variable(&environment, "OTEL_RESOURCE_ATTRIBUTES")
                .map(|text| resource_attributes(&text))
                .unwrap_or_default(),
        })
    }

    /// A process of which only the kernel's name is known.
    pub(crate) fn named(pid: u32, comm: &str) -> Self {
        Self {
            pid,
            began_as: pid,
            comm: comm.to_owned(),
            ..Self::default()
        }
    }

    /// A child that still runs its parent's program.
    pub(crate) fn forked(&self, pid: u32) -> Self {
        Self {
            pid,
            start_ticks: 0,
            ..self.clone()
        }
    }

    pub(crate) fn exe_name(&self) -> Option<&str> {
        self.exe.file_name()?.to_str()
    }

    pub(crate) fn is_kernel_thread(&self) -> bool {
        self.exe.as_os_str().is_empty() && self.args.is_empty()
    }
}

/// `key=value` pairs between commas, percent-encoded (OpenTelemetry resource SDK). A pair that
/// cannot be read is left out.
pub(crate) fn resource_attributes(text: &str) -> Vec<(String, String)> {
    let decoded = |text: &str| {
        percent_encoding::percent_decode_str(text.trim())
            .decode_utf8()
            .ok()
            .map(std::borrow::Cow::into_owned)
    };
    text.split(',')
        .filter_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            Some((decoded(key)?, decoded(value)?))
        })
        .filter(|(key, _)| !key.is_empty())
        .collect()
}

fn variable(environment: &HashMap<OsString, OsString>, name: &str) -> Option<String> {
    let value = environment.get(&OsString::from(name))?.to_string_lossy();
    (!value.trim().is_empty()).then(|| value.trim().to_owned())
}

/// The kernel marks files that an update has replaced.
fn without_deleted(path: PathBuf) -> PathBuf {
    match path.as_os_str().as_bytes().strip_suffix(b" (deleted)") {
        Some(bytes) => Path::new(std::ffi::OsStr::from_bytes(bytes)).to_owned(),
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_this_process() {
        let facts = ProcessFacts::read(std::process::id()).unwrap();
        assert_eq!(facts.exe, std::env::current_exe().unwrap());
        assert!(facts.start_ticks > 0 && facts.uid.is_some());
        assert!(ProcessFacts::read(u32::MAX).is_err());
    }

    #[test]
    fn attributes_of_the_environment() {
        let read = resource_attributes("service.namespace=shop, a=b%2Cc ,broken,=x,empty=");
        let expected = [("service.namespace", "shop"), ("a", "b,c"), ("empty", "")];
        assert_eq!(
            read,
            expected.map(|(key, value)| (key.to_owned(), value.to_owned()))
        );
    }
}
