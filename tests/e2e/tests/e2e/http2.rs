//! HTTP/2 between programs of all kinds: each stream once on both ends, linked by the position of its first frame.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use weft_e2e::{Scene, Span, Spans, on_scene};
use weft_workloads::programs::{
    Envoy, Go, HaProxy, Http2, Http2Kind, Nghttpd, Nginx, Security, h2load, nghttp, python,
};
use weft_workloads::{Group, Running};

const STREAMS: usize = 50;

#[test]
fn nghttp_and_nghttpd() -> Result<()> {
    nghttp2(Security::Plaintext, &[])
}

#[test]
fn nghttp_and_nghttpd_over_tls() -> Result<()> {
    nghttp2(Security::Tls, &[])
}

#[test]
fn upgraded_from_http1() -> Result<()> {
    on_scene(&[Group::Http2, Group::Load], |scene| {
        let server = scene.workloads.spawn(&Http2 {
            kind: Http2Kind::Python,
            security: Security::Plaintext,
        })?;
        let weft = scene.weft()?.start()?;
        let paths: Vec<String> = (0..3)
            .map(|number| format!("/hop/{}", scene.id(number)))
            .collect();
        let urls: Vec<String> = paths
            .iter()
            .map(|path| format!("{}{path}", server.url()))
            .collect();
        let mut arguments = vec!["--fail", "--http2"];
        arguments.extend(urls.iter().map(String::as_str));
        scene.curl(&arguments)?;
        let spans = scene.finish(weft)?;
        spans.count(2 * paths.len())?;
        for (number, path) in paths.iter().enumerate() {
            Pair::at(&spans, path)?.check("200", if number == 0 { "1.1" } else { "2" })?;
        }
        Ok(())
    })
}

/// Padding, priorities, a small window, a small table; the requests' fields in more than one frame.
#[test]
fn unusual_frames() -> Result<()> {
    let long = format!("--header=x-long: {}", "v".repeat(20_000));
    nghttp2(
        Security::Plaintext,
        &[
            "--padding=100",
            "--window-bits=12",
            "--header-table-size=64",
            "--continuation",
            &long,
        ],
    )
}

/// Files of a server, all asked for at once on one connection.
fn nghttp2(security: Security, options: &[&str]) -> Result<()> {
    on_scene(&[Group::Http2], |scene| {
        let names: Vec<String> = (0..STREAMS).map(|number| scene.id(number)).collect();
        let server = scene.workloads.spawn(&Nghttpd {
            security,
            files: names.iter().map(|name| (name.clone(), 100)).collect(),
        })?;
        let weft = scene.weft()?.start()?;
        let base = base(&server, security);
        success(
            nghttp(&scene.workloads)
                .args(options)
                .args(names.iter().map(|name| format!("{base}/{name}")))
                .arg(format!("{base}/missing/{}", scene.tag)),
        )?;
        let spans = scene.finish(weft)?;
        spans.count(2 * (STREAMS + 1))?;
        for name in &names {
            let path = format!("/{name}");
            let pair = Pair::at(&spans, &path)?;
            pair.check("200", "2")?;
            pair.each(&[("http.response.body.size", "100")])?;
        }
        Pair::at(&spans, &format!("/missing/{}", scene.tag))?.check("404", "2")
    })
}

#[test]
fn many_streams_on_few_connections() -> Result<()> {
    on_scene(&[Group::Http2], |scene| {
        const REQUESTS: usize = 2000;
        let server = scene.workloads.spawn(&Nghttpd {
            security: Security::Plaintext,
            files: vec![(scene.tag.clone(), 6)],
        })?;
        let weft = scene.weft()?.start()?;
        let said = success(h2load(&scene.workloads).args([
            &format!("--requests={REQUESTS}"),
            "--clients=4",
            "--max-concurrent-streams=100",
            &format!("{}/{}", server.url(), scene.tag),
        ]))?;
        ensure!(
            said.contains(&format!("{REQUESTS} succeeded")),
            "h2load said {said}"
        );
        let spans = scene.finish(weft)?;
        spans.count(2 * REQUESTS)?;
        let clients: std::collections::BTreeMap<_, _> = spans
            .clients()
            .0
            .into_iter()
            .map(|span| (span.span_id.clone(), span))
            .collect();
        for server in spans.servers().0 {
            let parent = server
                .parent
                .as_ref()
                .and_then(|parent| clients.get(parent));
            let client = parent
                .with_context(|| format!("no client's:\n{server}"))?
                .clone();
            Pair { server, client }.check("200", "2")?;
        }
        Ok(())
    })
}

#[test]
fn node() -> Result<()> {
    chain(Http2Kind::Node, Security::Plaintext)
}

#[test]
fn node_over_tls() -> Result<()> {
    chain(Http2Kind::Node, Security::Tls)
}

#[test]
fn hypercorn_and_httpx() -> Result<()> {
    chain(Http2Kind::Python, Security::Plaintext)
}

#[test]
fn hypercorn_and_httpx_over_tls() -> Result<()> {
    chain(Http2Kind::Python, Security::Tls)
}

/// nghttp -> program -> program, many at once on one connection each.
fn chain(kind: Http2Kind, security: Security) -> Result<()> {
    on_scene(&[Group::Http2, Group::Node, Group::Load], |scene| {
        let program = Http2 { kind, security };
        let (front, back) = (
            scene.workloads.spawn(&program)?,
            scene.workloads.spawn(&program)?,
        );
        let weft = scene.weft()?.start()?;
        let (front_base, back_base) = (base(&front, security), base(&back, security));
        let ids: Vec<String> = (0..STREAMS).map(|number| scene.id(number)).collect();
        many(
            scene,
            ids.iter()
                .map(|id| format!("{front_base}/hop/{id}?via={back_base}")),
        )?;
        let failing = format!("/fail/{}", scene.id("failing"));
        curl(scene, &[&format!("{back_base}{failing}")])?;
        let long = format!("/body/3000000/{}", scene.id("long"));
        curl(
            scene,
            &["--output", "/dev/null", &format!("{back_base}{long}")],
        )?;
        let (front, back) = (front.pids(), back.pids());
        let spans = scene.finish(weft)?;
        for id in &ids {
            let at = spans.at(&format!("/hop/{id}"));
            at.count(4).with_context(|| id.clone())?;
            let (outer, inner) = (at.of(&front), at.of(&back));
            let asked = at.filter(|span| span.service() == "nghttp");
            Pair::of(&outer.servers(), &asked)?.check("200", "2")?;
            Pair::of(&inner.servers(), &outer.clients())?.check("200", "2")?;
        }
        Pair::at(&spans, &failing)?.check("500", "2")?;
        let long = Pair::at(&spans, &long)?;
        long.each(&[("http.response.body.size", "3000000")])?;
        spans.count(4 * STREAMS + 4)?;
        Ok(())
    })
}

#[test]
fn nginx_before_http1() -> Result<()> {
    on_scene(&[Group::Web, Group::Go, Group::Http2], |scene| {
        let server = scene.workloads.spawn(&Go::new("go"))?;
        let proxy = scene
            .workloads
            .spawn(&Nginx::new().http2().proxy("/", &server.url()))?;
        through(scene, &proxy, Security::Plaintext, "1.1")
    })
}

#[test]
fn nginx_over_tls() -> Result<()> {
    on_scene(&[Group::Web, Group::Go, Group::Http2], |scene| {
        let server = scene.workloads.spawn(&Go::new("go"))?;
        let nginx = Nginx::new().http2().tls()?.proxy("/", &server.url());
        let proxy = scene.workloads.spawn(&nginx)?;
        through(scene, &proxy, Security::Tls, "1.1")
    })
}

#[test]
fn haproxy_on_both_sides() -> Result<()> {
    on_scene(
        &[Group::Web, Group::Http2, Group::Node, Group::Load],
        |scene| {
            let node = Http2 {
                kind: Http2Kind::Node,
                security: Security::Plaintext,
            };
            let server = scene.workloads.spawn(&node)?;
            let proxy = scene
                .workloads
                .spawn(&HaProxy::before(&server.url()).http2())?;
            through(scene, &proxy, Security::Plaintext, "2")
        },
    )
}

#[test]
fn envoy_on_both_sides() -> Result<()> {
    through_envoy(Security::Plaintext)
}

#[test]
fn envoy_over_tls() -> Result<()> {
    through_envoy(Security::Tls)
}

fn through_envoy(security: Security) -> Result<()> {
    on_scene(&[Group::Pypi, Group::Http2, Group::Node], |scene| {
        let node = Http2 {
            kind: Http2Kind::Node,
            security,
        };
        let server = scene.workloads.spawn(&node)?;
        let envoy = Envoy::before(server.listen()).http2(security);
        let proxy = scene.workloads.spawn(&envoy)?;
        through(scene, &proxy, security, "2")
    })
}

/// nghttp -> proxy by HTTP/2, many at once on one connection -> server by `inner`.
fn through(scene: &Scene, proxy: &Running, security: Security, inner: &str) -> Result<()> {
    let weft = scene.weft()?.start()?;
    let base = base(proxy, security);
    let ids: Vec<String> = (0..STREAMS).map(|number| scene.id(number)).collect();
    many(scene, ids.iter().map(|id| format!("{base}/hop/{id}")))?;
    let proxies = proxy.pids();
    let spans = scene.finish(weft)?;
    for id in &ids {
        let at = spans.at(&format!("/hop/{id}"));
        at.count(4).with_context(|| id.clone())?;
        let own = at.of(&proxies);
        let others = at.filter(|span| !proxies.contains(&span.pid()));
        Pair::of(&own.servers(), &others.clients())?.check("200", "2")?;
        Pair::of(&others.servers(), &own.clients())?.check("200", inner)?;
    }
    spans.count(4 * STREAMS)?;
    Ok(())
}

/// The tables of fields are older than weft: what is not known is not guessed.
#[test]
fn connections_older_than_weft() -> Result<()> {
    on_scene(&[Group::Http2, Group::Node], |scene| {
        let node = Http2 {
            kind: Http2Kind::Node,
            security: Security::Plaintext,
        };
        let server = scene.workloads.spawn(&node)?;
        let code = r#"
import httpx, sys
client = httpx.Client(http1=False, http2=True, limits=httpx.Limits(keepalive_expiry=None))
def get(name):
    client.get(f"{sys.argv[1]}-{name}").raise_for_status()
for number in range(5):
    get(number)
print("connected", flush=True)
sys.stdin.readline()
for number in range(10):
    get(number)
    get(number)
"#;
        let mut client = python(&scene.workloads, code)
            .arg(format!("{}/hop/{}", server.url(), scene.tag))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut output = client.stdout.take().context("no output")?;
        weft_e2e::raw::read_until(&mut output, "connected\n")?;
        let weft = scene.weft()?.start()?;
        drop(client.stdin.take());
        ensure!(client.wait()?.success(), "the client failed");
        let mut pids = server.pids();
        pids.push(client.id());
        scene.finish(weft)?;
        let spans = scene.sink.spans("").of(&pids);
        for side in [spans.servers(), spans.clients()] {
            side.count(20)?;
            for number in 0..10 {
                let at = side.at(&format!("/hop/{}-{number}", scene.tag));
                at.count(if number < 5 { 0 } else { 2 })?;
                for span in &at.0 {
                    span.check(&[
                        ("http.request.method", "GET"),
                        ("http.response.status_code", "200"),
                    ])?;
                }
            }
            let unknown = side.filter(|span| !span.path().contains(&scene.tag));
            unknown.count(10)?;
            for span in &unknown.0 {
                ensure!(
                    span.get("weft.partial").contains("request_head"),
                    "does not say so:\n{span}"
                );
                ensure!(
                    !span.has("url.path") && !span.has("url.full"),
                    "a guess:\n{span}"
                );
                span.check(&[
                    ("http.request.method", "GET"),
                    ("http.response.status_code", "200"),
                ])?;
            }
        }
        for server in &spans.servers().0 {
            let parents = spans.clients().filter(|client| server.is_child_of(client));
            parents.one()?;
        }
        Ok(())
    })
}

/// Both ends of one request.
struct Pair {
    server: Span,
    client: Span,
}

impl Pair {
    fn at(spans: &Spans, path: &str) -> Result<Self> {
        let at = spans.at(path);
        Self::of(&at.servers(), &at.clients()).with_context(|| path.to_owned())
    }

    fn of(servers: &Spans, clients: &Spans) -> Result<Self> {
        Ok(Self {
            server: servers.one()?.clone(),
            client: clients.one()?.clone(),
        })
    }

    fn each(&self, expected: &[(&str, &str)]) -> Result<()> {
        self.server.check(expected)?;
        self.client.check(expected)?;
        Ok(())
    }

    fn linked(&self, version: &str) -> Result<()> {
        let Self { server, client } = self;
        ensure!(
            server.is_child_of(client),
            "not linked:\n{server}\n{client}"
        );
        server.check(&[("weft.link", "wire-position")])?;
        self.each(&[("network.protocol.version", version), ("weft.partial", "")])?;
        ensure!(
            client.start_ns <= server.start_ns && server.start_ns <= client.end_ns,
            "not at one time:\n{server}\n{client}"
        );
        Ok(())
    }

    /// A GET that came back with this status.
    fn check(&self, status: &str, version: &str) -> Result<()> {
        self.linked(version)?;
        self.each(&[
            ("http.request.method", "GET"),
            ("http.response.status_code", status),
        ])?;
        let failed = |limit: &str| if status >= limit { status } else { "" };
        self.server.check(&[("error.type", failed("500"))])?;
        self.client.check(&[("error.type", failed("400"))])?;
        Ok(())
    }
}

fn base(server: &Running, security: Security) -> String {
    format!("{}://{}", security.scheme(), server.listen().text())
}

/// HTTP/2 from the first byte on, or as agreed on by TLS.
fn curl(scene: &Scene, arguments: &[&str]) -> Result<String> {
    let all = [&["--insecure", "--http2-prior-knowledge"], arguments].concat();
    scene.curl(&all)
}

/// All at once, on one connection.
fn many(scene: &Scene, urls: impl Iterator<Item = String>) -> Result<()> {
    success(nghttp(&scene.workloads).args(urls)).map(drop)
}

fn success(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{command:?} failed ({}): {}{text}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(text)
}
