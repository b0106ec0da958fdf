//! Resource attributes of what runs in pods.
//!
//! Source: OpenTelemetry semantic conventions, "Kubernetes", and "Specify resource attributes using
//! Kubernetes annotations" for `service.*`.

use weft_flow::span::PeerService;

use super::objects::{Owner, Pod, PodContainer, RESOURCE};
use crate::{
    config::Kubernetes,
    discover::{Resource, Value},
};

/// Set by the Deployment's controller, on its ReplicaSets and their pods.
const TEMPLATE_HASH: &str = "pod-template-hash";
/// A CronJob's controller names its Jobs by the minutes since 1970.
const SCHEDULE_DIGITS: usize = 8;

/// Sets `k8s.*`, `container.*` and `service.*`. `container`: `None` until it is known.
pub(crate) fn describe(
    resource: &mut Resource,
    pod: &Pod,
    container: Option<&PodContainer>,
    settings: &Kubernetes,
) {
    let mut set = |key: &'static str, value: &str| {
        if !value.is_empty() {
            resource.set(key, value);
        }
    };
    if let Some(cluster) = &settings.cluster {
        set("k8s.cluster.name", cluster);
    }
    set("k8s.namespace.name", &pod.namespace);
    set("k8s.node.name", &pod.node);
    set("k8s.pod.name", &pod.name);
    set("k8s.pod.uid", &pod.uid);
    let owners = owners(pod);
    for (kind, name, uid) in &owners {
        let (name_key, uid_key) = kind.keys();
        set(name_key, name);
        set(uid_key, uid);
    }
    let image = container.map(|container| Image::of(&container.image));
    if let (Some(container), Some(image)) = (container, &image) {
        set("k8s.container.name", &container.name);
        set("container.image.name", image.name);
        resource.set("k8s.container.restart_count", container.restarts);
        if let Some(tag) = image.tag {
            let tags = vec![tag.to_owned()];
            resource.set("container.image.tags", Value::List(tags));
        }
    }
    for label in &settings.labels {
        if let Some(value) = pod.labels.get(label) {
            resource.set(format!("k8s.pod.label.{label}"), value.as_str());
        }
    }
    for annotation in &settings.annotations {
        if let Some(value) = pod.annotations.get(annotation) {
            resource.set(format!("k8s.pod.annotation.{annotation}"), value.as_str());
        }
    }
    resource.set("service.namespace", pod.namespace.as_str());
    let label = |name: &str| {
        let value = pod.labels.get(name).filter(|_| settings.service_labels);
        value.filter(|value| !value.is_empty())
    };
    let named = label("app.kubernetes.io/instance").or_else(|| label("app.kubernetes.io/name"));
    let owner = owners.first().map(|(_, name, _)| name);
    resource.set(
        "service.name",
        named.or(owner).unwrap_or(&pod.name).as_str(),
    );
    let version = label("app.kubernetes.io/version").map(String::as_str);
    if let Some(version) = version.or_else(|| image.and_then(|image| image.version())) {
        resource.set("service.version", version);
    }
    if let Some(container) = container {
        let id = [&*pod.namespace, &pod.name, &container.name].join(".");
        resource.set("service.instance.id", id);
    }
    for (name, value) in &pod.annotations {
        if let Some(key) = name.strip_prefix(RESOURCE) {
            resource.set(key.to_owned(), value.as_str());
        }
    }
}

/// What others call the pod: what its own resource says.
pub(super) fn service(pod: &Pod, settings: &Kubernetes) -> PeerService {
    let mut resource = Resource::default();
    describe(&mut resource, pod, None, settings);
    let text = |key| resource.text(key).unwrap_or_default().to_owned();
    PeerService {
        namespace: text("service.namespace"),
        name: text("service.name"),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Deployment,
    ReplicaSet,
    StatefulSet,
    DaemonSet,
    CronJob,
    Job,
}

impl Kind {
    fn keys(self) -> (&'static str, &'static str) {
        match self {
            Self::Deployment => ("k8s.deployment.name", "k8s.deployment.uid"),
            Self::ReplicaSet => ("k8s.replicaset.name", "k8s.replicaset.uid"),
            Self::StatefulSet => ("k8s.statefulset.name", "k8s.statefulset.uid"),
            Self::DaemonSet => ("k8s.daemonset.name", "k8s.daemonset.uid"),
            Self::CronJob => ("k8s.cronjob.name", "k8s.cronjob.uid"),
            Self::Job => ("k8s.job.name", "k8s.job.uid"),
        }
    }
}

/// Kind, name and uid (empty: not known), in the order in which they name a service. A Deployment is told by
/// what it leaves on its pods, a CronJob by the name of its Job: neither ReplicaSets nor Jobs are asked for.
fn owners(pod: &Pod) -> Vec<(Kind, String, String)> {
    let Some(Owner { kind, name, uid }) = &pod.owner else {
        return Vec::new();
    };
    let direct = |kind| (kind, name.clone(), uid.clone());
    match kind.as_str() {
        "ReplicaSet" => {
            let hash = pod.labels.get(TEMPLATE_HASH);
            let deployment = hash
                .and_then(|hash| name.strip_suffix(hash.as_str())?.strip_suffix('-'))
                .filter(|name| !name.is_empty());
            let deployment = deployment.map(|it| (Kind::Deployment, it.to_owned(), String::new()));
            deployment
                .into_iter()
                .chain([direct(Kind::ReplicaSet)])
                .collect()
        }
        "StatefulSet" => vec![direct(Kind::StatefulSet)],
        "DaemonSet" => vec![direct(Kind::DaemonSet)],
        "Job" => {
            let scheduled = name.rsplit_once('-').filter(|(_, minutes)| {
                minutes.len() >= SCHEDULE_DIGITS && minutes.bytes().all(|it| it.is_ascii_digit())
            });
            let cron = scheduled.map(|(name, _)| (Kind::CronJob, name.to_owned(), String::new()));
            cron.into_iter().chain([direct(Kind::Job)]).collect()
        }
        _ => Vec::new(),
    }
}

/// `registry:5000/name:tag@sha256:...`
struct Image<'a> {
    name: &'a str,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

impl<'a> Image<'a> {
    fn of(text: &'a str) -> Self {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        Self { name, tag, digest }
    }

    /// The tag, else the digest. `latest` is no version.
    fn version(&self) -> Option<&'a str> {
        self.tag.filter(|tag| *tag != "latest").or(self.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(kind: &str, owner: &str, labels: &[(&str, &str)]) -> Pod {
        Pod {
            uid: "u".into(),
            namespace: "shop".into(),
            name: "web-7d4b9-x2x".into(),
            node: "n1".into(),
            labels: labels
                .iter()
                .map(|(key, value)| ((*key).into(), (*value).into()))
                .collect(),
            owner: Some(Owner {
                kind: kind.into(),
                name: owner.into(),
                uid: "o".into(),
            }),
            ..Pod::default()
        }
    }

    #[track_caller]
    fn check(pod: &Pod, settings: &Kubernetes, expected: &[(&str, &str)]) {
        let container = PodContainer {
            name: "app".into(),
            image: "registry:5000/shop/web:1.4@sha256:ab".into(),
            ..PodContainer::default()
        };
        let mut resource = Resource::default();
        describe(&mut resource, pod, Some(&container), settings);
        for (key, value) in expected {
            let expected = (!value.is_empty()).then_some(*value);
            assert_eq!(resource.text(key), expected, "{key} of {resource:?}");
        }
    }

    #[test]
    fn owners_name_services() {
        let settings = Kubernetes::default();
        let hash = [("pod-template-hash", "7d4b9")];
        check(
            &pod("ReplicaSet", "web-7d4b9", &hash),
            &settings,
            &[
                ("service.name", "web"),
                ("service.namespace", "shop"),
                ("service.version", "1.4"),
                ("service.instance.id", "shop.web-7d4b9-x2x.app"),
                ("k8s.deployment.name", "web"),
                ("k8s.replicaset.name", "web-7d4b9"),
                ("k8s.replicaset.uid", "o"),
                ("k8s.deployment.uid", ""),
                ("container.image.name", "registry:5000/shop/web"),
            ],
        );
        check(
            &pod("ReplicaSet", "web-7d4b9", &[]),
            &settings,
            &[("service.name", "web-7d4b9"), ("k8s.deployment.name", "")],
        );
        check(
            &pod("StatefulSet", "db", &[]),
            &settings,
            &[("k8s.statefulset.name", "db"), ("service.name", "db")],
        );
        check(
            &pod("DaemonSet", "log", &[]),
            &settings,
            &[("k8s.daemonset.name", "log")],
        );
        check(
            &pod("Job", "report-28912345", &[]),
            &settings,
            &[
                ("service.name", "report"),
                ("k8s.cronjob.name", "report"),
                ("k8s.job.name", "report-28912345"),
            ],
        );
        check(
            &pod("Job", "import-2024", &[]),
            &settings,
            &[("service.name", "import-2024"), ("k8s.cronjob.name", "")],
        );
        check(
            &pod("Node", "n1", &[]),
            &settings,
            &[("service.name", "web-7d4b9-x2x")],
        );
    }

    #[test]
    fn annotations_win_over_labels_over_owners() {
        let labels = [
            ("pod-template-hash", "7d4b9"),
            ("app.kubernetes.io/name", "webshop"),
            ("app.kubernetes.io/version", "9"),
        ];
        let mut pod = pod("ReplicaSet", "web-7d4b9", &labels);
        let settings = Kubernetes {
            labels: vec!["app.kubernetes.io/name".into()],
            ..Kubernetes::default()
        };
        check(
            &pod,
            &settings,
            &[
                ("service.name", "webshop"),
                ("service.version", "9"),
                ("k8s.pod.label.app.kubernetes.io/name", "webshop"),
            ],
        );
        let without = Kubernetes {
            service_labels: false,
            ..Kubernetes::default()
        };
        check(
            &pod,
            &without,
            &[("service.name", "web"), ("service.version", "1.4")],
        );
        for (key, value) in [
            ("service.name", "cart"),
            ("deployment.environment.name", "prod"),
        ] {
            pod.annotations
                .insert(format!("{RESOURCE}{key}"), value.into());
        }
        check(
            &pod,
            &settings,
            &[
                ("service.name", "cart"),
                ("deployment.environment.name", "prod"),
            ],
        );
    }
}
