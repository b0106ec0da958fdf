//! Memory of weft idle, under load, and after many short-lived processes.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::lab::{Lab, Sampler};
use crate::load::wrk;
use crate::plan::Plan;
use crate::report::{Cell, Report, Table};
use crate::watch::memory::{Memory, MemoryGroup};

const MB: f64 = 1e6;

pub(crate) fn run(lab: &Lab, plan: &Plan, report: &mut Report) -> Result<()> {
    let group = MemoryGroup::make()?;
    let start = || lab.trace(Sampler::All, None);
    let traced = match &group {
        Some(group) => group.start(start)?,
        None => start()?,
    };
    let mut table = Table::new(
        "memory of weft, MB",
        &[
            "",
            "resident",
            "of it maps",
            "programs",
            "maps",
            "sum",
            "cgroup",
            "of it kernel",
            "cgroup peak",
        ],
    );
    let mut most: f64 = 0.0;
    let mut look = |moment: &str| -> Result<()> {
        let memory = Memory::of(traced.pid(), group.as_ref())?;
        let mb = |bytes: u64| bytes as f64 / MB;
        let in_group = |bytes: Option<u64>| bytes.map_or(Cell::Empty, |bytes| mb(bytes).into());
        let of_group = memory.group;
        most = most
            .max(mb(memory.sum()))
            .max(of_group.map_or(0.0, |group| mb(group.used)));
        table.row(
            moment,
            [
                Cell::from(mb(memory.resident)),
                Cell::from(mb(memory.mapped)),
                Cell::from(mb(memory.programs)),
                Cell::from(mb(memory.maps)),
                Cell::from(mb(memory.sum())),
                in_group(of_group.map(|group| group.used)),
                in_group(of_group.map(|group| group.kernel)),
                in_group(of_group.and_then(|group| group.peak)),
            ],
        );
        Ok(())
    };
    std::thread::sleep(Duration::from_secs(1));
    look("idle")?;
    let (workloads, url) = (&lab.workloads, lab.nginx.url());
    std::thread::scope(|scope| {
        let load = scope.spawn(|| wrk::run(workloads, &url, plan.saturation));
        std::thread::sleep(plan.saturation * 3 / 4);
        look("while nginx is at saturation")?;
        load.join().ok().context("wrk is lost")?.map(drop)
    })?;
    let many = tls_processes(lab)?;
    std::thread::sleep(Duration::from_secs(2));
    look(&format!(
        "with {TLS_PROCESSES} processes that have OpenSSL loaded"
    ))?;
    drop(many);
    short_processes(plan.short_processes)?;
    std::thread::sleep(Duration::from_secs(1));
    look(&format!(
        "after {} short-lived processes",
        plan.short_processes
    ))?;
    if group.is_none() {
        table.note("no memory cgroup could be made here");
    }
    report.tables.push(table);
    report.aim("memory in all, at most", "MB", 64.0, Some(most));
    traced.stop().map(drop)
}

/// Ends with the value.
struct Many(Child);

const TLS_PROCESSES: u32 = 200;

fn tls_processes(lab: &Lab) -> Result<Many> {
    // All wait for the same end of input.
    let script = format!(
        "exec 3<&0; i=0; while [ $i -lt {TLS_PROCESSES} ]; do \
         LD_PRELOAD=libssl.so.3 /bin/sh -c 'read line' <&3 & i=$((i + 1)); done; wait"
    );
    let mut shell = lab.workloads.command("/bin/sh");
    let shell = shell.args(["-c", &script]).stdin(Stdio::piped());
    Ok(Many(shell.spawn()?))
}

impl Drop for Many {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().ok();
    }
}

/// Two at a time.
fn short_processes(count: u32) -> Result<()> {
    let half = || -> Result<()> {
        for _ in 0..count / 2 {
            Command::new("/bin/true").stdin(Stdio::null()).status()?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(half);
        half()?;
        other.join().ok().context("a thread is lost")?
    })
}
