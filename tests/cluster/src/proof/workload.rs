//! Third-party services in two name spaces, as a platform team's users would deploy them.
//!
//! ```text
//! shop:  storefront (nginx) ─▶ orders (Python)
//!                                 │
//! back:                           └─▶ stock (Go) ─▶ prices (Node.js)
//! ```

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::command::Run as _;
use crate::image::{GO, NGINX, NODE, PYTHON};
use crate::node::{Node, wait};

pub(crate) const SHOP: &str = "shop";
pub(crate) const BACK: &str = "back";

const READY_LIMIT: Duration = Duration::from_secs(90);

/// One service of one pod.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Service {
    pub(crate) namespace: &'static str,
    pub(crate) name: &'static str,
    image: &'static str,
    /// Of the service; chosen, because there is no name server.
    pub(crate) address: &'static str,
    /// Who owns the pod.
    owner: Owner,
    /// `app.kubernetes.io/version`
    version: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Deployment,
    StatefulSet,
}

pub(crate) const STOREFRONT: Service = Service {
    namespace: SHOP,
    name: "storefront",
    image: NGINX,
    address: "10.92.1.1",
    owner: Owner::Deployment,
    version: "1.22",
};
pub(crate) const ORDERS: Service = Service {
    namespace: SHOP,
    name: "orders",
    image: PYTHON,
    address: "10.92.1.2",
    owner: Owner::Deployment,
    version: "3.11",
};
pub(crate) const STOCK: Service = Service {
    namespace: BACK,
    name: "stock",
    image: GO,
    address: "10.92.1.3",
    owner: Owner::StatefulSet,
    version: "1.19",
};
pub(crate) const PRICES: Service = Service {
    namespace: BACK,
    name: "prices",
    image: NODE,
    address: "10.92.1.4",
    owner: Owner::Deployment,
    version: "18",
};

pub(crate) const SERVICES: [Service; 4] = [STOREFRONT, ORDERS, STOCK, PRICES];

/// The way through all four services.
pub(crate) fn path(tag: &str) -> String {
    format!(
        "/hop/{tag}?via=http://{}:8080,http://{}:8080",
        STOCK.address, PRICES.address
    )
}

/// Creates all, and waits until they are ready.
pub(crate) fn deploy(node: &Node) -> Result<()> {
    for namespace in [SHOP, BACK] {
        node.apply(&json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace},
        }))?;
    }
    node.apply(&nginx_configuration())?;
    for service in SERVICES {
        node.apply(&service.service())?;
        node.apply(&service.pods())?;
    }
    for service in SERVICES {
        wait(service.name, READY_LIMIT, || Ok(service.pod(node).is_ok()))
            .with_context(|| pods(node))?;
    }
    Ok(())
}

/// For people, when something does not start.
pub(crate) fn pods(node: &Node) -> String {
    let ask = |arguments: &[&str]| {
        node.kubectl(arguments)
            .and_then(|mut kubectl| kubectl.read())
            .unwrap_or_else(|error| error.to_string())
    };
    format!(
        "{}\n{}",
        ask(&["get", "pods", "--all-namespaces", "--output=wide"]),
        ask(&[
            "get",
            "events",
            "--all-namespaces",
            "--field-selector=type!=Normal"
        ])
    )
}

fn nginx_configuration() -> Value {
    let text = format!(
        "upstream orders {{ server {}:8080; keepalive 8; }}\n\
         server {{\n listen 8080;\n access_log off;\n location / {{ proxy_pass http://orders; proxy_http_version 1.1; \
         proxy_set_header Connection \"\"; }}\n}}\n",
        ORDERS.address
    );
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "storefront", "namespace": SHOP},
        "data": {"storefront.conf": text},
    })
}

// === impl Service ===

impl Service {
    /// Name of its ready pod.
    pub(crate) fn pod(&self, node: &Node) -> Result<String> {
        let list = node
            .kubectl(&[
                "get",
                "pods",
                "--namespace",
                self.namespace,
                "--selector",
                &format!("app.kubernetes.io/name={}", self.name),
                "--output",
                "json",
            ])?
            .read()?;
        let list: Value = serde_json::from_str(&list)?;
        let pods = list["items"].as_array().map(Vec::as_slice);
        let ready = pods.unwrap_or_default().iter().find(|pod| {
            let conditions = pod["status"]["conditions"].as_array();
            pod["metadata"]["deletionTimestamp"].is_null()
                && conditions
                    .into_iter()
                    .flatten()
                    .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        });
        let name = ready.and_then(|pod| pod["metadata"]["name"].as_str());
        Ok(name
            .with_context(|| format!("no pod of {} is ready", self.name))?
            .to_owned())
    }

    /// `k8s.deployment.name` or what it is.
    pub(crate) fn owner_attribute(&self) -> &'static str {
        match self.owner {
            Owner::Deployment => "k8s.deployment.name",
            Owner::StatefulSet => "k8s.statefulset.name",
        }
    }

    pub(crate) fn version(&self) -> &'static str {
        self.version
    }

    fn labels(&self) -> Value {
        json!({"app.kubernetes.io/name": self.name, "app.kubernetes.io/version": self.version})
    }

    fn service(&self) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": {
                "clusterIP": self.address,
                "selector": {"app.kubernetes.io/name": self.name},
                "ports": [{"name": "http", "port": 8080}],
            },
        })
    }

    fn pods(&self) -> Value {
        let mut container = json!({
            "name": "main",
            "image": self.image,
            "imagePullPolicy": "Never",
            "env": [{"name": "SERVICE", "value": self.name}],
            "ports": [{"name": "http", "containerPort": 8080}],
            "readinessProbe": {"tcpSocket": {"port": "http"}, "periodSeconds": 1},
            "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
        });
        let mut volumes = json!([]);
        if self.name == STOREFRONT.name {
            container["volumeMounts"] =
                json!([{"name": "configuration", "mountPath": "/etc/nginx/conf.d"}]);
            volumes = json!([{"name": "configuration", "configMap": {"name": STOREFRONT.name}}]);
        }
        let mut spec = json!({
            "replicas": 1,
            "selector": {"matchLabels": {"app.kubernetes.io/name": self.name}},
            "template": {
                "metadata": {"labels": self.labels()},
                "spec": {
                    "containers": [container],
                    "volumes": volumes,
                    "terminationGracePeriodSeconds": 1,
                },
            },
        });
        let kind = match self.owner {
            Owner::Deployment => "Deployment",
            Owner::StatefulSet => {
                spec["serviceName"] = json!(self.name);
                "StatefulSet"
            }
        };
        json!({
            "apiVersion": "apps/v1", "kind": kind,
            "metadata": {"name": self.name, "namespace": self.namespace, "labels": self.labels()},
            "spec": spec,
        })
    }
}
