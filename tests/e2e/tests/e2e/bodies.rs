//! Message bodies: framed in every way, large, absent.

use anyhow::{Result, ensure};
use weft_e2e::on_scene;
use weft_e2e::raw::Client;
use weft_workloads::Group;
use weft_workloads::programs::{Apache, Nginx};

use crate::wire::with_go;

#[test]
fn large_bodies_both_ways() -> Result<()> {
    with_go(|scene, server| {
        const SIZE: usize = 64 << 20;
        let down = format!("{}/body/{SIZE}/{}", server.url(), scene.id("down"));
        ensure!(
            scene.curl(&[&down, "-o", "/dev/null", "-w", "%{size_download}"])? == SIZE.to_string()
        );
        let mut client = Client::connect(server.address())?;
        let path = format!("/upload/{}", scene.id("up"));
        client.send(format!(
            "POST {path} HTTP/1.1\r\nHost: up\r\nContent-Length: {SIZE}\r\n\r\n"
        ))?;
        let piece = vec![b'u'; 1 << 20];
        for _ in 0..SIZE >> 20 {
            client.send(&piece)?;
        }
        ensure!(client.read_until("}")?.contains(&SIZE.to_string()));
        // The connection goes on behind the body.
        let after = format!("/hop/{}", scene.id("after"));
        client
            .send(format!("GET {after} HTTP/1.1\r\nHost: up\r\n\r\n"))?
            .read_until("}")?;
        Ok(Box::new(move |spans| {
            let size = SIZE.to_string();
            let downloads = spans.filter(|span| span.path().starts_with("/body/"));
            for span in &downloads.count(2)?.0 {
                span.check(&[
                    ("http.response.body.size", &size),
                    ("http.response.status_code", "200"),
                ])?;
            }
            for span in &spans.at(&path).count(2)?.0 {
                span.check(&[
                    ("http.request.body.size", &size),
                    ("http.request.method", "POST"),
                ])?;
            }
            spans.at(&after).count(2)?;
            Ok(())
        }))
    })
}

/// One call of the client's, and one of the server's, moves the end of a long body and the next request.
#[test]
fn a_request_behind_a_large_body() -> Result<()> {
    with_go(|scene, server| {
        const SIZE: usize = 8 << 20;
        let path = format!("/upload/{}", scene.id("up"));
        let after = format!("/hop/{}", scene.id("after"));
        let mut client = Client::connect(server.address())?;
        client.send(format!(
            "POST {path} HTTP/1.1\r\nHost: up\r\nContent-Length: {SIZE}\r\n\r\n"
        ))?;
        let mut piece = vec![b'u'; 1 << 20];
        for _ in 1..SIZE >> 20 {
            client.send(&piece)?;
        }
        piece.extend(format!("GET {after} HTTP/1.1\r\nHost: up\r\n\r\n").bytes());
        client.send(&piece)?.read_until("}")?;
        client.read_until("}")?;
        Ok(Box::new(move |spans| {
            spans.at(&path).count(2)?;
            let after = spans.at(&after);
            after.count(2)?;
            after.servers().one()?.check(&[("weft.partial", "")])?;
            Ok(())
        }))
    })
}

#[test]
fn chunks_with_extensions_and_trailers() -> Result<()> {
    with_go(|scene, server| {
        let path = format!("/upload/{}", scene.tag);
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: chunks\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
             5;name=value\r\nhello\r\nA\r\n0123456789\r\n0\r\nX-Sum: 15\r\n\r\n"
        );
        let after = format!("/hop/{}-after", scene.tag);
        let mut client = Client::connect(server.address())?;
        ensure!(
            client
                .send(request)?
                .read_until("}")?
                .contains("\"received\":15")
        );
        client
            .send(format!("GET {after} HTTP/1.1\r\nHost: chunks\r\n\r\n"))?
            .read_until("}")?;
        Ok(Box::new(move |spans| {
            spans
                .at(&path)
                .servers()
                .one()?
                .check(&[("http.request.body.size", "15"), ("weft.partial", "")])?;
            spans.at(&after).servers().one()?;
            Ok(())
        }))
    })
}

#[test]
fn expect_100_continue() -> Result<()> {
    with_go(|scene, server| {
        let path = format!("/upload/{}", scene.tag);
        let mut client = Client::connect(server.address())?;
        client.send(format!("POST {path} HTTP/1.1\r\nHost: wait\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"))?;
        ensure!(client.read_until("\r\n\r\n")?.contains(" 100 "));
        client.send("data")?.read_until("}")?;
        Ok(Box::new(move |spans| {
            spans.count(2)?;
            for span in &spans.0 {
                span.check(&[
                    ("http.response.status_code", "200"),
                    ("http.request.body.size", "4"),
                ])?;
            }
            Ok(())
        }))
    })
}

#[test]
fn head_and_not_modified_have_no_body() -> Result<()> {
    on_scene(&[Group::Web, Group::Load], |scene| {
        let server = scene.workloads.spawn(
            &Nginx::new().directive("etag on; location / { try_files /index.html =404; }"),
        )?;
        let tag = scene.curl(&["-o", "/dev/null", "-w", "%header{etag}", &server.url()])?;
        let weft = scene.weft()?.start()?;
        let mut client = Client::connect(server.address())?;
        let path = |name: &str| format!("/{}", scene.id(name));
        client
            .send(format!("HEAD {} HTTP/1.1\r\nHost: h\r\n\r\n", path("head")))?
            .read_until("\r\n\r\n")?;
        client.send(format!(
            "GET {} HTTP/1.1\r\nHost: h\r\nIf-None-Match: {tag}\r\n\r\n",
            path("same")
        ))?;
        ensure!(client.read_until("\r\n\r\n")?.contains(" 304 "));
        client
            .send(format!("GET {} HTTP/1.1\r\nHost: h\r\n\r\n", path("page")))?
            .read_until("</p>\n")?;
        let spans = scene.finish(weft)?;
        let server = |name: &str| spans.at(&path(name)).servers();
        server("head").one()?.check(&[
            ("http.request.method", "HEAD"),
            ("http.response.status_code", "200"),
            ("weft.partial", ""),
        ])?;
        server("same")
            .one()?
            .check(&[("http.response.status_code", "304"), ("weft.partial", "")])?;
        server("page").one()?.check(&[
            ("http.response.status_code", "200"),
            ("http.response.body.size", "17"),
        ])?;
        spans.count(6)?;
        Ok(())
    })
}

#[test]
fn http_1_0_until_the_end_of_the_connection() -> Result<()> {
    on_scene(&[Group::Php], |scene| {
        let server = scene.workloads.spawn(&Apache::default())?;
        let weft = scene.weft()?.start()?;
        let path = format!("/chunked/5000/{}", scene.tag);
        let answer = Client::connect(server.address())?
            .send(format!("GET {path} HTTP/1.0\r\n\r\n"))?
            .read_to_end()?;
        ensure!(answer.ends_with(b"xxxx"));
        let spans = scene.finish(weft)?;
        spans.servers().one()?.check(&[
            ("network.protocol.version", "1.0"),
            ("http.response.status_code", "200"),
            ("http.response.body.size", "5000"),
        ])?;
        spans.clients().one()?;
        Ok(())
    })
}
