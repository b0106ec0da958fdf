//! What is known of the cluster, and what follows from it: pure state, told by the watches.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use weft_flow::span::PeerService;

use super::{
    metadata,
    names::Names,
    objects::{InjectSpec, LimitsSpec, Pod, SamplingSpec, Service, TracePolicy, Wish},
};
use crate::config::{Action, Kubernetes};

/// A snapshot: pods and policies are shared, so that a copy is cheap.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub(crate) settings: Arc<Kubernetes>,
    /// Of this node, by uid.
    pods: HashMap<String, Arc<Pod>>,
    /// Labels, of those that have one.
    namespaces: HashMap<String, Wish>,
    policies: BTreeMap<(String, String), Arc<TracePolicy>>,
    services: Names,
    /// Of the pods.
    names: Names,
    /// Lists that have come whole.
    pub(super) listed: Listed,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) pods: bool,
    pub(super) namespaces: bool,
}

/// Who said whether a pod is traced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PodRule {
    /// Its annotation.
    Annotation { pod: String },
    /// The label of its namespace.
    Namespace { namespace: String },
    /// Neither; `kubernetes.default`.
    Default { pod: String },
    /// It is not known, or not yet.
    Unknown,
}

/// How a pod is traced.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Terms {
    /// Share of the traces that begin in it; `None`: the agent's sampler.
    pub(crate) ratio: Option<f64>,
    /// Nothing is written into what it sends.
    pub(crate) unwritten: bool,
    /// Namespace and name of the policy whose limit counts, and spans per second.
    pub(crate) limit: Option<(Arc<TracePolicy>, u32)>,
}

// === impl Cluster ===

impl Cluster {
    pub(crate) fn new(settings: Kubernetes) -> Self {
        Self {
            settings: Arc::new(settings),
            pods: HashMap::new(),
            namespaces: HashMap::new(),
            policies: BTreeMap::new(),
            services: Names::default(),
            names: Names::default(),
            listed: Listed::default(),
        }
    }

    /// What counts at first is known.
    pub(crate) fn is_listed(&self) -> bool {
        let Listed { pods, namespaces } = self.listed;
        pods && namespaces
    }

    pub(crate) fn pod(&self, uid: &str) -> Option<&Arc<Pod>> {
        self.pods.get(uid)
    }

    pub(crate) fn pods(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods.values()
    }

    pub(crate) fn policies(&self) -> impl Iterator<Item = &Arc<TracePolicy>> {
        self.policies.values()
    }

    /// Who is called at an address.
    pub(crate) fn service_at(&self, address: IpAddr) -> Option<&Arc<PeerService>> {
        let address = address.to_canonical();
        self.services.at(address).or_else(|| self.names.at(address))
    }

    /// The annotation wins over the namespace, that over the configuration.
    pub(crate) fn judge(&self, uid: &str) -> (Action, PodRule) {
        let Some(pod) = self.pods.get(uid) else {
            return (Action::Exclude, PodRule::Unknown);
        };
        self.judge_pod(pod)
    }

    pub(crate) fn judge_pod(&self, pod: &Pod) -> (Action, PodRule) {
        let full_name = || format!("{}/{}", pod.namespace, pod.name);
        if let Some(Wish::Trace(action)) = pod.trace {
            return (action, PodRule::Annotation { pod: full_name() });
        }
        if let Some(Wish::Trace(action)) = self.namespaces.get(&pod.namespace) {
            let namespace = pod.namespace.clone();
            return (*action, PodRule::Namespace { namespace });
        }
        (self.settings.default, PodRule::Default { pod: full_name() })
    }

    /// Some pod of this node is traced.
    pub(crate) fn traces_any(&self) -> bool {
        self.pods()
            .any(|pod| self.judge_pod(pod).0 == Action::Include)
    }

    /// Of the policies of its namespace that are for it: one that names pods goes before one that is for
    /// all, then the first by name.
    pub(crate) fn policy_of(&self, pod: &Pod) -> Option<&Arc<TracePolicy>> {
        let of_namespace = self
            .policies
            .range((pod.namespace.clone(), String::new())..)
            .take_while(|((namespace, _), _)| *namespace == pod.namespace)
            .map(|(_, policy)| policy);
        of_namespace
            .filter(|policy| policy.is_for(pod))
            .min_by_key(|policy| policy.spec.selector.is_none())
    }

    pub(crate) fn terms(&self, pod: &Pod) -> Terms {
        let Some(policy) = self.policy_of(pod) else {
            return Terms::default();
        };
        let spec = &policy.spec;
        let LimitsSpec { spans_per_second } = spec.limits.unwrap_or_default();
        Terms {
            ratio: spec.sampling.map(|SamplingSpec { ratio }| ratio),
            unwritten: spec.inject == Some(InjectSpec::Never),
            limit: spans_per_second.map(|limit| (Arc::clone(policy), limit)),
        }
    }

    /// True: something has changed.
    pub(super) fn put_pod(&mut self, pod: Pod) -> bool {
        match self.pods.get(&pod.uid) {
            Some(known) if **known == pod => false,
            _ => {
                if let Some(Wish::Unknown(text)) = &pod.trace {
                    log::warn!(
                        "pod {}/{}: annotation {}: `{text}` is neither `enabled` nor `disabled`",
                        pod.namespace,
                        pod.name,
                        super::objects::TRACE
                    );
                }
                let service = metadata::service(&pod, &self.settings);
                self.names.put(&pod.uid, &pod.addresses, service);
                self.pods.insert(pod.uid.clone(), Arc::new(pod));
                true
            }
        }
    }

    pub(super) fn remove_pod(&mut self, uid: &str) -> bool {
        self.names.remove(uid);
        self.pods.remove(uid).is_some()
    }

    /// Those are all there are.
    pub(super) fn set_pods(&mut self, pods: Vec<Pod>) -> bool {
        let kept: HashSet<&str> = pods.iter().map(|pod| pod.uid.as_str()).collect();
        let before = self.pods.len();
        self.pods.retain(|uid, _| kept.contains(uid.as_str()));
        self.names.keep(&kept);
        let mut changed = before != self.pods.len() || !self.listed.pods;
        for pod in pods {
            changed |= self.put_pod(pod);
        }
        self.listed.pods = true;
        changed
    }

    pub(super) fn put_namespace(&mut self, name: &str, wish: Option<Wish>) -> bool {
        if self.namespaces.get(name) == wish.as_ref() {
            return false;
        }
        match wish {
            None => drop(self.namespaces.remove(name)),
            Some(wish) => {
                if let Wish::Unknown(text) = &wish {
                    log::warn!(
                        "namespace {name}: label {}: `{text}` is neither `enabled` nor `disabled`",
                        super::objects::TRACE
                    );
                }
                self.namespaces.insert(name.to_owned(), wish);
            }
        }
        true
    }

    pub(super) fn set_namespaces(&mut self, wishes: Vec<(String, Option<Wish>)>) -> bool {
        let before = self.namespaces.len();
        let kept: HashSet<&str> = wishes.iter().map(|(name, _)| name.as_str()).collect();
        self.namespaces
            .retain(|name, _| kept.contains(name.as_str()));
        let mut changed = before != self.namespaces.len() || !self.listed.namespaces;
        for (name, wish) in wishes {
            changed |= self.put_namespace(&name, wish);
        }
        self.listed.namespaces = true;
        changed
    }

    pub(super) fn put_policy(&mut self, policy: TracePolicy) -> bool {
        let key = (policy.namespace.clone(), policy.name.clone());
        let known = self.policies.get(&key).is_some_and(|it| **it == policy);
        if !known {
            self.policies.insert(key, Arc::new(policy));
        }
        !known
    }

    pub(super) fn remove_policy(&mut self, namespace: &str, name: &str) -> bool {
        let key = (namespace.to_owned(), name.to_owned());
        self.policies.remove(&key).is_some()
    }

    pub(super) fn set_policies(&mut self, policies: Vec<TracePolicy>) -> bool {
        let before = self.policies.len();
        let kept: HashSet<(&str, &str)> = policies
            .iter()
            .map(|it| (it.namespace.as_str(), it.name.as_str()))
            .collect();
        self.policies
            .retain(|(namespace, name), _| kept.contains(&(namespace, name)));
        let mut changed = before != self.policies.len();
        for policy in policies {
            changed |= self.put_policy(policy);
        }
        changed
    }

    /// Nothing that is judged depends on it.
    pub(super) fn put_service(&mut self, service: Service) -> bool {
        let Service {
            uid,
            namespace,
            name,
            addresses,
        } = service;
        let named = PeerService { namespace, name };
        self.services.put(&uid, &addresses, named)
    }

    pub(super) fn remove_service(&mut self, uid: &str) -> bool {
        self.services.remove(uid)
    }

    pub(super) fn set_services(&mut self, services: Vec<Service>) -> bool {
        let kept: HashSet<&str> = services.iter().map(|it| it.uid.as_str()).collect();
        let mut changed = self.services.keep(&kept);
        for service in services {
            changed |= self.put_service(service);
        }
        changed
    }
}
