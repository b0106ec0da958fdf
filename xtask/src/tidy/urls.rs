//! Addresses that may stand in the tree. Package registries and mirrors may not: they come from the
//! configuration of the machine that builds.

use super::File;

/// Documents and names; nothing is fetched from them.
const KNOWN: &[&str] = &[
    "aya-rs.dev",
    "developers.redhat.com",
    "docs.kernel.org",
    "git.kernel.org",
    "github.com",
    "json-schema.org",
    "keepachangelog.com",
    "kubernetes.io",
    "man7.org",
    "opentelemetry.io",
    "semver.org",
    "www.apache.org",
    "www.iana.org",
    "www.kernel.org",
    "www.rfc-editor.org",
    "www.w3.org",
];
/// Reserved for documents and tests (RFC 2606, RFC 6761).
const RESERVED: &[&str] = &[
    "example",
    "example.com",
    "example.net",
    "example.org",
    "internal",
    "invalid",
    "local",
    "localhost",
    "test",
];
/// Written by cargo, npm and others with the addresses they were configured with.
const LOCK_FILES: &[&str] = &["Cargo.lock", "package-lock.json", "go.sum"];

pub(super) fn check(files: &[File]) -> Vec<String> {
    let mut faults = Vec::new();
    for file in files {
        let name = file.path.rsplit('/').next().unwrap_or_default();
        if LOCK_FILES.contains(&name) || file.path.starts_with("tests/corpus/") {
            continue;
        }
        for (number, line) in (1..).zip(file.text.lines()) {
            for host in hosts(line).filter(|host| !is_known(host)) {
                faults.push(format!("{}:{number}: an address at {host}", file.path));
            }
        }
    }
    faults
}

fn hosts(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("://").filter_map(|(at, mark)| {
        let scheme = &line[..at];
        if !["http", "https", "ftp"]
            .iter()
            .any(|known| scheme.ends_with(known))
        {
            return None;
        }
        let after = &line[at + mark.len()..];
        let end = after.find(|c: char| !(c.is_ascii_alphanumeric() || "-._@".contains(c)));
        let authority = &after[..end.unwrap_or(after.len())];
        let host = authority.rsplit('@').next().unwrap_or(authority);
        Some(host.trim_end_matches('.'))
    })
}

fn is_known(host: &str) -> bool {
    // Names without a dot and addresses in numbers are of a local network; `a.b` is nobody's.
    let local = !host.contains('.')
        || host.chars().all(|c| c.is_ascii_digit() || c == '.')
        || host.split('.').all(|label| label.len() == 1);
    local
        || KNOWN.contains(&host)
        || RESERVED.iter().any(|known| {
            host.strip_suffix(known)
                .is_some_and(|front| front.is_empty() || front.ends_with('.'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_addresses_are_found() {
        let line = concat!(
            "curl http://a.example.com/x; pip -i https",
            "://me@packages.some-host.net:80/simple, http://127.0.0.1:4318 http://{host}/ "
        );
        let found: Vec<_> = hosts(line).filter(|host| !is_known(host)).collect();
        assert_eq!(found, ["packages.some-host.net"]);
    }
}
