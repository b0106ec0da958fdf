use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::Program;
use crate::{Launch, Listen, Place, Workloads, apps};

/// A Python server that works on many requests at once and asks another one for each: `apps/tasks`.
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
    /// A greenlet for each connection.
    Gevent,
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

fn file(name: &str) -> String {
    format!("{}/tasks/{name}", apps::DIR)
}

impl Program for Tasks {
    fn name(&self) -> &str {
        match self.kind {
            TasksKind::Aiohttp => "aiohttp",
            TasksKind::Uvicorn | TasksKind::Uvloop => "uvicorn",
            TasksKind::Hypercorn => "hypercorn",
            TasksKind::Gevent => "gevent",
            TasksKind::Backend => "backend",
        }
    }

    fn prepare(&self, _: &Place<'_>) -> Result<Launch> {
        let arguments = ["/usr/bin/python3", &file("gate.py"), self.name()];
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
