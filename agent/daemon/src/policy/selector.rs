//! The policy in effect, shared by who asks it.

use std::sync::{Arc, PoisonError, RwLock};

use super::{Decision, Policy, Rule, names::ContainerNames};
use crate::discover::ProcessFacts;

/// Cloning shares it.
#[derive(Clone)]
pub(crate) struct Selector {
    current: Arc<RwLock<Arc<Policy>>>,
    names: Arc<ContainerNames>,
}

// === impl Selector ===

impl Selector {
    pub(crate) fn new(policy: Policy) -> Self {
        Self {
            current: Arc::new(RwLock::new(Arc::new(policy))),
            names: Arc::default(),
        }
    }

    pub(crate) fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts from the next decision on.
    pub(crate) fn replace(&self, policy: Policy) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(policy);
    }

    pub(crate) fn judge(&self, facts: &ProcessFacts) -> Decision {
        let policy = self.policy();
        let container = facts.place.container.as_ref();
        let container = container.filter(|_| policy.asks_for_containers());
        let name = container.and_then(|container| match policy.pod_of(facts) {
            Some(pod) => Some(pod.container(&container.id)?.name.as_str().into()),
            None => self.names.of(container),
        });
        policy.judge(facts, name.as_deref())
    }

    /// Some socket of the process may be looked at.
    pub(crate) fn may_trace(&self, facts: &ProcessFacts) -> bool {
        self.judge(facts).may_trace()
    }
}

// === impl Decision ===

impl Decision {
    /// Some socket of the process may be looked at.
    pub(crate) fn may_trace(&self) -> bool {
        self.selected || self.rule == Rule::Ports
    }

    /// It is selected for where it runs, whatever it is.
    pub(crate) fn counts_for_others(&self) -> bool {
        self.selected && matches!(self.rule, Rule::All | Rule::Default | Rule::Pod(_))
    }
}
