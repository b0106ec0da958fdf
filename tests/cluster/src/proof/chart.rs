//! The Helm chart by itself.

use anyhow::{Context as _, Result, bail, ensure};

use super::{Proof, chart_directory};
use crate::command::Run as _;
use crate::node::Node;
use crate::tools;

/// Values that people have, each with what must then stand in the manifests.
const VARIANTS: &[(&[&str], &[&str])] = &[
    (&[], &["kind: DaemonSet", "privileged: false"]),
    (
        &["otlp.endpoint=http://$(HOST_IP):4317", "clusterName=east"],
        &["value: \"http://$(HOST_IP):4317\"", "cluster: east"],
    ),
    (
        &[
            "otlp.endpoint=https://collector.example:4317",
            "otlp.headersSecret.name=token",
            "otlp.certificateSecret.name=authority",
        ],
        &["OTEL_EXPORTER_OTLP_HEADERS", "/etc/weft-otlp/ca.crt"],
    ),
    (&["metrics.podMonitor.enabled=true"], &["kind: PodMonitor"]),
    (
        &["metrics.serviceMonitor.enabled=true"],
        &["kind: ServiceMonitor", "clusterIP: None"],
    ),
    (
        &[
            "image.repository=registry.example/weft",
            "image.digest=sha256:0000000000000000000000000000000000000000000000000000000000000000",
        ],
        &["image: \"registry.example/weft@sha256:0000"],
    ),
    (
        &[
            "seccompProfile.type=Localhost",
            "seccompProfile.localhostProfile=weft.json",
        ],
        &["localhostProfile: weft.json"],
    ),
    (
        &[
            "priorityClass.create=false",
            "priorityClass.name=system-node-critical",
        ],
        &["priorityClassName: system-node-critical"],
    ),
    (
        &["config.log_level=debug", "fullnameOverride=tracer"],
        &["log_level: debug", "name: tracer"],
    ),
];

/// Values that must be refused, each with a word of the reason.
const REFUSED: &[(&str, &str)] = &[
    ("otlp.protocol=thrift", "protocol"),
    ("otlp.endpoint=collector:4317", "endpoint"),
    ("metrics.port=0", "port"),
    ("image.pullPolicy=Sometimes", "pullPolicy"),
    ("capabilities={sys-admin}", "capabilities"),
    ("seccompProfile.type=Localhost", "localhostProfile"),
    ("notAValue=1", "notAValue"),
];

pub(super) fn lint(proof: &mut Proof<'_>) -> Result<String> {
    proof
        .node
        .helm(&["lint", "--strict", &chart_directory()])?
        .read()?;
    Ok(String::new())
}

pub(super) fn templates(proof: &mut Proof<'_>) -> Result<String> {
    for (values, expected) in VARIANTS {
        let text = template(proof.node, values)?;
        for part in *expected {
            ensure!(text.contains(part), "{values:?}: no {part:?} in\n{text}");
        }
        ensure!(!text.contains("privileged: true"), "{values:?}");
    }
    Ok(format!("{} sets of values", VARIANTS.len()))
}

pub(super) fn refusals(proof: &mut Proof<'_>) -> Result<String> {
    for (value, reason) in REFUSED {
        match template(proof.node, &[value]) {
            Ok(_) => bail!("{value} is accepted"),
            Err(error) => {
                let text = format!("{error:#}");
                ensure!(text.contains(reason), "{value}: {text}");
            }
        }
    }
    Ok(format!("{} values", REFUSED.len()))
}

/// Each set of values as the API server sees it: admission and validation included.
pub(super) fn dry_run(proof: &mut Proof<'_>) -> Result<String> {
    let mut count = 0;
    for (values, _) in VARIANTS {
        if values.iter().any(|value| value.contains("Monitor")) {
            // Their definitions are the Prometheus operator's.
            continue;
        }
        let text = template(proof.node, values)?;
        let applied = proof
            .node
            .apply_with(&["--dry-run=server", "--validate=strict"], &text)
            .with_context(|| format!("{values:?}"))?;
        count += applied.lines().count();
    }
    Ok(format!("{count} objects"))
}

/// `helm test`, the chart's own.
pub(super) fn test(proof: &mut Proof<'_>) -> Result<String> {
    proof
        .node
        .helm(&[
            "test",
            super::agent::RELEASE,
            "--namespace",
            super::agent::NAMESPACE,
            "--timeout=60s",
        ])?
        .read()?;
    Ok(String::new())
}

fn template(node: &Node, values: &[&str]) -> Result<String> {
    let chart = chart_directory();
    // Without a cluster at hand Helm supposes one of long ago.
    let version = tools::kubernetes_version()?;
    let mut arguments = vec![
        "template",
        "weft",
        chart.as_str(),
        "--namespace",
        "default",
        "--skip-tests",
        "--kube-version",
        &version,
    ];
    for value in values {
        arguments.extend(["--set", value]);
    }
    node.helm(&arguments)?.read()
}
