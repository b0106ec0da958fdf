//! Which of our crates may know which: abi -> proto -> flow -> daemon, and the tests beside them.

use super::File;

/// (manifest, crates of ours it may depend on).
const ARROWS: &[(&str, &[&str])] = &[
    ("ebpf/abi", &[]),
    ("ebpf/probes", &["weft-abi"]),
    ("agent/proto", &["weft-abi"]),
    ("agent/inspect", &[]),
    ("agent/flow", &["weft-abi", "weft-proto"]),
    (
        "agent/daemon",
        &["weft-abi", "weft-proto", "weft-inspect", "weft-flow"],
    ),
    // These know weft from the outside only.
    ("tests/workloads", &[]),
    ("tests/workloads/apps/rust", &[]),
    ("tests/truth", &["weft-workloads"]),
    ("tests/e2e", &["weft-workloads"]),
    // It also measures the inspector by itself.
    (
        "tests/bench",
        &["weft-workloads", "weft-e2e", "weft-inspect"],
    ),
    ("tests/vm", &["weft-workloads"]),
    ("tests/cluster", &["weft-workloads", "weft-e2e"]),
    (
        "tests/fuzz",
        &["weft-abi", "weft-proto", "weft-inspect", "weft-flow"],
    ),
    ("xtask", &["weft-workloads", "weft-inspect"]),
];

pub(super) fn check(files: &[File]) -> Vec<String> {
    let mut faults = Vec::new();
    for file in files {
        let Some(directory) = file.path.strip_suffix("/Cargo.toml") else {
            continue;
        };
        let Some((_, allowed)) = ARROWS.iter().find(|(place, _)| *place == directory) else {
            faults.push(format!(
                "{}: xtask/src/tidy/arrows.rs has no rule for it",
                file.path
            ));
            continue;
        };
        for dependency in own_dependencies(&file.text) {
            if !allowed.contains(&dependency) {
                faults.push(format!("{}: may not depend on {dependency}", file.path));
            }
        }
    }
    faults
}

fn own_dependencies(manifest: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    manifest.lines().filter_map(move |line| {
        if line.starts_with('[') {
            inside = line.trim_end().ends_with("dependencies]");
        }
        let name = line.split(['.', '=', ' ']).next()?;
        (inside && name.starts_with("weft-")).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_dependencies_are_found() {
        let manifest = "[package]\nname = \"weft-flow\"\n[dependencies]\nbytes.workspace = true\nweft-abi.workspace = true\n\
             [dev-dependencies]\nweft-proto = { workspace = true }\n[features]\nweft-x = []\n";
        let found: Vec<_> = own_dependencies(manifest).collect();
        assert_eq!(found, ["weft-abi", "weft-proto"]);
    }
}
