//! Programs between a client and a server: each hop is seen from both ends.

use anyhow::{Result, ensure};
use weft_e2e::{Scene, Spans, on_scene};
use weft_workloads::programs::{Go, Gunicorn, HaProxy, Nginx};
use weft_workloads::{Group, Listen, Running};

#[test]
fn nginx() -> Result<()> {
    on_scene(&[Group::Web, Group::Go, Group::Load], |scene| {
        let server = scene.workloads.spawn(&Go::new("go"))?;
        let proxy = scene
            .workloads
            .spawn(&Nginx::new().proxy("/", &server.url()))?;
        through(scene, &proxy, &server)
    })
}

#[test]
fn haproxy() -> Result<()> {
    on_scene(&[Group::Web, Group::Go, Group::Load], |scene| {
        let server = scene.workloads.spawn(&Go::new("go"))?;
        let proxy = scene.workloads.spawn(&HaProxy::before(&server.url()))?;
        through(scene, &proxy, &server)
    })
}

#[test]
fn nginx_to_gunicorn_over_a_unix_socket() -> Result<()> {
    on_scene(&[Group::Web, Group::Python, Group::Load], |scene| {
        let socket = format!("/scratch/{}.sock", scene.tag);
        let mut gunicorn = Gunicorn::sync("unix");
        gunicorn.listen = Some(Listen::Unix(socket.clone().into()));
        let server = scene.workloads.spawn(&gunicorn)?;
        let proxy = scene
            .workloads
            .spawn(&Nginx::new().proxy("/", &format!("http://unix:{socket}")))?;
        let result = through(scene, &proxy, &server);
        std::fs::remove_file(scene.workloads.root().join(socket.trim_start_matches('/'))).ok();
        result
    })
}

/// curl -> proxy -> server, ten times: four spans each, in one line.
fn through(scene: &Scene, proxy: &Running, server: &Running) -> Result<()> {
    let weft = scene.weft()?.start()?;
    let ids: Vec<String> = (0..10).map(|number| scene.id(number)).collect();
    for id in &ids {
        scene.curl(&[&format!("{}/hop/{id}", proxy.url())])?;
    }
    let (proxy_pids, server_pids) = (proxy.pids(), server.pids());
    let spans = scene.finish(weft)?;
    spans.count(4 * ids.len())?;
    for id in &ids {
        let spans: Spans = spans.at(&format!("/hop/{id}"));
        let at_proxy = spans.of(&proxy_pids);
        let (outer, call) = (at_proxy.servers(), at_proxy.clients());
        let (outer, call) = (outer.one()?, call.one()?);
        let inner = spans.of(&server_pids).servers();
        let inner = inner.one()?;
        let curl = spans.filter(|span| span.service() == "curl");
        ensure!(outer.is_child_of(curl.one()?), "curl -> proxy:\n{spans}");
        ensure!(inner.is_child_of(call), "proxy -> server:\n{spans}");
        inner.check(&[("weft.link", "wire-position")])?;
        ensure!(call.is_child_of(outer), "across the proxy:\n{spans}");
        call.check(&[("weft.link", "forwarded")])?;
    }
    Ok(())
}
