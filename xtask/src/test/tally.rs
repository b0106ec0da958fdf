//! Counts what test programs say of themselves.

use std::process::Command;

use anyhow::Result;

use crate::process::Run as _;

pub(crate) struct Tally {
    part: &'static str,
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: Vec<Skip>,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Skip {
    pub(crate) name: String,
    pub(crate) why: String,
}

/// What one line of output tells.
#[derive(Debug, PartialEq)]
enum Said {
    /// A summary.
    Counts {
        passed: usize,
        failed: usize,
        skipped: usize,
    },
    /// A test that was not run.
    Ignored(Skip),
    /// A test that returned early, and will be said to have passed.
    Skipped(Skip),
    Nothing,
}

// === impl Tally ===

impl Tally {
    pub(crate) fn new(part: &'static str) -> Self {
        Self {
            part,
            passed: 0,
            failed: 0,
            skipped: Vec::new(),
        }
    }

    pub(crate) fn pass(&mut self) {
        self.passed += 1;
    }

    pub(crate) fn fail(&mut self) {
        self.failed += 1;
    }

    pub(crate) fn skip_all(&mut self, why: &str) {
        eprintln!("SKIPPED {}: {why}", self.part);
        self.skip(self.part.to_owned(), why.to_owned());
    }

    fn skip(&mut self, name: String, why: String) {
        self.skipped.push(Skip { name, why });
    }

    /// Runs a test program. One that tells no counts is one test.
    pub(crate) fn watch(&mut self, command: &mut Command) -> Result<()> {
        let mut told = false;
        let mut skipped_themselves = 0;
        let failed_before = self.failed;
        let successful = command.watch(|line| match Said::of(line) {
            Said::Counts {
                passed,
                failed,
                skipped,
            } => {
                told = true;
                self.passed += passed.saturating_sub(skipped_themselves);
                skipped_themselves = 0;
                self.failed += failed;
                for _ in 0..skipped {
                    self.skip(self.part.to_owned(), "see its output".to_owned());
                }
            }
            Said::Ignored(skip) => self.skipped.push(skip),
            Said::Skipped(skip) => {
                skipped_themselves += 1;
                self.skipped.push(skip);
            }
            Said::Nothing => {}
        })?;
        match (successful, told) {
            (true, true) => {}
            (true, false) => self.pass(),
            (false, _) if self.failed > failed_before => {}
            (false, _) => self.fail(),
        }
        Ok(())
    }
}

// === impl Said ===

impl Said {
    fn of(line: &str) -> Self {
        if let Some(rest) = line.strip_prefix("test result: ") {
            // Ignored tests have told their names already.
            return Self::counts(rest, ';').unwrap_or(Self::Nothing);
        }
        if let Some((name, why)) = line
            .strip_prefix("test ")
            .and_then(|rest| rest.split_once(" ... ignored"))
        {
            return Self::Ignored(Skip {
                name: name.to_owned(),
                why: why.trim_start_matches([',', ' ']).to_owned(),
            });
        }
        if let Some((name, why)) = line
            .strip_prefix("SKIPPED (")
            .and_then(|rest| rest.split_once(") ")?.1.split_once(": "))
        {
            return Self::Skipped(Skip {
                name: name.to_owned(),
                why: why.to_owned(),
            });
        }
        Self::counts(line, ',').unwrap_or(Self::Nothing)
    }

    /// `ok. 3 passed; 0 failed; 1 ignored; ...` or `word: 3 passed, 0 failed, 1 skipped`.
    fn counts(text: &str, separator: char) -> Option<Self> {
        let text = text
            .strip_prefix("ok. ")
            .or(text.strip_prefix("FAILED. "))
            .unwrap_or(text);
        let text = match text.split_once(": ") {
            Some((word, rest)) if !word.contains(' ') => rest,
            _ => text,
        };
        let mut parts = text.split(separator).map(str::trim);
        let passed = parts.next()?.strip_suffix(" passed")?.parse().ok()?;
        let failed = parts.next()?.strip_suffix(" failed")?.parse().ok()?;
        let skipped = parts
            .next()
            .and_then(|part| part.strip_suffix(" skipped")?.parse().ok())
            .unwrap_or(0);
        Some(Self::Counts {
            passed,
            failed,
            skipped,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: &Said) {
        assert_eq!(Said::of(line), *expected, "{line}");
    }

    #[test]
    fn lines_of_test_programs_are_understood() {
        let counts = |passed, failed, skipped| Said::Counts {
            passed,
            failed,
            skipped,
        };
        check(
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            &counts(3, 0, 0),
        );
        check(
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
            &counts(3, 2, 0),
        );
        check("4 passed, 1 failed, 2 skipped", &counts(4, 1, 2));
        check("vm: 4 passed, 0 failed", &counts(4, 0, 0));
        check("all 4 passed, as it should be", &Said::Nothing);
        check(
            "test redis ... ignored, needs a server",
            &Said::Ignored(Skip {
                name: "redis".to_owned(),
                why: "needs a server".to_owned(),
            }),
        );
        check(
            "SKIPPED (1) programs::php: no php-fpm",
            &Said::Skipped(Skip {
                name: "programs::php".to_owned(),
                why: "no php-fpm".to_owned(),
            }),
        );
        check("test redis ... ok", &Said::Nothing);
    }
}
