//! Programs of the cluster that are built of Go modules, once for each version, into one directory of the cache.
//!
//! Their versions stand in `go/*/go.mod`, and nowhere else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::command::Run as _;
use crate::go;

/// A wrapper module, and the programs that are built of what it requires.
struct Module {
    /// Directory below `go/`.
    name: &'static str,
    /// Whose version the programs are told to have.
    versioned: &'static str,
    packages: &'static [&'static str],
    /// Go packages whose `gitVersion` says the version, which an ordinary build leaves open.
    version_packages: &'static [&'static str],
}

const MODULES: &[Module] = &[
    Module {
        name: "etcd",
        versioned: "go.etcd.io/etcd/server/v3",
        packages: &["go.etcd.io/etcd/server/v3"],
        version_packages: &[],
    },
    Module {
        name: "kubernetes",
        versioned: "k8s.io/kubernetes",
        packages: &[
            "k8s.io/kubernetes/cmd/kube-apiserver",
            "k8s.io/kubernetes/cmd/kube-controller-manager",
            "k8s.io/kubernetes/cmd/kube-proxy",
            "k8s.io/kubernetes/cmd/kube-scheduler",
            "k8s.io/kubernetes/cmd/kubectl",
            "k8s.io/kubernetes/cmd/kubelet",
        ],
        version_packages: &[
            "k8s.io/component-base/version",
            "k8s.io/client-go/pkg/version",
        ],
    },
    Module {
        name: "helm",
        versioned: "helm.sh/helm/v3",
        packages: &["helm.sh/helm/v3/cmd/helm"],
        version_packages: &[],
    },
];

/// Where the programs are.
pub(crate) fn directory(cache: &Path) -> PathBuf {
    cache.join("bin")
}

/// Builds what is missing below `cache`.
pub(crate) fn ensure(cache: &Path) -> Result<()> {
    let bin = directory(cache);
    fs::create_dir_all(&bin).with_context(|| format!("cannot make {}", bin.display()))?;
    let lock = fs::File::create(cache.join("bin.lock"))?;
    lock.lock()?;
    for module in MODULES {
        if !module.is_warm(&bin)? {
            module.build(&go::ensure(&cache.join("go"))?, &bin)?;
        }
    }
    drop(lock);
    Ok(())
}

/// `v1.36.3`
pub(crate) fn kubernetes_version() -> Result<String> {
    let module = MODULES.iter().find(|module| module.name == "kubernetes");
    module.context("no module of Kubernetes")?.version()
}

// === impl Module ===

impl Module {
    fn directory(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("go")
            .join(self.name)
    }

    fn is_warm(&self, bin: &Path) -> Result<bool> {
        let stamp = fs::read_to_string(self.stamp(bin)).unwrap_or_default();
        let there = self
            .packages
            .iter()
            .all(|package| bin.join(program(package)).is_file());
        Ok(there && stamp == self.contents()?)
    }

    fn build(&self, go: &Path, bin: &Path) -> Result<()> {
        eprintln!(
            "cluster: building {} {} (minutes, the first time)",
            self.name,
            self.version()?
        );
        let mut flags = "-s -w".to_owned();
        for package in self.version_packages {
            let version = self.version()?;
            let mut numbers = version.trim_start_matches('v').split('.');
            let mut number = || numbers.next().context("a version without two numbers");
            let (major, minor) = (number()?, number()?);
            flags.push_str(&format!(
                " -X {package}.gitVersion={version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"
            ));
        }
        // One program after the other: the name of each is that of its package.
        for package in self.packages {
            Command::new("nice")
                .arg(go)
                .args(["build", "-trimpath", "-ldflags", &flags, "-o"])
                .arg(bin.join(program(package)))
                .arg(package)
                .current_dir(self.directory())
                .env("CGO_ENABLED", "0")
                .run()?;
        }
        fs::write(self.stamp(bin), self.contents()?)?;
        Ok(())
    }

    fn stamp(&self, bin: &Path) -> PathBuf {
        bin.with_file_name(format!("{}.stamp", self.name))
    }

    /// What decides what is built.
    fn contents(&self) -> Result<String> {
        let file = self.directory().join("go.mod");
        let text =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(format!("{}\n{text}", self.packages.join("\n")))
    }

    /// `v1.36.3`
    fn version(&self) -> Result<String> {
        let text = fs::read_to_string(self.directory().join("go.mod"))?;
        for line in text.lines() {
            let mut words = line.trim_start_matches("require").split_whitespace();
            if words.next() == Some(self.versioned)
                && let Some(version) = words.next().filter(|word| word.starts_with('v'))
            {
                return Ok(version.to_owned());
            }
        }
        bail!("{}/go.mod requires no {}", self.name, self.versioned)
    }
}

/// `k8s.io/kubernetes/cmd/kubectl` is `kubectl`, `go.etcd.io/etcd/server/v3` is `etcd`.
fn program(package: &str) -> &str {
    match package.rsplit('/').next().unwrap_or(package) {
        "v3" => "etcd",
        name => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_module_pins_its_version() {
        for module in MODULES {
            let version = module.version().expect("a version");
            assert!(version.starts_with('v'), "{}: {version}", module.name);
        }
    }

    #[test]
    fn programs_have_names() {
        let names: Vec<_> = MODULES
            .iter()
            .flat_map(|module| module.packages)
            .map(|package| program(package))
            .collect();
        assert!(names.contains(&"etcd") && names.contains(&"kubelet"));
    }
}
