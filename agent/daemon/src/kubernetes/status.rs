//! What this node makes of each policy, written into its status.
//!
//! Each node's agent owns one element of `status.nodes` by server-side apply, so that agents do not write over
//! each other.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::{sync::watch, time};

use super::{
    cluster::Cluster,
    objects::{PolicyObject, TracePolicy, policies},
};
use crate::config::Action;

/// What the pipeline sees of the pods of this node, by uid. Cloning shares it.
#[derive(Clone, Default)]
pub(crate) struct SeenPods(Arc<Mutex<HashMap<String, SeenPod>>>);

/// A pod with traced processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SeenPod {
    /// Id of a container, and why something of it is not seen.
    pub(crate) dark: Vec<(String, String)>,
}

/// How often statuses are looked at; they are written when they have changed.
const LOOK: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(10);
/// As the schema bounds it.
const MOST_DARK: usize = 32;

// === impl SeenPods ===

impl SeenPods {
    pub(crate) fn set(&self, pods: HashMap<String, SeenPod>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = pods;
    }

    fn get(&self) -> HashMap<String, SeenPod> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Runs until the watches end.
pub(super) async fn report(
    client: Client,
    node: String,
    clusters: watch::Receiver<Arc<Cluster>>,
    seen: SeenPods,
) {
    let fields = PatchParams::apply(&format!("weft-{node}")).force();
    let mut written: HashMap<(String, String), Value> = HashMap::new();
    let mut told = false;
    loop {
        time::sleep(LOOK).await;
        let cluster = Arc::clone(&clusters.borrow());
        let seen = seen.get();
        written.retain(|(namespace, name), _| {
            let mut policies = cluster.policies();
            policies.any(|it| it.namespace == *namespace && it.name == *name)
        });
        for policy in cluster.policies() {
            let key = (policy.namespace.clone(), policy.name.clone());
            let status = status(&cluster, policy, &node, &seen);
            let nothing = status == json!([]);
            if written.get(&key) == Some(&status) || (nothing && !written.contains_key(&key)) {
                continue;
            }
            let api: Api<PolicyObject> =
                Api::namespaced_with(client.clone(), &policy.namespace, &policies());
            let object = json!({
                "apiVersion": "weft.dev/v1alpha1",
                "kind": "TracePolicy",
                "status": {"nodes": &status},
            });
            let patch = Patch::Apply(&object);
            let patched = api.patch_status(&policy.name, &fields, &patch);
            match time::timeout(PATIENCE, patched).await {
                Ok(Ok(_)) => {
                    written.insert(key, status);
                    told = false;
                }
                Ok(Err(error)) if !told => {
                    told = true;
                    log::warn!("status of TracePolicy {}/{}: {error}", key.0, key.1);
                }
                Ok(Err(_)) | Err(_) => {}
            }
        }
    }
}

/// This node's element of `status.nodes`, or none.
pub(super) fn status(
    cluster: &Cluster,
    policy: &TracePolicy,
    node: &str,
    seen: &HashMap<String, SeenPod>,
) -> Value {
    let pods: Vec<_> = cluster
        .pods()
        .filter(|pod| cluster.policy_of(pod).is_some_and(|it| **it == *policy))
        .collect();
    if pods.is_empty() {
        return json!([]);
    }
    let traced: Vec<_> = pods
        .iter()
        .filter(|pod| cluster.judge_pod(pod).0 == Action::Include && seen.contains_key(&pod.uid))
        .collect();
    let mut dark: Vec<Value> = traced
        .iter()
        .flat_map(|pod| {
            let spots = seen.get(&pod.uid).map_or(&[][..], |seen| &seen.dark);
            spots.iter().map(|(id, reason)| {
                let container = pod.container(id).map_or("", |it| it.name.as_str());
                json!({"pod": pod.name, "container": container, "reason": reason})
            })
        })
        .collect();
    dark.sort_by_key(ToString::to_string);
    dark.truncate(MOST_DARK);
    json!([{
        "name": node,
        "observedGeneration": policy.generation,
        "pods": pods.len(),
        "tracedPods": traced.len(),
        "dark": dark,
    }])
}
