//! What is tried: which programs, in which order, with which requests.

mod cast;

use http::Method;

pub use self::cast::Cast;

use crate::topology::{Limits, Role, Route, Topology};
use crate::truth::Sharing;

#[derive(Clone, Debug)]
pub struct Scenario {
    pub name: &'static str,
    /// Between the driver and the first program.
    pub protocol: Protocol,
    /// Taken in turn.
    pub routes: Vec<Route>,
    /// Taken in turn.
    pub calls: &'static [Call],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
    Grpc,
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
    Rpc(Rpc),
}

/// A gRPC call; what the server does is named by the method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rpc {
    kind: &'static str,
    argument: u32,
    /// Messages of the client.
    pub sent: usize,
    /// Messages of the server, when nothing goes wrong.
    pub answered: usize,
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
/// gRPC: everything that a single application can be asked.
pub const ALL_RPCS: &[Call] = &[
    Call::RPC_HOP,
    Call::rpc("Unary", 0, 1, 1),
    Call::rpc("Download", 3, 1, 3),
    Call::RPC_HOP,
    Call::rpc("Upload", 4, 4, 1),
    Call::rpc("Fail", 5, 1, 0),
    Call::RPC_HOP,
    Call::rpc("Talk", 2, 2, 2),
    Call::rpc("Fail", 13, 1, 0),
];
pub const RPC_HOPS: &[Call] = &[Call::RPC_HOP];

impl Call {
    const RPC_HOP: Call = Call::rpc("Hop", 0, 1, 1);

    const fn rpc(kind: &'static str, argument: u32, sent: usize, answered: usize) -> Call {
        Call::Rpc(Rpc {
            kind,
            argument,
            sent,
            answered,
        })
    }

    /// It goes the whole way.
    pub fn is_hop(self) -> bool {
        self == Call::Hop || self == Call::RPC_HOP
    }

    pub fn method(self) -> Method {
        match self {
            Call::Upload { .. } | Call::Rpc(_) => Method::POST,
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
            Call::Rpc(Rpc { kind, argument, .. }) => format!("/{id}.Echo/{kind}-{argument}-0-0"),
        }
    }

    pub fn upload(self) -> usize {
        match self {
            Call::Upload { bytes } => bytes,
            Call::Rpc(_) => 100,
            _ => 0,
        }
    }
}

impl Protocol {
    pub fn sharing(self) -> Sharing {
        match self {
            Self::Http1 => Sharing::Own,
            Self::Http2 | Self::Grpc => Sharing::Streams,
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
