//! Which processes are traced: pure decisions over facts.

use std::path::{Path, PathBuf};

use globset::GlobMatcher;

use super::ProcessFacts;
use crate::config::Selection;

/// The user's selection and the agent's own pid.
#[derive(Clone, Debug)]
pub(crate) struct Selector {
    selection: Selection,
    own_pid: u32,
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
    /// Only its sockets on the selected ports are, or all if its control group is selected: the
    /// kernel decides it for each connection.
    Ports,
    /// Nothing was selected, so everything is.
    All,
    /// Something was selected, and it is not this.
    Unlisted,
}

impl Selector {
    pub(crate) fn new(selection: Selection, own_pid: u32) -> Self {
        Self { selection, own_pid }
    }

    /// Nothing is named: every process is looked at.
    pub(crate) fn is_all(&self) -> bool {
        let Selection {
            pids,
            ports,
            exes,
            cgroups,
            exclude_exes: _,
            exclude_pids: _,
        } = &self.selection;
        pids.is_empty() && ports.is_empty() && exes.is_empty() && cgroups.is_empty()
    }

    /// Some sockets of a process that is not named may be selected all the same: the kernel
    /// decides by port and control group.
    pub(crate) fn leaves_to_kernel(&self) -> bool {
        !self.selection.ports.is_empty() || !self.selection.cgroups.is_empty()
    }

    /// Some socket of the process may be looked at.
    pub(crate) fn may_trace(&self, facts: &ProcessFacts) -> bool {
        let Decision { selected, rule } = self.judge(facts);
        selected || (self.leaves_to_kernel() && rule == Rule::Ports)
    }

    pub(crate) fn cgroups(&self) -> &[PathBuf] {
        &self.selection.cgroups
    }

    pub(crate) fn ports(&self) -> &[u16] {
        &self.selection.ports
    }

    pub(crate) fn judge(&self, facts: &ProcessFacts) -> Decision {
        let selection = &self.selection;
        let excluded = matching(&selection.exclude_exes, &facts.exe);
        let included = matching(&selection.exes, &facts.exe);
        let (selected, rule) = if facts.pid == self.own_pid {
            (false, Rule::Own)
        } else if selection.exclude_pids.contains(&facts.pid) {
            (false, Rule::ExcludedPid)
        } else if let Some(glob) = excluded {
            (false, Rule::ExcludedExe(glob))
        } else if selection.pids.contains(&facts.pid) {
            (true, Rule::Pid)
        } else if let Some(glob) = included {
            (true, Rule::Exe(glob))
        } else if self.is_all() {
            (true, Rule::All)
        } else if !self.leaves_to_kernel() {
            (false, Rule::Unlisted)
        } else {
            (false, Rule::Ports)
        };
        Decision { selected, rule }
    }
}

/// A glob with a `/` is for the whole path, one without for its last part.
fn matching(globs: &[GlobMatcher], exe: &Path) -> Option<String> {
    let name = exe.file_name().map(Path::new);
    globs
        .iter()
        .find(|glob| {
            let whole = glob.glob().glob().contains('/');
            if whole {
                glob.is_match(exe)
            } else {
                name.is_some_and(|name| glob.is_match(name))
            }
        })
        .map(|glob| glob.glob().glob().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn globs(list: &[&str]) -> Vec<GlobMatcher> {
        list.iter()
            .map(|glob| globset::Glob::new(glob).unwrap().compile_matcher())
            .collect()
    }

    #[track_caller]
    fn check(selection: &Selection, pid: u32, exe: &str, selected: bool, rule: Rule) {
        let facts = ProcessFacts {
            pid,
            exe: exe.into(),
            ..ProcessFacts::default()
        };
        let judged = Selector::new(selection.clone(), 1).judge(&facts);
        assert_eq!(judged, Decision { selected, rule }, "{exe}");
    }

    #[test]
    fn decisions() {
        let mut selection = Selection::default();
        check(&selection, 7, "/usr/sbin/nginx", true, Rule::All);
        check(&selection, 1, "/usr/bin/weft", false, Rule::Own);
        selection.exclude_exes = globs(&["sshd"]);
        check(
            &selection,
            7,
            "/usr/sbin/sshd",
            false,
            Rule::ExcludedExe("sshd".to_owned()),
        );
        selection.exes = globs(&["python3*", "/opt/*/bin/*"]);
        check(
            &selection,
            7,
            "/usr/bin/python3.11",
            true,
            Rule::Exe("python3*".to_owned()),
        );
        check(
            &selection,
            7,
            "/opt/shop/bin/api",
            true,
            Rule::Exe("/opt/*/bin/*".to_owned()),
        );
        check(&selection, 7, "/usr/sbin/nginx", false, Rule::Unlisted);
        selection.pids = vec![9];
        check(&selection, 9, "/usr/sbin/nginx", true, Rule::Pid);
        selection.ports = vec![8080];
        check(&selection, 7, "/usr/sbin/nginx", false, Rule::Ports);
        selection.exclude_pids = vec![9];
        check(&selection, 9, "/usr/sbin/nginx", false, Rule::ExcludedPid);
    }
}
