//! What the agent costs: its memory and CPU time.

use procfs::{WithCurrentSystemInfo as _, process::Process};

use super::Registry;

pub(crate) fn watch_own_process(registry: &Registry) {
    registry.source(|gathered| {
        let Ok(stat) = Process::myself().and_then(|process| process.stat()) else {
            return;
        };
        let seconds = |ticks: u64| ticks as f64 / procfs::ticks_per_second() as f64;
        gathered.counter(
            "weft_process_cpu_seconds_total",
            "CPU time of the agent, user and system.",
            &[],
            seconds(stat.utime + stat.stime),
        );
        let bytes = stat.rss_bytes().get();
        gathered.gauge(
            "weft_process_resident_memory_bytes",
            "Resident memory of the agent; maps of the kernel programs are not in it.",
            &[],
            bytes as f64,
        );
        let labels = [("version", env!("CARGO_PKG_VERSION"))];
        gathered.gauge(
            "weft_build_info",
            "1 for the version that runs.",
            &labels,
            1.0,
        );
    });
}
