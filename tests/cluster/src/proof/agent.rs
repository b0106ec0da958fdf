//! weft as the chart installs it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::{Proof, chart_directory, eventually, workload};
use crate::cgroup;
use crate::command::Run as _;
use crate::image;
use crate::node::Node;

/// Of the release, its service account and its daemon set.
pub(super) const RELEASE: &str = "weft";
/// Not that of anybody else: what is proved about name spaces must not concern it.
pub(super) const NAMESPACE: &str = "weft-system";

const READY_LIMIT: Duration = Duration::from_secs(120);

pub(super) fn install(proof: &mut Proof<'_>) -> Result<String> {
    let (name, tag) = image::WEFT
        .rsplit_once(':')
        .context("an image without a tag")?;
    let node = &proof.node;
    let installed = node
        .helm(&[
            "install",
            RELEASE,
            &chart_directory(),
            "--namespace",
            NAMESPACE,
            "--create-namespace",
            "--set",
            &format!("image.repository={name},image.tag={tag},image.pullPolicy=Never"),
            "--set",
            "otlp.endpoint=http://$(HOST_IP):4317,clusterName=proof",
            // Soon: the figures are of the agent, not of its patience.
            "--set",
            "config.batch.delay=100ms",
            "--wait",
            &format!("--timeout={}s", READY_LIMIT.as_secs()),
        ])?
        .read();
    if let Err(error) = installed {
        bail!("{error:#}\n{}\n{}", workload::pods(node), log(node));
    }
    // Helm takes a daemon set for ready of which as many pods may be missing as there are.
    let (_, took) = eventually(READY_LIMIT, || is_ready(node))
        .with_context(|| format!("{}\n{}", workload::pods(node), log(node)))?;
    let pod = pod(node)?;
    let security = &pod["spec"]["containers"][0]["securityContext"];
    ensure!(
        security["privileged"] == false
            && security["readOnlyRootFilesystem"] == true
            && security["allowPrivilegeEscalation"] == false,
        "{security}"
    );
    ensure!(
        pod["spec"]["serviceAccountName"] == RELEASE,
        "not under its own account"
    );
    let capabilities = security["capabilities"]["add"]
        .as_array()
        .map_or(0, Vec::len);
    let seconds = took.as_secs_f64();
    Ok(format!(
        "{capabilities} capabilities; ready {seconds:.1} s after Helm"
    ))
}

/// What the agent's rights allow is asked of the agent in its pod, and of the same program with all rights.
pub(super) fn doctor(proof: &mut Proof<'_>) -> Result<String> {
    let inside = exec(proof.node, &["doctor"])?;
    let outside = proof
        .node
        .privileged_doctor()
        .context("`weft doctor` beside the cluster")?;
    let capabilities = |text: &str| -> Vec<String> {
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| line.starts_with("on ") || line.starts_with("off "));
        lines
            .filter(|line| !line.contains("cost of such a probe"))
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect()
    };
    let (with, without) = (capabilities(&inside), capabilities(&outside));
    ensure!(
        with == without && !with.is_empty(),
        "in the pod:\n{inside}\nwith all rights:\n{outside}"
    );
    let on = with.iter().filter(|line| line.starts_with("on ")).count();
    Ok(format!("{on} of {} on, as with all rights", with.len()))
}

/// What the container's control group counts, kernel memory and maps included.
pub(super) fn memory(proof: &mut Proof<'_>) -> Result<String> {
    let pid = pid()?;
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next().unwrap_or(""), fields.next().unwrap_or(""));
        let (base, usage, limit) = match controllers {
            "memory" => (
                "/sys/fs/cgroup/memory",
                "memory.usage_in_bytes",
                "memory.limit_in_bytes",
            ),
            "" => ("/sys/fs/cgroup", "memory.current", "memory.max"),
            _ => continue,
        };
        let read = |file: &str| -> Option<u64> {
            let path = Path::new(base)
                .join(path.trim_start_matches('/'))
                .join(file);
            fs::read_to_string(path).ok()?.trim().parse().ok()
        };
        let (Some(usage), Some(limit)) = (read(usage), read(limit)) else {
            continue;
        };
        let text = format!("{:.0} of {:.0} MiB", mebibytes(usage), mebibytes(limit));
        ensure!(usage < limit * 3 / 4, "{text}");
        proof.restarted_never()?;
        return Ok(text);
    }
    bail!("no memory controller knows weft's container:\n{groups}")
}

pub(super) fn uninstall(proof: &mut Proof<'_>) -> Result<String> {
    proof
        .node
        .helm(&["uninstall", RELEASE, "--namespace", NAMESPACE, "--wait"])?
        .read()?;
    let (_, took) = eventually(Duration::from_secs(30), || {
        ensure!(pid().is_err(), "weft is still running");
        Ok(())
    })?;
    let left = proof
        .node
        .kubectl(&[
            "get",
            "clusterroles,clusterrolebindings,priorityclasses,daemonsets,configmaps,serviceaccounts",
            "--all-namespaces",
            "--selector=app.kubernetes.io/instance=weft",
            "--output=name",
        ])?
        .read()?;
    ensure!(left.trim().is_empty(), "left behind: {left}");
    Ok(format!("ended {:.1} s after", took.as_secs_f64()))
}

impl Proof<'_> {
    /// A container that was started again has failed.
    pub(super) fn restarted_never(&self) -> Result<()> {
        let pod = pod(self.node)?;
        let restarts = &pod["status"]["containerStatuses"][0]["restartCount"];
        ensure!(*restarts == 0, "{restarts} restarts\n{}", log(self.node));
        Ok(())
    }
}

/// weft's pod on the only node.
pub(super) fn pod(node: &Node) -> Result<Value> {
    let list = node
        .kubectl(&[
            "get",
            "pods",
            "--namespace",
            NAMESPACE,
            "--selector=app.kubernetes.io/name=weft",
            "--output=json",
        ])?
        .read()?;
    let list: Value = serde_json::from_str(&list)?;
    let pods = list["items"].as_array().map(Vec::as_slice);
    let pod = pods
        .unwrap_or_default()
        .iter()
        .find(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    Ok(pod.context("weft has no pod")?.clone())
}

/// Whether the kubelet says that weft's pod is.
pub(super) fn is_ready(node: &Node) -> Result<()> {
    let pod = pod(node)?;
    ensure!(
        pod["status"]["containerStatuses"][0]["ready"] == true,
        "weft's pod is not ready"
    );
    Ok(())
}

/// A command of weft's in its pod, as an administrator would ask.
pub(super) fn exec(node: &Node, arguments: &[&str]) -> Result<String> {
    let target = format!("daemonset/{RELEASE}");
    let mut words = vec!["exec", "--namespace", NAMESPACE, &target, "--"];
    words.push("/usr/bin/weft");
    words.extend(arguments);
    node.kubectl(&words)?.read()
}

/// What weft said in its pod.
pub(super) fn log(node: &Node) -> String {
    let target = format!("daemonset/{RELEASE}");
    node.kubectl(&["logs", "--namespace", NAMESPACE, &target, "--tail=30"])
        .and_then(|mut kubectl| kubectl.read())
        .unwrap_or_else(|error| format!("{error:#}"))
}

/// Number of the agent's process.
pub(super) fn pid() -> Result<u32> {
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let is_weft = fs::read_to_string(entry.path().join("comm"))
            .is_ok_and(|name| name.trim_end() == "weft");
        let is_ours = || {
            let groups = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
            groups.contains(cgroup::NAME) && groups.contains("kubepods")
        };
        if is_weft && is_ours() {
            return Ok(pid);
        }
    }
    bail!("no process of weft in the cluster")
}

/// Links to functions of programs that the agent holds: the kernel tells the kind of each of its files.
pub(super) fn probes() -> Result<usize> {
    let files = fs::read_dir(format!("/proc/{}/fdinfo", pid()?))?.flatten();
    let kinds = files.filter_map(|file| {
        let text = fs::read_to_string(file.path()).ok()?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("link_type:"))?;
        Some(line.trim().to_owned())
    });
    // `uprobe_multi`, and before Linux 6.6 `perf`.
    let of_programs = kinds.filter(|kind| kind.contains("uprobe") || kind.contains("perf"));
    Ok(of_programs.count())
}
