//! What weft's service account may do, asked of the API server.

use anyhow::{Result, ensure};

use super::Proof;
use super::agent::{NAMESPACE, RELEASE};
use crate::command::Run as _;

const ALLOWED: &[(&str, &str)] = &[
    ("get", "pods"),
    ("list", "pods"),
    ("watch", "pods"),
    ("get", "namespaces"),
    ("list", "namespaces"),
    ("watch", "namespaces"),
    ("get", "tracepolicies.weft.dev"),
    ("list", "tracepolicies.weft.dev"),
    ("watch", "tracepolicies.weft.dev"),
    ("patch", "tracepolicies.weft.dev/status"),
];

const FORBIDDEN: &[(&str, &str)] = &[
    ("*", "*"),
    ("get", "secrets"),
    ("list", "configmaps"),
    ("create", "pods"),
    ("delete", "pods"),
    ("patch", "pods"),
    ("create", "pods/exec"),
    ("get", "pods/log"),
    ("patch", "namespaces"),
    ("get", "nodes"),
    ("get", "nodes/proxy"),
    ("create", "serviceaccounts/token"),
    ("create", "tracepolicies.weft.dev"),
    ("patch", "tracepolicies.weft.dev"),
    ("delete", "tracepolicies.weft.dev"),
    ("update", "tracepolicies.weft.dev/status"),
    ("impersonate", "users"),
];

pub(super) fn check(proof: &mut Proof<'_>) -> Result<String> {
    let account = format!("system:serviceaccount:{NAMESPACE}:{RELEASE}");
    let may = |verb: &str, resource: &str| -> Result<bool> {
        let (resource, part) = resource.split_once('/').unwrap_or((resource, ""));
        let mut ask = proof.node.kubectl(&["auth", "can-i", verb, resource])?;
        let output = ask
            .args(["--all-namespaces", "--as", &account, "--subresource", part])
            .output()?;
        // It ends with 1 for a no.
        Ok(String::from_utf8_lossy(&output.stdout).trim() == "yes")
    };
    for (verb, resource) in ALLOWED {
        // Not known to the API server without its definition.
        if resource.contains("weft.dev") && !proof.has_policy {
            continue;
        }
        ensure!(may(verb, resource)?, "may not {verb} {resource}");
    }
    for (verb, resource) in FORBIDDEN {
        ensure!(!may(verb, resource)?, "may {verb} {resource}");
    }
    // And a real request with its token, not only the answer of an authority.
    let token = proof
        .node
        .kubectl(&["create", "token", RELEASE, "--namespace", NAMESPACE])?
        .read()?;
    let mut secrets = proof.node.kubectl(&[
        "get",
        "secrets",
        "--all-namespaces",
        "--token",
        token.trim(),
    ])?;
    secrets.env("KUBECONFIG", proof.node.anonymous()?);
    let said = secrets.output()?;
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    ensure!(
        said.contains("forbidden"),
        "secrets were not refused: {said}"
    );
    Ok(format!(
        "{} allowed, {} forbidden",
        ALLOWED.len(),
        FORBIDDEN.len()
    ))
}
