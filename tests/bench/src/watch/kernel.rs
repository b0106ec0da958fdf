//! Programs and maps that a process holds, from `/proc/<pid>/fdinfo` (`bpf_prog_show_fdinfo`, `bpf_map_show_fdinfo` in
//! `kernel/bpf/syscall.c`).

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result};
use aya::programs::loaded_programs;
use aya::sys::{Stats, enable_stats};

/// The kernel counts runs and run time of all programs while this lives.
pub(crate) struct Statistics(#[expect(dead_code, reason = "keeps counting switched on")] OwnedFd);

/// By the kernel's ids, so that what is open twice counts once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Objects {
    pub(crate) programs: BTreeMap<u32, Program>,
    /// Bytes of each map.
    pub(crate) maps: BTreeMap<u32, u64>,
    /// Tracepoint of each program's link.
    hooks: BTreeMap<u32, String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) runs: u64,
    pub(crate) run_time_ns: u64,
    pub(crate) bytes: u64,
}

// === impl Statistics ===

impl Statistics {
    pub(crate) fn on() -> Result<Self> {
        enable_stats(Stats::RunTime)
            .map(Self)
            .context("the kernel does not count run time of programs")
    }
}

// === impl Objects ===

impl Objects {
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let mut objects = Self::default();
        for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
            // Descriptors come and go.
            if let Ok(text) = fs::read_to_string(entry?.path()) {
                objects.add(&Fields::parse(&text));
            }
        }
        for info in loaded_programs().flatten() {
            if let Some(program) = objects.programs.get_mut(&info.id()) {
                // At most 15 bytes: the hook's name, where a link tells it, is longer.
                let name = objects.hooks.get(&info.id()).map(String::as_str);
                program.name = name.or(info.name_as_str()).unwrap_or("?").to_owned();
            }
        }
        Ok(objects)
    }

    /// What ran since.
    pub(crate) fn since(&self, before: &Self) -> Vec<Program> {
        let mut programs: Vec<_> = self
            .programs
            .iter()
            .map(|(id, program)| {
                let before = before.programs.get(id).cloned().unwrap_or_default();
                Program {
                    name: program.name.clone(),
                    runs: program.runs.saturating_sub(before.runs),
                    run_time_ns: program.run_time_ns.saturating_sub(before.run_time_ns),
                    bytes: program.bytes,
                }
            })
            .filter(|program| program.runs > 0)
            .collect();
        programs.sort_by_key(|program| std::cmp::Reverse(program.run_time_ns));
        programs
    }

    pub(crate) fn program_bytes(&self) -> u64 {
        self.programs.values().map(|program| program.bytes).sum()
    }

    pub(crate) fn map_bytes(&self) -> u64 {
        self.maps.values().sum()
    }

    fn add(&mut self, fields: &Fields<'_>) {
        // Links name their program, too.
        if fields.number("link_id").is_some() {
            if let (Some(id), Some(hook)) = (fields.id("prog_id"), fields.text("tp_name")) {
                self.hooks.insert(id, hook.to_owned());
            }
            return;
        }
        let number = |name| fields.number(name).unwrap_or_default();
        if let Some(id) = fields.id("prog_id") {
            let program = Program {
                name: String::new(),
                runs: number("run_cnt"),
                run_time_ns: number("run_time_ns"),
                bytes: number("memlock"),
            };
            self.programs.insert(id, program);
        } else if let Some(id) = fields.id("map_id") {
            self.maps.insert(id, number("memlock"));
        }
    }
}

// === impl Program ===

impl Program {
    pub(crate) fn ns_per_run(&self) -> f64 {
        self.run_time_ns as f64 / self.runs as f64
    }
}

/// Lines of `name:\tvalue`.
struct Fields<'a>(Vec<(&'a str, &'a str)>);

// === impl Fields ===

impl<'a> Fields<'a> {
    fn parse(text: &'a str) -> Self {
        let split = |line: &'a str| line.split_once(':');
        Self(
            text.lines()
                .filter_map(split)
                .map(|(name, value)| (name.trim(), value.trim()))
                .collect(),
        )
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        let (_, value) = self.0.iter().find(|(known, _)| *known == name)?;
        Some(value)
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    fn id(&self, name: &str) -> Option<u32> {
        self.number(name)?.try_into().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_descriptors_once() {
        let program = "pos:\t0\nflags:\t02000002\nprog_type:\t26\nprog_jited:\t1\nprog_tag:\tf0\n\
            memlock:\t4096\nprog_id:\t37\nrun_time_ns:\t1000\nrun_cnt:\t10\nrecursion_misses:\t0\n";
        let link = "link_type:\traw_tracepoint\nlink_id:\t5\nprog_tag:\tf0\nprog_id:\t37\ntp_name:\tsched_switch\n";
        let map =
            "map_type:\t27\nkey_size:\t0\nmax_entries:\t8388608\nmemlock:\t8433216\nmap_id:\t9\n";
        let mut objects = Objects::default();
        for text in [program, link, map, map, "pos:\t0\nflags:\t02\n"] {
            objects.add(&Fields::parse(text));
        }
        assert_eq!(objects.programs.len(), 1);
        assert_eq!(objects.map_bytes(), 8_433_216);
        let ran = objects.since(&Objects::default());
        assert!(ran.iter().all(|program| program.ns_per_run() == 100.0));
    }
}
