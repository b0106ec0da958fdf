//! Plaintext of TLS libraries: the same spans as without encryption, each on the connection that carried it.

mod harm;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use weft_e2e::figures::with_metrics;
use weft_e2e::{Span, Spans, WeftCommand, on_scene};
use weft_workloads::programs::{Envoy, Load, Nginx, Tls, curl};
use weft_workloads::{Group, Running};

/// Whether the connections are there when weft comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attach {
    Early,
    Late,
}

#[test]
fn nginx_and_curl() -> Result<()> {
    on_scene(&[Group::Web, Group::Load], |scene| {
        let server = scene.workloads.spawn(
            &Nginx::new()
                .tls()?
                .directive("location /ok { return 200 ok; }"),
        )?;
        let weft = scene.weft()?.start()?;
        let paths = [("200", scene.id("200")), ("404", scene.id("404"))].map(|(status, id)| {
            let directory = if status == "200" { "ok" } else { "missing" };
            (status, format!("/{directory}/{id}"))
        });
        for (_, path) in &paths {
            scene.curl(&[
                "--insecure",
                "--http1.1",
                &format!("{}{path}", https(&server)),
            ])?;
        }
        let spans = scene.finish(weft)?;
        spans.count(4)?;
        for (status, path) in &paths {
            let at = spans.at(path);
            let (inner, outer) = (at.servers(), at.clients());
            let (inner, outer) = (inner.one()?, outer.one()?);
            linked(inner, outer, &server)?;
            for span in [inner, outer] {
                span.check(&[
                    ("http.response.status_code", status),
                    ("network.peer.address", "127.0.0.1"),
                ])?;
            }
            ensure!(
                outer.service() == "curl" && inner.service() == "nginx",
                "{at}"
            );
        }
        Ok(())
    })
}

fn https(server: &Running) -> String {
    format!("https://{}", server.listen().text())
}

/// Both ends of one request over TLS, with all that is known of one without.
fn linked(inner: &Span, outer: &Span, server: &Running) -> Result<()> {
    let port = server.listen().port().to_string();
    inner.check(&[
        ("url.scheme", "https"),
        ("weft.link", "wire-position"),
        ("weft.partial", ""),
        ("server.port", &port),
    ])?;
    outer.check(&[
        ("weft.partial", ""),
        ("server.port", &port),
        ("network.peer.port", &port),
    ])?;
    ensure!(outer.get("url.full").starts_with("https://"), "{outer}");
    ensure!(inner.is_child_of(outer), "not linked:\n{inner}\n{outer}");
    ensure!(
        outer.start_ns <= inner.start_ns && inner.start_ns <= outer.end_ns,
        "not at one time:\n{inner}\n{outer}"
    );
    Ok(())
}

#[test]
fn python_threads() -> Result<()> {
    pair(Tls::PythonThreads, Attach::Early)?;
    pair(Tls::PythonThreads, Attach::Late)
}

#[test]
fn python_asyncio() -> Result<()> {
    pair(Tls::PythonEvents, Attach::Early)?;
    pair(Tls::PythonEvents, Attach::Late)
}

#[test]
fn node() -> Result<()> {
    pair(Tls::Node, Attach::Early)?;
    pair(Tls::Node, Attach::Late)
}

#[test]
fn node_with_openssl_1_1() -> Result<()> {
    pair(Tls::Node14, Attach::Early)?;
    pair(Tls::Node14, Attach::Late)
}

#[test]
fn bun_with_stripped_boringssl() -> Result<()> {
    pair(Tls::Bun, Attach::Early)?;
    pair(Tls::Bun, Attach::Late)
}

#[test]
fn deno_with_stripped_rustls() -> Result<()> {
    pair(Tls::Deno, Attach::Early)?;
    pair(Tls::Deno, Attach::Late)
}

#[test]
fn a_wheel_with_an_openssl_of_its_own() -> Result<()> {
    pair(Tls::PyCurl, Attach::Early)?;
    pair(Tls::PyCurl, Attach::Late)
}

#[test]
fn go_without_symbol_table() -> Result<()> {
    pair(Tls::Go, Attach::Early)?;
    pair(Tls::Go, Attach::Late)
}

/// A server and a client of one kind; the client puts the port of its own end into every path.
fn pair(kind: Tls, attach: Attach) -> Result<()> {
    const LOAD: Load = Load {
        connections: 64,
        requests: 20,
    };
    on_scene(kind.groups(), |scene| {
        let server = scene.workloads.spawn(&kind)?;
        let mut weft = None;
        if attach == Attach::Early {
            weft = Some(scene.weft()?.start()?);
        }
        let mut client = kind
            .client(&scene.workloads, server.listen(), &scene.tag, LOAD)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut output = client.stdout.take().context("no output")?;
        let ports = weft_e2e::raw::read_until(&mut output, "\n")?;
        let weft = match weft {
            Some(weft) => weft,
            None => scene.weft()?.start()?,
        };
        let (client_pid, server_pids) = (client.id(), server.pids());
        drop(client.stdin.take());
        ensure!(client.wait()?.success(), "the client failed");
        let spans = scene.finish(weft)?;
        let requests: Vec<Request> = ports
            .split_whitespace()
            .flat_map(|port| (0..LOAD.requests).map(move |number| (port, number)))
            .map(|(port, number)| Request {
                port: kind.knows_ports().then(|| port.to_owned()),
                number,
                path: format!("/{}/{port}/{number}", scene.tag),
            })
            .collect();
        ensure!(
            requests.len() == LOAD.connections * LOAD.requests,
            "the client said {ports}"
        );
        let (inner, outer) = (
            spans.of(&server_pids).servers(),
            spans.of(&[client_pid]).clients(),
        );
        ensure!(
            inner.len() + outer.len() == spans.len(),
            "spans of others:\n{spans}"
        );
        placed(&spans, &server, &requests, attach)
    })
}

/// The requests of one client: the port of its end of the connection, where it is known, and the place among that connection's
/// requests.
struct Request {
    port: Option<String>,
    number: usize,
    path: String,
}

/// Each request once at both ends, linked, and on the connection that carried it. What was being read while weft came may be missing
/// or without its peer: the first request of a connection, and one in a thousand after it.
fn placed(spans: &Spans, server: &Running, requests: &[Request], attach: Attach) -> Result<()> {
    let mut by_path = BTreeMap::<&str, Vec<Span>>::new();
    for span in &spans.0 {
        by_path.entry(span.path()).or_default().push(span.clone());
    }
    let mut missing = Vec::new();
    for Request { port, number, path } in requests {
        let at = Spans(by_path.remove(path.as_str()).unwrap_or_default());
        let (inner, outer) = (at.servers(), at.clients());
        ensure!(inner.len() <= 1 && outer.len() <= 1, "twice:\n{at}");
        for inner in inner.0.iter().filter(|span| span.has("network.peer.port")) {
            if let Some(port) = port {
                inner.check(&[("network.peer.port", port)])?;
            }
        }
        let first = attach == Attach::Late && *number == 0;
        match (inner.0.as_slice(), outer.0.as_slice()) {
            _ if first => {}
            ([inner], [outer]) => linked(inner, outer, server)?,
            _ => missing.push(format!("{path}:\n{at}")),
        }
    }
    ensure!(by_path.is_empty(), "of requests nobody made: {by_path:?}");
    let may_miss = if attach == Attach::Late {
        requests.len() / 1000
    } else {
        0
    };
    ensure!(
        missing.len() <= may_miss,
        "{attach:?}: an end is missing of {missing:?}"
    );
    Ok(())
}

#[test]
fn envoy_with_stripped_boringssl() -> Result<()> {
    through_envoy(Attach::Early)?;
    through_envoy(Attach::Late)
}

/// TLS to Envoy, and from Envoy to nginx: both ends of both hops, each once and linked.
fn through_envoy(attach: Attach) -> Result<()> {
    const LOAD: Load = Load {
        connections: 16,
        requests: 10,
    };
    on_scene(&[Group::Web, Group::Python, Group::Pypi], |scene| {
        let nginx = Nginx::new().tls()?;
        let server = scene
            .workloads
            .spawn(&nginx.directive("location / { return 200 'ok\n'; }"))?;
        let envoy = scene.workloads.spawn(&Envoy::before(server.listen()))?;
        let mut weft = None;
        if attach == Attach::Early {
            weft = Some(scene.weft()?.start()?);
        }
        let mut client = Tls::PythonThreads
            .client(&scene.workloads, envoy.listen(), &scene.tag, LOAD)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut output = client.stdout.take().context("no output")?;
        let ports = weft_e2e::raw::read_until(&mut output, "\n")?;
        let weft = match weft {
            Some(weft) => weft,
            None => scene.weft()?.start()?,
        };
        drop(client.stdin.take());
        ensure!(client.wait()?.success(), "the client failed");
        let spans = scene.finish(weft)?;
        for port in ports.split_whitespace() {
            for number in 0..LOAD.requests {
                let at = spans.at(&format!("/{}/{port}/{number}", scene.tag));
                if attach == Attach::Late && number == 0 {
                    continue;
                }
                let (servers, clients) = (at.servers(), at.clients());
                let of = |spans: &Spans, name: &str| -> Result<Span> {
                    let spans = spans.filter(|span| span.service() == name);
                    Ok(spans.one()?.clone())
                };
                linked(&of(&servers, "envoy")?, &of(&clients, "client")?, &envoy)?;
                let (inner, outer) = (of(&servers, "nginx")?, of(&clients, "envoy")?);
                ensure!(inner.is_child_of(&outer), "not linked:\n{at}");
                let read = of(&servers, "envoy")?;
                ensure!(
                    outer.is_child_of(&read) && outer.link() == "forwarded",
                    "not passed on:\n{at}"
                );
                ensure!(at.len() == 4, "{at}");
            }
        }
        Ok(())
    })
}

#[test]
fn clients_of_several_languages() -> Result<()> {
    const PHP: &str = r#"$c = stream_context_create(["ssl" => ["verify_peer" => false, "verify_peer_name" => false]]);
        file_get_contents($argv[1], false, $c);"#;
    const RUBY: &str = r#"uri = URI(ARGV[0])
        Net::HTTP.start(uri.host, uri.port, use_ssl: true, verify_mode: OpenSSL::SSL::VERIFY_NONE) { |h| h.get(uri.path) }"#;
    // The name of the span's service, and the command.
    const CLIENTS: [(&str, &[&str]); 3] = [
        // GnuTLS.
        (
            "wget",
            &["/usr/bin/wget", "-q", "--no-check-certificate", "-O", "-"],
        ),
        ("php", &["/usr/bin/php.default", "-r", PHP]),
        ("ruby", &["/usr/bin/ruby", "-rnet/http", "-e", RUBY]),
    ];
    on_scene(
        &[Group::Web, Group::Load, Group::Php, Group::Ruby],
        |scene| {
            let server = scene.workloads.spawn(
                &Nginx::new()
                    .tls()?
                    .directive("location / { return 200 ok; }"),
            )?;
            let weft = scene.weft()?.start()?;
            let run = |client: &str, command: &[&str], path: &str| -> Result<()> {
                let status = scene
                    .workloads
                    .command(command[0])
                    .args(&command[1..])
                    .arg(format!("{}{path}", https(&server)))
                    .stdout(Stdio::null())
                    .status()?;
                ensure!(status.success(), "{client}: {status}");
                Ok(())
            };
            for (client, command) in CLIENTS {
                // A library that nobody used before is found while its first connection already speaks.
                run(client, command, "/first")?;
                run(client, command, &format!("/{}/{client}", scene.tag))?;
            }
            let spans = scene.finish(weft)?;
            for (client, _) in CLIENTS {
                let at = spans.at(&format!("/{}/{client}", scene.tag));
                let (inner, outer) = (at.servers(), at.clients());
                let outer = outer.one()?;
                linked(inner.one()?, outer, &server)?;
                ensure!(outer.service().starts_with(client), "{outer}");
            }
            Ok(())
        },
    )
}

#[test]
fn nothing_changes_for_the_programs() -> Result<()> {
    const BYTES: usize = 64 << 20;
    on_scene(&[Group::Web, Group::Load], |scene| {
        let body: Vec<u8> = (0..BYTES as u32 / 4).flat_map(u32::to_le_bytes).collect();
        let server = scene
            .workloads
            .spawn(&Nginx::new().tls()?.file("large", body.clone()))?;
        let mut download = curl(&scene.workloads)
            .args(["--insecure", "--http1.1", "--limit-rate", "16M"])
            .arg(format!("{}/large", https(&server)))
            .stdout(Stdio::piped())
            .spawn()?;
        let mut output = download.stdout.take().context("no output")?;
        let reader = std::thread::spawn(move || {
            let mut received = Vec::with_capacity(BYTES);
            std::io::Read::read_to_end(&mut output, &mut received).map(|_| received)
        });
        for round in 0..4 {
            let weft = scene.weft()?.start()?;
            std::thread::sleep(std::time::Duration::from_millis(300));
            if round % 2 == 0 {
                weft.kill()?;
            } else {
                weft.stop()?;
            }
        }
        let status = download.wait()?;
        let received = reader.join().ok().context("the reader panicked")??;
        ensure!(status.success(), "curl: {status}");
        ensure!(received == body, "{} bytes, or others", received.len());
        Ok(())
    })
}

#[test]
fn wrk_counts_as_weft_counts() -> Result<()> {
    const CONNECTIONS: usize = 16;
    on_scene(&[Group::Web, Group::Load], |scene| {
        let server = scene.workloads.spawn(
            &Nginx::new()
                .tls()?
                .directive("location / { return 200 ok; }"),
        )?;
        let (weft, metrics) = with_metrics(scene, "batch:\n  queue_bytes: 256MiB\n")?;
        // A library that nobody used before is found while its first connection already speaks.
        scene.curl(&["--insecure", &https(&server)])?;
        let url = format!("{}/{}", https(&server), scene.tag);
        let requests = scene.wrk(CONNECTIONS, &url)?;
        metrics.balanced()?;
        let spans = scene.finish(weft)?;
        let servers = spans.servers();
        ensure!(
            (requests..=requests + CONNECTIONS).contains(&servers.len()),
            "{} server spans of {requests} requests",
            servers.len()
        );
        let clients: BTreeSet<_> = spans
            .clients()
            .0
            .into_iter()
            .map(|span| span.span_id)
            .collect();
        let linked = servers.filter(|span| {
            span.parent
                .as_ref()
                .is_some_and(|parent| clients.contains(parent))
        });
        ensure!(
            linked.len() + CONNECTIONS >= servers.len(),
            "{} of {} server spans are linked",
            linked.len(),
            servers.len()
        );
        Ok(())
    })
}

#[test]
fn libraries_of_programs_that_are_not_selected_are_left_alone() -> Result<()> {
    on_scene(&[Group::Web, Group::Load], |scene| {
        let server = scene.workloads.spawn(
            &Nginx::new()
                .tls()?
                .directive("location / { return 200 ok; }"),
        )?;
        let weft = scene.weft()?.args(["--exe", "**/nginx"]).start()?;
        // GnuTLS, where nginx has OpenSSL.
        let status = scene
            .workloads
            .command("/usr/bin/wget")
            .args(["-q", "--no-check-certificate", "-O", "-"])
            .arg(format!("{}/{}", https(&server), scene.tag))
            .stdout(Stdio::null())
            .status()?;
        ensure!(status.success(), "wget: {status}");
        let said = weft.errors();
        scene.finish(weft)?.servers().one()?;
        ensure!(
            said.contains("OpenSSL") && !said.contains("GnuTLS"),
            "{said}"
        );
        Ok(())
    })
}

#[test]
fn java_is_seen_as_encrypted_and_told_so() -> Result<()> {
    on_scene(&[Group::Java, Group::Load], |scene| {
        let server = scene.workloads.spawn(&Tls::Java)?;
        let weft = scene.weft()?.start()?;
        let url = format!("{}/{}", https(&server), scene.tag);
        scene.curl(&["--insecure", "--http1.1", &url])?;
        let pid = *server.pids().first().context("no process")?;
        let said = WeftCommand::new(["why", &pid.to_string()])?.output()?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        ensure!(said.contains("JSSE"), "weft why: {said}");
        let spans = scene.finish(weft)?;
        // curl's own library is read.
        spans.clients().one()?;
        ensure!(spans.servers().is_empty(), "{spans}");
        Ok(())
    })
}
