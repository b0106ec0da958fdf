//! Which process belongs to which program: a program and whatever it has forked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use procfs::process::all_processes;

use crate::topology::Topology;
use crate::truth::Program;

/// Looks again and again, as workers come and go.
#[derive(Clone, Debug)]
pub struct Members {
    roots: HashMap<u32, Program>,
    seen: Arc<Mutex<HashMap<u32, Program>>>,
}

const LOOK_EVERY: Duration = Duration::from_millis(300);

impl Members {
    /// Looks until the runtime ends.
    pub fn watch(topology: &Topology) -> Self {
        let roots = topology
            .nodes()
            .flat_map(|(program, node)| node.roots.iter().map(move |pid| (*pid, program)));
        let members = Self {
            roots: roots.collect(),
            seen: Arc::default(),
        };
        let looking = members.clone();
        tokio::spawn(async move {
            loop {
                looking.look();
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
        members
    }

    pub fn seen(&self) -> HashMap<u32, Program> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn look(&self) {
        let parents: HashMap<u32, u32> = all_processes()
            .into_iter()
            .flatten()
            .filter_map(|process| {
                let stat = process.ok()?.stat().ok()?;
                Some((stat.pid.try_into().ok()?, stat.ppid.try_into().ok()?))
            })
            .collect();
        // The agent and the programs are the driver's children: the nearest root counts, and for
        // the driver only itself.
        let nearest = |pid: u32| {
            let ancestors = std::iter::successors(Some(pid), |pid| parents.get(pid).copied());
            let (root, program) = ancestors
                .take(32)
                .find_map(|pid| Some((pid, *self.roots.get(&pid)?)))?;
            (root != std::process::id() || pid == root).then_some((pid, program))
        };
        let found: Vec<_> = parents.keys().filter_map(|pid| nearest(*pid)).collect();
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(found);
    }
}
