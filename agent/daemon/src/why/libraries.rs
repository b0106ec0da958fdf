//! Mapped files that decide what can be seen of a process.

use std::{collections::BTreeSet, fmt, path::PathBuf};

use procfs::process::{MMapPath, Process};

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Library {
    path: PathBuf,
    pub(super) role: Role,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Tls(&'static str),
    Runtime(&'static str),
}

pub(super) fn mapped(pid: u32) -> Vec<Library> {
    let maps =
        Process::new(i32::try_from(pid).unwrap_or(i32::MAX)).and_then(|process| process.maps());
    let Ok(maps) = maps else { return Vec::new() };
    let paths: BTreeSet<PathBuf> = maps
        .into_iter()
        .filter_map(|map| match map.pathname {
            MMapPath::Path(path) => Some(path),
            _ => None,
        })
        .collect();
    paths
        .into_iter()
        .filter_map(|path| {
            let role = role(path.file_name()?.to_str()?)?;
            Some(Library { path, role })
        })
        .collect()
}

fn role(name: &str) -> Option<Role> {
    const ROLES: [(&str, Role); 14] = [
        ("libssl3.so", Role::Tls("NSS")),
        ("libssl.so", Role::Tls("OpenSSL")),
        ("libssl-", Role::Tls("OpenSSL, bundled")),
        ("libgnutls", Role::Tls("GnuTLS")),
        ("libnspr4", Role::Tls("NSS")),
        ("libmbedtls", Role::Tls("Mbed TLS")),
        ("libwolfssl", Role::Tls("wolfSSL")),
        ("libconscrypt", Role::Tls("BoringSSL")),
        ("cygrpc", Role::Tls("BoringSSL, in gRPC")),
        ("libpython", Role::Runtime("CPython")),
        ("libjvm.so", Role::Runtime("HotSpot JVM")),
        ("libruby", Role::Runtime("Ruby")),
        ("libphp", Role::Runtime("PHP")),
        ("libnode", Role::Runtime("Node.js")),
    ];
    ROLES
        .iter()
        .find(|(prefix, _)| name.starts_with(prefix))
        .map(|(_, role)| *role)
}

impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.role {
            Role::Tls(name) => format!("TLS: {name}"),
            Role::Runtime(name) => format!("runtime: {name}"),
        };
        write!(f, "{} ({what})", self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles() {
        for (name, expected) in [
            ("libssl.so.3", Some(Role::Tls("OpenSSL"))),
            ("libssl3.so", Some(Role::Tls("NSS"))),
            (
                "libssl-b1cb3b58.so.1.1",
                Some(Role::Tls("OpenSSL, bundled")),
            ),
            ("libjvm.so", Some(Role::Runtime("HotSpot JVM"))),
            ("libc.so.6", None),
        ] {
            assert_eq!(role(name), expected, "{name}");
        }
    }
}
