//! Clients nobody changed: one client span for each request they make.

use anyhow::{Context as _, Result, ensure};
use weft_e2e::figures::with_metrics;
use weft_e2e::on_scene;
use weft_workloads::Group;
use weft_workloads::programs::{Go, Nginx};

#[test]
fn python_requests_on_a_kept_connection() -> Result<()> {
    on_scene(&[Group::Go, Group::Python], |scene| {
        let server = scene.workloads.spawn(&Go::new("go"))?;
        let weft = scene.weft()?.start()?;
        let code = r#"
import requests, sys
session = requests.Session()
for number in range(20):
    session.get(f"{sys.argv[1]}-{number}").raise_for_status()
"#;
        scene.python(code, &[&format!("{}/hop/{}", server.url(), scene.tag)])?;
        let spans = scene.finish(weft)?;
        spans.count(40)?;
        for number in 0..20 {
            let pair = spans.at(&format!("/hop/{}-{number}", scene.tag));
            let (client, inner) = (pair.clients(), pair.servers());
            let client = client.one()?;
            ensure!(inner.one()?.is_child_of(client), "not linked:\n{pair}");
            ensure!(
                client
                    .get("user_agent.original")
                    .starts_with("python-requests/"),
                "{client}"
            );
        }
        Ok(())
    })
}

#[test]
fn wrk_counts_as_weft_counts() -> Result<()> {
    on_scene(&[Group::Web, Group::Load], |scene| {
        const CONNECTIONS: usize = 4;
        let server = scene
            .workloads
            .spawn(&Nginx::new().directive("location / { return 200 ok; }"))?;
        // The receiver is not optimised: what waits for it must have room.
        let (weft, metrics) = with_metrics(scene, "batch:\n  queue_bytes: 256MiB\n")?;
        let url = format!("{}/{}", server.url(), scene.tag);
        let requests = scene.wrk(CONNECTIONS, &url)?;
        metrics.balanced()?;
        let servers = scene.finish(weft)?.servers().len();
        // wrk leaves its last requests unanswered or uncounted.
        ensure!(
            (requests..=requests + CONNECTIONS).contains(&servers),
            "{servers} server spans of {requests} requests"
        );
        Ok(())
    })
}

#[test]
fn connections_older_than_weft() -> Result<()> {
    on_scene(&[Group::Go, Group::Python], |scene| {
        let server = scene.workloads.spawn(&Go::new("go"))?;
        // Opens its connection, then waits for a line before it goes on using it.
        let code = r#"
import requests, sys
session = requests.Session()
session.get(sys.argv[1] + "-before").raise_for_status()
print("connected", flush=True)
sys.stdin.readline()
for number in range(10):
    session.get(f"{sys.argv[1]}-{number}").raise_for_status()
"#;
        let mut client = weft_workloads::programs::python(&scene.workloads, code)
            .arg(format!("{}/hop/{}", server.url(), scene.tag))
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()?;
        let mut output = client.stdout.take().context("no output")?;
        weft_e2e::raw::read_until(&mut output, "connected\n")?;
        let weft = scene.weft()?.start()?;
        drop(client.stdin.take());
        ensure!(client.wait()?.success(), "the client failed");
        let spans = scene.finish(weft)?;
        spans.count(20)?;
        for number in 0..10 {
            let pair = spans.at(&format!("/hop/{}-{number}", scene.tag));
            ensure!(
                pair.servers().one()?.is_child_of(pair.clients().one()?),
                "not linked:\n{pair}"
            );
        }
        Ok(())
    })
}
