//! CPU time of a process and of each of its threads.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use procfs::process::{Process, Stat};

pub(crate) struct Cpu {
    at: Instant,
    whole: Duration,
    threads: BTreeMap<i32, Thread>,
}

struct Thread {
    name: String,
    time: Duration,
}

/// Between two moments, in percent of one core.
#[derive(Clone, Debug, Default)]
pub(crate) struct CpuUse {
    pub(crate) whole: f64,
    /// By name, largest first, those that did something.
    pub(crate) threads: Vec<(String, f64)>,
}

// === impl Cpu ===

impl Cpu {
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let process = Process::new(i32::try_from(pid)?)?;
        let mut threads = BTreeMap::new();
        for task in process.tasks()?.flatten() {
            // A thread may end between two readings.
            let Ok(stat) = task.stat() else { continue };
            // The scheduler's own count is finer than the ticks of `stat`, where the kernel has it.
            let time = task.schedstat().map_or_else(
                |_| ticks(&stat),
                |stat| Duration::from_nanos(stat.sum_exec_runtime),
            );
            let name = stat.comm;
            threads.insert(task.tid, Thread { name, time });
        }
        Ok(Self {
            at: Instant::now(),
            whole: ticks(&process.stat()?),
            threads,
        })
    }

    pub(crate) fn time(&self) -> Duration {
        self.whole
    }

    pub(crate) fn time_since(&self, before: &Self) -> Duration {
        self.whole.saturating_sub(before.whole)
    }

    pub(crate) fn since(&self, before: &Self) -> CpuUse {
        let elapsed = (self.at - before.at).as_secs_f64();
        let percent = |time: Duration| time.as_secs_f64() / elapsed * 100.0;
        let mut by_name: BTreeMap<&str, f64> = BTreeMap::new();
        for (tid, thread) in &self.threads {
            let known = before
                .threads
                .get(tid)
                .map_or(Duration::ZERO, |thread| thread.time);
            *by_name.entry(&thread.name).or_default() += percent(thread.time.saturating_sub(known));
        }
        let mut threads: Vec<_> = by_name
            .into_iter()
            .filter(|(_, percent)| *percent >= 0.05)
            .map(|(name, percent)| (name.to_owned(), percent))
            .collect();
        threads.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        CpuUse {
            whole: percent(self.time_since(before)),
            threads,
        }
    }
}

pub(crate) fn of_ended_children() -> Result<Duration> {
    let stat = Process::myself()?.stat()?;
    let ticks = u64::try_from(stat.cutime + stat.cstime)?;
    Ok(duration(ticks))
}

fn ticks(stat: &Stat) -> Duration {
    duration(stat.utime + stat.stime)
}

fn duration(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / procfs::ticks_per_second() as f64)
}

// === impl CpuUse ===

impl CpuUse {
    pub(crate) fn by_thread(&self) -> String {
        let each: Vec<_> = self
            .threads
            .iter()
            .map(|(name, percent)| format!("{name} {percent:.1} %"))
            .collect();
        each.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_work() {
        let before = Cpu::of(std::process::id()).unwrap();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(100) {}
        let cpu = Cpu::of(std::process::id()).unwrap().since(&before);
        assert!(cpu.whole > 10.0 && !cpu.threads.is_empty(), "{cpu:?}");
    }
}
