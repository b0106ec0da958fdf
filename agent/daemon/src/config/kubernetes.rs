//! What is asked of the API server, and what counts where it says nothing.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Action, Error, env::Environment};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Kubernetes {
    /// `None`: where weft runs in a pod and is told its node, or a kubeconfig is given.
    pub(crate) enabled: Option<bool>,
    /// `None`: the pod's own service account.
    pub(crate) kubeconfig: Option<PathBuf>,
    /// This node's name.
    pub(crate) node: Option<String>,
    /// `k8s.cluster.name`.
    pub(crate) cluster: Option<String>,
    /// Of pods for which neither annotation nor namespace says anything.
    pub(crate) default: Action,
    /// `app.kubernetes.io/*` name services and their versions.
    pub(crate) service_labels: bool,
    /// Of pods, kept as `k8s.pod.label.<name>` and `k8s.pod.annotation.<name>`.
    pub(crate) labels: Vec<String>,
    pub(crate) annotations: Vec<String>,
}

/// Where a pod finds its service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

impl Kubernetes {
    pub(crate) fn is_enabled(&self) -> bool {
        let in_pod = || Self::is_in_pod() && self.node.is_some();
        self.enabled
            .unwrap_or_else(|| self.kubeconfig.is_some() || in_pod())
    }

    pub(crate) fn is_in_pod() -> bool {
        Path::new(SERVICE_ACCOUNT).exists()
    }

    pub(super) fn apply(&mut self, env: &Environment) -> Result<(), Error> {
        env.read(
            &["WEFT_NODE_NAME"],
            |text| Ok(text.to_owned()),
            |node| self.node = Some(node),
        )
    }
}

impl Default for Kubernetes {
    fn default() -> Self {
        Self {
            enabled: None,
            kubeconfig: None,
            node: None,
            cluster: None,
            default: Action::Exclude,
            service_labels: true,
            labels: Vec::new(),
            annotations: Vec::new(),
        }
    }
}
