//! `weft status`: whom a running agent traces, by which rule, and what it sees of them.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
};

use serde::{Deserialize, Serialize};
use weft_flow::{ConnectionSummary, Flow, Muted, Protocol, Tls};

use crate::{
    config::Action,
    discover::{ProcessFacts, Processes},
    kubernetes::SeenPod,
    policy::{Judge, Policy},
};

/// What a running agent tells of itself.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) agent_pid: u32,
    pub(crate) version: String,
    /// Programs that see sockets are attached: somebody may be traced.
    pub(crate) watching: bool,
    /// Processes known, traced or not.
    pub(crate) processes: usize,
    pub(crate) kubernetes: Option<ClusterStatus>,
    pub(crate) traced: Vec<Traced>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ClusterStatus {
    pub(crate) node: String,
    /// The first lists have come.
    pub(crate) listed: bool,
    pub(crate) pods: usize,
    /// Of them, those that have opted in.
    pub(crate) traced_pods: usize,
    pub(crate) policies: usize,
}

/// A traced process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Traced {
    pub(crate) pid: u32,
    pub(crate) exe: String,
    pub(crate) service: String,
    /// `namespace/name`
    pub(crate) pod: Option<String>,
    pub(crate) container: Option<String>,
    pub(crate) rule: String,
    #[serde(flatten)]
    pub(crate) traffic: Traffic,
    /// Handed to the exporters.
    pub(crate) spans: u64,
}

/// Connections of a process, together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Traffic {
    pub(crate) connections: usize,
    pub(crate) requests: u64,
    /// TLS whose plaintext was not seen.
    pub(crate) encrypted: usize,
    /// Of no protocol that weft knows, or not understood.
    pub(crate) unknown: usize,
}

/// Processes that a person has named by a pod or a service.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Found {
    pub(crate) pids: Vec<u32>,
    /// A pod of that name without a process, and what is decided of it.
    pub(crate) pod: Option<String>,
}

// === impl Status ===

impl Status {
    pub(crate) fn of(judge: &Judge, flow: &Flow, processes: &Processes, watching: bool) -> Self {
        let policy = judge.policy();
        let traffic = traffic(flow);
        let mut traced: Vec<Traced> = judge
            .traced()
            .map(|(facts, spans)| {
                let resource = processes.describe(facts, &policy);
                let pod = policy.pod_of(facts);
                let container = facts.place.container.as_ref();
                let name = pod
                    .zip(container)
                    .and_then(|(pod, container)| pod.container(&container.id));
                Traced {
                    pid: facts.pid,
                    exe: facts.exe.to_string_lossy().into_owned(),
                    service: resource.service_name().to_owned(),
                    pod: pod.map(|pod| format!("{}/{}", pod.namespace, pod.name)),
                    container: name
                        .map(|it| it.name.clone())
                        .or_else(|| container.map(|it| it.id.clone())),
                    rule: judge.decide(facts).rule.words(),
                    traffic: traffic.get(&facts.pid).copied().unwrap_or_default(),
                    spans,
                }
            })
            .collect();
        traced.sort_by_key(|traced| traced.pid);
        Self {
            agent_pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            watching,
            processes: judge.counts().0,
            kubernetes: policy.cluster().map(|cluster| {
                let opted_in = cluster
                    .pods()
                    .filter(|pod| cluster.judge_pod(pod).0 == Action::Include);
                ClusterStatus {
                    node: cluster.settings.node.clone().unwrap_or_default(),
                    listed: cluster.is_listed(),
                    pods: cluster.pods().count(),
                    traced_pods: opted_in.count(),
                    policies: cluster.policies().count(),
                }
            }),
            traced,
        }
    }

    /// For people.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        let hooks = if self.watching {
            "attached"
        } else {
            "not attached: nobody may be traced"
        };
        let _ = writeln!(
            text,
            "weft {}, pid {}; socket programs {hooks}",
            self.version, self.agent_pid
        );
        if let Some(cluster) = &self.kubernetes {
            let ClusterStatus {
                node,
                listed,
                pods,
                traced_pods,
                policies,
            } = cluster;
            let listed = if *listed {
                ""
            } else {
                "; the API server has not told of all yet"
            };
            let _ = writeln!(
                text,
                "node {node}: {pods} pods, {traced_pods} have opted in; {policies} TracePolicies{listed}"
            );
        }
        let _ = writeln!(
            text,
            "{} of {} processes are traced",
            self.traced.len(),
            self.processes
        );
        for traced in &self.traced {
            let Traced {
                pid,
                exe,
                service,
                pod,
                container,
                rule,
                traffic,
                spans,
            } = traced;
            let place = match (pod, container) {
                (Some(pod), Some(container)) => format!("  {pod} {container}"),
                (None, Some(container)) => format!("  container {container:.12}"),
                _ => String::new(),
            };
            let _ = writeln!(
                text,
                "\n{pid} {service}  {exe}{place}\n    by {rule}\n    {} connections, {} requests, {spans} spans sent",
                traffic.connections, traffic.requests
            );
            for reason in traffic.dark() {
                let _ = writeln!(text, "    dark: {reason} (weft why {pid})");
            }
        }
        text
    }
}

// === impl Traffic ===

impl Traffic {
    fn add(&mut self, summary: &ConnectionSummary) {
        self.connections += 1;
        self.requests += summary.exchanges;
        match summary.protocol {
            Protocol::Muted(Muted::Tls) if summary.tls == Tls::None => self.encrypted += 1,
            Protocol::Muted(Muted::Other | Muted::Malformed | Muted::FalseStart) => {
                self.unknown += 1;
            }
            _ => {}
        }
    }

    /// What is not seen.
    fn dark(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.encrypted > 0 {
            reasons.push(format!(
                "{} connections speak TLS whose plaintext was not seen",
                self.encrypted
            ));
        }
        if self.unknown > 0 {
            reasons.push(format!(
                "{} connections speak no protocol that weft knows",
                self.unknown
            ));
        }
        reasons
    }
}

/// By process id.
fn traffic(flow: &Flow) -> HashMap<u32, Traffic> {
    let mut traffic: HashMap<u32, Traffic> = HashMap::new();
    flow.diagnose_all(|summary| {
        traffic
            .entry(summary.process.tgid)
            .or_default()
            .add(&summary);
    });
    traffic
}

/// Pods with traced processes, by uid, and what of them is not seen.
pub(crate) fn seen_pods(judge: &Judge, flow: &Flow) -> HashMap<String, SeenPod> {
    let traffic = traffic(flow);
    let mut dark: HashMap<String, BTreeMap<String, Traffic>> = HashMap::new();
    for (facts, _) in judge.traced() {
        let Some(container) = &facts.place.container else {
            continue;
        };
        let Some(uid) = &container.pod_uid else {
            continue;
        };
        let of_pod = dark.entry(uid.clone()).or_default();
        let of_container = of_pod.entry(container.id.clone()).or_default();
        if let Some(its) = traffic.get(&facts.pid) {
            of_container.encrypted += its.encrypted;
            of_container.unknown += its.unknown;
        }
    }
    let pods = dark.into_iter().map(|(uid, containers)| {
        let spots = containers.into_iter().flat_map(|(id, traffic)| {
            let reasons = traffic.dark().into_iter();
            reasons
                .map(move |reason| (id.clone(), reason))
                .collect::<Vec<_>>()
        });
        let dark = spots.collect();
        (uid, SeenPod { dark })
    });
    pods.collect()
}

impl Found {
    /// `name`: of a pod, `namespace/name` of one, or of a service.
    pub(crate) fn of(name: &str, judge: &Judge, processes: &Processes) -> Self {
        let policy = judge.policy();
        let pids: Vec<u32> = judge
            .known()
            .filter(|facts| is_named(facts, name, processes, &policy))
            .map(|facts| facts.pid)
            .collect();
        let pod = policy
            .cluster()
            .filter(|_| pids.is_empty())
            .and_then(|cluster| {
                let pod = cluster.pods().find(|pod| names(pod, name))?;
                let (action, rule) = cluster.judge_pod(pod);
                let verdict = match action {
                    Action::Include => "to be traced",
                    Action::Exclude => "not to be traced",
                };
                Some(format!(
                    "pod {}/{} has no process here; it is {verdict}: {}",
                    pod.namespace,
                    pod.name,
                    rule.words()
                ))
            });
        Self { pids, pod }
    }
}

fn is_named(facts: &ProcessFacts, name: &str, processes: &Processes, policy: &Policy) -> bool {
    policy.pod_of(facts).is_some_and(|pod| names(pod, name))
        || processes.describe(facts, policy).service_name() == name
}

fn names(pod: &crate::kubernetes::Pod, name: &str) -> bool {
    match name.split_once('/') {
        Some((namespace, name)) => pod.namespace == namespace && pod.name == name,
        None => pod.name == name,
    }
}
