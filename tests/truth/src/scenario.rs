//! What is tried: which programs, in which order, with which requests.

mod cast;

use http::Method;

pub use self::cast::Cast;

use crate::topology::{Limits, Role, Route, Topology};

#[derive(Clone, Debug)]
pub struct Scenario {
    pub name: &'static str,
    /// Taken in turn.
    pub routes: Vec<Route>,
    /// Taken in turn.
    pub calls: &'static [Call],
}

/// A request of the contract that the applications of `tests/workloads` share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Passed on along the route.
    Hop,
    Slow {
        ms: u32,
    },
    Fail,
    Body {
        bytes: usize,
    },
    Chunked {
        bytes: usize,
    },
    Upload {
        bytes: usize,
    },
}

/// Everything a single application can be asked.
pub const ALL_CALLS: &[Call] = &[
    Call::Hop,
    Call::Hop,
    Call::Body { bytes: 150_000 },
    Call::Hop,
    Call::Fail,
    Call::Hop,
    Call::Chunked { bytes: 20_000 },
    Call::Hop,
    Call::Upload { bytes: 30_000 },
    Call::Hop,
    Call::Slow { ms: 5 },
];
/// Only what goes the whole way.
pub const HOPS: &[Call] = &[Call::Hop];

impl Call {
    pub fn method(self) -> Method {
        match self {
            Call::Upload { .. } => Method::POST,
            _ => Method::GET,
        }
    }

    pub fn path(self, id: &str) -> String {
        match self {
            Call::Hop => format!("/hop/{id}"),
            Call::Slow { ms } => format!("/slow/{ms}/{id}"),
            Call::Fail => format!("/fail/{id}"),
            Call::Body { bytes } => format!("/body/{bytes}/{id}"),
            Call::Chunked { bytes } => format!("/chunked/{bytes}/{id}"),
            Call::Upload { .. } => format!("/upload/{id}"),
        }
    }

    pub fn upload(self) -> usize {
        match self {
            Call::Upload { bytes } => bytes,
            _ => 0,
        }
    }
}

impl Scenario {
    /// How many clients its programs can take.
    pub fn limits(&self, topology: &Topology) -> Limits {
        let entries = self
            .routes
            .iter()
            .map(|route| topology.node(route.entry).limits);
        entries.fold(Limits::NONE, Limits::least)
    }

    /// Whether every program that answers its requests does so as the applications' contract says.
    pub fn tells(&self, topology: &Topology) -> bool {
        self.routes
            .iter()
            .all(|route| topology.node(topology.answering(route.entry)).role != Role::Plain)
    }
}
