//! Plain manifests, made from the chart, for who has no Helm.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::{CRD, Proof, chart_directory, deploy_directory};
use crate::command::Run as _;
use crate::image;
use crate::tools;

/// The file, and the templates of the chart that it is made of.
const FILES: &[(&str, &[&str])] = &[
    ("crd.yaml", &["crd"]),
    (
        "weft.yaml",
        &[
            "serviceaccount",
            "rbac",
            "priorityclass",
            "configmap",
            "daemonset",
        ],
    ),
];

const HEAD: &str = "# Made from the Helm chart by `cargo xtask k8s manifests`: do not edit.\n";

/// Name and content of each file.
fn make(helm: &Path) -> Result<Vec<(&'static str, String)>> {
    let templates = Path::new(&chart_directory()).join("templates");
    let mut files = Vec::new();
    for (name, parts) in FILES {
        if *name == "crd.yaml" && !image::root().join(CRD).is_file() {
            continue;
        }
        let mut command = Command::new(helm);
        command.args(["template", "weft", &chart_directory()]);
        command.args(["--namespace", "weft", "--skip-tests"]);
        command.args(["--kube-version", &tools::kubernetes_version()?]);
        for part in *parts {
            let file = format!("templates/{part}.yaml");
            ensure!(
                templates.join(format!("{part}.yaml")).is_file(),
                "no {file}"
            );
            command.args(["--show-only", &file]);
        }
        let text = command.read()?;
        // Not managed by Helm: kubectl applies it.
        let text: String = text
            .lines()
            .filter(|line| {
                !line.contains("helm.sh/") && !line.contains("app.kubernetes.io/managed-by: Helm")
            })
            .flat_map(|line| [line, "\n"])
            .collect();
        files.push((*name, format!("{HEAD}{text}")));
    }
    Ok(files)
}

/// Writes what has changed.
pub(crate) fn write(helm: &Path) -> Result<()> {
    copy_definition()?;
    let directory = deploy_directory().join("manifests");
    fs::create_dir_all(&directory)?;
    for (name, text) in make(helm)? {
        let path = directory.join(name);
        if fs::read_to_string(&path).unwrap_or_default() != text {
            fs::write(&path, text)?;
            eprintln!("cluster: wrote {}", path.display());
        }
    }
    Ok(())
}

/// The chart must hold all its files.
fn copy_definition() -> Result<()> {
    let (from, to) = definition();
    if from.is_file() {
        fs::create_dir_all(to.parent().context("no directory")?)?;
        fs::copy(from, to)?;
    }
    Ok(())
}

fn definition() -> (std::path::PathBuf, std::path::PathBuf) {
    let copy = Path::new(&chart_directory()).join("crd/tracepolicies.yaml");
    (image::root().join(CRD), copy)
}

pub(super) fn are_current(proof: &mut Proof<'_>) -> Result<String> {
    const FIX: &str = "`cargo xtask k8s manifests` makes them again";
    let (from, to) = definition();
    if from.is_file() {
        ensure!(
            fs::read(from)? == fs::read(to).unwrap_or_default(),
            "the chart's copy of the definition is another one: {FIX}"
        );
    }
    let directory = deploy_directory().join("manifests");
    let files = make(&proof.node.place.bin.join("helm"))?;
    for (name, text) in &files {
        let found = fs::read_to_string(directory.join(name)).unwrap_or_default();
        ensure!(found == *text, "deploy/manifests/{name} is old: {FIX}");
    }
    // The directory is a base of Kustomize, too.
    let base = proof
        .node
        .kubectl(&["kustomize", &directory.display().to_string()])?
        .read()?;
    ensure!(base.contains("kind: DaemonSet"), "Kustomize made\n{base}");
    Ok(format!("{} files", files.len()))
}
