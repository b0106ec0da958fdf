//! Who is traced: labels of name spaces, annotations of pods, trace policies.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::json;

use super::load::{Client, Load};
use super::workload::{self, BACK, ORDERS, SERVICES, SHOP, STOREFRONT};
use super::{Proof, agent, eventually};
use crate::command::Run as _;

/// How long a change may take.
const EFFECT_LIMIT: Duration = Duration::from_secs(2);
/// The same for what is seen through exporter and receiver.
const SEEN_LIMIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

/// The label of a name space and the annotation of a pod.
const TRACE: &str = "weft.dev/trace";

pub(super) fn nothing_before(proof: &mut Proof<'_>) -> Result<String> {
    let load = Load::start(STOREFRONT.address, &workload::path("before"), PAUSE)?;
    std::thread::sleep(Duration::from_secs(5));
    let (answered, failed) = load.counts();
    ensure!(
        answered > 20 && failed == 0,
        "{answered} answered, {failed} failed"
    );
    let spans = proof.sink.received();
    ensure!(spans == 0, "{spans} spans from nobody's opt-in");
    let probes = agent::probes()?;
    ensure!(probes == 0, "{probes} links to functions of programs");
    Ok(format!("{answered} requests, no span, no probe"))
}

/// Time from the label's request to the first request whose span came.
pub(super) fn opt_in(proof: &mut Proof<'_>) -> Result<String> {
    let load = Load::start(STOREFRONT.address, &workload::path("opt-in"), PAUSE)?;
    std::thread::sleep(Duration::from_secs(1));
    let label = proof.label(SHOP, "enabled")?;
    let begin = Instant::now();
    proof.sink.wait("opt-in", 1, SEEN_LIMIT)?;
    let seen = begin.elapsed();
    std::thread::sleep(Duration::from_secs(1));
    let spans = proof.sink.spans("opt-in");
    let first = spans.0.iter().map(|span| span.start_ns).min().unwrap_or(0);
    let effect = label.until(first);
    ensure!(
        effect < EFFECT_LIMIT,
        "the first span began {effect:?} after the label"
    );
    let strangers = spans.filter(|span| span.resource("k8s.namespace.name") != SHOP);
    ensure!(strangers.is_empty(), "others' spans:\n{strangers}");
    let (answered, failed) = load.counts();
    ensure!(failed == 0, "{failed} of {answered} requests failed");
    Ok(format!(
        "first span began {} ms after, arrived after {} ms",
        effect.as_millis(),
        seen.as_millis()
    ))
}

pub(super) fn metadata(proof: &mut Proof<'_>) -> Result<String> {
    proof.label(SHOP, "enabled")?;
    proof.label(BACK, "enabled")?;
    std::thread::sleep(EFFECT_LIMIT);
    let mut client = Client::new(STOREFRONT.address)?;
    for number in 0..10 {
        let status = client.get(&workload::path(&format!("meta-{number}")))?;
        ensure!(status == 200, "status {status}");
    }
    // Of each request four servers' spans and three clients'.
    let spans = proof.sink.wait("meta-", 70, SEEN_LIMIT)?;
    for service in SERVICES {
        let name = service.pod(proof.node)?;
        let (namespace, version) = (service.namespace, service.version());
        let of_pod = spans.filter(|span| span.resource("k8s.pod.name") == name);
        ensure!(!of_pod.is_empty(), "no span of {name} in\n{spans}");
        let uid = proof
            .node
            .kubectl(&["get", "pod", &name, "--namespace", namespace])?
            .args(["--output", "jsonpath={.metadata.uid}"])
            .read()?;
        for span in &of_pod.0 {
            for (key, expected) in [
                ("service.name", service.name),
                ("service.namespace", namespace),
                ("service.version", version),
                ("k8s.namespace.name", namespace),
                ("k8s.pod.uid", &uid),
                ("k8s.container.name", "main"),
                ("k8s.node.name", crate::node::NAME),
                ("k8s.cluster.name", "proof"),
                (service.owner_attribute(), service.name),
                ("service.instance.id", &format!("{namespace}.{name}.main")),
            ] {
                let found = span.resource(key);
                ensure!(
                    found == expected,
                    "{key} is {found:?} and not {expected:?} in\n{span}"
                );
            }
        }
    }
    for server in &spans.servers().0 {
        let clients = spans.clients();
        let client = clients.0.iter().find(|client| server.is_child_of(client));
        let called = client.map(|it| {
            (
                it.get("service.peer.namespace"),
                it.get("service.peer.name"),
            )
        });
        let is = (server.resource("service.namespace"), server.service());
        ensure!(
            called.is_none_or(|called| called == is),
            "{called:?} was called in\n{server}"
        );
    }
    let linked = spans.servers().filter(|span| span.service() == ORDERS.name);
    for span in &linked.0 {
        let parent = spans.0.iter().find(|parent| span.is_child_of(parent));
        ensure!(
            parent.is_some_and(|parent| parent.service() == STOREFRONT.name),
            "no parent of\n{span}"
        );
    }
    Ok(format!(
        "{} spans of {} services",
        spans.len(),
        SERVICES.len()
    ))
}

/// As an administrator asks, by `kubectl exec`.
pub(super) fn status(proof: &mut Proof<'_>) -> Result<String> {
    let pods: Vec<String> = SERVICES
        .iter()
        .map(|service| {
            Ok(format!(
                "{}/{}",
                service.namespace,
                service.pod(proof.node)?
            ))
        })
        .collect::<Result<_>>()?;
    let status = agent::exec(proof.node, &["status", "--json"])?;
    let status: serde_json::Value = serde_json::from_str(&status)?;
    ensure!(
        status["kubernetes"]["node"] == crate::node::NAME
            && status["kubernetes"]["traced_pods"] == pods.len(),
        "{status}"
    );
    for pod in &pods {
        let traced = status["traced"].as_array().into_iter().flatten();
        let mut of_pod = traced.filter(|traced| traced["pod"] == **pod);
        ensure!(
            of_pod.any(|traced| traced["spans"].as_u64() > Some(0) && traced["rule"].is_string()),
            "{pod} has no spans in {status}"
        );
        let why = agent::exec(proof.node, &["why", pod])?;
        ensure!(why.contains("weft.dev/trace"), "no rule in\n{why}");
    }
    Ok(format!("{} pods", pods.len()))
}

pub(super) fn annotation(proof: &mut Proof<'_>) -> Result<String> {
    let pod = ORDERS.pod(proof.node)?;
    let annotate = |value: &str| {
        proof
            .node
            .kubectl(&["annotate", "pod", &pod, "--namespace", SHOP, "--overwrite"])?
            .arg(format!("{TRACE}{value}"))
            .read()
    };
    annotate("=disabled")?;
    std::thread::sleep(EFFECT_LIMIT);
    let mut client = Client::new(STOREFRONT.address)?;
    for number in 0..5 {
        client.get(&workload::path(&format!("left-out-{number}")))?;
    }
    let spans = proof.sink.wait("left-out-", 20, SEEN_LIMIT)?;
    let of_pod = spans.filter(|span| span.resource("k8s.pod.name") == pod);
    ensure!(
        of_pod.is_empty(),
        "spans of the pod that was left out:\n{of_pod}"
    );
    annotate("-")?;
    std::thread::sleep(EFFECT_LIMIT);
    client.get(&workload::path("again"))?;
    let (_, took) = eventually(SEEN_LIMIT, || {
        let spans = proof.sink.spans("again");
        let of_pod = spans.filter(|span| span.resource("k8s.pod.name") == pod);
        ensure!(!of_pod.is_empty(), "no span of {pod} in\n{spans}");
        Ok(())
    })?;
    Ok(format!("and back, seen after {} ms", took.as_millis()))
}

/// Until no span begins and no probe is attached that was not before.
pub(super) fn opt_out(proof: &mut Proof<'_>) -> Result<String> {
    let load = Load::start(STOREFRONT.address, &workload::path("opt-out"), PAUSE)?;
    proof.sink.wait("opt-out", 20, SEEN_LIMIT)?;
    let before = agent::probes()?;
    let begin = Instant::now();
    proof.label(BACK, "disabled")?;
    let label = proof.label(SHOP, "disabled")?;
    let (_, took) = eventually(SEEN_LIMIT, || {
        let probes = agent::probes()?;
        ensure!(probes == 0, "{probes} links to functions, {before} before");
        Ok(())
    })?;
    std::thread::sleep(EFFECT_LIMIT * 2);
    let spans = proof.sink.spans("opt-out");
    let last = spans.0.iter().map(|span| span.start_ns).max().unwrap_or(0);
    let effect = label.until(last);
    ensure!(
        effect < EFFECT_LIMIT && begin.elapsed() > EFFECT_LIMIT,
        "a span began {effect:?} after the label"
    );
    let (answered, failed) = load.counts();
    ensure!(failed == 0, "{failed} of {answered} requests failed");
    Ok(format!(
        "last span began {} ms after; {before} links to functions gone after {} ms",
        effect.as_millis(),
        took.as_millis()
    ))
}

pub(super) fn validation(proof: &mut Proof<'_>) -> Result<String> {
    let policy = |spec: serde_json::Value| {
        json!({
            "apiVersion": "weft.dev/v1alpha1", "kind": "TracePolicy",
            "metadata": {"name": "proof", "namespace": SHOP}, "spec": spec,
        })
    };
    let refused = [
        json!({"sampling": {"ratio": 2}}),
        json!({"inject": "sometimes"}),
        json!({"notAField": true}),
        json!({"limits": {"spansPerSecond": -1}}),
    ];
    for spec in &refused {
        let dry = ["--dry-run=server", "--validate=strict"];
        if let Ok(said) = proof
            .node
            .apply_with(&dry, &policy(spec.clone()).to_string())
        {
            bail!("{spec} is accepted: {said}");
        }
    }
    proof.label(SHOP, "enabled")?;
    proof.node.apply(&policy(json!({})))?;
    let (status, took) = eventually(SEEN_LIMIT, || {
        let status = proof
            .node
            .kubectl(&["get", "tracepolicy", "proof", "--namespace", SHOP])?
            .args(["--output", "jsonpath={.status}"])
            .read()?;
        ensure!(!status.is_empty(), "no status");
        Ok(status)
    })?;
    proof
        .node
        .kubectl(&["delete", "tracepolicy", "proof", "--namespace", SHOP])?
        .read()?;
    proof.label(SHOP, "disabled")?;
    Ok(format!(
        "{} refused; status after {} ms: {status}",
        refused.len(),
        took.as_millis()
    ))
}

impl Proof<'_> {
    /// Opts a name space in or out.
    pub(super) fn label(&self, namespace: &str, value: &str) -> Result<Label> {
        self.node
            .kubectl(&["label", "namespace", namespace, "--overwrite"])?
            .arg(format!("{TRACE}={value}"))
            .read()?;
        Ok(Label { set_ns: unix_ns() })
    }
}

/// A label that the API server has confirmed.
pub(super) struct Label {
    /// When it had, Unix time.
    set_ns: u64,
}

impl Label {
    /// Nothing for what was earlier: the watch may be faster than the answer.
    fn until(&self, unix_ns: u64) -> Duration {
        Duration::from_nanos(unix_ns.saturating_sub(self.set_ns))
    }
}

/// As spans tell it.
pub(super) fn unix_ns() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(0))
}
