//! How many instructions the verifier walked per program and kernel: recorded in a file, so that a
//! change is seen. Growth of more than a fifth is a failure, anything else is only shown.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::matrix::Kernel;

pub(crate) type Counts = BTreeMap<String, u64>;

/// The file, and what this run found.
pub(crate) struct Record {
    path: PathBuf,
    recorded: BTreeMap<String, Counts>,
    found: BTreeMap<String, Counts>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bless {
    Yes,
    No,
}

const ALLOWED_GROWTH_PERCENT: u64 = 20;

// === impl Record ===

impl Record {
    pub(crate) fn load() -> Result<Self> {
        let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/verified-insns.txt"));
        let text = if path.exists() {
            fs::read_to_string(&path)?
        } else {
            String::new()
        };
        Ok(Self {
            recorded: parse_record(&text)?,
            found: BTreeMap::new(),
            path,
        })
    }

    /// Takes the counts of one kernel, gives what is too large.
    pub(crate) fn take(&mut self, kernel: Kernel, counts: Counts) -> Vec<String> {
        let recorded = self.recorded.get(kernel.name());
        let too_large = counts
            .iter()
            .filter_map(|(program, &count)| {
                let before = *recorded?.get(program)?;
                (count * 100 > before * (100 + ALLOWED_GROWTH_PERCENT)).then(|| {
                    format!(
                        "verifier walks {count} instructions of {program}, {before} are recorded"
                    )
                })
            })
            .collect();
        self.found.insert(kernel.name().to_owned(), counts);
        too_large
    }

    /// Shows what changed and writes it if that is wanted.
    pub(crate) fn finish(self, bless: Bless) -> Result<()> {
        let changes = difference(&self.recorded, &self.found);
        if changes.is_empty() {
            return Ok(());
        }
        println!(
            "verified instructions (kernel program count):\n{}",
            changes.join("\n")
        );
        if bless == Bless::Yes {
            let mut recorded = self.recorded;
            recorded.extend(self.found);
            fs::write(&self.path, format_record(&recorded))
                .with_context(|| self.path.display().to_string())?;
            println!("recorded");
        } else {
            println!("`--bless` records this");
        }
        Ok(())
    }
}

/// `name count` lines of `weft doctor --verifier`; other lines are not for us.
pub(crate) fn parse_counts(lines: &[String]) -> Counts {
    lines.iter().filter_map(|line| parse_count(line)).collect()
}

fn parse_count(line: &str) -> Option<(String, u64)> {
    let (name, count) = line.split_once(' ')?;
    Some((name.to_owned(), count.trim().parse().ok()?))
}

fn parse_record(text: &str) -> Result<BTreeMap<String, Counts>> {
    let mut record = BTreeMap::<String, Counts>::new();
    for line in text.lines() {
        let (kernel, (program, count)) = line
            .split_once(' ')
            .and_then(|(kernel, rest)| Some((kernel, parse_count(rest)?)))
            .with_context(|| {
                format!("verified-insns.txt: `{line}` is not `kernel program count`")
            })?;
        record
            .entry(kernel.to_owned())
            .or_default()
            .insert(program, count);
    }
    Ok(record)
}

fn format_record(record: &BTreeMap<String, Counts>) -> String {
    let lines = record.iter().flat_map(|(kernel, counts)| {
        counts
            .iter()
            .map(move |(program, count)| format!("{kernel} {program} {count}\n"))
    });
    lines.collect()
}

/// Only kernels that ran are compared.
fn difference(
    recorded: &BTreeMap<String, Counts>,
    found: &BTreeMap<String, Counts>,
) -> Vec<String> {
    let none = Counts::new();
    let mut lines = Vec::new();
    for (kernel, counts) in found {
        let before = recorded.get(kernel).unwrap_or(&none);
        for (program, count) in before {
            if counts.get(program) != Some(count) {
                lines.push(format!("-{kernel} {program} {count}"));
            }
        }
        for (program, count) in counts {
            if before.get(program) != Some(count) {
                lines.push(format!("+{kernel} {program} {count}"));
            }
        }
    }
    lines.sort_by(|left, right| left[1..].cmp(&right[1..]));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_round_trip() {
        let text = "6.1 send 1200\n6.12 receive 900\n6.12 send 1100\n";
        assert_eq!(format_record(&parse_record(text).unwrap()), text);
        assert!(parse_record("6.1 send many\n").is_err());
    }

    #[test]
    fn difference_is_of_kernels_that_ran() {
        let recorded = parse_record("6.1 send 10\n6.12 gone 7\n6.12 send 10\n").unwrap();
        let found = parse_record("6.12 new 3\n6.12 send 11\n").unwrap();
        let expected = [
            "-6.12 gone 7",
            "+6.12 new 3",
            "-6.12 send 10",
            "+6.12 send 11",
        ];
        assert_eq!(difference(&recorded, &found), expected);
    }

    #[test]
    fn only_a_fifth_of_growth_is_allowed() {
        let check = |count| {
            let recorded = parse_record("6.1 send 1000\n").unwrap();
            let mut record = Record {
                path: PathBuf::new(),
                recorded,
                found: BTreeMap::new(),
            };
            record
                .take(Kernel::V6_1, [("send".to_owned(), count)].into())
                .len()
        };
        assert_eq!(check(1200), 0);
        assert_eq!(check(1201), 1);
    }
}
