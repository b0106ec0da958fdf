//! The rules, in the order in which they count.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::Arc,
};

use globset::GlobMatcher;

use crate::{
    config::{Action, Conditions, Selection, Who},
    discover::ProcessFacts,
    kubernetes::{Cluster, Pod, PodRule, Terms},
};

/// Everything that has a say, at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    selection: Selection,
    own_pid: u32,
    /// `None`: not in Kubernetes.
    cluster: Option<Arc<Cluster>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) selected: bool,
    pub(crate) rule: Rule,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// The agent does not trace itself.
    Own,
    ExcludedPid,
    ExcludedExe(String),
    Pid,
    Exe(String),
    /// Of `selection.rules`: its place, from 1, and what it says.
    Listed(usize, String),
    /// Of the pod that it runs in.
    Pod(PodRule),
    /// `selection.default`.
    Default,
    /// Only its sockets on the selected ports are, or all if its control group is selected: the
    /// kernel decides it for each connection.
    Ports,
    /// Nothing was selected, so everything is.
    All,
    /// Something was selected, and it is not this.
    Unlisted,
}

// === impl Policy ===

impl Policy {
    pub(crate) fn new(selection: Selection, own_pid: u32) -> Self {
        Self {
            selection,
            own_pid,
            cluster: None,
        }
    }

    /// The same in what is known of the cluster by now.
    pub(crate) fn with_cluster(&self, cluster: Arc<Cluster>) -> Self {
        Self {
            cluster: Some(cluster),
            ..self.clone()
        }
    }

    pub(crate) fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.cluster.as_ref()
    }

    /// The pod that a process runs in, where it is known.
    pub(crate) fn pod_of(&self, facts: &ProcessFacts) -> Option<&Arc<Pod>> {
        let uid = facts.place.container.as_ref()?.pod_uid.as_ref()?;
        self.cluster.as_ref()?.pod(uid)
    }

    /// How a process is traced.
    pub(crate) fn terms(&self, facts: &ProcessFacts) -> Terms {
        let pod = self.cluster.as_ref().zip(self.pod_of(facts));
        pod.map_or_else(Terms::default, |(cluster, pod)| cluster.terms(pod))
    }

    /// The same with other rules.
    pub(crate) fn with_selection(&self, selection: Selection) -> Self {
        Self {
            selection,
            ..self.clone()
        }
    }

    /// Who is not named otherwise is traced.
    pub(crate) fn is_all(&self) -> bool {
        match self.selection.default {
            Some(action) => action == Action::Include,
            None => !self.selection.includes() && self.cluster.is_none(),
        }
    }

    /// Somebody may be traced, now or when he comes.
    pub(crate) fn may_select(&self) -> bool {
        self.is_all()
            || self.selection.includes()
            || self.cluster.as_ref().is_some_and(|it| it.traces_any())
    }

    /// Some sockets of a process that is not named may be selected all the same: the kernel
    /// decides by port and control group.
    pub(crate) fn leaves_to_kernel(&self) -> bool {
        let included = |(_, action): &(u16, Action)| *action == Action::Include;
        !self.selection.cgroups.is_empty() || self.ports().iter().any(included)
    }

    pub(crate) fn cgroups(&self) -> &[PathBuf] {
        &self.selection.cgroups
    }

    pub(crate) fn ports(&self) -> Vec<(u16, Action)> {
        self.selection.port_actions()
    }

    /// Whether the names of containers matter.
    pub(crate) fn asks_for_containers(&self) -> bool {
        self.selection.rules.iter().any(
            |rule| matches!(&rule.who, Who::Processes(conditions) if conditions.container.is_some()),
        )
    }

    /// `container`: the name of its container, where that is known.
    pub(crate) fn judge(&self, facts: &ProcessFacts, container: Option<&str>) -> Decision {
        let selection = &self.selection;
        let named = |pids: &[u32]| pids.contains(&facts.pid) || pids.contains(&facts.began_as);
        let (selected, rule) = if facts.pid == self.own_pid {
            (false, Rule::Own)
        } else if named(&selection.exclude_pids) {
            (false, Rule::ExcludedPid)
        } else if let Some(glob) = matching(&selection.exclude_exes, &facts.exe) {
            (false, Rule::ExcludedExe(glob))
        } else if named(&selection.pids) {
            (true, Rule::Pid)
        } else if let Some(glob) = matching(&selection.exes, &facts.exe) {
            (true, Rule::Exe(glob))
        } else if let Some((action, rule)) = self.listed(facts, container) {
            (action == Action::Include, rule)
        } else if let Some((action, rule)) = self.by_pod(facts) {
            (action == Action::Include, Rule::Pod(rule))
        } else if self.is_all() {
            let rule = match selection.default {
                Some(_) => Rule::Default,
                None => Rule::All,
            };
            (true, rule)
        } else if self.leaves_to_kernel() {
            (false, Rule::Ports)
        } else if selection.default.is_some() {
            (false, Rule::Default)
        } else {
            (false, Rule::Unlisted)
        };
        Decision { selected, rule }
    }

    /// `None`: it runs in no pod.
    fn by_pod(&self, facts: &ProcessFacts) -> Option<(Action, PodRule)> {
        let uid = facts.place.container.as_ref()?.pod_uid.as_ref()?;
        Some(self.cluster.as_ref()?.judge(uid))
    }

    fn listed(&self, facts: &ProcessFacts, container: Option<&str>) -> Option<(Action, Rule)> {
        let (index, rule) = self.selection.rules.iter().enumerate().find(|(_, rule)| {
            matches!(&rule.who, Who::Processes(conditions) if conditions.hold(facts, container))
        })?;
        Some((rule.action, Rule::Listed(index + 1, rule.to_string())))
    }
}

// === impl Conditions ===

impl Conditions {
    fn hold(&self, facts: &ProcessFacts, name: Option<&str>) -> bool {
        let Self {
            exe,
            args,
            cgroup,
            unit,
            container,
        } = self;
        let holds = |glob: &Option<GlobMatcher>, text: Option<&str>| {
            let Some(glob) = glob else { return true };
            text.is_some_and(|text| glob.is_match(text))
        };
        let id = facts.place.container.as_ref().map(|it| it.id.as_str());
        exe.as_ref()
            .is_none_or(|glob| exe_matches(glob, &facts.exe))
            && (args.is_none() || holds(args, Some(&facts.args.join(" "))))
            && holds(cgroup, Some(&facts.place.path))
            && holds(unit, facts.place.unit())
            && (holds(container, name) || holds(container, id))
    }
}

/// A glob with a `/` is for the whole path, one without for its last part.
fn exe_matches(glob: &GlobMatcher, exe: &Path) -> bool {
    let whole = glob.glob().glob().contains('/');
    if whole {
        return glob.is_match(exe);
    }
    exe.file_name()
        .is_some_and(|name: &OsStr| glob.is_match(name))
}

fn matching(globs: &[GlobMatcher], exe: &Path) -> Option<String> {
    let glob = globs.iter().find(|glob| exe_matches(glob, exe))?;
    Some(glob.glob().glob().to_owned())
}
