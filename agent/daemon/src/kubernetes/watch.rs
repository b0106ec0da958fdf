//! The watches, and what they count.

use std::{sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt as _, stream::BoxStream};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, ResourceExt as _,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt as _,
        utils::Backoff,
        watcher::{self, Event, watcher},
    },
};
use tokio::time::{self, Instant};

use super::{
    cluster::Cluster,
    objects::{
        Pod, PodObject, PolicyObject, Service, ServiceObject, TracePolicy, Wish, pods, policies,
        services,
    },
};
use crate::telemetry::{Counter, Gauge, Registry};

pub(super) struct Watches {
    cluster: Cluster,
    figures: Figures,
    /// A list under way.
    pods: Vec<Pod>,
    namespaces: Vec<(String, Option<Wish>)>,
    policies: Vec<TracePolicy>,
    services: Vec<Service>,
}

pub(super) struct Figures {
    pods: Kind,
    namespaces: Kind,
    policies: Kind,
    services: Kind,
    known: Gauge,
}

/// Of one kind of objects.
struct Kind {
    name: &'static str,
    up: Gauge,
    lists: Counter,
    events: Counter,
    errors: Counter,
    /// Of the last failure, if nothing better has come since.
    failed: Option<Instant>,
}

/// Changes that come together are told together.
const GATHER: Duration = Duration::from_millis(30);
/// Waits between attempts, each twice the one before.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Longer than the longest wait with an attempt to connect after it.
const SILENCE: Duration = Duration::from_secs(25);
const LOOK: Duration = Duration::from_secs(5);

/// Doubling waits; a share is taken off so that agents do not come all at once.
struct Patience(Duration);

// === impl Watches ===

impl Watches {
    pub(super) fn new(cluster: Cluster, figures: Figures) -> Self {
        Self {
            cluster,
            figures,
            pods: Vec::new(),
            namespaces: Vec::new(),
            policies: Vec::new(),
            services: Vec::new(),
        }
    }

    pub(super) async fn run(mut self, client: Client, node: &str, publish: impl Fn(Arc<Cluster>)) {
        let all = watcher::Config::default;
        let of_node = all().fields(&format!("spec.nodeName={node}"));
        let pods: Api<PodObject> = Api::all_with(client.clone(), &pods());
        let policies: Api<PolicyObject> = Api::all_with(client.clone(), &policies());
        let services: Api<ServiceObject> = Api::all_with(client.clone(), &services());
        let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(client);
        let mut pods = patient(watcher(pods, of_node));
        let mut namespaces = patient(watcher(namespaces, all()));
        let mut policies = patient(watcher(policies, all()));
        let mut services = patient(watcher(services, all()));
        let mut due: Option<Instant> = None;
        let mut looks = time::interval(LOOK);
        loop {
            let gathered = async {
                match due {
                    Some(due) => time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            let changed = tokio::select! {
                () = gathered => {
                    due = None;
                    publish(Arc::new(self.cluster.clone()));
                    false
                }
                Some(event) = pods.next() => self.pod(event),
                Some(event) = namespaces.next() => self.namespace(event),
                Some(event) = policies.next() => self.policy(event),
                Some(event) = services.next() => self.service(event),
                _ = looks.tick() => {
                    self.figures.look_at_silence();
                    false
                }
                else => return,
            };
            if changed {
                due.get_or_insert_with(|| Instant::now() + GATHER);
                self.figures.known.set(self.cluster.pods().count() as u64);
            }
        }
    }

    fn pod(&mut self, event: watcher::Result<Event<PodObject>>) -> bool {
        let kept = &self.cluster.settings.annotations;
        match self.figures.pods.look(event) {
            None => false,
            Some(Event::Init) => {
                self.pods.clear();
                false
            }
            Some(Event::InitApply(object)) => {
                self.pods.extend(Pod::of(object, kept));
                false
            }
            Some(Event::InitDone) => self.cluster.set_pods(std::mem::take(&mut self.pods)),
            Some(Event::Apply(object)) => match Pod::of(object, kept) {
                Some(pod) => self.cluster.put_pod(pod),
                None => false,
            },
            Some(Event::Delete(object)) => {
                let uid = object.uid();
                uid.is_some_and(|uid| self.cluster.remove_pod(&uid))
            }
        }
    }

    fn namespace(&mut self, event: watcher::Result<Event<PartialObjectMeta<Namespace>>>) -> bool {
        let wish =
            |object: &PartialObjectMeta<Namespace>| Wish::of(object.metadata.labels.as_ref());
        match self.figures.namespaces.look(event) {
            None => false,
            Some(Event::Init) => {
                self.namespaces.clear();
                false
            }
            Some(Event::InitApply(object)) => {
                self.namespaces.push((object.name_any(), wish(&object)));
                false
            }
            Some(Event::InitDone) => {
                let namespaces = std::mem::take(&mut self.namespaces);
                self.cluster.set_namespaces(namespaces)
            }
            Some(Event::Apply(object)) => self
                .cluster
                .put_namespace(&object.name_any(), wish(&object)),
            Some(Event::Delete(object)) => self.cluster.put_namespace(&object.name_any(), None),
        }
    }

    fn policy(&mut self, event: watcher::Result<Event<PolicyObject>>) -> bool {
        match self.figures.policies.look(event) {
            None => false,
            Some(Event::Init) => {
                self.policies.clear();
                false
            }
            Some(Event::InitApply(object)) => {
                self.policies.extend(TracePolicy::of(object));
                false
            }
            Some(Event::InitDone) => {
                let policies = std::mem::take(&mut self.policies);
                self.cluster.set_policies(policies)
            }
            Some(Event::Apply(object)) => match TracePolicy::of(object) {
                Some(policy) => self.cluster.put_policy(policy),
                None => false,
            },
            Some(Event::Delete(object)) => {
                let namespace = object.namespace().unwrap_or_default();
                self.cluster.remove_policy(&namespace, &object.name_any())
            }
        }
    }

    fn service(&mut self, event: watcher::Result<Event<ServiceObject>>) -> bool {
        match self.figures.services.look(event) {
            None => false,
            Some(Event::Init) => {
                self.services.clear();
                false
            }
            Some(Event::InitApply(object)) => {
                self.services.extend(Service::of(object));
                false
            }
            Some(Event::InitDone) => {
                let services = std::mem::take(&mut self.services);
                self.cluster.set_services(services)
            }
            Some(Event::Apply(object)) => match Service::of(object) {
                Some(service) => self.cluster.put_service(service),
                None => false,
            },
            Some(Event::Delete(object)) => {
                let uid = object.uid();
                uid.is_some_and(|uid| self.cluster.remove_service(&uid))
            }
        }
    }
}

/// Begins again after a failure, sooner or later.
fn patient<E: 'static>(
    stream: impl Stream<Item = watcher::Result<E>> + Send + 'static,
) -> BoxStream<'static, watcher::Result<E>> {
    stream.backoff(Patience(FIRST_WAIT)).boxed()
}

// === impl Kind ===

impl Kind {
    fn register(registry: &Registry, name: &'static str) -> Self {
        let label = [("kind", name)];
        let counter = |family, help| registry.counter(family, help, &label);
        Self {
            name,
            up: registry.gauge(
                "weft_kubernetes_watch_up",
                "1: the API server tells of changes; 0: what is known may be old.",
                &label,
            ),
            lists: counter(
                "weft_kubernetes_lists_total",
                "Lists that the API server was asked for.",
            ),
            events: counter(
                "weft_kubernetes_events_total",
                "Objects that the API server told of.",
            ),
            errors: counter(
                "weft_kubernetes_errors_total",
                "Lists and watches that failed and were begun again.",
            ),
            failed: None,
        }
    }

    /// Counts. A failure is the watcher's to mend.
    fn look<K>(&mut self, event: watcher::Result<Event<K>>) -> Option<Event<K>> {
        match &event {
            Ok(Event::Init) => self.lists.add(1),
            Ok(Event::InitDone) => self.is_up(),
            Ok(Event::InitApply(_)) => self.events.add(1),
            Ok(Event::Apply(_) | Event::Delete(_)) => {
                self.events.add(1);
                self.is_up();
            }
            Err(error) => {
                self.errors.add(1);
                self.up.set(0);
                if self.failed.replace(Instant::now()).is_some() {
                    log::debug!("watch of {}: {error}", self.name);
                } else {
                    log::warn!("watch of {}: {error}: what is known stays", self.name);
                }
            }
        }
        event.ok()
    }

    /// A watch that is taken up again says nothing until something changes: another failure would have come
    /// by now.
    fn look_at_silence(&mut self) {
        if self.failed.is_some_and(|at| at.elapsed() > SILENCE) {
            self.is_up();
        }
    }

    fn is_up(&mut self) {
        self.up.set(1);
        if self.failed.take().is_some() {
            log::info!("watch of {}: the API server answers again", self.name);
        }
    }
}

// === impl Figures ===

impl Figures {
    fn look_at_silence(&mut self) {
        let Self {
            pods,
            namespaces,
            policies,
            services,
            known: _,
        } = self;
        for kind in [pods, namespaces, policies, services] {
            kind.look_at_silence();
        }
    }

    pub(super) fn register(registry: &Registry) -> Self {
        Self {
            pods: Kind::register(registry, "pods"),
            namespaces: Kind::register(registry, "namespaces"),
            policies: Kind::register(registry, "tracepolicies"),
            services: Kind::register(registry, "services"),
            known: registry.gauge("weft_kubernetes_pods", "Pods of this node.", &[]),
        }
    }
}

// === impl Patience ===

impl Iterator for Patience {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let wait = self.0;
        self.0 = (wait * 2).min(LONGEST_WAIT);
        Some(wait.mul_f64(rand::random_range(0.5..1.0)))
    }
}

impl Backoff for Patience {
    fn reset(&mut self) {
        self.0 = FIRST_WAIT;
    }
}
