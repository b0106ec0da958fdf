//! `weft why`: what weft sees of a process, what it cannot see, and what to do about it.
//! From `/proc`, and from a running agent when there is one.

mod agent;
mod blind;
mod libraries;
mod sockets;

use std::fmt::Write as _;

use serde::de::DeserializeOwned;
use serde_json::json;

pub(crate) use self::agent::AnswerServer;
use self::{
    agent::Answer,
    blind::BlindSpot,
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
    status::{Found, Status},
    tls::{Trial, Tried},
};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("process {pid}: {source}")]
    Process { pid: u32, source: procfs::ProcError },
    #[error("the running agent cannot be asked ({0}); a process id can be told of without one")]
    Agent(String),
    #[error("no process, pod or service on this node is called `{0}`")]
    Nobody(String),
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

/// `target`: a process id, a pod's name or a service's.
pub(crate) fn why(target: &str, json: bool, config: &Config) -> Result<String, Error> {
    let pids = match target.parse() {
        Ok(pid) => vec![pid],
        Err(_name) => {
            let question = format!("find {target}");
            let Found { pids, pod } = asked(&question, config).map_err(Error::Agent)?;
            match pod {
                Some(pod) if json => return Ok(format!("{}\n", json!({ "not_seen": pod }))),
                Some(pod) => return Ok(format!("{pod}\n")),
                None if pids.is_empty() => return Err(Error::Nobody(target.to_owned())),
                None => pids,
            }
        }
    };
    let mut reports = Vec::new();
    for pid in &pids {
        match report(*pid, config) {
            Ok(report) if json => reports.push(report.to_json()),
            Ok(report) => reports.push(report.to_text()),
            // Of several, some may have ended meanwhile.
            Err(_ended) if pids.len() > 1 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(reports.join(if json { "" } else { "\n" }))
}

/// `weft status`.
pub(crate) fn status(json: bool, config: &Config) -> Result<String, Error> {
    let status: Status = asked("status", config).map_err(Error::Agent)?;
    if json {
        let text = serde_json::to_string(&status);
        return Ok(text.unwrap_or_default() + "\n");
    }
    Ok(status.to_text())
}

/// `Err`: why the running agent does not answer.
fn asked<T: DeserializeOwned>(question: &str, config: &Config) -> Result<T, String> {
    let path = config.socket.as_ref().ok_or("no socket is configured")?;
    agent::ask(path, question).map_err(|error| format!("{}: {error}", path.display()))
}

fn report(pid: u32, config: &Config) -> Result<Report, Error> {
    let facts = ProcessFacts::read(pid).map_err(|source| Error::Process { pid, source })?;
    let agent = asked(&pid.to_string(), config);
    let libraries = libraries::mapped(pid);
    let is_read = |library: &Library| matches!(&library.role, Role::Tls(tls) if tls.is_read());
    let costs = libraries.iter().any(is_read);
    let costs = costs.then(|| bpf::site_costs(run::options(config)));
    Ok(Report {
        service: service_name(&facts, &config.resource),
        selected: Selector::new(Policy::new(config.selection.clone(), std::process::id()))
            .judge(&facts),
        libraries,
        costs: costs.flatten(),
        sockets: Sockets::of(pid),
        facts,
        agent,
    })
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
        text.list(
            "not seen",
            self.blind().iter().map(ToString::to_string),
            "nothing that can be told from outside",
        );
        text.0
    }

    fn blind(&self) -> Vec<BlindSpot> {
        blind::spots(
            &self.facts,
            &self.libraries,
            &self.sockets,
            self.connections_known(),
        )
    }

    /// The same for programs, on a line.
    fn to_json(&self) -> String {
        let Self {
            facts,
            service: (service, _),
            selected,
            libraries,
            costs,
            sockets,
            agent,
        } = self;
        let agent = agent.as_ref();
        let by_agent = agent.map(|it| (it.selected, it.rule.clone()));
        let (selected, rule) = by_agent.unwrap_or((selected.selected, selected.rule.words()));
        let of_library = |library: &Library| library.lines(costs.as_ref(), self.trials());
        let told = json!({
            "pid": facts.pid,
            "exe": facts.exe,
            "args": facts.args,
            "cgroup": facts.place.path,
            "unit": facts.place.unit(),
            "container": facts.place.container.as_ref().map(|it| &it.id),
            "pod": agent.ok().and_then(|it| it.pod.as_ref()),
            "service": agent.ok().and_then(|it| it.service.as_ref()).unwrap_or(service),
            "agent_pid": agent.ok().map(|it| it.agent_pid),
            "agent_error": agent.err(),
            "selected": selected,
            "rule": rule,
            "libraries": libraries.iter().flat_map(of_library).collect::<Vec<_>>(),
            "sockets": sockets.lines().collect::<Vec<_>>(),
            "connections": self.connections_known(),
            "spans": agent.ok().map(|it| it.spans),
            "not_seen": self.blind(),
        });
        format!("{told}\n")
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
        if let Ok(answer) = &self.agent
            && let Some(pod) = &answer.pod
        {
            text.line("pod", pod);
        }
        match &self.agent {
            Ok(Answer {
                service: Some(told),
                ..
            }) if told != name => text.line("service", &format!("{told} (its pod)")),
            _ => text.line("service", &format!("{name} ({})", source.words())),
        }
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
            if let Some(spans) = answer.spans {
                text.line("spans", &format!("{spans} sent"));
            }
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
    pub(crate) fn words(&self) -> String {
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
    pub(crate) fn words(&self) -> String {
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
        let pid = std::process::id().to_string();
        let text = why(&pid, false, &config).unwrap();
        let exe = std::env::current_exe().unwrap();
        let address = listener.local_addr().unwrap();
        for words in [
            exe.to_str().unwrap(),
            "it is weft itself",
            &format!("listens on tcp {address}"),
        ] {
            assert!(text.contains(words), "{text} lacks {words}");
        }
        let told: serde_json::Value =
            serde_json::from_str(&why(&pid, true, &config).unwrap()).unwrap();
        assert_eq!(told["pid"], std::process::id());
        assert_eq!(told["selected"], false);
        for nobody in [&u32::MAX.to_string(), "shop"] {
            assert!(why(nobody, false, &config).is_err());
        }
    }
}
