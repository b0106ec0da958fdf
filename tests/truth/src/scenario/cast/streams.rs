//! HTTP/2 and gRPC: all clients of the driver on one connection, and programs that do the same.

use anyhow::Result;
use weft_workloads::programs::{Grpc, GrpcKind, HaProxy, Http2, Http2Kind, Nginx, Security};

use super::super::{ALL_CALLS, ALL_RPCS, HOPS, Protocol, RPC_HOPS, Scenario};
use super::Casting;
use crate::topology::{Role, Route};
use crate::truth::{Model, Program};

impl Casting<'_> {
    /// `go` speaks HTTP/1.
    pub(super) fn streams(&mut self, go: Program) -> Result<Vec<Scenario>> {
        let node = self.http2("node, h2", Http2Kind::Node, Security::Plaintext)?;
        let hypercorn = self.http2("hypercorn, h2", Http2Kind::Python, Security::Plaintext)?;
        let node_tls = self.http2("node, h2 tls", Http2Kind::Node, Security::Tls)?;
        let hypercorn_tls = self.http2("hypercorn, h2 tls", Http2Kind::Python, Security::Tls)?;
        let nginx = Nginx::new().http2().proxy("/", &self.url(go));
        let nginx = self.proxy("nginx, h2", go, &nginx)?;
        let haproxy = HaProxy::before(&self.url(node)).http2();
        let haproxy = self.proxy("haproxy, h2", node, &haproxy)?;

        let grpc_go = self.grpc("grpc-go", GrpcKind::Go, Security::Plaintext)?;
        let grpcio = self.grpc("grpcio", GrpcKind::Python, Security::Plaintext)?;
        let grpc_go_tls = self.grpc("grpc-go, tls", GrpcKind::Go, Security::Tls)?;
        let mut before = |to: Program| {
            let address = self.cast.topology.node(to).address.to_string();
            self.proxy("nginx, grpc", to, &Nginx::new().http2().grpc("/", &address))
        };
        let [nginx_go, nginx_grpcio] = [before(grpc_go)?, before(grpcio)?];

        let route = |entry, via: &[Program]| Route {
            entry,
            via: via.to_vec(),
        };
        Ok(vec![
            Scenario {
                name: "h2",
                protocol: Protocol::Http2,
                routes: vec![route(node, &[hypercorn]), route(hypercorn, &[node])],
                calls: ALL_CALLS,
            },
            Scenario {
                name: "h2-tls",
                protocol: Protocol::Http2,
                routes: vec![route(node, &[hypercorn_tls, node_tls])],
                calls: HOPS,
            },
            Scenario {
                name: "h2-proxies",
                protocol: Protocol::Http2,
                routes: vec![route(nginx, &[]), route(haproxy, &[])],
                calls: ALL_CALLS,
            },
            Scenario {
                name: "grpc",
                protocol: Protocol::Grpc,
                routes: vec![route(grpc_go, &[grpcio]), route(grpcio, &[grpc_go])],
                calls: ALL_RPCS,
            },
            Scenario {
                name: "grpc-tls",
                protocol: Protocol::Grpc,
                routes: vec![route(grpc_go, &[grpc_go_tls])],
                calls: RPC_HOPS,
            },
            Scenario {
                name: "grpc-nginx",
                protocol: Protocol::Grpc,
                routes: vec![route(nginx_go, &[]), route(nginx_grpcio, &[])],
                calls: ALL_RPCS,
            },
        ])
    }

    fn http2(&mut self, name: &str, kind: Http2Kind, security: Security) -> Result<Program> {
        let program = self.app(name, Model::Interleaved, &Http2 { kind, security })?;
        self.cast.topology.node_mut(program).scheme = security.scheme();
        Ok(program)
    }

    fn grpc(&mut self, name: &str, kind: GrpcKind, security: Security) -> Result<Program> {
        let program = self.app(name, Model::Interleaved, &Grpc::new(kind, security)?)?;
        self.cast.topology.node_mut(program).scheme = security.scheme();
        Ok(program)
    }

    fn proxy(
        &mut self,
        name: &str,
        to: Program,
        program: &dyn weft_workloads::Program,
    ) -> Result<Program> {
        self.add(name, Model::Interleaved, Role::Proxy { to }, program)
    }
}
