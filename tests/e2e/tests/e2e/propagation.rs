//! Trace contexts that programs write themselves, in every format, and programs under the OpenTelemetry SDK between
//! others that know nothing of it; and those that weft writes.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use weft_e2e::figures::with_metrics;
use weft_e2e::network::Pair;
use weft_e2e::{Scene, Weft, on_scene, skip};
use weft_workloads::programs::{self, Express, Go, Gunicorn, Nginx, instrumented_python};
use weft_workloads::{Group, Listen};

const TRACE: &str = "463ac35c9f6413ad48485a3953bb6124";
const PARENT: &str = "a2fb4a1d1a96d312";

#[test]
fn each_format_is_read() -> Result<()> {
    let xray = "Root=1-463ac35c-9f6413ad48485a3953bb6124";
    let cases: [(&str, &[String]); 5] = [
        ("b3", &[format!("b3: {TRACE}-{PARENT}-1")]),
        (
            "b3",
            &[
                format!("X-B3-TraceId: {TRACE}"),
                format!("X-B3-SpanId: {PARENT}"),
                "X-B3-Sampled: 1".to_owned(),
            ],
        ),
        ("jaeger", &[format!("uber-trace-id: {TRACE}:{PARENT}:0:1")]),
        (
            "xray",
            &[format!("X-Amzn-Trace-Id: {xray};Parent={PARENT};Sampled=1")],
        ),
        // A decision that is left to the callee.
        ("b3", &[format!("b3: {TRACE}-{PARENT}")]),
    ];
    let dropped = [
        format!("b3: {TRACE}-{PARENT}-0"),
        format!("uber-trace-id: {TRACE}:{PARENT}:0:0"),
        format!("X-Amzn-Trace-Id: {xray};Parent={PARENT};Sampled=0"),
    ];
    on_scene(&[Group::Web, Group::Load], |scene| {
        let nginx = || Nginx::new().directive("location / { return 200 ok; }");
        let servers = [
            ("1", "--http1.1", scene.workloads.spawn(&nginx())?),
            (
                "2",
                "--http2-prior-knowledge",
                scene.workloads.spawn(&nginx().http2())?,
            ),
        ];
        let weft = scene.weft()?.start()?;
        for (version, flag, server) in &servers {
            let get = |name: String, fields: &[String]| {
                let url = format!("{}/{}", server.url(), scene.id(name));
                let fields = fields.iter().flat_map(|field| ["-H", field]);
                let arguments: Vec<&str> = [*flag, &url].into_iter().chain(fields).collect();
                scene.curl(&arguments)
            };
            for (number, (_, fields)) in cases.iter().enumerate() {
                get(format!("{number}-{version}"), fields)?;
            }
            for (number, field) in dropped.iter().enumerate() {
                get(
                    format!("not-{number}-{version}"),
                    std::slice::from_ref(field),
                )?;
            }
        }
        let spans = scene.finish(weft)?;
        for (number, (link, _)) in cases.iter().enumerate() {
            for (version, _, _) in &servers {
                let name = scene.id(format!("{number}-{version}"));
                let found = spans.at(&format!("/{name}"));
                let (client, server) = (found.clients(), found.servers());
                let (client, server) = (client.one()?, server.one()?);
                ensure!(
                    client.trace_id == TRACE && client.link() == *link,
                    "not adopted:\n{found}"
                );
                ensure!(server.is_child_of(client), "not linked:\n{found}");
            }
        }
        let kept = spans.filter(|span| span.path().contains("not-"));
        ensure!(kept.is_empty(), "the decision was not respected:\n{kept}");
        Ok(())
    })
}

/// The SDK's client -> nginx -> Go: one trace, in which weft's spans hang on the SDK's.
#[test]
fn an_instrumented_client() -> Result<()> {
    let groups = [
        Group::Web,
        Group::Go,
        Group::Python,
        Group::OpenTelemetry,
        Group::Load,
    ];
    on_scene(&groups, |scene| {
        const REQUESTS: usize = 5;
        let server = scene.workloads.spawn(&Go::new("go"))?;
        let proxy = Nginx::new().proxy("/", &server.url());
        let proxy = scene.workloads.spawn(&proxy)?;
        let weft = scene.weft()?.start()?;
        // By then nginx is known for what it is.
        scene.curl(&[&format!("{}/hop/{}", proxy.url(), scene.id("first"))])?;
        std::thread::sleep(Duration::from_millis(500));
        let formats = ["tracecontext", "b3", "b3multi", "jaeger", "xray"];
        let mut said = Vec::new();
        for format in formats {
            let url = |number| {
                format!(
                    "{}/hop/{}",
                    proxy.url(),
                    scene.id(format!("{format}-{number}"))
                )
            };
            let mut client = instrumented_python(&scene.workloads, format);
            let output = client.args((0..REQUESTS).map(url)).output()?;
            let errors = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "{format}: {errors}");
            said.push(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let (proxy_pids, server_pids) = (proxy.pids(), server.pids());
        let spans = scene.finish(weft)?;
        for (format, said) in formats.iter().zip(&said) {
            for (number, line) in said.lines().take(REQUESTS).enumerate() {
                let [trace, span, _] = line.split(' ').collect::<Vec<_>>()[..] else {
                    bail!("{format}: {line}");
                };
                let found = spans.at(&format!("/hop/{}", scene.id(format!("{format}-{number}"))));
                let at_proxy = found.of(&proxy_pids);
                let (outer, call) = (at_proxy.servers(), at_proxy.clients());
                let (outer, call) = (outer.one()?, call.one()?);
                let inner = found.of(&server_pids);
                ensure!(
                    outer.trace_id == trace && outer.parent.as_deref() == Some(span),
                    "{format}: {line} is not its parent:\n{found}"
                );
                ensure!(
                    call.is_child_of(outer) && inner.one()?.is_child_of(call),
                    "{format}: not linked:\n{found}"
                );
                // The SDK's own span, by its own id.
                let known = [proxy_pids.as_slice(), &server_pids].concat();
                let client = found.filter(|span| !known.contains(&span.pid()));
                ensure!(
                    client.one()?.span_id == span,
                    "{format}: {line} stands twice:\n{found}"
                );
            }
        }
        Ok(())
    })
}

/// Each line of input is a URL; a new connection for each, or one for all.
const CLIENT: &str = r#"
import http.client, sys, time, urllib.parse
kept = None
for url in sys.argv[2:]:
    parts = urllib.parse.urlsplit(url)
    if kept is None or sys.argv[1] != "kept":
        kept = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
    kept.request("GET", parts.path, headers={"Connection": "keep-alive"})
    print(kept.getresponse().read().decode(), flush=True)
    time.sleep(0.3)
"#;
/// What a server got.
const ECHO: &str = "location / { return 200 \"$http_traceparent\"; }";

#[test]
fn a_header_of_wefts_own() -> Result<()> {
    written_to("127.0.0.1")
}

#[test]
fn a_header_over_ipv6() -> Result<()> {
    written_to("::1")
}

fn written_to(address: &str) -> Result<()> {
    on_scene(&[Group::Web, Group::Python], |scene| {
        let listen = Listen::on(address.parse()?)?;
        let nginx = Nginx::new().listen(listen).directive(ECHO);
        let server = scene.workloads.spawn(&nginx)?;
        let Some(weft) = injecting(scene, "always", &[server.address().port()], "")? else {
            return Ok(());
        };
        let urls = |name: &str| -> Vec<String> {
            let url = |number| format!("{}/{}", server.url(), scene.id(format!("{name}{number}")));
            (0..4).map(url).collect()
        };
        let ask = |mode: &str, urls: &[String]| {
            let mut arguments = vec![mode];
            arguments.extend(urls.iter().map(String::as_str));
            scene.python(CLIENT, &arguments)
        };
        let (single, kept) = (ask("single", &urls("s"))?, ask("kept", &urls("k"))?);
        let spans = scene.finish(weft)?;
        spans.count(16)?;
        for (name, said, written) in [
            // The first shows where requests go.
            ("s", &single, [false, true, true, true]),
            // A connection's first request.
            ("k", &kept, [true, false, false, false]),
        ] {
            for (number, written) in written.into_iter().enumerate() {
                let line = said.lines().nth(number).unwrap_or("-");
                let found = spans.at(&format!("/{}", scene.id(format!("{name}{number}"))));
                let (client, inner) = (found.clients(), found.servers());
                let (client, inner) = (client.one()?, inner.one()?);
                let header = format!("00-{}-{}-01", client.trace_id, client.span_id);
                let expected = if written { header.as_str() } else { "" };
                ensure!(line == expected, "{line:?} arrived of\n{found}");
                ensure!(
                    inner.is_child_of(client) && client.parent.is_none(),
                    "not linked:\n{found}"
                );
                ensure!(inner.link() == "wire-position", "{found}");
            }
        }
        Ok(())
    })
}

/// Of what an event loop sends, the trace is not known to the kernel programs.
#[test]
fn no_header_by_who_serves() -> Result<()> {
    on_scene(&[Group::Web, Group::Node, Group::Load], |scene| {
        let json = "location / { return 200 '{\"got\": \"$http_traceparent\"}'; }";
        let server = scene.workloads.spawn(&Nginx::new().directive(json))?;
        let front = scene.workloads.spawn(&Express::new("front"))?;
        let ports = [server.address().port(), front.address().port()];
        let Some(weft) = injecting(scene, "always", &ports, "")? else {
            return Ok(());
        };
        for number in 0..4 {
            let path = format!("/hop/{}?via={}", scene.id(number), server.url());
            let said = scene.curl(&[&format!("{}{path}", front.url())])?;
            let said: String = said.split_whitespace().collect();
            ensure!(said.contains("\"got\":\"\""), "{said}");
            std::thread::sleep(Duration::from_millis(200));
        }
        weft.stop().map(drop)
    })
}

/// Blocking workers that have shown to be such carry on the trace that a header has brought.
#[test]
fn a_header_by_a_worker() -> Result<()> {
    on_scene(&[Group::Web, Group::Python, Group::Load], |scene| {
        const REQUESTS: usize = 6;
        let json = "location / { return 200 '{\"got\": \"$http_traceparent\"}'; }";
        let server = scene.workloads.spawn(&Nginx::new().directive(json))?;
        let front = Gunicorn {
            workers: 1,
            ..Gunicorn::sync("front")
        };
        let front = scene.workloads.spawn(&front)?;
        let ports = [server.address().port(), front.address().port()];
        let Some(weft) = injecting(scene, "always", &ports, "")? else {
            return Ok(());
        };
        let trace = |number: usize| format!("{:032x}", 0xabc0_0000 + number);
        let mut said = Vec::new();
        for number in 0..REQUESTS {
            let path = format!("/hop/{}?via={}", scene.id(number), server.url());
            let context = format!("traceparent: 00-{}-{PARENT}-01", trace(number));
            let answer = scene.curl(&["-H", &context, &format!("{}{path}", front.url())])?;
            said.push(answer.split_whitespace().collect::<String>());
            std::thread::sleep(Duration::from_millis(200));
        }
        let pids = front.pids();
        let spans = scene.finish(weft)?;
        for (number, said) in said.iter().enumerate() {
            let found = spans.at(&format!("/hop/{}", scene.id(number)));
            let at_front = found.of(&pids);
            let (outer, call) = (at_front.servers(), at_front.clients());
            let (outer, call) = (outer.one()?, call.one()?);
            ensure!(
                call.is_child_of(outer) && call.link() == "thread",
                "not linked:\n{found}"
            );
            ensure!(call.trace_id == trace(number), "another trace:\n{found}");
            let header = format!("\"got\":\"00-{}-{}-01\"", call.trace_id, call.span_id);
            // The first shows how the worker works and where its requests go.
            let expected = if number == 0 { "\"got\":\"\"" } else { &header };
            ensure!(said.contains(expected), "{said} of\n{found}");
        }
        Ok(())
    })
}

/// Left to itself, weft writes to other nodes alone.
#[test]
fn a_header_only_to_where_no_other_end_is_seen() -> Result<()> {
    on_scene(&[Group::Web, Group::Python], |scene| {
        let pair = Pair::make(&scene.tag, "10.79.0")?;
        let listen = |space: &str, port: u16| -> Result<_> {
            let mut nginx = Nginx::new().directive(ECHO);
            nginx.listen = Some(Listen::Tcp(format!("10.79.0.2:{port}").parse()?));
            scene.workloads.spawn_in(space, &nginx)
        };
        let (seen, unseen) = (listen(&pair.server, 8101)?, listen(&pair.server, 8102)?);
        let excluded: Vec<String> = unseen.pids().iter().map(ToString::to_string).collect();
        let more = format!("  exclude_pids: [{}]\n", excluded.join(", "));
        let Some(weft) = injecting(scene, "auto", &[8101, 8102], &more)? else {
            return Ok(());
        };
        for (server, written) in [(&seen, false), (&unseen, true)] {
            let url = format!("{}/{}", server.url(), scene.id(written));
            let mut client = programs::python(&scene.workloads, CLIENT);
            client.args(["single", &url, &url]);
            let output = Pair::within(&pair.client, &client).output()?;
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let second = said.lines().nth(1).unwrap_or("-");
            ensure!(
                second.starts_with("00-") == written,
                "{said:?} of {url}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        weft.stop().map(drop)
    })
}

/// weft that looks at these ports only, and writes; `None`: it cannot here, and that was said.
fn injecting(scene: &Scene, inject: &str, ports: &[u16], more: &str) -> Result<Option<Weft>> {
    let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
    let configuration = format!(
        "propagation:\n  inject: {inject}\nselection:\n  ports: [{}]\n{more}",
        ports.join(", ")
    );
    let (weft, _) = with_metrics(scene, &configuration)?;
    if weft.errors().contains("off: writing traceparent") {
        skip("this kernel does not let headers be written")?;
        return Ok(None);
    }
    Ok(Some(weft))
}
