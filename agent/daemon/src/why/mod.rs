//! `weft why <pid>`: what weft sees of a process, what it cannot see, and what to do about it.
//! From `/proc`, and from a running agent when there is one.

mod agent;
mod blind;
mod libraries;
mod sockets;

use std::fmt::Write as _;

pub(crate) use self::agent::AnswerServer;
use self::{
    agent::Answer,
    libraries::{Library, Role},
    sockets::Sockets,
};
use crate::{
    bpf::{self, SiteCosts},
    config::Config,
    discover::{NameSource, ProcessFacts, service_name},
    kubernetes::PodRule,
    policy::{Decision, Policy, Rule, Selector},
    run,
    tls::{Trial, Tried},
};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("process {pid}: {source}")]
    Process { pid: u32, source: procfs::ProcError },
}

/// Everything that is told, before it is put into words.
struct Report {
    facts: ProcessFacts,
    service: (String, NameSource),
    selected: Decision,
    libraries: Vec<Library>,
    /// Of a probe on this machine, where there is one to tell of.
    costs: Option<SiteCosts>,
    sockets: Sockets,
    /// `Err`: why no running agent could be asked.
    agent: Result<Answer, String>,
}

pub(crate) fn why(pid: u32, config: &Config) -> Result<String, Error> {
    let facts = ProcessFacts::read(pid).map_err(|source| Error::Process { pid, source })?;
    let agent = match &config.socket {
        Some(path) => agent::ask(path, pid).map_err(|error| format!("{}: {error}", path.display())),
        None => Err("no socket is configured".to_owned()),
    };
    let libraries = libraries::mapped(pid);
    let is_read = |library: &Library| matches!(&library.role, Role::Tls(tls) if tls.is_read());
    let costs = libraries.iter().any(is_read);
    let costs = costs.then(|| bpf::site_costs(run::options(config)));
    let report = Report {
        service: service_name(&facts, &config.resource),
        selected: Selector::new(Policy::new(config.selection.clone(), std::process::id()))
            .judge(&facts),
        libraries,
        costs: costs.flatten(),
        sockets: Sockets::of(pid),
        facts,
        agent,
    };
    Ok(report.to_text())
}

impl Report {
    fn to_text(&self) -> String {
        let mut text = Text::default();
        self.identity(&mut text);
        self.selection(&mut text);
        text.list(
            "libraries",
            self.libraries
                .iter()
                .flat_map(|library| library.lines(self.costs.as_ref(), self.trials())),
            "none that matter",
        );
        text.list("sockets", self.sockets.lines(), "none");
        self.connections(&mut text);
        let blind = blind::spots(
            &self.facts,
            &self.libraries,
            &self.sockets,
            self.connections_known(),
        );
        text.list(
            "not seen",
            blind.iter().map(ToString::to_string),
            "nothing that can be told from outside",
        );
        text.0
    }

    fn identity(&self, text: &mut Text) {
        let Self {
            facts,
            service: (name, source),
            ..
        } = self;
        let exe = match facts.exe.to_str() {
            Some("") | None => format!("[{}]", facts.comm),
            Some(exe) => exe.to_owned(),
        };
        text.line("process", &format!("{} {exe}", facts.pid));
        if !facts.args.is_empty() {
            text.line("command", &facts.args.join(" "));
        }
        let place = &facts.place;
        if let Some(container) = &place.container {
            text.line("container", &container.to_string());
        }
        if let Some(unit) = place.unit() {
            text.line("unit", unit);
        }
        text.line("service", &format!("{name} ({})", source.words()));
    }

    fn selection(&self, text: &mut Text) {
        match &self.agent {
            Ok(answer) => {
                text.line("agent", &format!("running, pid {}", answer.agent_pid));
                let verdict = if answer.selected { "yes" } else { "no" };
                text.line("selected", &format!("{verdict}: {}", answer.rule));
            }
            Err(error) => {
                text.line(
                    "agent",
                    &format!("not asked ({error}); start one with `weft run`"),
                );
                let verdict = if self.selected.selected { "yes" } else { "no" };
                let rule = self.selected.rule.words();
                text.line(
                    "selected",
                    &format!("{verdict}, by this configuration: {rule}"),
                );
            }
        }
    }

    fn connections(&self, text: &mut Text) {
        if let Ok(answer) = &self.agent {
            let lines = answer.connections.iter().map(ToString::to_string);
            text.list("connections", lines, "the agent has seen none yet");
        }
    }

    /// `None`: no agent was asked.
    fn trials(&self) -> Option<&[(Tried, Trial)]> {
        let answer = self.agent.as_ref().ok()?;
        Some(&answer.trials)
    }

    fn connections_known(&self) -> &[agent::Connection] {
        self.agent
            .as_ref()
            .map_or(&[], |answer| &answer.connections)
    }
}

impl NameSource {
    fn words(self) -> &'static str {
        match self {
            Self::OwnVariable => "OTEL_SERVICE_NAME of its environment",
            Self::OwnAttributes => "service.name in OTEL_RESOURCE_ATTRIBUTES of its environment",
            Self::Configured => "weft's configuration",
            Self::Program => "its script, module, jar, main class or title",
            Self::Package => "its package.json",
            Self::Executable => "its executable",
            Self::Comm => "the kernel's name for it; nothing else could be read",
        }
    }
}

impl Rule {
    fn words(&self) -> String {
        match self {
            Self::Own => "it is weft itself".to_owned(),
            Self::ExcludedPid => "its pid is in selection.exclude_pids".to_owned(),
            Self::ExcludedExe(glob) => format!("selection.exclude_exes has `{glob}`"),
            Self::Pid => "its pid is selected".to_owned(),
            Self::Exe(glob) => format!("the glob `{glob}` selects its executable"),
            Self::Listed(place, rule) => format!("selection.rules, {place}: {rule}"),
            Self::Pod(rule) => rule.words(),
            Self::Default => "no rule is for it: selection.default".to_owned(),
            Self::Ports => "only its connections on the selected ports are traced".to_owned(),
            Self::All => "nothing is selected, so everything is".to_owned(),
            Self::Unlisted => "others are selected: add `--pid` or `--exe`".to_owned(),
        }
    }
}

impl PodRule {
    fn words(&self) -> String {
        match self {
            Self::Annotation { pod } => format!("annotation weft.dev/trace of pod {pod}"),
            Self::Namespace { namespace } => {
                format!("label weft.dev/trace of namespace {namespace}")
            }
            Self::Default { pod } => format!(
                "neither pod {pod} nor its namespace has weft.dev/trace: kubernetes.default counts"
            ),
            Self::Unknown => "the API server has not told of its pod".to_owned(),
        }
    }
}

/// Lines of `title  text`, aligned.
#[derive(Default)]
struct Text(String);

const TITLE_WIDTH: usize = 12;

impl Text {
    fn line(&mut self, title: &str, text: &str) {
        let text: String = text
            .chars()
            .map(|c| if c.is_control() { '·' } else { c })
            .collect();
        let _ = writeln!(self.0, "{title:TITLE_WIDTH$} {text}");
    }

    fn list(&mut self, title: &str, lines: impl Iterator<Item = String>, none: &str) {
        let mut title = title;
        for line in lines {
            self.line(title, &line);
            title = "";
        }
        if !title.is_empty() {
            self.line(title, none);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_of_this_process() {
        let config = Config {
            socket: None,
            ..Config::default()
        };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let text = why(std::process::id(), &config).unwrap();
        let exe = std::env::current_exe().unwrap();
        let address = listener.local_addr().unwrap();
        for words in [
            exe.to_str().unwrap(),
            "it is weft itself",
            &format!("listens on tcp {address}"),
        ] {
            assert!(text.contains(words), "{text} lacks {words}");
        }
        assert!(why(u32::MAX, &config).is_err());
    }
}
