//! Figures of the kernel programs and the flow, as the registry shows them. Both count on the
//! pipeline's thread; what is shown is as old as the last publication.

use std::sync::{Arc, Mutex, PoisonError};

use weft_abi::Counter as KernelCounter;
use weft_flow::Counters;

use crate::{
    bpf::Probes,
    telemetry::{Counter, Registry},
};

pub(crate) struct Published {
    shown: Arc<Mutex<Shown>>,
    hints_refused: Counter,
}

#[derive(Default)]
struct Shown {
    kernel: Vec<(KernelCounter, u64)>,
    missed: u64,
    flow: Vec<(&'static str, &'static str, u64)>,
}

impl Published {
    pub(crate) fn register(registry: &Registry) -> Self {
        let shown = Arc::new(Mutex::new(Shown::default()));
        let source = Arc::clone(&shown);
        // Names are made once; there are as many as counters.
        let names: Vec<(&'static str, &'static str)> = {
            let mut names = Vec::new();
            Counters::default().visit(|name, _, _| names.push(name));
            names.dedup();
            names
                .into_iter()
                .map(|name| (name, &*format!("weft_flow_{name}_total").leak()))
                .collect()
        };
        registry.source(move |gathered| {
            let shown = source.lock().unwrap_or_else(PoisonError::into_inner);
            for (counter, value) in &shown.kernel {
                let label = [("event", counter.name())];
                gathered.counter(
                    "weft_kernel_events_total",
                    "What the kernel programs counted.",
                    &label,
                    *value as f64,
                );
            }
            let help = "Hooks the kernel left out because one was already running on that CPU.";
            gathered.counter("weft_kernel_missed_total", help, &[], shown.missed as f64);
            for (name, reason, value) in &shown.flow {
                let Some((_, full)) = names.iter().find(|(known, _)| known == name) else {
                    continue;
                };
                let label = [("reason", *reason)];
                let labels = if reason.is_empty() {
                    &[][..]
                } else {
                    &label[..]
                };
                gathered.counter(
                    full,
                    "What the flow counted; see agent/flow/src/counters.rs.",
                    labels,
                    *value as f64,
                );
            }
        });
        let help = "Hints on connections that the kernel's map had no room for.";
        Self {
            shown,
            hints_refused: registry.counter("weft_hints_refused_total", help, &[]),
        }
    }

    pub(crate) fn hint_refused(&self) {
        self.hints_refused.add(1);
    }

    pub(crate) fn publish(&self, probes: &Probes, flow: &Counters) {
        let mut counted = Vec::new();
        flow.visit(|name, reason, value| counted.push((name, reason, value)));
        let kernel = probes.counters();
        let missed = probes.missed();
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        *shown = Shown {
            kernel,
            missed,
            flow: counted,
        };
    }
}
