//! What leaves weft, in each form.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use weft_e2e::{Kind, Spans, WeftCommand, on_scene};
use weft_workloads::Group;
use weft_workloads::programs::{Express, Nginx};

#[test]
fn the_first_span_is_there_within_two_seconds() -> Result<()> {
    on_scene(&[Group::Web, Group::Load], |scene| {
        let server = scene
            .workloads
            .spawn(&Nginx::new().directive("location / { return 200 ok; }"))?;
        let _weft = scene.weft()?.start()?;
        scene.curl(&[&format!("{}/{}", server.url(), scene.tag)])?;
        scene.sink.wait(&scene.tag, 2, Duration::from_secs(2))?;
        Ok(())
    })
}

#[test]
fn http_protobuf_with_headers_and_gzip() -> Result<()> {
    on_scene(&[Group::Web, Group::Load], |scene| {
        let server = scene
            .workloads
            .spawn(&Nginx::new().directive("location / { return 200 ok; }"))?;
        let weft = scene
            .weft()?
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
            .env("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=weavers")
            .env("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
            .start()?;
        scene.curl(&[&format!("{}/{}", server.url(), scene.tag)])?;
        scene.finish(weft)?.count(2)?;
        let headers = scene.sink.headers();
        ensure!(
            headers.contains(&("x-tenant".to_owned(), "weavers".to_owned())),
            "{headers:?}"
        );
        ensure!(
            headers.contains(&("content-encoding".to_owned(), "gzip".to_owned())),
            "{headers:?}"
        );
        // The receiver speaks HTTP/1 in this process, and weft's own exports are not traced.
        let exports = scene.sink.spans("/v1/traces");
        ensure!(
            exports.is_empty(),
            "weft traced its own exports:\n{exports}"
        );
        Ok(())
    })
}

#[test]
fn json_lines() -> Result<()> {
    on_scene(&[Group::Web, Group::Load], |scene| {
        let server = scene
            .workloads
            .spawn(&Nginx::new().directive("location / { return 200 ok; }"))?;
        let weft = WeftCommand::new(["run", "--output", "json"])?.start()?;
        scene.curl(&[&format!("{}/{}", server.url(), scene.tag)])?;
        std::thread::sleep(Duration::from_millis(200));
        let spans =
            Spans::of_json_lines(&weft.stop()?)?.filter(|span| span.path().contains(&scene.tag));
        ensure!(
            spans.servers().one()?.is_child_of(spans.clients().one()?),
            "not linked:\n{spans}"
        );
        Ok(())
    })
}

#[test]
fn the_tree_on_the_console() -> Result<()> {
    on_scene(&[Group::Web, Group::Load], |scene| {
        let server = scene
            .workloads
            .spawn(&Nginx::new().directive("location / { return 200 ok; }"))?;
        let weft = WeftCommand::new(["run", "--output", "console"])?.start()?;
        scene.curl(&[&format!("{}/{}", server.url(), scene.tag)])?;
        std::thread::sleep(Duration::from_secs(3));
        let text = weft.stop()?;
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| line.contains("nginx") || line.contains("curl"))
            .collect();
        let client = lines
            .iter()
            .position(|line| line.contains("curl"))
            .with_context(|| format!("no client in\n{text}"))?;
        let server = lines
            .iter()
            .position(|line| line.contains("nginx"))
            .with_context(|| format!("no server in\n{text}"))?;
        ensure!(
            client < server,
            "the parent is not above its child:\n{text}"
        );
        ensure!(!text.contains('\x1b'), "colours in a pipe:\n{text}");
        Ok(())
    })
}

#[test]
fn attributes_of_the_service_and_chosen_headers() -> Result<()> {
    on_scene(&[Group::Node, Group::Load], |scene| {
        let server = scene.workloads.spawn(&Express::new("express"))?;
        let weft = scene.weft()?.args(["--header", "x-tenant"]).start()?;
        let url = format!("{}/hop/{}?a=b", server.url(), scene.tag);
        scene.curl(&["-H", "X-Tenant: weavers", "-H", "X-Other: no", &url])?;
        let pid = server.pid();
        let spans = scene.finish(weft)?;
        let span = spans.servers();
        let span = span.one()?;
        span.check(&[
            ("http.request.header.x-tenant", "weavers"),
            ("url.query", "a=b"),
            ("url.scheme", "http"),
        ])?;
        ensure!(
            !span.has("http.request.header.x-other"),
            "a header nobody chose:\n{span}"
        );
        ensure!(span.pid() == pid, "{} and not {pid}", span.pid());
        for key in [
            "service.name",
            "service.instance.id",
            "process.executable.name",
            "host.name",
            "os.type",
            "telemetry.sdk.name",
        ] {
            ensure!(!span.resource(key).is_empty(), "the resource lacks {key}");
        }
        let full = spans.clients();
        ensure!(full.one()?.get("url.full") == url, "{full}");
        Ok(())
    })
}

#[test]
fn a_trace_context_in_the_request_is_adopted() -> Result<()> {
    on_scene(&[Group::Web, Group::Load], |scene| {
        let server = scene
            .workloads
            .spawn(&Nginx::new().directive("location / { return 200 ok; }"))?;
        let weft = scene.weft()?.start()?;
        let (trace, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        let get = |name: &str, context: &str| {
            let url = format!("{}/{}", server.url(), scene.id(name));
            scene.curl(&[
                "-H",
                &format!("traceparent: {context}"),
                "-H",
                "tracestate: vendor=value",
                &url,
            ])
        };
        get("valid", &format!("00-{trace}-{parent}-01"))?;
        get("future", &format!("cc-{trace}-{parent}-01-more"))?;
        get(
            "zero",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        )?;
        get("unsampled", &format!("00-{trace}-{parent}-00"))?;
        let spans = scene.finish(weft)?;
        for name in ["valid", "future"] {
            let found = spans.at(&format!("/{}", scene.id(name)));
            let server = found.filter(|span| span.kind == Kind::Server);
            let server = server.one()?;
            ensure!(server.trace_id == trace, "not adopted:\n{found}");
            ensure!(
                server.trace_state == "vendor=value",
                "tracestate was lost:\n{server}"
            );
        }
        let zero = spans.at(&format!("/{}", scene.id("zero"))).servers();
        ensure!(
            zero.one()?.trace_id != trace && zero.one()?.link() != "traceparent",
            "an invalid context was taken:\n{zero}"
        );
        let unsampled = spans.at(&format!("/{}", scene.id("unsampled"))).servers();
        ensure!(
            unsampled.is_empty(),
            "the sampled flag was not respected:\n{unsampled}"
        );
        Ok(())
    })
}
