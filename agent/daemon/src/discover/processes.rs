//! The table of processes that spans may still come from.

use std::{collections::VecDeque, path::Path, sync::Arc};

use foldhash::HashMap;
use weft_flow::span::Process;

use super::{ProcessFacts, Resource, host, name::service_name};
use crate::{
    config::{Kubernetes, ResourceOverrides},
    export::monotonic_ns,
    kubernetes::{Pod, describe},
    policy::Policy,
    telemetry::{Counter, Gauge, Registry},
};

/// Programs in processes, keyed as the flow keys them. Bounded: see [`CAPACITY`].
pub(crate) struct Processes {
    rules: Rules,
    entries: HashMap<Process, Entry>,
    /// Ended ones, the first ended first.
    ended: VecDeque<(u64, Process)>,
    figures: Figures,
}

struct Entry {
    facts: Arc<ProcessFacts>,
    /// Made when first asked for: most processes never make a span; and with the pod that it was made
    /// with, as it was then.
    resource: Option<(Described, Option<Arc<Pod>>)>,
}

/// A resource, and what it lacks.
#[derive(Clone)]
pub(crate) struct Described {
    pub(crate) resource: Arc<Resource>,
    /// The API server has not told of the pod, or the container, that the process runs in.
    pub(crate) lacks: Option<&'static str>,
}

/// What resources are made from beside a process's own facts.
pub(crate) struct Rules {
    overrides: ResourceOverrides,
    host: Resource,
    boot_id: String,
    users: Vec<(u32, String)>,
}

struct Figures {
    known: Gauge,
    evicted: Counter,
    unreadable: Counter,
}

/// Processes remembered at a time.
const CAPACITY: usize = 32_768;
/// Spans of an ended process may still be on their way through the flow.
const GRACE_NS: u64 = 60_000_000_000;

impl Processes {
    pub(crate) fn new(rules: Rules, registry: &Registry) -> Self {
        let figures = Figures {
            known: registry.gauge("weft_processes", "Processes in the agent's table.", &[]),
            evicted: registry.counter(
                "weft_processes_evicted_total",
                "Processes forgotten because the table was full.",
                &[],
            ),
            unreadable: registry.counter(
                "weft_processes_unreadable_total",
                "Processes that ended before /proc could be read.",
                &[],
            ),
        };
        Self {
            rules,
            entries: HashMap::default(),
            ended: VecDeque::new(),
            figures,
        }
    }

    /// A process that nothing is known of yet: found at start, or by its first record.
    pub(crate) fn seen(&mut self, process: Process) -> Arc<ProcessFacts> {
        if let Some(entry) = self.entries.get(&process) {
            return Arc::clone(&entry.facts);
        }
        let facts = self
            .read(process.tgid)
            .unwrap_or_else(|| ProcessFacts::named(process.tgid, ""));
        self.put(process, facts)
    }

    /// The child runs its parent's program until it executes another.
    pub(crate) fn forked(&mut self, child: Process, parent: Process) -> Arc<ProcessFacts> {
        let facts = match self.entries.get(&parent) {
            Some(entry) => entry.facts.forked(child.tgid),
            None => match self.read(child.tgid) {
                Some(facts) => facts,
                None => self.seen(parent).forked(child.tgid),
            },
        };
        self.put(child, facts)
    }

    /// `comm` is what the kernel calls the new program.
    pub(crate) fn execed(&mut self, process: Process, comm: &str) -> Arc<ProcessFacts> {
        let facts = self.read(process.tgid);
        let facts = facts.unwrap_or_else(|| ProcessFacts::named(process.tgid, comm));
        self.put(process, facts)
    }

    pub(crate) fn exited(&mut self, process: Process) {
        let now = monotonic_ns();
        self.ended.push_back((now, process));
        while self
            .ended
            .front()
            .is_some_and(|(ended, _)| ended + GRACE_NS < now)
        {
            if let Some((_, process)) = self.ended.pop_front() {
                self.entries.remove(&process);
            }
        }
        self.figures.known.set(self.entries.len() as u64);
    }

    /// `policy`: knows the cluster.
    pub(crate) fn resource(&mut self, process: Process, policy: &Policy) -> Described {
        let facts = self.seen(process);
        let pod = policy.pod_of(&facts);
        let Some(entry) = self.entries.get_mut(&process) else {
            return Described {
                resource: Arc::new(self.rules.host.clone()),
                lacks: None,
            };
        };
        if let Some((made, with)) = &entry.resource
            && with.as_ref().map(Arc::as_ptr) == pod.map(Arc::as_ptr)
        {
            return made.clone();
        }
        let around = policy.cluster().map(|cluster| Surroundings {
            pod: pod.map(AsRef::as_ref),
            settings: &cluster.settings,
        });
        let lacks = around.as_ref().and_then(|around| around.lack(&facts));
        let made = Described {
            resource: Arc::new(build_resource(
                &facts,
                process.generation,
                &self.rules,
                around.as_ref(),
            )),
            lacks,
        };
        entry.resource = Some((made.clone(), pod.cloned()));
        made
    }

    /// No span comes of it any more: it has ended, and was not traced.
    pub(crate) fn forget(&mut self, process: Process) {
        self.entries.remove(&process);
        self.figures.known.set(self.entries.len() as u64);
    }

    /// The resource that spans of a process would have.
    pub(crate) fn describe(&self, facts: &ProcessFacts, policy: &Policy) -> Resource {
        let around = policy.cluster().map(|cluster| Surroundings {
            pod: policy.pod_of(facts).map(AsRef::as_ref),
            settings: &cluster.settings,
        });
        build_resource(facts, 0, &self.rules, around.as_ref())
    }

    /// What is known of a process that a span came from.
    pub(crate) fn facts(&self, process: Process) -> Option<&ProcessFacts> {
        Some(&self.entries.get(&process)?.facts)
    }

    fn read(&self, pid: u32) -> Option<ProcessFacts> {
        match ProcessFacts::read(pid) {
            Ok(facts) => Some(facts),
            Err(error) => {
                log::debug!("process {pid}: {error}");
                self.figures.unreadable.add(1);
                None
            }
        }
    }

    fn put(&mut self, process: Process, facts: ProcessFacts) -> Arc<ProcessFacts> {
        while self.entries.len() >= CAPACITY && !self.entries.contains_key(&process) {
            let ended = self.ended.pop_front().map(|(_, process)| process);
            let Some(victim) = ended.or_else(|| self.entries.keys().next().copied()) else {
                break;
            };
            if self.entries.remove(&victim).is_some() {
                self.figures.evicted.add(1);
            }
        }
        let facts = Arc::new(facts);
        self.entries.insert(
            process,
            Entry {
                facts: Arc::clone(&facts),
                resource: None,
            },
        );
        self.figures.known.set(self.entries.len() as u64);
        facts
    }
}

impl Rules {
    pub(crate) fn of_this_host(overrides: ResourceOverrides) -> Self {
        Self {
            overrides,
            host: host::attributes(),
            boot_id: host::boot_id().unwrap_or_default(),
            users: host::users(),
        }
    }
}

/// What a cluster adds.
pub(crate) struct Surroundings<'a> {
    /// `None`: the process runs in none, or it is not known yet.
    pod: Option<&'a Pod>,
    settings: &'a Kubernetes,
}

impl Surroundings<'_> {
    /// What is not known of a process that runs in a pod.
    fn lack(&self, facts: &ProcessFacts) -> Option<&'static str> {
        let container = facts.place.container.as_ref()?;
        container.pod_uid.as_ref()?;
        match self.pod {
            None => Some("k8s.pod"),
            Some(pod) => pod
                .container(&container.id)
                .is_none()
                .then_some("k8s.container"),
        }
    }
}

/// The later of these wins: derived, the pod, agent's configuration, the process's own environment.
pub(crate) fn build_resource(
    facts: &ProcessFacts,
    generation: u32,
    rules: &Rules,
    around: Option<&Surroundings<'_>>,
) -> Resource {
    let mut resource = rules.host.clone();
    let (name, source) = service_name(facts, &rules.overrides);
    resource.set("service.name", name.as_str());
    resource.set(
        "service.instance.id",
        instance_id(facts, generation, &rules.boot_id),
    );
    if let Some(Surroundings { pod, settings }) = around {
        // weft's own pod has another name for itself.
        if let Some(node) = &settings.node {
            resource.set("host.name", node.as_str());
        }
        if let Some(pod) = pod {
            let container = facts.place.container.as_ref();
            let container = container.and_then(|it| pod.container(&it.id));
            describe(&mut resource, pod, container, settings);
        }
        if source.is_said() {
            resource.set("service.name", name);
        }
    }
    resource.set("process.pid", i64::from(facts.pid));
    if let Some(name) = facts.exe_name() {
        resource.set("process.executable.name", name);
        resource.set(
            "process.executable.path",
            facts.exe.to_string_lossy().into_owned(),
        );
    } else if !facts.comm.is_empty() {
        resource.set("process.executable.name", facts.comm.as_str());
    }
    if let Some(runtime) = super::name::runtime(facts) {
        resource.set("process.runtime.name", runtime);
    }
    let owner = rules.users.iter().find(|(uid, _)| Some(*uid) == facts.uid);
    if let Some((_, name)) = owner {
        resource.set("process.owner", name.as_str());
    }
    if rules.overrides.command_args && !facts.args.is_empty() {
        resource.set(
            "process.command_args",
            super::Value::List(facts.args.clone()),
        );
    }
    if let Some(container) = &facts.place.container {
        resource.set("container.id", container.id.as_str());
        if let Some(runtime) = container.runtime {
            resource.set("container.runtime.name", runtime.to_string());
        }
    }
    for (key, value) in &rules.overrides.attributes {
        resource.set(key.clone(), value.as_str());
    }
    if let Some(namespace) = namespace(&facts.exe, &rules.overrides) {
        resource.set("service.namespace", namespace);
    }
    // `service.name` has been settled.
    let own = facts
        .otel_attributes
        .iter()
        .filter(|(key, _)| key != "service.name");
    for (key, value) in own {
        resource.set(key.clone(), value.as_str());
    }
    resource
}

fn namespace<'a>(exe: &Path, overrides: &'a ResourceOverrides) -> Option<&'a str> {
    let rules = overrides.services.iter().filter(|rule| rule.matches(exe));
    rules.filter_map(|rule| rule.namespace.as_deref()).next()
}

/// The same for as long as the process lives, whoever asks: a UUID (version 8) of the boot, the
/// pid and the start time.
fn instance_id(facts: &ProcessFacts, generation: u32, boot_id: &str) -> String {
    // A forked child that nobody has looked at yet.
    let start = match facts.start_ticks {
        0 => ProcessFacts::read(facts.pid).map_or(u64::from(generation), |now| now.start_ticks),
        ticks => ticks,
    };
    let input = format!("{boot_id} {} {start}", facts.pid);
    let hash = fnv1a(input.as_bytes());
    let hash = hash & !(0xf << 76) | 0x8 << 76;
    let hash = hash & !(0x3 << 62) | 0x2 << 62;
    let hex = format!("{hash:032x}");
    let parts = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ];
    parts.join("-")
}

/// FNV-1a, 128 bits: the same in every version of weft.
fn fnv1a(bytes: &[u8]) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes.iter().fold(OFFSET, |hash, byte| {
        (hash ^ u128::from(*byte)).wrapping_mul(PRIME)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Selection;

    fn process(tgid: u32, generation: u32) -> Process {
        Process { tgid, generation }
    }

    fn table() -> Processes {
        Processes::new(
            Rules::of_this_host(ResourceOverrides::default()),
            &Registry::default(),
        )
    }

    #[test]
    fn children_inherit_and_exec_renews() {
        let mut table = table();
        let own = std::process::id();
        let parent = table.seen(process(own, 0));
        let child = table.forked(process(u32::MAX, 3), process(own, 0));
        assert_eq!((child.pid, &child.exe), (u32::MAX, &parent.exe));
        let execed = table.execed(process(u32::MAX, 4), "short");
        assert_eq!(execed.comm, "short");
        let policy = Policy::new(Selection::default(), 1);
        let resource = table.resource(process(u32::MAX, 4), &policy).resource;
        assert_eq!(resource.service_name(), "short");
        let again = table.resource(process(u32::MAX, 4), &policy).resource;
        assert!(Arc::ptr_eq(&resource, &again));
    }

    #[test]
    fn the_table_is_bounded() {
        let mut table = table();
        let parent = process(std::process::id(), 0);
        table.seen(parent);
        for generation in 0..(CAPACITY as u32 + 100) {
            let child = process(u32::MAX, generation);
            table.forked(child, parent);
            table.exited(child);
        }
        assert_eq!(table.entries.len(), CAPACITY);
        assert!(table.figures.evicted.value() >= 100);
        assert!(table.ended.len() <= CAPACITY + 100);
    }

    #[test]
    fn own_environment_wins() {
        let facts = ProcessFacts {
            pid: 12,
            exe: "/opt/shop/bin/cart".into(),
            start_ticks: 99,
            otel_attributes: vec![("deployment.environment.name".into(), "test".into())],
            ..ProcessFacts::default()
        };
        let overrides = ResourceOverrides {
            attributes: vec![
                ("deployment.environment.name".into(), "prod".into()),
                ("team".into(), "blue".into()),
            ],
            ..ResourceOverrides::default()
        };
        let resource = build_resource(&facts, 0, &Rules::of_this_host(overrides), None);
        assert_eq!(resource.text("deployment.environment.name"), Some("test"));
        assert_eq!(resource.text("team"), Some("blue"));
        assert_eq!(resource.service_name(), "cart");
        let id = resource.text("service.instance.id").unwrap();
        assert_eq!((id.len(), id.as_bytes()[14]), (36, b'8'));
    }
}
