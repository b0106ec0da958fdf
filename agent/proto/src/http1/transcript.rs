//! What a parser said, as text: for tests.

use std::collections::VecDeque;
use std::fmt::Write;

use bytes::Bytes;

use super::{Answers, Body, Conversation, Fields, Malformed, RequestHead, ResponseHead, Version};

/// One line for each call; and what a parser promises of their order is checked.
#[derive(Debug, Default)]
pub(super) struct Transcript {
    pub(super) lines: Vec<String>,
    /// To coming responses, [`Answers::Other`] behind the last.
    answers: VecDeque<Answers>,
    /// No event may lie before.
    reached: u64,
    open: bool,
    over: bool,
}

impl Transcript {
    #[cfg(test)]
    pub(super) fn answering(answers: &[Answers]) -> Self {
        Self {
            answers: answers.iter().copied().collect(),
            ..Self::default()
        }
    }

    fn head(
        &mut self,
        title: &str,
        version: Version,
        fields: &Fields,
        range: (u64, u64),
        partial: bool,
    ) {
        assert!(!self.over && !self.open, "a head after {:?}", self.lines);
        self.reach(range.0);
        self.reach(range.1);
        let version = match version {
            Version::Http10 => "1.0",
            Version::Http11 => "1.1",
        };
        let mut line = format!("{}..{} {title} {version}", range.0, range.1);
        if partial {
            line.push_str(" partial");
        }
        let Fields {
            host,
            user_agent,
            traceparent,
            tracestate,
            contexts,
            content_length,
            content_type,
            upgrade,
            chosen,
        } = fields;
        let mut field = |name: &str, value: &Bytes| {
            let _ = write!(line, " {name}={}", value.escape_ascii());
        };
        for (name, value) in [
            ("host", host),
            ("user-agent", user_agent),
            ("traceparent", traceparent),
            ("tracestate", tracestate),
            ("content-type", content_type),
            ("upgrade", upgrade),
        ] {
            value.iter().for_each(|value| field(name, value));
        }
        contexts
            .iter()
            .for_each(|(name, value)| field(&format!("{name:?}"), value));
        chosen
            .iter()
            .for_each(|(index, value)| field(&format!("[{index}]"), value));
        if let Some(length) = content_length {
            let _ = write!(line, " content-length={length}");
        }
        self.lines.push(line);
    }

    fn reach(&mut self, at: u64) {
        assert!(
            at >= self.reached,
            "{at} after {} in {:?}",
            self.reached,
            self.lines
        );
        self.reached = at;
    }
}

impl Conversation for Transcript {
    fn request(&mut self, head: RequestHead, start: u64, end: u64) {
        let RequestHead {
            method,
            target,
            version,
            fields,
            partial,
        } = head;
        assert!(!method.is_empty() && !target.is_empty());
        let title = format!("{} {}", method.escape_ascii(), target.escape_ascii());
        self.head(&title, version, &fields, (start, end), partial);
        self.open = true;
    }

    fn response(&mut self, head: ResponseHead, start: u64, end: u64) -> Answers {
        let ResponseHead {
            version,
            status,
            fields,
            partial,
        } = head;
        self.head(&status.to_string(), version, &fields, (start, end), partial);
        self.open = status >= 200 || status == 101;
        if !self.open {
            return Answers::Unknown;
        }
        self.answers.pop_front().unwrap_or(Answers::Other)
    }

    fn complete(&mut self, end: u64, body: Body) {
        assert!(self.open, "nothing to complete after {:?}", self.lines);
        self.reach(end);
        self.open = false;
        let Body {
            bytes,
            inferred,
            truncated,
        } = body;
        let mut line = format!("{end} body ");
        let _ = match bytes {
            Some(bytes) => write!(line, "{bytes}"),
            None => write!(line, "?"),
        };
        if inferred {
            line.push_str(" inferred");
        }
        if truncated {
            line.push_str(" truncated");
        }
        self.lines.push(line);
    }

    fn malformed(&mut self, at: u64, why: Malformed) {
        assert!(!self.open && !self.over, "malformed after {:?}", self.lines);
        self.reach(at);
        self.lines.push(format!("{at} {why}"));
    }

    fn tunnel(&mut self, at: u64) {
        assert!(self.open, "a tunnel after {:?}", self.lines);
        self.reach(at);
        self.open = false;
        self.over = true;
        self.lines.push(format!("{at} tunnel"));
    }

    fn lost(&mut self, at: u64) {
        assert!(!self.open && !self.over, "lost after {:?}", self.lines);
        self.reach(at);
        self.lines.push(format!("{at} lost"));
    }
}
