//! IPv6, unix sockets and network name spaces.

use anyhow::{Result, ensure};
use weft_e2e::network::Pair;
use weft_e2e::{Spans, on_scene};
use weft_workloads::programs::{Go, Gunicorn, Nginx, curl};
use weft_workloads::{Group, Listen};

#[test]
fn ipv6() -> Result<()> {
    on_scene(&[Group::Web, Group::Load], |scene| {
        let listen = Listen::on("::1".parse()?)?;
        let server = scene.workloads.spawn(
            &Nginx::new()
                .listen(listen)
                .directive("location / { return 200 ok; }"),
        )?;
        let weft = scene.weft()?.start()?;
        for number in 0..5 {
            scene.curl(&[&format!("{}/{}-{number}", server.url(), scene.tag)])?;
        }
        let spans = scene.finish(weft)?;
        linked_pairs(&spans, 5)?;
        spans.servers().0[0].check(&[("network.peer.address", "::1")])?;
        Ok(())
    })
}

#[test]
fn unix_sockets() -> Result<()> {
    on_scene(&[Group::Python, Group::Load], |scene| {
        let socket = format!("/scratch/{}.sock", scene.tag);
        let mut gunicorn = Gunicorn::sync("unix");
        gunicorn.listen = Some(Listen::Unix(socket.clone().into()));
        let _server = scene.workloads.spawn(&gunicorn)?;
        let weft = scene.weft()?.start()?;
        for number in 0..5 {
            scene.curl(&[
                "--unix-socket",
                &socket,
                &format!("http://localhost/hop/{}-{number}", scene.tag),
            ])?;
        }
        let spans = scene.finish(weft)?;
        std::fs::remove_file(scene.workloads.root().join(socket.trim_start_matches('/'))).ok();
        linked_pairs(&spans, 5)
    })
}

/// Two pairs of name spaces with the same addresses: the links must not cross over.
#[test]
fn name_spaces_with_the_same_addresses() -> Result<()> {
    on_scene(&[Group::Go, Group::Load], |scene| {
        let listen = Listen::Tcp("10.77.0.2:8080".parse()?);
        let pairs = [
            Pair::make(&format!("{}a", &scene.tag), "10.77.0")?,
            Pair::make(&format!("{}b", &scene.tag), "10.77.0")?,
        ];
        let mut servers = Vec::new();
        for (pair, service) in pairs.iter().zip(["a", "b"]) {
            let mut go = Go::new(service);
            go.listen = Some(listen.clone());
            servers.push(scene.workloads.spawn_in(&pair.server, &go)?);
        }
        let weft = scene.weft()?.start()?;
        for number in 0..10 {
            for (pair, name) in pairs.iter().zip(["a", "b"]) {
                let mut command = curl(&scene.workloads);
                command.arg(format!(
                    "http://10.77.0.2:8080/hop/{}-{name}-{number}",
                    scene.tag
                ));
                let output = Pair::within(&pair.client, &command).output()?;
                ensure!(
                    output.status.success(),
                    "{}",
                    String::from_utf8_lossy(&output.stderr)
                );
            }
        }
        let pids: Vec<u32> = servers.iter().map(weft_workloads::Running::pid).collect();
        let spans = scene.finish(weft)?;
        linked_pairs(&spans, 20)?;
        for (pid, name) in pids.iter().zip(["-a-", "-b-"]) {
            let of_server = spans.of(&[*pid]);
            of_server.count(10)?;
            ensure!(
                of_server.0.iter().all(|span| span.path().contains(name)),
                "crossed over:\n{of_server}"
            );
        }
        Ok(())
    })
}

/// Each path has one client span and, below it by wire position, one server span.
fn linked_pairs(spans: &Spans, count: usize) -> Result<()> {
    spans.count(2 * count)?;
    for server in &spans.servers().count(count)?.0 {
        let client = spans.at(server.path()).clients();
        server.check(&[("weft.link", "wire-position")])?;
        ensure!(
            server.is_child_of(client.one()?),
            "not linked:\n{server}\n{client}"
        );
    }
    Ok(())
}
