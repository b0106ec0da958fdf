//! Between the flow and the exporters: a span waits for what is to be known of its pod, and a policy's limit
//! may leave it out.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use weft_flow::span::{Endpoint, Kind, Span};

use crate::{
    discover::{Described, Processes, Resource, Value},
    export::Finished,
    kubernetes::TracePolicy,
    policy::Policy,
    telemetry::{Counter, Registry},
};

pub(crate) struct Gate {
    registry: Registry,
    /// Spans whose pod or container is not known yet, with the time until which they wait.
    waiting: VecDeque<(u64, Box<Span>)>,
    /// By namespace and name of the policy.
    budgets: HashMap<(String, String), Budget>,
    unknown: Counter,
}

/// Spans that a policy lets through.
struct Budget {
    left: f64,
    filled_ns: u64,
    dropped: Counter,
}

/// The kubelet tells the API server of a container within about a second of its start.
const WAIT_NS: u64 = 3_000_000_000;
/// Beyond, the first that waits goes as it is.
const WAITING: usize = 8192;
/// Policies are few; beyond, the budgets begin anew.
const BUDGETS: usize = 1024;

// === impl Gate ===

impl Gate {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            registry: registry.clone(),
            waiting: VecDeque::new(),
            budgets: HashMap::new(),
            unknown: registry.counter(
                "weft_spans_without_pod_total",
                "Spans that left before the API server had told of their pod or container.",
                &[],
            ),
        }
    }

    /// Takes a span of the flow's; gives those that leave to `out`.
    pub(crate) fn pass(
        &mut self,
        span: Box<Span>,
        processes: &mut Processes,
        policy: &Policy,
        now_ns: u64,
        out: &mut Vec<Finished>,
    ) {
        let described = processes.resource(span.process, policy);
        if described.lacks.is_some() {
            self.waiting.push_back((now_ns + WAIT_NS, span));
            if self.waiting.len() > WAITING {
                self.let_go(processes, policy, now_ns, out);
            }
            return;
        }
        self.leave(span, described, processes, policy, now_ns, out);
    }

    /// Lets those go that have waited for long enough, or for what is known by now.
    pub(crate) fn tick(
        &mut self,
        processes: &mut Processes,
        policy: &Policy,
        now_ns: u64,
        out: &mut Vec<Finished>,
    ) {
        for _ in 0..self.waiting.len() {
            let Some((until, span)) = self.waiting.pop_front() else {
                return;
            };
            let described = processes.resource(span.process, policy);
            if described.lacks.is_some() && until > now_ns {
                self.waiting.push_back((until, span));
            } else {
                self.leave(span, described, processes, policy, now_ns, out);
            }
        }
    }

    /// Nothing more comes: none waits any longer.
    pub(crate) fn finish(
        &mut self,
        processes: &mut Processes,
        policy: &Policy,
        now_ns: u64,
        out: &mut Vec<Finished>,
    ) {
        while !self.waiting.is_empty() {
            self.let_go(processes, policy, now_ns, out);
        }
    }

    fn let_go(
        &mut self,
        processes: &mut Processes,
        policy: &Policy,
        now_ns: u64,
        out: &mut Vec<Finished>,
    ) {
        if let Some((_, span)) = self.waiting.pop_front() {
            let described = processes.resource(span.process, policy);
            self.leave(span, described, processes, policy, now_ns, out);
        }
    }

    fn leave(
        &mut self,
        mut span: Box<Span>,
        described: Described,
        processes: &Processes,
        policy: &Policy,
        now_ns: u64,
        out: &mut Vec<Finished>,
    ) {
        // Only a cluster sets limits and has names.
        let cluster = policy.cluster();
        if let (Some(cluster), Kind::Client, Endpoint::Inet(peer)) =
            (cluster, span.kind, &span.peer)
        {
            span.peer_service = cluster.service_at(peer.ip()).cloned();
        }
        let facts = cluster.and_then(|_| processes.facts(span.process));
        let limit = facts.and_then(|facts| policy.terms(facts).limit);
        if let Some((policy, limit)) = limit
            && !self.within(&policy, limit, now_ns)
        {
            return;
        }
        let Described { resource, lacks } = described;
        let resource = match lacks {
            None => resource,
            Some(what) => {
                self.unknown.add(1);
                without(&resource, what)
            }
        };
        out.push((span, resource));
    }

    /// Whether the policy lets one more through. It saves up for a second.
    fn within(&mut self, policy: &TracePolicy, limit: u32, now_ns: u64) -> bool {
        if self.budgets.len() > BUDGETS {
            self.budgets.clear();
        }
        let limit = f64::from(limit);
        let key = (policy.namespace.clone(), policy.name.clone());
        let registry = &self.registry;
        let budget = self.budgets.entry(key).or_insert_with(|| {
            let labels = [
                ("namespace", policy.namespace.as_str()),
                ("policy", policy.name.as_str()),
            ];
            Budget {
                left: limit,
                filled_ns: now_ns,
                dropped: registry.counter(
                    "weft_spans_limited_total",
                    "Spans over the limit of a TracePolicy, which left nowhere.",
                    &labels,
                ),
            }
        });
        let since = now_ns.saturating_sub(budget.filled_ns) as f64 / 1e9;
        budget.left = (budget.left + since * limit).min(limit.max(1.0));
        budget.filled_ns = now_ns;
        let within = budget.left >= 1.0;
        if within {
            budget.left -= 1.0;
        } else {
            budget.dropped.add(1);
        }
        within
    }
}

/// Says what is not known.
fn without(resource: &Resource, what: &str) -> Arc<Resource> {
    let mut resource = resource.clone();
    let lacks = Value::List(vec![what.to_owned()]);
    resource.set("weft.resource.partial", lacks);
    Arc::new(resource)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_spans_per_second() {
        const MS: u64 = 1_000_000;
        let mut gate = Gate::new(&Registry::default());
        let policy = TracePolicy {
            namespace: "shop".into(),
            name: "all".into(),
            ..TracePolicy::default()
        };
        let mut passed = |from: u64, to: u64| {
            let times = from..to;
            times
                .filter(|now| gate.within(&policy, 100, now * MS))
                .count()
        };
        // 1000 a second: what was saved, and a tenth.
        let first = passed(0, 1000);
        assert!((195..=200).contains(&first), "{first}");
        let second = passed(1000, 2000);
        assert!((98..=101).contains(&second), "{second}");
        let (_, budget) = gate.budgets.iter().next().unwrap();
        assert_eq!(budget.dropped.value(), 2000 - (first + second) as u64);
    }
}
