//! What the guest's init script wrote: results framed by marker lines.

use std::collections::BTreeMap;

/// Results by name; an unfinished one is kept without exit code.
#[derive(Debug, Default)]
pub(crate) struct Transcript {
    results: BTreeMap<String, Outcome>,
    finished: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Lines without empty ones.
    pub(crate) lines: Vec<String>,
    /// `None`: the guest ended in the middle.
    pub(crate) code: Option<i32>,
}

const MARK: &str = "@@weft ";

// === impl Transcript ===

impl Transcript {
    pub(crate) fn parse(text: &str) -> Self {
        let mut transcript = Self::default();
        let mut open: Option<String> = None;
        for line in text.lines().map(|line| line.trim_end_matches('\r')) {
            let Some(mark) = line.strip_prefix(MARK) else {
                if let Some(name) = &open
                    && !line.is_empty()
                {
                    transcript.result(name).lines.push(line.to_owned());
                }
                continue;
            };
            if let Some(name) = mark.strip_prefix("begin ") {
                transcript.result(name);
                open = Some(name.to_owned());
            } else if let Some((name, code)) = mark
                .strip_prefix("end ")
                .and_then(|rest| rest.rsplit_once(' '))
            {
                transcript.result(name).code = code.parse().ok();
                open = None;
            } else if mark == "done" {
                transcript.finished = true;
            }
        }
        transcript
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Outcome> {
        self.results.get(name)
    }

    /// Whether weft had been started.
    pub(crate) fn has_begun(&self) -> bool {
        !self.results.is_empty()
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }

    fn result(&mut self, name: &str) -> &mut Outcome {
        self.results.entry(name.to_owned()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        let transcript = Transcript::parse(
            "noise\n@@weft begin log fexit\r\none\n\ntwo without end\n@@weft end log fexit 3\nnoise\n\
             @@weft begin spans fexit\n{}",
        );
        let log = Outcome {
            lines: vec!["one".into(), "two without end".into()],
            code: Some(3),
        };
        assert_eq!(transcript.get("log fexit"), Some(&log));
        let spans = Outcome {
            lines: vec!["{}".into()],
            code: None,
        };
        assert_eq!(transcript.get("spans fexit"), Some(&spans));
        assert_eq!(transcript.get("noise"), None);
        assert!(!transcript.is_finished());
        assert!(Transcript::parse("\n@@weft done\n").is_finished());
    }
}
