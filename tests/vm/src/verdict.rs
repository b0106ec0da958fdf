//! What a boot proved: one row per door, problems in words.

use std::path::PathBuf;

use crate::guest::{Boot, End, is_kernel_death};
use crate::matrix::{Door, Expectation, Kernel};
use crate::smoke;
use crate::transcript::{Outcome, Transcript};
use crate::verified::{self, Record};

pub(crate) struct Verdict {
    kernel: Kernel,
    release: String,
    seconds: f32,
    programs: usize,
    /// Problems that concern no single door.
    general: Vec<String>,
    doors: Vec<(Door, Result<&'static str, Vec<String>>)>,
    consoles: PathBuf,
}

/// weft's exit code where the kernel does not allow what was asked.
const KERNEL_REFUSES: i32 = 3;
/// Lines of a log that a reader needs first.
const SHOWN_LINES: usize = 40;
/// The problems of one request are mostly those of the next.
const SHOWN_PROBLEMS: usize = 4;

// === impl Verdict ===

impl Verdict {
    pub(crate) fn new(kernel: Kernel, release: String, boot: &Boot, record: &mut Record) -> Self {
        let transcript = &boot.transcript;
        let mut general = death(boot);
        let mut programs = 0;
        if transcript.has_begun() {
            general.extend(succeeded(transcript, "doctor").err());
            match succeeded(transcript, "verifier") {
                Ok(outcome) => {
                    let counts = verified::parse_counts(&outcome.lines);
                    programs = counts.len();
                    if counts.is_empty() {
                        general.push("`weft doctor --verifier` names no program".to_owned());
                    }
                    general.extend(record.take(kernel, counts));
                }
                Err(problem) => general.push(problem),
            }
        }
        let doors = Door::ALL.map(|door| (door, judge(kernel, door, transcript)));
        Self {
            kernel,
            release,
            seconds: boot.seconds,
            programs,
            general,
            doors: doors.into(),
            consoles: boot.directory.clone(),
        }
    }

    fn is_good(&self) -> bool {
        self.general.is_empty() && self.doors.iter().all(|(_, result)| result.is_ok())
    }
}

/// Prints the table and the reasons; true if all is well.
pub(crate) fn print(verdicts: &[Verdict]) -> bool {
    for verdict in verdicts.iter().filter(|verdict| !verdict.is_good()) {
        println!(
            "\n{} ({}), consoles in {}",
            verdict.kernel,
            verdict.release,
            verdict.consoles.display()
        );
        for problem in &verdict.general {
            println!("  {problem}");
        }
        for (door, result) in &verdict.doors {
            for problem in result.as_ref().err().into_iter().flatten() {
                println!("  {door}: {problem}");
            }
        }
    }

    println!(
        "\n{:<8} {:<28} {:<7} {:<24} programs seconds",
        "kernel", "release", "door", "result"
    );
    for verdict in verdicts {
        for (door, result) in &verdict.doors {
            let result = result.as_ref().map_or("FAILED", |text| text);
            println!(
                "{:<8} {:<28} {:<7} {:<24} {:>8} {:>7.1}",
                verdict.kernel, verdict.release, door, result, verdict.programs, verdict.seconds
            );
        }
    }
    let failed = verdicts.iter().filter(|verdict| !verdict.is_good()).count();
    println!("vm: {} kernels, {failed} failed", verdicts.len());
    failed == 0
}

fn judge(kernel: Kernel, door: Door, transcript: &Transcript) -> Result<&'static str, Vec<String>> {
    let result = |name: &str| transcript.get(&format!("{name} {door}"));
    let Some(log) = result("log") else {
        return Err(vec!["was not reached".to_owned()]);
    };
    match kernel.expects(door) {
        Expectation::Refusal if log.code == Some(KERNEL_REFUSES) => Ok("refused, as expected"),
        Expectation::Refusal => Err(vec![told(
            "`weft run` should have refused with exit code 3, but ended with",
            log,
        )]),
        Expectation::Trace if log.code != Some(0) => Err(vec![told("`weft run` ended with", log)]),
        Expectation::Trace => {
            let (Some(requests), Some(spans)) = (result("requests"), result("spans")) else {
                return Err(vec![told("`weft run` was never ready; ended with", log)]);
            };
            match smoke::check(requests, spans) {
                Ok(problems) if problems.is_empty() => Ok("trace whole"),
                Ok(mut problems) => {
                    shorten(&mut problems);
                    problems.push(told("`weft run` ended with", log));
                    Err(problems)
                }
                Err(error) => Err(vec![format!("{error:#}")]),
            }
        }
    }
}

fn shorten(problems: &mut Vec<String>) {
    let left_out = problems.len().saturating_sub(SHOWN_PROBLEMS);
    if left_out > 1 {
        problems.truncate(SHOWN_PROBLEMS);
        problems.push(format!("and {left_out} more"));
    }
}

fn death(boot: &Boot) -> Vec<String> {
    let what = match boot.end {
        End::Finished => return Vec::new(),
        End::Died => "the guest died",
        End::TimedOut => "the guest did not end in time",
    };
    let console = boot.console().unwrap_or_default();
    let mut lines = vec![format!("{what} after {:.0} s", boot.seconds)];
    lines.extend(
        console
            .lines()
            .skip_while(|line| !is_kernel_death(line))
            .take(SHOWN_LINES)
            .map(str::to_owned),
    );
    lines
}

fn succeeded<'a>(transcript: &'a Transcript, name: &str) -> Result<&'a Outcome, String> {
    match transcript.get(name) {
        Some(outcome) if outcome.code == Some(0) => Ok(outcome),
        Some(outcome) => Err(told(&format!("{name} ended with"), outcome)),
        None => Err(format!("{name} was not reached")),
    }
}

fn told(what: &str, outcome: &Outcome) -> String {
    let code = outcome.code.map_or_else(
        || "no exit code".to_owned(),
        |code| format!("exit code {code}"),
    );
    let skipped = outcome.lines.len().saturating_sub(SHOWN_LINES);
    let lines: String = outcome
        .lines
        .iter()
        .skip(skipped)
        .map(|line| format!("\n    {line}"))
        .collect();
    format!("{what} {code}:{lines}")
}
