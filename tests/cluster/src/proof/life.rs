//! What happens to clusters: pods come and go, the API server is away, weft is killed and replaced.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::load::{Client, Load};
use super::workload::{self, SHOP, STOREFRONT};
use super::{Extent, Proof, agent, eventually};
use crate::command::Run as _;
use crate::image::GO;
use crate::node::wait;

const PAUSE: Duration = Duration::from_millis(50);
const LIMIT: Duration = Duration::from_secs(120);
/// Pods that come and go together.
const WAVE: usize = 20;

/// Memory of the agent before and after.
pub(super) fn churn(proof: &mut Proof<'_>) -> Result<String> {
    proof.label_if(SHOP, "enabled")?;
    let before = resident_kib()?;
    let waves = match proof.extent {
        Extent::Short => 1,
        Extent::Whole => 50,
    };
    for wave in 0..waves {
        let name = format!("churn-{wave}");
        proof.node.apply(&deployment(&name))?;
        let ready = "jsonpath={.status.readyReplicas}";
        wait("the wave is ready", LIMIT, || {
            let count = proof
                .node
                .kubectl(&["get", "deployment", &name, "--namespace", SHOP])?
                .args(["--output", ready])
                .read()?;
            Ok(count.parse() == Ok(WAVE))
        })
        .with_context(|| workload::pods(proof.node))?;
        proof
            .node
            .kubectl(&["delete", "deployment", &name, "--namespace", SHOP])?
            .args(["--cascade=foreground", "--timeout=60s"])
            .read()?;
    }
    proof.restarted_never()?;
    proof.label_if(SHOP, "disabled")?;
    let after = resident_kib()?;
    ensure!(
        after < before + 64 * 1024,
        "resident memory grew from {before} to {after} KiB"
    );
    Ok(format!(
        "{} pods; resident {} -> {} MiB",
        WAVE * waves,
        before / 1024,
        after / 1024
    ))
}

/// Traffic goes on while it is away, and so do spans; a label that is set after it is back has an effect.
pub(super) fn api_server(proof: &mut Proof<'_>) -> Result<String> {
    proof.label_if(SHOP, "enabled")?;
    std::thread::sleep(Duration::from_secs(2));
    let load = Load::start(STOREFRONT.address, &workload::path("api-away"), PAUSE)?;
    proof.node.kill_api_server()?;
    std::thread::sleep(Duration::from_secs(5));
    let spans = proof.sink.spans("api-away").len();
    proof.node.start_api_server()?;
    let (answered, failed) = load.counts();
    ensure!(failed == 0, "{failed} of {answered} requests failed");
    ensure!(spans > 0, "no span while the API server was away");
    drop(load);
    proof.restarted_never()?;
    if !proof.has_policy {
        return Ok(format!("{spans} spans meanwhile"));
    }
    // The watch must be there again.
    proof.label_if(SHOP, "disabled")?;
    let (_, took) = eventually(Duration::from_secs(40), || {
        let tag = format!("api-back-{}", super::policy::unix_ns());
        let mut client = Client::new(STOREFRONT.address)?;
        for _ in 0..3 {
            client.get(&workload::path(&tag))?;
        }
        std::thread::sleep(Duration::from_secs(1));
        let seen = proof.sink.spans(&tag).len();
        ensure!(seen == 0, "{seen} spans after the opt-out");
        Ok(())
    })?;
    Ok(format!(
        "{spans} spans meanwhile; a label has effect {:.1} s after",
        took.as_secs_f64()
    ))
}

pub(super) fn killed(proof: &mut Proof<'_>) -> Result<String> {
    proof.label_if(SHOP, "enabled")?;
    let load = Load::start(STOREFRONT.address, &workload::path("killed"), PAUSE)?;
    let old = agent::pid()?;
    let pid = rustix::process::Pid::from_raw(i32::try_from(old)?).context("no process")?;
    rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
    let (_, took) = eventually(LIMIT, || {
        ensure!(agent::pid()? != old, "not started again");
        Ok(())
    })?;
    let count = proof.sink.spans("killed").len();
    let (_, seen) = eventually(LIMIT, || {
        let now = proof.sink.spans("killed").len();
        ensure!(now > count + 10, "{now} spans, {count} when it was killed");
        Ok(())
    })?;
    let (answered, failed) = load.counts();
    ensure!(failed == 0, "{failed} of {answered} requests failed");
    Ok(format!(
        "started again after {:.1} s, spans {:.1} s later, {answered} requests and none failed",
        took.as_secs_f64(),
        seen.as_secs_f64()
    ))
}

pub(super) fn rolled(proof: &mut Proof<'_>) -> Result<String> {
    let load = Load::start(STOREFRONT.address, &workload::path("rolled"), PAUSE)?;
    let target = format!("daemonset/{}", agent::RELEASE);
    let rollout = |words: &[&str]| {
        let mut arguments = vec!["rollout"];
        arguments.extend(words);
        arguments.extend([&target, "--namespace", agent::NAMESPACE]);
        proof.node.kubectl(&arguments)?.read()
    };
    let old = agent::pid()?;
    rollout(&["restart"])?;
    let (_, took) = eventually(LIMIT, || {
        ensure!(agent::pid()? != old, "not replaced");
        agent::is_ready(proof.node)
    })?;
    let count = proof.sink.spans("rolled").len();
    eventually(LIMIT, || {
        let now = proof.sink.spans("rolled").len();
        ensure!(now > count + 10, "{now} spans, {count} when it was ready");
        Ok(())
    })?;
    proof.label_if(SHOP, "disabled")?;
    let (answered, failed) = load.counts();
    ensure!(failed == 0, "{failed} of {answered} requests failed");
    Ok(format!("ready after {:.1} s", took.as_secs_f64()))
}

/// All that ran on the node is gone at once; kubelet and containerd come back and start it again.
pub(super) fn power(proof: &mut Proof<'_>) -> Result<String> {
    proof.label_if(SHOP, "enabled")?;
    let begin = Instant::now();
    proof.node.restart()?;
    let mut client = Client::new(STOREFRONT.address)?;
    eventually(LIMIT, || {
        let status = client.get(&workload::path("power"))?;
        ensure!(status == 200, "status {status}");
        let spans = proof.sink.spans("power");
        ensure!(!spans.is_empty(), "no span");
        Ok(())
    })
    .with_context(|| workload::pods(proof.node))?;
    proof.label_if(SHOP, "disabled")?;
    let took = begin.elapsed().as_secs_f64();
    Ok(format!("services answer and are traced {took:.1} s later"))
}

impl Proof<'_> {
    /// Without the agent's part everything is traced.
    fn label_if(&self, namespace: &str, value: &str) -> Result<()> {
        if self.has_policy {
            self.label(namespace, value)?;
        }
        Ok(())
    }
}

/// Resident memory of the agent.
fn resident_kib() -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", agent::pid()?))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.context("no VmRSS")
}

fn deployment(name: &str) -> serde_json::Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": SHOP},
        "spec": {
            "replicas": WAVE,
            "selector": {"matchLabels": {"wave": name}},
            "template": {
                "metadata": {"labels": {"wave": name}},
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "containers": [{
                        "name": "main", "image": GO, "imagePullPolicy": "Never",
                        "resources": {"requests": {"cpu": "1m", "memory": "8Mi"}},
                    }],
                },
            },
        },
    })
}
