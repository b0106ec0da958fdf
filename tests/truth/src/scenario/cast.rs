//! The programs of all scenarios, running.

mod streams;

use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use weft_workloads::programs::{
    Apache, BusyBoxHttpd, Express, Go, Gunicorn, HaProxy, HttpServer, Java, Nginx, PhpFpm, Program,
    Puma, Tls,
};
use weft_workloads::{Group, Listen, Running, Workloads};

use super::{ALL_CALLS, HOPS, Protocol, Scenario};
use crate::topology::{Limits, Node, Role, Route, Topology};
use crate::truth::{self, Model, ProgramInfo};

/// Programs end when this is dropped.
pub struct Cast {
    pub topology: Topology,
    pub scenarios: Vec<Scenario>,
    running: Vec<Running>,
    /// Unix sockets, which outlive their programs.
    sockets: Vec<PathBuf>,
}

/// What the scenarios need from the archive.
const GROUPS: [Group; 10] = [
    Group::Web,
    Group::Python,
    Group::Node,
    Group::Npm,
    Group::Java,
    Group::Go,
    Group::Php,
    Group::Ruby,
    Group::Http2,
    Group::Grpc,
];

impl Cast {
    /// Fetches what is missing.
    pub fn fetch() -> Result<Workloads> {
        Workloads::ensure(&GROUPS).context("the programs of the scenarios cannot be had")
    }

    /// Starts all programs; the last of a chain first.
    pub fn start(workloads: &Workloads) -> Result<Self> {
        let driver = Node {
            info: ProgramInfo {
                name: "driver".to_owned(),
                model: Model::Interleaved,
            },
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            scheme: "http",
            role: Role::Plain,
            roots: vec![std::process::id()],
            limits: Limits::NONE,
        };
        let cast = Cast {
            topology: Topology::new(driver),
            scenarios: vec![],
            running: vec![],
            sockets: vec![],
        };
        Casting { workloads, cast }.all()
    }
}

struct Casting<'a> {
    workloads: &'a Workloads,
    cast: Cast,
}

impl Casting<'_> {
    fn all(mut self) -> Result<Cast> {
        use Model::{Blocking, Interleaved};
        use Protocol::Http1;

        let go = self.app("go", Interleaved, &Go::new("go"))?;
        let express = self.app("express", Interleaved, &Express::with_symbols("express"))?;
        let java = self.app("java", Blocking, &Java::new("java"))?;
        let puma = self.app("puma", Blocking, &Puma::new("puma"))?;
        let sync = self.app("gunicorn sync", Blocking, &Gunicorn::sync("sync"))?;
        let threads = self.app(
            "gunicorn gthread",
            Blocking,
            &Gunicorn::threads("gthread", 8),
        )?;
        let apache = self.app("apache prefork", Blocking, &Apache::default())?;
        self.limits(apache).kept = 8;
        let files = self.add("http.server", Blocking, Role::Plain, &HttpServer::default())?;
        // Their backlogs are 5 and 9.
        self.limits(files).clients = 4;
        let busybox = self.add(
            "busybox httpd",
            Blocking,
            Role::Plain,
            &BusyBoxHttpd::default(),
        )?;
        self.limits(busybox).clients = 8;
        let page = Nginx::new().directive("location / { try_files /index.html =404; }");
        let nginx = self.add("nginx", Interleaved, Role::Plain, &page)?;

        let fpm = Listen::loopback()?;
        let pool = PhpFpm {
            listen: Some(fpm.clone()),
            ..PhpFpm::default()
        };
        let php = self.app("php-fpm", Blocking, &pool)?;
        let gateway = Nginx::new().fastcgi("/", &fpm);
        let gateway = self.add("nginx", Interleaved, Role::Gateway { to: php }, &gateway)?;

        let by_nginx = |to: truth::Program, this: &Self| Nginx::new().proxy("/", &this.url(to));
        let program = by_nginx(express, &self);
        let nginx_express =
            self.add("nginx", Interleaved, Role::Proxy { to: express }, &program)?;
        let program = by_nginx(sync, &self);
        let nginx_sync = self.add("nginx", Interleaved, Role::Proxy { to: sync }, &program)?;
        let program = HaProxy::before(&self.url(puma));
        let haproxy_puma = self.add("haproxy", Interleaved, Role::Proxy { to: puma }, &program)?;
        // HAProxy keeps as many connections behind it, and Puma has few threads for them.
        self.limits(haproxy_puma).kept = 8;
        let program = HaProxy::before(&self.url(go));
        let haproxy_go = self.add("haproxy", Interleaved, Role::Proxy { to: go }, &program)?;
        let program = by_nginx(threads, &self);
        let nginx_threads =
            self.add("nginx", Interleaved, Role::Proxy { to: threads }, &program)?;

        let socket = format!("/scratch/truth-{}.sock", std::process::id());
        let behind = Gunicorn {
            listen: Some(Listen::Unix(socket.clone().into())),
            ..Gunicorn::sync("unix")
        };
        let behind = self.app("gunicorn sync", Blocking, &behind)?;
        let program = Nginx::new().proxy("/", &format!("http://unix:{socket}"));
        let nginx_unix = self.add("nginx", Interleaved, Role::Proxy { to: behind }, &program)?;

        // TLS between a proxy and what stands behind it.
        let program = Nginx::new().tls()?.proxy("/", &self.url(go));
        let tls_nginx = self.add("nginx, tls", Interleaved, Role::Proxy { to: go }, &program)?;
        let tls_go = self.add("go, tls", Interleaved, Role::Plain, &Tls::Go)?;
        let tls_node = self.add("node, tls", Interleaved, Role::Plain, &Tls::Node)?;
        let tls_threads = self.add("python, tls", Blocking, Role::Plain, &Tls::PythonThreads)?;
        let tls_events = self.add("asyncio, tls", Interleaved, Role::Plain, &Tls::PythonEvents)?;
        let mut before = |to: truth::Program| {
            let address = self.cast.topology.node(to).address;
            let program = Nginx::new().proxy("/", &format!("https://{address}"));
            self.add("nginx to tls", Interleaved, Role::Proxy { to }, &program)
        };
        let [tls_nginx, tls_go, tls_node, tls_threads, tls_events] = [
            before(tls_nginx)?,
            before(tls_go)?,
            before(tls_node)?,
            before(tls_threads)?,
            before(tls_events)?,
        ];

        let route = |entry, via: &[truth::Program]| Route {
            entry,
            via: via.to_vec(),
        };
        self.cast.scenarios = vec![
            Scenario {
                name: "nginx",
                protocol: Http1,
                routes: vec![route(nginx, &[])],
                calls: HOPS,
            },
            Scenario {
                name: "http.server",
                protocol: Http1,
                routes: vec![route(files, &[])],
                calls: HOPS,
            },
            Scenario {
                name: "busybox",
                protocol: Http1,
                routes: vec![route(busybox, &[])],
                calls: HOPS,
            },
            Scenario {
                name: "go",
                protocol: Http1,
                routes: vec![route(go, &[])],
                calls: ALL_CALLS,
            },
            Scenario {
                name: "express",
                protocol: Http1,
                routes: vec![route(express, &[go])],
                calls: ALL_CALLS,
            },
            Scenario {
                name: "java",
                protocol: Http1,
                routes: vec![route(java, &[go])],
                calls: ALL_CALLS,
            },
            Scenario {
                name: "puma",
                protocol: Http1,
                routes: vec![route(puma, &[go])],
                calls: ALL_CALLS,
            },
            Scenario {
                name: "gunicorn-sync",
                protocol: Http1,
                routes: vec![route(sync, &[go])],
                calls: ALL_CALLS,
            },
            Scenario {
                name: "gunicorn-gthread",
                protocol: Http1,
                routes: vec![route(threads, &[go])],
                calls: ALL_CALLS,
            },
            Scenario {
                name: "apache",
                protocol: Http1,
                routes: vec![route(apache, &[go])],
                calls: ALL_CALLS,
            },
            Scenario {
                name: "php-fpm",
                protocol: Http1,
                routes: vec![route(gateway, &[go])],
                calls: ALL_CALLS,
            },
            Scenario {
                name: "nginx-express",
                protocol: Http1,
                routes: vec![route(nginx_express, &[java])],
                calls: ALL_CALLS,
            },
            Scenario {
                name: "nginx-sync",
                protocol: Http1,
                routes: vec![route(nginx_sync, &[express])],
                calls: ALL_CALLS,
            },
            Scenario {
                name: "nginx-unix",
                protocol: Http1,
                routes: vec![route(nginx_unix, &[go])],
                calls: ALL_CALLS,
            },
            Scenario {
                name: "haproxy-puma",
                protocol: Http1,
                routes: vec![route(haproxy_puma, &[haproxy_go])],
                calls: ALL_CALLS,
            },
            Scenario {
                name: "tls-nginx",
                protocol: Http1,
                routes: vec![route(tls_nginx, &[])],
                calls: ALL_CALLS,
            },
            Scenario {
                name: "tls-others",
                protocol: Http1,
                routes: vec![
                    route(tls_go, &[]),
                    route(tls_node, &[]),
                    route(tls_threads, &[]),
                    route(tls_events, &[]),
                ],
                calls: HOPS,
            },
            // Three chains of different runtimes that meet at the last two programs.
            Scenario {
                name: "fan-in",
                protocol: Http1,
                routes: vec![
                    route(nginx_threads, &[express, haproxy_go]),
                    route(puma, &[java, haproxy_go]),
                    route(sync, &[nginx_express, haproxy_go]),
                ],
                calls: HOPS,
            },
        ];
        let streams = self.streams(go)?;
        self.cast.scenarios.extend(streams);
        Ok(self.cast)
    }

    fn app(&mut self, name: &str, model: Model, program: &dyn Program) -> Result<truth::Program> {
        self.add(name, model, Role::App, program)
    }

    fn add(
        &mut self,
        name: &str,
        model: Model,
        role: Role,
        program: &dyn Program,
    ) -> Result<truth::Program> {
        let running = self.workloads.spawn(program)?;
        let address = match running.listen() {
            Listen::Tcp(address) => *address,
            // Nobody but a proxy that knows the path can come here.
            Listen::Unix(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        };
        self.cast.sockets.extend(running.socket());
        let info = ProgramInfo {
            name: name.to_owned(),
            model,
        };
        let roots = vec![running.pid()];
        self.cast.running.push(running);
        Ok(self.cast.topology.add(Node {
            info,
            address,
            scheme: "http",
            role,
            roots,
            limits: Limits::NONE,
        }))
    }

    fn limits(&mut self, program: truth::Program) -> &mut Limits {
        &mut self.cast.topology.node_mut(program).limits
    }

    fn url(&self, program: truth::Program) -> String {
        format!("http://{}", self.cast.topology.node(program).address)
    }
}

impl Drop for Cast {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Cast {
    pub fn stop(&mut self) {
        // First come the ones in front, so that nobody is left without its upstream; together, as
        // each may take its time.
        std::thread::scope(|scope| {
            for running in self.running.drain(..).rev() {
                scope.spawn(move || drop(running));
            }
        });
        for socket in self.sockets.drain(..) {
            // A program may have removed its own.
            std::fs::remove_file(socket).ok();
        }
    }
}
