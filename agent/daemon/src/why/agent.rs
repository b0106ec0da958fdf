//! The running agent's local socket: one question, one line of JSON. For root only.

use std::{
    fmt, fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::mpsc::{self, Sender},
    time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use weft_flow::{
    ConnectionSummary, Muted, Protocol, Tls,
    span::{Endpoint, Kind},
};

use crate::{
    discover::ProcessFacts,
    pipeline::Question,
    policy::Selector,
    tls::{Trial, Trials, Tried},
};

/// What a running agent knows of a process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    pub(super) agent_pid: u32,
    pub(super) selected: bool,
    pub(super) rule: String,
    pub(super) connections: Vec<Connection>,
    /// `namespace/name`
    pub(super) pod: Option<String>,
    /// Where the agent traces it.
    pub(super) service: Option<String>,
    pub(super) spans: Option<u64>,
    /// How libraries stand that were found by their code.
    pub(super) trials: Vec<(Tried, Trial)>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Connection {
    local: String,
    peer: String,
    pub(super) protocol: String,
    pub(super) tls: bool,
    requests: u64,
    open: usize,
    malformed: u32,
    /// Known from its first byte.
    whole: bool,
}

/// Longer than any name that Kubernetes has.
const QUESTION_BYTES: u64 = 1024;
const PATIENCE: Duration = Duration::from_secs(2);
/// Of an answer: some hundred bytes for each connection that the flow may hold of a process.
const ANSWER_BYTES: u64 = 64 << 20;

/// `question`: a process id, `status`, or `find` and a name.
pub(super) fn ask<T: DeserializeOwned>(path: &Path, question: &str) -> io::Result<T> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(2 * PATIENCE))?;
    writeln!(stream, "{question}")?;
    let mut line = String::new();
    BufReader::new(stream.take(ANSWER_BYTES)).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

/// Answers until the process ends; the socket's file goes with it.
pub(crate) struct AnswerServer {
    path: PathBuf,
}

impl AnswerServer {
    /// # Errors
    /// Another agent answers there, or the place cannot be written to.
    pub(crate) fn start(
        path: &Path,
        selector: Selector,
        questions: Sender<Question>,
        trials: Trials,
    ) -> io::Result<Self> {
        if UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another agent answers there",
            ));
        }
        // Left behind by one that was killed.
        if fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) {
            fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        let server = Self {
            path: path.to_owned(),
        };
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        std::thread::Builder::new()
            .name("weft-answers".to_owned())
            .spawn(move || {
                // One after the other: the askers are people.
                for stream in listener.incoming().flatten() {
                    if let Err(error) = answer(stream, &selector, &questions, &trials) {
                        log::debug!("weft why: {error}");
                    }
                }
            })?;
        Ok(server)
    }
}

impl Drop for AnswerServer {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            log::debug!("{}: {error}", self.path.display());
        }
    }
}

fn answer(
    mut stream: UnixStream,
    selector: &Selector,
    questions: &Sender<Question>,
    trials: &Trials,
) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new((&stream).take(QUESTION_BYTES)).read_line(&mut line)?;
    let line = line.trim();
    if line == "status" {
        serde_json::to_writer(&stream, &put(questions, Question::Status)?)?;
        return stream.write_all(b"\n");
    }
    if let Some(name) = line.strip_prefix("find ") {
        let found = put(questions, |answer| Question::Find(name.to_owned(), answer))?;
        serde_json::to_writer(&stream, &found)?;
        return stream.write_all(b"\n");
    }
    let tgid: u32 = line.parse().map_err(io::Error::other)?;
    let connections = put(questions, |answer| Question::Process { tgid, answer })?;
    let status = put(questions, Question::Status)?;
    let traced = status.traced.into_iter().find(|it| it.pid == tgid);
    let facts = ProcessFacts::read(tgid).map_err(io::Error::other)?;
    let decision = selector.judge(&facts);
    let policy = selector.policy();
    let pod = policy.pod_of(&facts);
    let answer = Answer {
        agent_pid: std::process::id(),
        selected: decision.selected,
        rule: decision.rule.words(),
        connections: connections.iter().map(Connection::of).collect(),
        pod: pod.map(|pod| format!("{}/{}", pod.namespace, pod.name)),
        spans: traced.as_ref().map(|it| it.spans),
        service: traced.map(|it| it.service),
        trials: trials.all(),
    };
    serde_json::to_writer(&stream, &answer)?;
    stream.write_all(b"\n")
}

/// The pipeline's answer.
fn put<T>(questions: &Sender<Question>, ask: impl FnOnce(Sender<T>) -> Question) -> io::Result<T> {
    let (answer, answers) = mpsc::channel();
    questions.send(ask(answer)).map_err(io::Error::other)?;
    answers.recv_timeout(PATIENCE).map_err(io::Error::other)
}

impl Connection {
    fn of(summary: &ConnectionSummary) -> Self {
        let ConnectionSummary {
            cookie: _,
            process: _,
            local,
            peer,
            protocol,
            tls,
            exchanges,
            open,
            malformed,
            from_beginning,
            last_record_ns: _,
        } = summary;
        Self {
            local: endpoint(local),
            peer: endpoint(peer),
            protocol: match tls {
                Tls::None => words(*protocol).to_owned(),
                Tls::Read => "TLS, its plaintext is read".to_owned(),
                Tls::Session => format!("inside TLS: {}", words(*protocol)),
            },
            tls: *tls == Tls::None && *protocol == Protocol::Muted(Muted::Tls),
            requests: *exchanges,
            open: *open,
            malformed: *malformed,
            whole: *from_beginning,
        }
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            local,
            peer,
            protocol,
            tls: _,
            requests,
            open,
            malformed,
            whole,
        } = self;
        write!(f, "{local} - {peer}  {protocol}")?;
        if *requests > 0 {
            write!(f, "  {requests} requests, {open} open")?;
        }
        if *malformed > 0 {
            write!(f, "  {malformed} places not understood")?;
        }
        if !whole {
            f.write_str("  (older than the agent)")?;
        }
        Ok(())
    }
}

fn endpoint(endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Inet(address) => address.to_string(),
        Endpoint::Unix => "unix".to_owned(),
        Endpoint::Unproved => "TLS, socket not proved".to_owned(),
    }
}

fn words(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Unknown => "nothing recognised yet",
        Protocol::Http1(Kind::Server) => "HTTP/1 server",
        Protocol::Http1(Kind::Client) => "HTTP/1 client",
        Protocol::Http2(Kind::Server) => "HTTP/2 server",
        Protocol::Http2(Kind::Client) => "HTTP/2 client",
        Protocol::Muted(why) => match why {
            Muted::Tls => "left alone: TLS",
            Muted::Other => "left alone: no protocol that weft knows",
            Muted::FalseStart => "left alone: began like HTTP/1 and was not",
            Muted::Own => "left alone: weft's own",
            Muted::Port => "left alone: its port is not looked at",
            Muted::Tunnel => "left alone: became a tunnel",
            Muted::Malformed => "left alone: malformed HTTP",
            Muted::Pipelining => "left alone: too many requests waited for responses",
        },
    }
}

#[cfg(test)]
mod tests {
    use weft_flow::span::Process;

    use super::*;
    use crate::{config::Selection, policy::Policy, status::Status};

    #[test]
    fn question_and_answer() {
        let directory = std::env::temp_dir().join(format!("weft-why-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("weft.sock");
        let (ask_pipeline, questions) = mpsc::channel::<Question>();
        let selector = Selector::new(Policy::new(Selection::default(), 1));
        let start = |selector, ask| AnswerServer::start(&path, selector, ask, Trials::default());
        let server = start(selector.clone(), ask_pipeline.clone()).unwrap();
        assert!(
            start(selector, ask_pipeline).is_err(),
            "there is one already"
        );
        let pipeline = std::thread::spawn(move || {
            let Question::Process { tgid, answer } = questions.recv().unwrap() else {
                panic!("another question");
            };
            let summary = ConnectionSummary {
                cookie: 1,
                process: Process {
                    tgid,
                    generation: 0,
                },
                local: Endpoint::Inet("127.0.0.1:80".parse().unwrap()),
                peer: Endpoint::Unix,
                protocol: Protocol::Http1(Kind::Server),
                tls: Tls::None,
                exchanges: 3,
                open: 1,
                malformed: 0,
                from_beginning: false,
                last_record_ns: 0,
            };
            answer.send(vec![summary]).unwrap();
            let Question::Status(answer) = questions.recv().unwrap() else {
                panic!("another question");
            };
            let status = Status {
                agent_pid: 1,
                version: String::new(),
                watching: true,
                processes: 1,
                kubernetes: None,
                traced: Vec::new(),
            };
            answer.send(status).unwrap();
        });
        let answer: Answer = ask(&path, &std::process::id().to_string()).unwrap();
        pipeline.join().unwrap();
        assert!(answer.selected);
        assert_eq!(
            answer.connections[0].to_string(),
            "127.0.0.1:80 - unix  HTTP/1 server  3 requests, 1 open  (older than the agent)"
        );
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(server);
        assert!(!path.exists());
        fs::remove_dir_all(&directory).unwrap();
    }
}
