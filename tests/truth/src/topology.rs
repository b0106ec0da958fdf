//! What stands behind what, and so which exchanges one answered request consisted of.

use std::net::SocketAddr;

use http::Method;
use serde::Deserialize;

use crate::truth::{Exchange, Kind, LinkClass, Process, Program, ProgramInfo, Status};

/// All programs of a run; the driver is the first.
#[derive(Clone, Debug)]
pub struct Topology {
    nodes: Vec<Node>,
}

#[derive(Clone, Debug)]
pub struct Node {
    pub info: ProgramInfo,
    pub address: SocketAddr,
    /// What its URL begins with.
    pub scheme: &'static str,
    pub role: Role,
    /// The processes it was started as; children belong to it too.
    pub roots: Vec<u32>,
    pub limits: Limits,
}

/// How many clients a program can take at a time.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// More kept connections than this would wait for each other.
    pub kept: usize,
    /// More clients than this would overflow its listening socket.
    pub clients: usize,
}

impl Limits {
    pub const NONE: Limits = Limits {
        kept: usize::MAX,
        clients: usize::MAX,
    };

    pub fn least(self, other: Limits) -> Limits {
        Limits {
            kept: self.kept.min(other.kept),
            clients: self.clients.min(other.clients),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Answers `/hop/<id>?via=<bases>` as the contract of the workloads says.
    App,
    /// Answers by itself and does not say which process it is.
    Plain,
    /// Passes requests on over HTTP with the same path.
    Proxy { to: Program },
    /// Passes requests on to an application by something that is not HTTP.
    Gateway { to: Program },
}

/// Where the driver sends a request, and where the applications pass it on to.
#[derive(Clone, Debug)]
pub struct Route {
    pub entry: Program,
    pub via: Vec<Program>,
}

/// An application's answer, with the answers it got inside.
#[derive(Clone, Debug, Deserialize)]
pub struct Hop {
    pub pid: u32,
    pub id: String,
    #[serde(default)]
    pub next: Option<Box<Hop>>,
}

/// The answer is not one that the topology can give.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    #[error("{program} answered for request `{answered}` instead of `{asked}`")]
    OtherId {
        program: String,
        asked: String,
        answered: String,
    },
    #[error("{program} does not tell what it passed on")]
    NoNext { program: String },
    #[error("{program} passed on more than it was told to")]
    ExtraNext { program: String },
}

/// The driver's own program.
pub const DRIVER: Program = Program(0);

impl Topology {
    pub fn new(driver: Node) -> Self {
        Self {
            nodes: vec![driver],
        }
    }

    pub fn add(&mut self, node: Node) -> Program {
        self.nodes.push(node);
        Program(self.nodes.len() - 1)
    }

    pub fn node(&self, program: Program) -> &Node {
        &self.nodes[program.0]
    }

    pub fn node_mut(&mut self, program: Program) -> &mut Node {
        &mut self.nodes[program.0]
    }

    pub fn nodes(&self) -> impl Iterator<Item = (Program, &Node)> {
        self.nodes
            .iter()
            .enumerate()
            .map(|(index, node)| (Program(index), node))
    }

    /// The program behind the proxies.
    pub fn answering(&self, mut program: Program) -> Program {
        while let Role::Proxy { to } = self.node(program).role {
            program = to;
        }
        program
    }

    /// `via=` of a route: the base URLs of the programs that the request is passed on to.
    pub fn via(&self, route: &Route) -> String {
        let bases = route
            .via
            .iter()
            .map(|program| self.node(*program))
            .map(|node| format!("{}://{}", node.scheme, node.address));
        bases.collect::<Vec<_>>().join(",")
    }

    /// Everything that one answered request consisted of, the driver's own call first.
    pub fn exchanges(
        &self,
        route: &Route,
        request: &Answered<'_>,
    ) -> Result<Vec<Exchange>, Mismatch> {
        let mut walk = Walk {
            topology: self,
            request,
            via: route.via.iter(),
            exchanges: vec![],
        };
        let process = Process::Pid(std::process::id());
        let call = walk.push(DRIVER, Kind::Client, process, None, LinkClass::Root);
        walk.arrive(route.entry, call, request.hop)?;
        Ok(walk.exchanges)
    }
}

/// A request of the driver and what came back.
#[derive(Clone, Debug)]
pub struct Answered<'a> {
    pub id: &'a str,
    pub method: Method,
    pub path: &'a str,
    pub status: Status,
    /// `None`: the answer does not tell.
    pub hop: Option<&'a Hop>,
}

/// Follows a request through the topology.
struct Walk<'a> {
    topology: &'a Topology,
    request: &'a Answered<'a>,
    /// What applications have yet to pass the request on to.
    via: std::slice::Iter<'a, Program>,
    exchanges: Vec<Exchange>,
}

impl Walk<'_> {
    /// The request comes to `program`, sent in the exchange `call`.
    fn arrive(&mut self, program: Program, call: usize, hop: Option<&Hop>) -> Result<(), Mismatch> {
        let process = match (self.topology.node(program).role, hop) {
            (Role::App, Some(hop)) => Process::Pid(hop.pid),
            _ => Process::Unnamed,
        };
        let server = self.push(program, Kind::Server, process, Some(call), LinkClass::Hop);
        match self.topology.node(program).role {
            Role::Plain => Ok(()),
            Role::Proxy { to } => {
                let class = LinkClass::InProcess;
                let call = self.push(program, Kind::Client, process, Some(server), class);
                self.arrive(to, call, hop)
            }
            Role::App => self.work(program, server, hop),
            Role::Gateway { to } => self.work(to, server, hop),
        }
    }

    /// The application works on the request that came in the exchange `server`.
    fn work(&mut self, program: Program, server: usize, hop: Option<&Hop>) -> Result<(), Mismatch> {
        let name = || self.topology.node(program).info.name.clone();
        let Some(hop) = hop else { return Ok(()) };
        if hop.id != self.request.id {
            let (asked, answered) = (self.request.id.to_owned(), hop.id.clone());
            return Err(Mismatch::OtherId {
                program: name(),
                asked,
                answered,
            });
        }
        match (self.via.next(), hop.next.as_deref()) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err(Mismatch::ExtraNext { program: name() }),
            (Some(_), None) => Err(Mismatch::NoNext { program: name() }),
            (Some(next), Some(answer)) => {
                let (process, class) = (Process::Pid(hop.pid), LinkClass::InProcess);
                let call = self.push(program, Kind::Client, process, Some(server), class);
                self.arrive(*next, call, Some(answer))
            }
        }
    }

    fn push(
        &mut self,
        program: Program,
        kind: Kind,
        process: Process,
        parent: Option<usize>,
        link: LinkClass,
    ) -> usize {
        self.exchanges.push(Exchange {
            program,
            kind,
            process,
            method: self.request.method.clone(),
            path: self.request.path.to_owned(),
            status: Some(self.request.status.clone()),
            parent,
            link,
        });
        self.exchanges.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::truth::Model;

    fn node(name: &str, role: Role) -> Node {
        Node {
            info: ProgramInfo {
                name: name.to_owned(),
                model: Model::Blocking,
            },
            address: (Ipv4Addr::LOCALHOST, 80).into(),
            scheme: "http",
            role,
            roots: vec![],
            limits: Limits::NONE,
        }
    }

    fn walk(topology: &Topology, route: &Route, hop: &str) -> Result<Vec<Exchange>, Mismatch> {
        let hop: Hop = serde_json::from_str(hop).unwrap();
        let hop = Some(&hop);
        let (id, path, method) = ("x", "/hop/x", Method::GET);
        topology.exchanges(
            route,
            &Answered {
                id,
                method,
                path,
                status: Status::Http(200),
                hop,
            },
        )
    }

    #[test]
    fn a_chain_through_proxy_and_gateway() {
        let mut topology = Topology::new(node("driver", Role::Plain));
        let php = topology.add(node("php", Role::App));
        let gateway = topology.add(node("gateway", Role::Gateway { to: php }));
        let go = topology.add(node("go", Role::App));
        let proxy = topology.add(node("proxy", Role::Proxy { to: go }));
        let route = Route {
            entry: gateway,
            via: vec![proxy],
        };

        let answer = r#"{"service":"php","pid":7,"id":"x","next":{"service":"go","pid":8,"id":"x","next":null}}"#;
        let exchanges = walk(&topology, &route, answer).unwrap();
        let seen = exchanges
            .iter()
            .map(|e| (e.program, e.kind, e.process, e.parent));
        let unnamed = Process::Unnamed;
        assert_eq!(
            seen.collect::<Vec<_>>(),
            [
                (DRIVER, Kind::Client, Process::Pid(std::process::id()), None),
                (gateway, Kind::Server, unnamed, Some(0)),
                (php, Kind::Client, Process::Pid(7), Some(1)),
                (proxy, Kind::Server, unnamed, Some(2)),
                (proxy, Kind::Client, unnamed, Some(3)),
                (go, Kind::Server, Process::Pid(8), Some(4)),
            ]
        );

        let no_next = walk(&topology, &route, r#"{"pid":7,"id":"x","next":null}"#);
        assert_eq!(
            no_next,
            Err(Mismatch::NoNext {
                program: "php".to_owned()
            })
        );
        let other = walk(&topology, &route, r#"{"pid":7,"id":"y","next":null}"#);
        assert!(matches!(other, Err(Mismatch::OtherId { .. })));
    }
}
