//! Attributes that all processes of this host share.

use std::fs;

use super::Resource;

/// `host.*`, `os.*` and `telemetry.*`.
pub(super) fn attributes() -> Resource {
    let mut resource = Resource::default();
    let system = rustix::system::uname();
    resource.set(
        "host.name",
        system.nodename().to_string_lossy().into_owned(),
    );
    resource.set("host.arch", architecture());
    if let Some(id) = first_line("/etc/machine-id").or_else(boot_id) {
        resource.set("host.id", id);
    }
    resource.set("os.type", "linux");
    let kernel = system.release().to_string_lossy();
    match pretty_name() {
        Some(name) => resource.set("os.description", format!("{name}, Linux {kernel}")),
        None => resource.set("os.description", format!("Linux {kernel}")),
    }
    resource.set("telemetry.sdk.name", "weft");
    resource.set("telemetry.sdk.language", "rust");
    resource.set("telemetry.sdk.version", env!("CARGO_PKG_VERSION"));
    resource
}

pub(super) fn boot_id() -> Option<String> {
    first_line("/proc/sys/kernel/random/boot_id")
}

/// Name of a user of this host.
pub(super) fn users() -> Vec<(u32, String)> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    passwd
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            Some((fields.nth(1)?.parse().ok()?, name.to_owned()))
        })
        .collect()
}

/// In the words of the semantic conventions.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn pretty_name() -> Option<String> {
    let release = fs::read_to_string("/etc/os-release").ok()?;
    let name = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(name.trim_matches('"').to_owned())
}

fn first_line(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().next()?.trim();
    (!line.is_empty()).then(|| line.to_owned())
}
