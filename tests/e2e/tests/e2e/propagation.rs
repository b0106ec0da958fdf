//! Trace contexts that programs write themselves, in every format, and programs under the OpenTelemetry SDK between
//! others that know nothing of it.

use anyhow::{Result, bail, ensure};
use weft_e2e::on_scene;
use weft_workloads::Group;
use weft_workloads::programs::{Go, Nginx, instrumented_python};

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
    let groups = [Group::Web, Group::Go, Group::Python, Group::OpenTelemetry];
    on_scene(&groups, |scene| {
        const REQUESTS: usize = 5;
        let server = scene.workloads.spawn(&Go::new("go"))?;
        let proxy = Nginx::new().proxy("/", &server.url());
        let proxy = scene.workloads.spawn(&proxy)?;
        let weft = scene.weft()?.start()?;
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
