//! Which processes are traced: pure decisions over facts. What the facts are read from, and who is
//! told of a decision, stands elsewhere.

mod judge;
mod looks;
mod names;
mod rules;
mod selector;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::{config::Selection, kubernetes::Cluster};

pub(crate) use self::{
    judge::{Heard, Judge},
    looks::Looks,
    rules::{Decision, Policy, Rule},
    selector::Selector,
};

/// What changes while weft runs.
pub(crate) enum Change {
    Selection(Selection),
    Cluster(Arc<Cluster>),
}

impl Policy {
    pub(crate) fn with(&self, change: Change) -> Self {
        match change {
            Change::Selection(selection) => self.with_selection(selection),
            Change::Cluster(cluster) => self.with_cluster(cluster),
        }
    }
}
