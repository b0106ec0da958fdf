//! The forms of HTTP/1 on the wire, byte for byte as the test wants them.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Result, ensure};
use weft_e2e::raw::{Client, Server, read_until};
use weft_e2e::{Scene, Spans, on_scene};
use weft_workloads::programs::{Go, Nginx};
use weft_workloads::{Group, Running};

#[test]
fn pipelined_requests() -> Result<()> {
    with_go(|scene, server| {
        let mut all = String::new();
        for number in 0..20 {
            all.push_str(&format!(
                "GET /hop/{}-{number} HTTP/1.1\r\nHost: pipeline\r\n\r\n",
                scene.tag
            ));
        }
        all.push_str(&format!(
            "GET /hop/{}-last HTTP/1.1\r\nHost: pipeline\r\nConnection: close\r\n\r\n",
            scene.tag
        ));
        Client::connect(server.address())?
            .send(all)?
            .read_to_end()?;
        Ok(Box::new(|spans| {
            spans.servers().count(21)?;
            spans.clients().count(21)?;
            for client in &spans.clients().0 {
                let server = spans.servers().at(client.path());
                ensure!(server.one()?.is_child_of(client), "not linked:\n{spans}");
            }
            Ok(())
        }))
    })
}

#[test]
fn a_request_byte_by_byte() -> Result<()> {
    with_go(|scene, server| {
        let request = format!(
            "GET /hop/{} HTTP/1.1\r\nHost: slow\r\nUser-Agent: byte-by-byte\r\nConnection: close\r\n\r\n",
            scene.tag
        );
        let mut client = Client::connect(server.address())?;
        client
            .send_slowly(request.as_bytes().chunks(1))?
            .read_to_end()?;
        Ok(Box::new(|spans| {
            let server = spans.servers();
            let server = server
                .one()?
                .check(&[
                    ("http.response.status_code", "200"),
                    ("user_agent.original", "byte-by-byte"),
                ])?
                .clone();
            ensure!(
                server.is_child_of(spans.clients().one()?),
                "not linked:\n{spans}"
            );
            Ok(())
        }))
    })
}

#[test]
fn a_head_of_many_kilobytes() -> Result<()> {
    with_go(|scene, server| {
        let mut request = format!("GET /hop/{} HTTP/1.1\r\nHost: large\r\n", scene.tag);
        for number in 0..48 {
            request.push_str(&format!("X-Padding-{number}: {}\r\n", "p".repeat(1000)));
        }
        request.push_str("User-Agent: at-the-end\r\nConnection: close\r\n\r\n");
        let mut client = Client::connect(server.address())?;
        client
            .send_slowly(request.as_bytes().chunks(7000))?
            .read_to_end()?;
        Ok(Box::new(|spans| {
            spans
                .servers()
                .one()?
                .check(&[("http.response.status_code", "200")])?;
            spans.clients().one()?;
            Ok(())
        }))
    })
}

#[test]
fn an_upgraded_connection_is_left_alone() -> Result<()> {
    on_scene(&[], |scene| {
        let server = Server::start(|stream| {
            read_until(stream, "\r\n\r\n")?;
            stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")?;
            for _ in 0..50 {
                // Frames whose payload would pass for requests.
                read_until(stream, "frame HTTP/1.1\r\n\r\n")?;
                stream.write_all(b"\x81\x26HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
            }
            Ok(())
        })?;
        let weft = scene.weft()?.start()?;
        let mut client = Client::connect(server.address)?;
        let path = format!("/{}", scene.tag);
        client.send(format!(
            "GET {path} HTTP/1.1\r\nHost: ws\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        ))?;
        client.read_until("\r\n\r\n")?;
        for number in 0..50 {
            client
                .send(format!(
                    "GET /{}-{number}-frame HTTP/1.1\r\n\r\n",
                    scene.tag
                ))?
                .read_until("\r\n\r\n")?;
        }
        drop(client);
        server.join()?;
        let spans = scene.finish(weft)?;
        spans.count(2)?;
        spans
            .at(&path)
            .servers()
            .one()?
            .check(&[("http.response.status_code", "101")])?;
        Ok(())
    })
}

#[test]
fn a_server_that_hangs_up() -> Result<()> {
    on_scene(&[], |scene| {
        let server = Server::start(|stream| read_until(stream, "\r\n\r\n").map(drop))?;
        let weft = scene.weft()?.start()?;
        let path = format!("/{}", scene.tag);
        let answer = Client::connect(server.address)?
            .send(format!("GET {path} HTTP/1.1\r\nHost: gone\r\n\r\n"))?
            .read_to_end()?;
        ensure!(answer.is_empty());
        server.join()?;
        let spans = scene.finish(weft)?;
        spans.count(2)?;
        for span in &spans.0 {
            ensure!(
                span.is_error && span.has("error.type") && span.status().is_empty(),
                "not an error:\n{span}"
            );
        }
        Ok(())
    })
}

#[test]
fn an_answer_before_the_whole_request() -> Result<()> {
    on_scene(&[Group::Web], |scene| {
        let server = scene
            .workloads
            .spawn(&Nginx::new().directive("location / { return 413; }"))?;
        let weft = scene.weft()?.start()?;
        let path = format!("/{}", scene.tag);
        let mut client = Client::connect(server.address())?;
        client.send(format!(
            "POST {path} HTTP/1.1\r\nHost: early\r\nContent-Length: 1000000\r\n\r\nfirst"
        ))?;
        ensure!(client.read_until("</html>\r\n")?.contains(" 413 "));
        drop(client);
        let spans = scene.finish(weft)?;
        spans
            .servers()
            .one()?
            .check(&[("http.response.status_code", "413")])?;
        spans
            .clients()
            .one()?
            .check(&[("http.response.status_code", "413"), ("error.type", "413")])?;
        Ok(())
    })
}

#[test]
fn many_methods_and_targets() -> Result<()> {
    on_scene(&[Group::Web], |scene| {
        let server = scene
            .workloads
            .spawn(&Nginx::new().directive("location / { return 200 ok; }"))?;
        let weft = scene.weft()?.start()?;
        let mut client = Client::connect(server.address())?;
        let methods = [
            "GET", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "BREW",
        ];
        for method in methods {
            client
                .send(format!(
                    "{method} /{}-{method}?q=1 HTTP/1.1\r\nHost: m\r\n\r\n",
                    scene.tag
                ))?
                .read_until("\r\n\r\nok")?;
        }
        client
            .send(format!(
                "GET http://absolute.example/{}-absolute HTTP/1.1\r\nHost: m\r\n\r\n",
                scene.tag
            ))?
            .read_until("ok")?;
        let spans = scene.finish(weft)?;
        for method in methods {
            let span = spans.at(&format!("/{}-{method}", scene.tag)).servers();
            let known = !matches!(method, "PROPFIND" | "BREW");
            let expected = [
                ("http.request.method", if known { method } else { "_OTHER" }),
                (
                    "http.request.method_original",
                    if known { "" } else { method },
                ),
                ("url.query", "q=1"),
            ];
            span.one()?.check(&expected)?;
            ensure!(
                !span.one()?.name.contains(&scene.tag),
                "the raw path stands in the name:\n{span}"
            );
        }
        spans
            .at(&format!("/{}-absolute", scene.tag))
            .servers()
            .one()?;
        Ok(())
    })
}

pub(crate) type Check = Box<dyn FnOnce(&Spans) -> Result<()>>;

/// Against the Go server, weft started after it.
pub(crate) fn with_go(converse: impl FnOnce(&Scene, &Running) -> Result<Check>) -> Result<()> {
    on_scene(&[Group::Go, Group::Load], |scene| {
        let server = scene.workloads.spawn(&Go::new("go"))?;
        let weft = scene.weft()?.start()?;
        let check = converse(scene, &server)?;
        std::thread::sleep(Duration::from_millis(50));
        check(&scene.finish(weft)?)
    })
}
