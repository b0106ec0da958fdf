//! Mapped files that decide what can be seen of a process.

use std::{fmt, fmt::Write as _, path::PathBuf};

use weft_inspect::{Class, Finding, Function, Inspection, Library as TlsLibrary, Site};

use crate::tls;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Library {
    path: PathBuf,
    pub(super) role: Role,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Found by what the file contains.
    Tls(Tls),
    /// Known by its name, and not read.
    OtherTls(&'static str),
    Runtime(&'static str),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tls {
    pub(super) library: TlsLibrary,
    build_id: Vec<u8>,
}

pub(super) fn mapped(pid: u32) -> Vec<Library> {
    let mut libraries = Vec::new();
    for file in tls::mapped(pid).unwrap_or_default() {
        let inspection = file
            .open()
            .ok()
            .and_then(|open| tls::inspect(&open).ok())
            .unwrap_or_default();
        let Inspection {
            build_id,
            go: _,
            libraries: found,
            mapped: _,
        } = inspection;
        let name = file.path.file_name().and_then(|name| name.to_str());
        let role = name.filter(|_| found.is_empty()).and_then(role);
        let tls = found.into_iter().map(|library| {
            Role::Tls(Tls {
                library,
                build_id: build_id.clone(),
            })
        });
        libraries.extend(role.into_iter().chain(tls).map(|role| Library {
            path: file.path.clone(),
            role,
        }));
    }
    libraries.sort_by(|one, other| one.path.cmp(&other.path));
    libraries
}

fn role(name: &str) -> Option<Role> {
    const TLS: [(&str, &str); 5] = [
        ("libssl3.so", "NSS"),
        ("libnspr4", "NSS"),
        ("libmbedtls", "Mbed TLS"),
        ("libwolfssl", "wolfSSL"),
        ("libjsse", "JSSE"),
    ];
    const RUNTIMES: [(&str, &str); 5] = [
        ("libpython", "CPython"),
        (
            "libjvm.so",
            "HotSpot JVM, whose own TLS (JSSE) cannot be read",
        ),
        ("libruby", "Ruby"),
        ("libphp", "PHP"),
        ("libnode", "Node.js"),
    ];
    let known = |table: &[(&str, &'static str)]| {
        let entry = table.iter().find(|(prefix, _)| name.starts_with(prefix));
        entry.map(|(_, what)| *what)
    };
    let tls = known(&TLS).map(Role::OtherTls);
    tls.or_else(|| known(&RUNTIMES).map(Role::Runtime))
}

impl Tls {
    /// Some of its plaintext can be read.
    pub(super) fn is_read(&self) -> bool {
        !self.library.functions.is_empty()
    }
}

impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.path.display())?;
        match &self.role {
            Role::Tls(tls) => write!(f, "({tls})"),
            Role::OtherTls(name) => write!(f, "(TLS: {name}, which is not read)"),
            Role::Runtime(name) => write!(f, "(runtime: {name})"),
        }
    }
}

impl fmt::Display for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let evidence = match self.library.finding {
            Finding::Symbols => "by its symbols",
            Finding::GoTable => "by Go's table of functions",
            Finding::Code => "by its code",
        };
        write!(f, "TLS: {}, {evidence}", tls::stack_name(&self.library))?;
        if !self.build_id.is_empty() {
            let mut id = String::new();
            for byte in &self.build_id {
                let _ = write!(id, "{byte:02x}");
            }
            write!(f, ", build {id}")?;
        }
        for function in &self.library.functions {
            write!(f, "; {}", Probes(function))?;
        }
        for problem in &self.library.problems {
            write!(f, "; {}", problem.0)?;
        }
        Ok(())
    }
}

/// Where the probes of a function stand, and how each is executed.
struct Probes<'a>(&'a Function);

impl fmt::Display for Probes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = |site: Site| {
            let how = match site.class {
                Class::Emulated => "emulated",
                Class::Stepped => "single-stepped",
            };
            format!("{:#x} {how}", site.offset)
        };
        let sites: Vec<_> = std::iter::once(self.0.entry)
            .chain(self.0.returns.sites())
            .map(place)
            .collect();
        write!(f, "{} at {}", self.0.name, sites.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles() {
        for (name, expected) in [
            ("libssl3.so", Some(Role::OtherTls("NSS"))),
            ("libruby-3.1.so.3.1", Some(Role::Runtime("Ruby"))),
            ("libssl.so.3", None),
            ("libc.so.6", None),
        ] {
            assert_eq!(role(name), expected, "{name}");
        }
    }
}
