//! What a boot proved: a check for the programs, one for each door; problems in words.

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
    checks: Vec<Check>,
    consoles: PathBuf,
}

struct Check {
    name: &'static str,
    result: Proof,
}

/// What was shown, or every problem.
type Proof = Result<String, Vec<String>>;

/// weft's exit code where the kernel does not allow what was asked.
const KERNEL_REFUSES: i32 = 3;
/// Lines of a log that a reader needs first.
const SHOWN_LINES: usize = 40;
/// The problems of one request are mostly those of the next.
const SHOWN_PROBLEMS: usize = 4;

// === impl Verdict ===

impl Verdict {
    pub(crate) fn new(kernel: Kernel, release: String, boot: &Boot, record: &mut Record) -> Self {
        let mut checks = vec![Check {
            name: "programs",
            result: judge_programs(kernel, boot, record),
        }];
        checks.extend(Door::ALL.map(|door| Check {
            name: door.name(),
            result: judge_door(kernel, door, &boot.transcript),
        }));
        Self {
            kernel,
            release,
            seconds: boot.seconds,
            checks,
            consoles: boot.directory.clone(),
        }
    }

    fn is_good(&self) -> bool {
        self.checks.iter().all(|check| check.result.is_ok())
    }

    fn print_problems(&self) {
        println!(
            "\n{} ({}), consoles in {}",
            self.kernel,
            self.release,
            self.consoles.display()
        );
        for check in &self.checks {
            for problem in check.result.as_ref().err().into_iter().flatten() {
                println!("  {}: {problem}", check.name);
            }
        }
    }
}

/// Prints the reasons, the table and the sum; true if all is well.
pub(crate) fn print(verdicts: &[Verdict]) -> bool {
    for verdict in verdicts.iter().filter(|verdict| !verdict.is_good()) {
        verdict.print_problems();
    }

    println!(
        "\n{:<8} {:<28} {:<10} {:<30} seconds",
        "kernel", "release", "check", "result"
    );
    let (mut passed, mut failed) = (0, 0);
    for verdict in verdicts {
        for Check { name, result } in &verdict.checks {
            *(if result.is_ok() {
                &mut passed
            } else {
                &mut failed
            }) += 1;
            println!(
                "{:<8} {:<28} {:<10} {:<30} {:>7.1}",
                verdict.kernel,
                verdict.release,
                name,
                result.as_ref().map_or("FAILED", String::as_str),
                verdict.seconds
            );
        }
    }
    println!("vm: {passed} passed, {failed} failed");
    failed == 0
}

/// The guest lived, and all programs load.
fn judge_programs(kernel: Kernel, boot: &Boot, record: &mut Record) -> Proof {
    let transcript = &boot.transcript;
    let mut problems = death(boot);
    problems.extend(succeeded(transcript, "doctor").err());
    let mut programs = 0;
    match succeeded(transcript, "verifier") {
        Ok(outcome) => {
            let counts = verified::parse_counts(&outcome.lines);
            programs = counts.len();
            if counts.is_empty() {
                problems.push("`weft doctor --verifier` names no program".to_owned());
            }
            problems.extend(record.take(kernel, counts));
        }
        Err(problem) => problems.push(problem),
    }
    if problems.is_empty() {
        Ok(format!("{programs} loaded"))
    } else {
        Err(problems)
    }
}

fn judge_door(kernel: Kernel, door: Door, transcript: &Transcript) -> Proof {
    let result = |name: &str| transcript.get(&format!("{name} {door}"));
    let Some(log) = result("log") else {
        return Err(vec!["was not reached".to_owned()]);
    };
    match kernel.expects(door) {
        Expectation::Refusal if log.code == Some(KERNEL_REFUSES) => {
            Ok("refused, as expected".to_owned())
        }
        Expectation::Refusal => Err(vec![told(
            "`weft run` should have refused with exit code 3, but ended with",
            log,
        )]),
        Expectation::Trace if log.code != Some(0) => Err(vec![told("`weft run` ended with", log)]),
        Expectation::Trace => {
            let (Some(requests), Some(spans)) = (result("requests"), result("spans")) else {
                return Err(vec![told("`weft run` was never ready; ended with", log)]);
            };
            judge_spans(requests, spans, log)
        }
    }
}

fn judge_spans(requests: &Outcome, spans: &Outcome, log: &Outcome) -> Proof {
    let mut problems = match smoke::check(requests, spans) {
        Ok(problems) if problems.is_empty() => {
            return Ok(format!("{} requests traced", requests.lines.len()));
        }
        Ok(problems) => {
            let lost = problems
                .iter()
                .filter(|problem| problem.ends_with(NO_STATUS))
                .count();
            if lost == problems.len() && lost <= hooks_left_out(log) {
                let made = requests.lines.len();
                return Ok(format!("{made} traced, {lost} statuses lost, said so"));
            }
            problems
        }
        Err(error) => vec![format!("{error:#}")],
    };
    let left_out = problems.len().saturating_sub(SHOWN_PROBLEMS);
    if left_out > 1 {
        problems.truncate(SHOWN_PROBLEMS);
        problems.push(format!("and {left_out} more"));
    }
    problems.push(told("`weft run` ended with", log));
    Err(problems)
}

/// How [`smoke::check`] says that a span has no status.
const NO_STATUS: &str = "is None, not 200";

/// Hooks that weft says the kernel left out: from Linux 7 on they may be preempted, and the
/// kernel leaves out one that finds another running on its CPU. A status lost so, and said, is
/// the truth.
fn hooks_left_out(log: &Outcome) -> usize {
    let counted = |line: &String| {
        let rest = line.split_once("the kernel left out ")?.1;
        rest.split(' ').next()?.parse().ok()
    };
    log.lines.iter().find_map(counted).unwrap_or(0)
}

fn death(boot: &Boot) -> Vec<String> {
    let what = match boot.end {
        End::Finished => return Vec::new(),
        End::Died => "the guest died",
        End::TimedOut => "the guest did not end in time",
    };
    let console = boot.console().unwrap_or_default();
    let last_words = console
        .lines()
        .skip_while(|line| !is_kernel_death(line))
        .take(SHOWN_LINES);
    let mut lines = vec![format!("{what} after {:.0} s", boot.seconds)];
    lines.extend(last_words.map(str::to_owned));
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
