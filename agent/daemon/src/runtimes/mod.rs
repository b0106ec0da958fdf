//! Runtimes whose logical tasks the kernel programs can tell apart: what was found in a program's file,
//! in their terms and in words.

mod cpython;
mod go;
mod jvm;
mod node;
mod tokio;

use std::fmt;

use weft_abi::{Runtime as Facts, RuntimeFlags, RuntimeKind, Site};
use weft_inspect::{Goroutines, Inspection, Jvm, Node, Problem, Proxy, Python, Tokio};

use crate::bpf::{Hook, Place};

/// What a file has of a runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Runtime {
    Go {
        version: Option<String>,
        goroutines: Result<Box<Goroutines>, &'static str>,
    },
    Proxy(Proxy),
    Python(Result<Python, &'static str>),
    Jvm(Result<Jvm, &'static str>),
    Tokio(Result<Box<Tokio>, &'static str>),
    Node(Result<Box<Node>, &'static str>),
}

impl Runtime {
    pub(crate) fn of(inspection: &Inspection) -> Option<Self> {
        if let Some(proxy) = inspection.proxy {
            return Some(Self::Proxy(proxy));
        }
        if let Some(python) = &inspection.python {
            return Some(Self::Python(python.clone()));
        }
        if let Some(jvm) = &inspection.jvm {
            return Some(Self::Jvm(jvm.clone()));
        }
        if let Some(tokio) = &inspection.tokio {
            return Some(Self::Tokio(tokio.clone()));
        }
        if let Some(node) = &inspection.node {
            return Some(Self::Node(node.clone()));
        }
        let goroutines = inspection.goroutines.clone()?;
        let version = inspection.go.as_ref().map(|go| go.version.clone());
        Some(Self::Go {
            version,
            goroutines: goroutines.map(Box::new),
        })
    }

    /// Where probes go.
    pub(crate) fn places(&self) -> Vec<Place> {
        match self {
            Self::Go { goroutines, .. } => {
                goroutines.iter().flat_map(|it| go::places(it)).collect()
            }
            Self::Proxy(_) => Vec::new(),
            Self::Jvm(jvm) => jvm.iter().flat_map(jvm::places).collect(),
            Self::Python(python) => python.iter().flat_map(cpython::places).collect(),
            Self::Tokio(tokio) => tokio.iter().flat_map(|it| tokio::places(it)).collect(),
            Self::Node(node) => node.iter().flat_map(|it| node::places(it)).collect(),
        }
    }

    /// The kernel lets no probes into the file.
    pub(crate) fn unwatched(self) -> Option<Self> {
        match self {
            // The other tasks of a process cannot be told without it, either.
            Self::Python(_) => Some(Self::Python(Err("the kernel lets no probes into it"))),
            // What is sent for others would seem to be sent for who has made the connection.
            Self::Tokio(_) => Some(Self::Tokio(Err("the kernel lets no probes into it"))),
            Self::Node(_) => Some(Self::Node(Err("the kernel lets no probes into it"))),
            Self::Go { .. } | Self::Proxy(_) => None,
            Self::Jvm(_) => Some(self),
        }
    }

    /// Adds what the kernel programs need to know of a process that runs it, and has the file's code at
    /// `code` less the code's offset in the file.
    pub(crate) fn add_to(&self, facts: &mut Facts, code: u64) {
        match self {
            Self::Go { goroutines, .. } => {
                if let Ok(goroutines) = goroutines {
                    *facts = go::facts(goroutines);
                }
            }
            Self::Proxy(_) => facts.kind = RuntimeKind::Proxy as u32,
            Self::Python(Ok(python)) => cpython::add_to(facts, python, code),
            Self::Jvm(jvm) => jvm::add_to(facts, jvm.as_ref().ok(), code),
            Self::Tokio(tokio) => {
                if let Ok(tokio) = tokio {
                    tokio::add_to(facts, tokio, code);
                }
            }
            Self::Node(Ok(node)) => node::add_to(facts, node, code),
            Self::Python(Err(_)) | Self::Node(Err(_)) => facts.flags |= RuntimeFlags::OFF,
        }
    }

    /// Of whole sentences.
    pub(crate) fn problems(&self) -> &[Problem] {
        match self {
            Self::Go { goroutines, .. } => goroutines
                .as_ref()
                .map_or(&[], |goroutines| &goroutines.problems),
            Self::Tokio(tokio) => tokio.as_ref().map_or(&[], |tokio| &tokio.problems),
            Self::Node(Ok(node)) => &node.problems,
            Self::Proxy(_) | Self::Python(_) | Self::Jvm(_) | Self::Node(Err(_)) => &[],
        }
    }
}

/// Probes that need not be told apart.
fn places_at(hook: Hook, instructions: &[weft_inspect::Site]) -> Vec<Place> {
    let place = |it: &weft_inspect::Site| Place {
        hook,
        offset: it.offset,
        site: Site::from_cookie(0),
    };
    instructions.iter().map(place).collect()
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Python(Ok(python)) => cpython::Told(python).fmt(f),
            Self::Python(Err(why)) => write!(f, "tasks of Python: off: {why}"),
            Self::Jvm(Ok(jvm)) => jvm::Told(jvm).fmt(f),
            Self::Jvm(Err(why)) => write!(
                f,
                "threads of Java: virtual ones are not told apart, and no calls are linked: {why}"
            ),
            Self::Tokio(Ok(tokio)) => tokio::Told(tokio).fmt(f),
            Self::Tokio(Err(why)) => write!(f, "tasks of Tokio: off: {why}"),
            Self::Node(Ok(node)) => node::Told(node).fmt(f),
            Self::Node(Err(why)) => write!(f, "requests of Node.js: off: {why}"),
            Self::Proxy(proxy) => {
                let name = match proxy {
                    Proxy::Nginx => "nginx",
                    Proxy::HaProxy => "HAProxy",
                    Proxy::Envoy => "Envoy",
                };
                write!(f, "{name}: what it passes on is told by method and target")
            }
            Self::Go {
                version,
                goroutines,
            } => {
                f.write_str("Go")?;
                if let Some(version) = version {
                    write!(f, " {}", version.trim_start_matches("go"))?;
                }
                match goroutines {
                    Ok(goroutines) => write!(f, ": {}", go::Told(goroutines)),
                    Err(why) => write!(f, ": off: {why}"),
                }
            }
        }
    }
}
