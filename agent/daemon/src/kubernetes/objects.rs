//! What is kept of the API server's objects, and the parts of them that are read for it.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::{
    api::ApiResource,
    core::{NotUsed, Object, Selector, SelectorExt as _},
};
use serde::{Deserialize, Serialize};

use crate::config::Action;

/// On a namespace as a label, on a pod as an annotation: `enabled` or `disabled`.
pub(crate) const TRACE: &str = "weft.dev/trace";

/// A pod of this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pod {
    pub(crate) uid: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) node: String,
    /// Of its annotation.
    pub(crate) trace: Option<Wish>,
    pub(crate) labels: BTreeMap<String, String>,
    /// Those that begin with [`RESOURCE`], and those asked for.
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) owner: Option<Owner>,
    pub(crate) containers: Vec<PodContainer>,
    /// Its own; none if it has its node's.
    pub(crate) addresses: Vec<IpAddr>,
}

/// A Service of any namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) uid: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) addresses: Vec<IpAddr>,
}

/// Of annotations that are resource attributes.
pub(crate) const RESOURCE: &str = "resource.opentelemetry.io/";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PodContainer {
    pub(crate) name: String,
    pub(crate) image: String,
    /// 64 digits; empty until the kubelet has said it.
    pub(crate) id: String,
    pub(crate) restarts: i64,
}

/// The controller of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) uid: String,
}

/// What a label or annotation says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Trace(Action),
    /// Neither `enabled` nor `disabled`: says nothing, and is told of.
    Unknown(String),
}

/// `TracePolicy` of `weft.dev/v1alpha1`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TracePolicy {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) generation: i64,
    pub(crate) spec: PolicySpec,
    pub(crate) pods: Pods,
}

/// Which pods of its namespace a policy is for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Pods {
    #[default]
    All,
    Labelled(Selector),
    /// The selector cannot be read: no pod.
    None,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PolicySpec {
    /// Of pods, by their labels; none: all of the namespace.
    pub(crate) selector: Option<LabelSelector>,
    pub(crate) sampling: Option<SamplingSpec>,
    pub(crate) inject: Option<InjectSpec>,
    pub(crate) limits: Option<LimitsSpec>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SamplingSpec {
    /// Share of the traces that begin here, 0 to 1.
    pub(crate) ratio: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum InjectSpec {
    /// As the agent is configured.
    Default,
    Never,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct LimitsSpec {
    /// On each node, of all pods together that the policy is for.
    pub(crate) spans_per_second: Option<u32>,
}

/// As they come from the API server: fields that nobody reads are passed over.
pub(super) type PodObject = Object<PodSpec, PodStatus>;
pub(super) type ServiceObject = Object<ServiceSpec, NotUsed>;
pub(super) type PolicyObject = Object<PolicySpec, serde_json::Value>;

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PodSpec {
    node_name: String,
    containers: Vec<ContainerSpec>,
    init_containers: Vec<ContainerSpec>,
    host_network: bool,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct ContainerSpec {
    name: String,
    image: String,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PodStatus {
    container_statuses: Vec<ContainerStatus>,
    init_container_statuses: Vec<ContainerStatus>,
    ephemeral_container_statuses: Vec<ContainerStatus>,
    #[serde(rename = "podIPs")]
    addresses: Vec<PodAddress>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct PodAddress {
    ip: String,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ServiceSpec {
    /// `None` for one that is headless. Several Services may share an external address, none shares these.
    #[serde(rename = "clusterIPs")]
    addresses: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
struct ContainerStatus {
    name: String,
    image: String,
    /// `containerd://<id>`
    #[serde(rename = "containerID")]
    container_id: String,
    restart_count: i64,
}

// === impl Wish ===

impl Wish {
    pub(crate) fn of(texts: Option<&BTreeMap<String, String>>) -> Option<Self> {
        Some(match texts?.get(TRACE)?.as_str() {
            "enabled" => Self::Trace(Action::Include),
            "disabled" => Self::Trace(Action::Exclude),
            other => Self::Unknown(other.to_owned()),
        })
    }
}

// === impl Pod ===

impl Pod {
    /// `kept`: names of annotations to keep. `None`: an object without a uid.
    pub(super) fn of(object: PodObject, kept: &[String]) -> Option<Self> {
        let ObjectMeta {
            uid,
            namespace,
            name,
            labels,
            annotations,
            owner_references,
            ..
        } = object.metadata;
        let trace = Wish::of(annotations.as_ref());
        let mut annotations = annotations.unwrap_or_default();
        annotations.retain(|name, _| name.starts_with(RESOURCE) || kept.contains(name));
        let owners = owner_references.unwrap_or_default();
        let owner = owners
            .into_iter()
            .find(|owner| owner.controller == Some(true));
        let status = object.status.unwrap_or_default();
        let own = status.addresses.iter().map(|it| it.ip.as_str());
        let addresses = match object.spec.host_network {
            true => Vec::new(),
            false => addresses(own),
        };
        Some(Self {
            uid: uid?,
            addresses,
            namespace: namespace.unwrap_or_default(),
            name: name.unwrap_or_default(),
            trace,
            labels: labels.unwrap_or_default(),
            annotations,
            owner: owner.map(|owner| Owner {
                kind: owner.kind,
                name: owner.name,
                uid: owner.uid,
            }),
            containers: containers(&object.spec, &status),
            node: object.spec.node_name,
        })
    }

    /// The container of this id. Until the kubelet has said the ids, a pod's only one is known all the same.
    pub(crate) fn container(&self, id: &str) -> Option<&PodContainer> {
        let said = self.containers.iter().find(|it| it.id == id);
        said.or_else(|| match &*self.containers {
            [only] if only.id.is_empty() => Some(only),
            _ => None,
        })
    }
}

// === impl Service ===

impl Service {
    /// `None`: an object without a uid.
    pub(super) fn of(object: ServiceObject) -> Option<Self> {
        let texts = object.spec.addresses.iter().map(String::as_str);
        Some(Self {
            addresses: addresses(texts),
            uid: object.metadata.uid?,
            namespace: object.metadata.namespace.unwrap_or_default(),
            name: object.metadata.name.unwrap_or_default(),
        })
    }
}

/// What is none is passed over.
fn addresses<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<IpAddr> {
    let addresses = texts.filter_map(|text| text.parse().ok());
    addresses.map(|it: IpAddr| it.to_canonical()).collect()
}

fn containers(spec: &PodSpec, status: &PodStatus) -> Vec<PodContainer> {
    let statuses = || {
        let PodStatus {
            container_statuses,
            init_container_statuses,
            ephemeral_container_statuses,
            addresses: _,
        } = status;
        container_statuses
            .iter()
            .chain(init_container_statuses)
            .chain(ephemeral_container_statuses)
    };
    let specs = spec.containers.iter().chain(&spec.init_containers);
    let mut containers: Vec<PodContainer> = specs
        .map(|spec| PodContainer {
            name: spec.name.clone(),
            image: spec.image.clone(),
            ..PodContainer::default()
        })
        .collect();
    for status in statuses() {
        let known = containers.iter_mut().find(|it| it.name == status.name);
        let container = match known {
            Some(container) => container,
            // Ephemeral ones.
            None => {
                containers.push(PodContainer {
                    name: status.name.clone(),
                    image: status.image.clone(),
                    ..PodContainer::default()
                });
                let Some(container) = containers.last_mut() else {
                    continue;
                };
                container
            }
        };
        let id = status.container_id.rsplit_once("://").map(|(_, id)| id);
        container.id = id.unwrap_or_default().to_owned();
        container.restarts = status.restart_count;
    }
    containers
}

// === impl TracePolicy ===

impl TracePolicy {
    /// Whether it is for a pod of its namespace.
    pub(super) fn is_for(&self, pod: &Pod) -> bool {
        match &self.pods {
            Pods::All => true,
            Pods::Labelled(selector) => selector.matches(&pod.labels),
            Pods::None => false,
        }
    }

    pub(super) fn of(object: PolicyObject) -> Option<Self> {
        Some(Self {
            namespace: object.metadata.namespace?,
            name: object.metadata.name?,
            generation: object.metadata.generation.unwrap_or_default(),
            pods: match &object.spec.selector {
                None => Pods::All,
                Some(selector) => {
                    Selector::try_from(selector.clone()).map_or(Pods::None, Pods::Labelled)
                }
            },
            spec: object.spec,
        })
    }
}

pub(super) fn pods() -> ApiResource {
    core("Pod", "pods")
}

pub(super) fn services() -> ApiResource {
    core("Service", "services")
}

fn core(kind: &str, plural: &str) -> ApiResource {
    ApiResource {
        group: String::new(),
        version: "v1".to_owned(),
        api_version: "v1".to_owned(),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

pub(super) fn policies() -> ApiResource {
    ApiResource {
        group: "weft.dev".to_owned(),
        version: "v1alpha1".to_owned(),
        api_version: "weft.dev/v1alpha1".to_owned(),
        kind: "TracePolicy".to_owned(),
        plural: "tracepolicies".to_owned(),
    }
}
