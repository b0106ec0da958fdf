//! Which processes are traced.

use std::{fmt, path::PathBuf};

use globset::GlobMatcher;
use serde::{Deserialize, Serialize};

use super::text::{self, Text as _};

/// What stands higher wins: exclusions, what is named, the rules in their order, `default`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Selection {
    pub(crate) pids: Vec<u32>,
    /// Local ports of servers.
    pub(crate) ports: Vec<u16>,
    /// Of the executable's path, or of its last part when the glob has no `/`.
    #[serde(with = "text::many")]
    pub(crate) exes: Vec<GlobMatcher>,
    /// Control groups of the unified hierarchy, with all below them, as they are at start; relative
    /// to its mount.
    pub(crate) cgroups: Vec<PathBuf>,
    /// Never traced, whatever else says.
    #[serde(with = "text::many")]
    pub(crate) exclude_exes: Vec<GlobMatcher>,
    pub(crate) exclude_pids: Vec<u32>,
    /// The first that matches wins.
    pub(crate) rules: Vec<SelectionRule>,
    /// For whom no rule is; `None`: excluded where anything is included, and in Kubernetes.
    pub(crate) default: Option<Action>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Action {
    Include,
    Exclude,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "WrittenRule", into = "WrittenRule")]
pub(crate) struct SelectionRule {
    pub(crate) action: Action,
    pub(crate) who: Who,
}

#[derive(Clone, Debug)]
pub(crate) enum Who {
    Processes(Box<Conditions>),
    /// Connections, by the port of either end, of processes that no rule of the other kind is for.
    Ports(Vec<u16>),
}

/// All that are given must hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conditions {
    /// As in [`Selection::exes`].
    pub(crate) exe: Option<GlobMatcher>,
    /// Of the command line, its arguments joined by single spaces.
    pub(crate) args: Option<GlobMatcher>,
    /// Of the path of its control group, v1 or v2.
    pub(crate) cgroup: Option<GlobMatcher>,
    /// Of the innermost systemd unit.
    pub(crate) unit: Option<GlobMatcher>,
    /// Of the container's name, or of its id.
    pub(crate) container: Option<GlobMatcher>,
}

/// `- include: {exe: 'python3*', unit: 'shop-*.service'}`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WrittenRule {
    #[serde(skip_serializing_if = "Option::is_none")]
    include: Option<WrittenConditions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exclude: Option<WrittenConditions>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WrittenConditions {
    #[serde(with = "text::optional", skip_serializing_if = "Option::is_none")]
    exe: Option<GlobMatcher>,
    #[serde(with = "text::optional", skip_serializing_if = "Option::is_none")]
    args: Option<GlobMatcher>,
    #[serde(with = "text::optional", skip_serializing_if = "Option::is_none")]
    cgroup: Option<GlobMatcher>,
    #[serde(with = "text::optional", skip_serializing_if = "Option::is_none")]
    unit: Option<GlobMatcher>,
    #[serde(with = "text::optional", skip_serializing_if = "Option::is_none")]
    container: Option<GlobMatcher>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ports: Vec<u16>,
}

// === impl SelectionRule ===

impl TryFrom<WrittenRule> for SelectionRule {
    type Error = String;

    fn try_from(rule: WrittenRule) -> Result<Self, String> {
        let (action, written) = match (rule.include, rule.exclude) {
            (Some(written), None) => (Action::Include, written),
            (None, Some(written)) => (Action::Exclude, written),
            _ => return Err("a rule has `include` or `exclude`, one of them".to_owned()),
        };
        let WrittenConditions {
            exe,
            args,
            cgroup,
            unit,
            container,
            ports,
        } = written;
        let conditions = Conditions {
            exe,
            args,
            cgroup,
            unit,
            container,
        };
        let of_processes = conditions.globs().next().is_some();
        let who = match (of_processes, ports.is_empty()) {
            (true, true) => Who::Processes(Box::new(conditions)),
            (false, false) => Who::Ports(ports),
            (false, true) => {
                return Err("a rule names exe, args, cgroup, unit, container or ports".to_owned());
            }
            (true, false) => {
                return Err(
                    "a rule with `ports` is for connections: it names nothing else".to_owned(),
                );
            }
        };
        Ok(Self { action, who })
    }
}

impl From<SelectionRule> for WrittenRule {
    fn from(SelectionRule { action, who }: SelectionRule) -> Self {
        let written = match who {
            Who::Ports(ports) => WrittenConditions {
                ports,
                ..WrittenConditions::default()
            },
            Who::Processes(conditions) => {
                let Conditions {
                    exe,
                    args,
                    cgroup,
                    unit,
                    container,
                } = *conditions;
                WrittenConditions {
                    exe,
                    args,
                    cgroup,
                    unit,
                    container,
                    ports: Vec::new(),
                }
            }
        };
        match action {
            Action::Include => Self {
                include: Some(written),
                exclude: None,
            },
            Action::Exclude => Self {
                include: None,
                exclude: Some(written),
            },
        }
    }
}

impl fmt::Display for SelectionRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.action {
            Action::Include => "include",
            Action::Exclude => "exclude",
        })?;
        match &self.who {
            Who::Ports(ports) => write!(f, " ports {ports:?}"),
            Who::Processes(conditions) => conditions
                .globs()
                .try_for_each(|(name, glob)| write!(f, " {name} `{}`", glob.write())),
        }
    }
}

// === impl Conditions ===

impl Conditions {
    pub(crate) fn globs(&self) -> impl Iterator<Item = (&'static str, &GlobMatcher)> {
        let Self {
            exe,
            args,
            cgroup,
            unit,
            container,
        } = self;
        [
            ("exe", exe),
            ("args", args),
            ("cgroup", cgroup),
            ("unit", unit),
            ("container", container),
        ]
        .into_iter()
        .filter_map(|(name, glob)| Some((name, glob.as_ref()?)))
    }
}

// === impl Selection ===

impl Selection {
    /// Whether it names what is traced, so that others are not.
    pub(crate) fn includes(&self) -> bool {
        let Self {
            pids,
            ports,
            exes,
            cgroups,
            exclude_exes: _,
            exclude_pids: _,
            rules,
            default: _,
        } = self;
        let named = pids.is_empty() && ports.is_empty() && exes.is_empty() && cgroups.is_empty();
        !named || rules.iter().any(|rule| rule.action == Action::Include)
    }

    /// What each port means, the first rule's word.
    pub(crate) fn port_actions(&self) -> Vec<(u16, Action)> {
        let named = self.ports.iter().map(|port| (*port, Action::Include));
        let ruled = self.rules.iter().flat_map(|rule| match &rule.who {
            Who::Ports(ports) => ports.iter().map(|port| (*port, rule.action)).collect(),
            Who::Processes(_) => Vec::new(),
        });
        let mut actions: Vec<(u16, Action)> = Vec::new();
        for (port, action) in named.chain(ruled) {
            if actions.iter().all(|(known, _)| *known != port) {
                actions.push((port, action));
            }
        }
        actions
    }
}
