//! When things go wrong, the traced programs do not notice and every loss is counted.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use weft_e2e::figures::{equal, with_metrics};
use weft_e2e::raw::{Client, Server};
use weft_e2e::{Behaviour, Scene, Sink, WeftCommand, on_scene};
use weft_workloads::Group;
use weft_workloads::programs::{Nginx, wrk};

#[test]
fn the_receiver_comes_later() -> Result<()> {
    on_scene(&[Group::Web, Group::Load], |scene| {
        let server = scene
            .workloads
            .spawn(&Nginx::new().directive("location / { return 200 ok; }"))?;
        let absent = Sink::start()?;
        let (address, endpoint) = (absent.address(), absent.endpoint());
        drop(absent);
        let weft = WeftCommand::new(["run"])?
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
            .start()?;
        for number in 0..20 {
            scene.curl(&[&format!("{}/{}-{number}", server.url(), scene.tag)])?;
        }
        std::thread::sleep(Duration::from_secs(3));
        let sink = Sink::start_on(address)?;
        sink.wait(&scene.tag, 40, Duration::from_secs(30))?
            .count(40)?;
        weft.stop()?;
        sink.spans(&scene.tag).count(40)?;
        Ok(())
    })
}

#[test]
fn the_receiver_refuses_then_accepts() -> Result<()> {
    on_scene(&[Group::Web, Group::Load], |scene| {
        let server = scene
            .workloads
            .spawn(&Nginx::new().directive("location / { return 200 ok; }"))?;
        scene.sink.behave(Behaviour::Refuse);
        let weft = scene.weft()?.start()?;
        scene.curl(&[&format!("{}/{}", server.url(), scene.tag)])?;
        std::thread::sleep(Duration::from_secs(3));
        scene.sink.behave(Behaviour::Accept);
        scene.sink.wait(&scene.tag, 2, Duration::from_secs(30))?;
        scene.finish(weft)?.count(2)?;
        Ok(())
    })
}

#[test]
fn a_slow_receiver_costs_counted_spans_and_nothing_else() -> Result<()> {
    on_scene(&[Group::Web, Group::Load], |scene| {
        let server = scene
            .workloads
            .spawn(&Nginx::new().directive("location / { return 200 ok; }"))?;
        scene
            .sink
            .behave(Behaviour::Stall(Duration::from_millis(500)));
        let (weft, metrics) = with_metrics(scene, "batch:\n  queue_bytes: 256KiB\n")?;
        load(scene, &server.url(), 5)?;
        scene.sink.behave(Behaviour::Accept);
        let figures = metrics.balanced()?;
        let dropped = figures.sum("weft_spans_dropped_total", "otlp");
        ensure!(
            dropped > 0.0,
            "nothing was dropped: the receiver was not slow enough:\n{}",
            figures.0
        );
        let resident = resident_kilobytes(weft.pid())?;
        ensure!(resident < 200_000, "{resident} kB resident");
        weft.stop()?;
        Ok(())
    })
}

#[test]
fn a_full_ring_loses_counted_spans_and_nothing_else() -> Result<()> {
    on_scene(&[Group::Web, Group::Load], |scene| {
        let server = scene
            .workloads
            .spawn(&Nginx::new().directive("location / { return 200 ok; }"))?;
        let (weft, metrics) = with_metrics(scene, "kernel:\n  ring_bytes: 4KiB\n")?;
        load(scene, &server.url(), 4)?;
        let figures = metrics.balanced()?;
        ensure!(
            figures.kernel("calls_ring_full") > 0.0,
            "the ring was never full:\n{}",
            figures.0
        );
        let exported = figures.sum("weft_spans_exported_total", "otlp");
        equal("spans", scene.sink.received() as f64, exported)?;
        weft.stop()?;
        Ok(())
    })
}

#[test]
fn ten_thousand_short_processes() -> Result<()> {
    on_scene(&[Group::Web, Group::Load], |scene| {
        let server = scene
            .workloads
            .spawn(&Nginx::new().directive("location / { return 200 ok; }"))?;
        let mut weft = scene.weft()?.start()?;
        let before = resident_kilobytes(weft.pid())?;
        let churn = "i=0; while [ $i -lt 10000 ]; do /bin/true; i=$((i+1)); done";
        let status = std::process::Command::new("/bin/sh")
            .args(["-c", churn])
            .status()?;
        ensure!(status.success());
        let after = resident_kilobytes(weft.pid())?;
        ensure!(weft.is_running(), "weft ended:\n{}", weft.errors());
        ensure!(
            after < before + 50_000,
            "resident memory went from {before} to {after} kB"
        );
        scene.curl(&[&format!("{}/{}", server.url(), scene.tag)])?;
        scene.finish(weft)?.count(2)?;
        Ok(())
    })
}

#[test]
fn hostile_bytes() -> Result<()> {
    on_scene(&[Group::Web, Group::Load], |scene| {
        let server = scene
            .workloads
            .spawn(&Nginx::new().directive("location / { return 200 ok; }"))?;
        let mut weft = scene.weft()?.start()?;
        for round in 0..200_u64 {
            let bytes = noise(round);
            let peer = Server::start(move |stream| {
                std::io::copy(stream, &mut std::io::sink())?;
                Ok(())
            })?;
            let mut client = Client::connect(peer.address)?;
            // Begins like a request, so that it is followed, and goes on as it likes.
            let start: &[u8] = match round % 4 {
                0 => b"GET /hostile HTTP/1.1\r\nHost: h\r\n",
                1 => b"POST /hostile HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff0\r\n",
                2 => b"GET /hostile HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n\r\n",
                _ => b"GET ",
            };
            client.send(start)?.send(&bytes)?;
            drop(client);
            peer.join()?;
        }
        ensure!(weft.is_running(), "weft ended:\n{}", weft.errors());
        scene.curl(&[&format!("{}/{}", server.url(), scene.tag)])?;
        let binary = scene.finish(weft)?;
        binary.count(2)?;
        Ok(())
    })
}

/// Clients of HTTP/2 that mean harm: memory stays bounded, and every stream is a span or counted.
#[test]
fn hostile_frames() -> Result<()> {
    const MANY: u32 = 4000;
    on_scene(&[Group::Web, Group::Load], |scene| {
        let server = scene
            .workloads
            .spawn(&Nginx::new().directive("location / { return 200 ok; }"))?;
        let (mut weft, metrics) = with_metrics(scene, "")?;
        let before = resident_kilobytes(weft.pid())?;
        let get = [0x82, 0x84, 0x86, 0x41, 1, b'h'];
        let streams = || (0..MANY).map(|number| 2 * number + 1);
        let open = |stream| frame(1, 5, stream, &get);
        let many = |each: &dyn Fn(u32) -> Vec<u8>| streams().flat_map(each).collect::<Vec<u8>>();
        // An entry of the table, as long as may be, that each block names again and again.
        let entry = [&[0x40, 1, b'x', 0x7f, 0xe1, 0x1d][..], &[b'v'; 3936]].concat();
        let bomb = [&get[..], &entry, &[0xbe; 12_000]].concat();
        let attacks: [(&str, Vec<u8>); 7] = [
            (
                "resets",
                many(&|id| [open(id), frame(3, 0, id, &[0, 0, 0, 8])].concat()),
            ),
            ("streams that stay open", many(&open)),
            (
                "continuations",
                [
                    frame(1, 0, 1, &get),
                    frame(9, 0, 1, &[0; 1000]).repeat(2000),
                ]
                .concat(),
            ),
            (
                "field bombs",
                (0..50)
                    .flat_map(|id| frame(1, 5, 2 * id + 1, &bomb))
                    .collect(),
            ),
            ("padding", many(&|id| frame(1, 13, id, &[255, 0x82]))),
            (
                "tables",
                many(&|id| frame(1, 5, id, &[0x3f, 0xff, 0xff, 0xff, 0x07, 0x82])),
            ),
            (
                "settings",
                frame(4, 0, 0, &[0, 1, 255, 255, 255, 255]).repeat(20_000),
            ),
        ];
        for (name, bytes) in attacks {
            let peer = Server::start(move |stream| {
                std::io::copy(stream, &mut std::io::sink())?;
                Ok(())
            })?;
            let mut client = Client::connect(peer.address)?;
            client
                .send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?
                .send(frame(4, 0, 0, &[]))?;
            for piece in bytes.chunks(10_000) {
                client.send(piece)?;
            }
            drop(client);
            peer.join()?;
            ensure!(weft.is_running(), "{name}: weft ended:\n{}", weft.errors());
        }
        metrics.balanced()?;
        let after = resident_kilobytes(weft.pid())?;
        ensure!(
            after < before + 60_000,
            "resident memory went from {before} to {after} kB"
        );
        scene.curl(&[&format!("{}/{}", server.url(), scene.tag)])?;
        scene.finish(weft)?.count(2)?;
        Ok(())
    })
}

/// RFC 9113 §4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Bytes without meaning, the same in each run (a linear congruence).
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(4096).collect()
}

/// Many requests by wrk, none of which may fail.
fn load(scene: &Scene, url: &str, seconds: u32) -> Result<()> {
    let arguments = [
        "-t1",
        "-c16",
        &format!("-d{seconds}s"),
        &format!("{url}/{}", scene.tag),
    ];
    let output = wrk(&scene.workloads).args(arguments).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(said.contains(" requests in "), "wrk failed: {said}");
    ensure!(
        !said.contains("Socket errors") && !said.contains("Non-2xx"),
        "the clients saw errors: {said}"
    );
    Ok(())
}

fn resident_kilobytes(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
