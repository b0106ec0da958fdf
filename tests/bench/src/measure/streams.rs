//! Many streams on few connections, and many connections.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Result;
use weft_workloads::programs::{Grpc, GrpcKind, Nghttpd, Security};
use weft_workloads::{Group, Workloads};

use super::saturation::{Load, Server, TURNS};
use crate::lab::{Lab, Sampler};
use crate::load::h2load;
use crate::plan::Plan;
use crate::report::{Cell, Report, Table};
use crate::samples::Samples;
use crate::watch::memory::Memory;

/// More would need more files than a process may open by default.
const HELD: u32 = 400;

pub(crate) fn run(lab: &Lab, plan: &Plan, report: &mut Report) -> Result<()> {
    let workloads = Workloads::ensure(&[Group::Http2, Group::Grpc])?;
    let pages = workloads.spawn(&Nghttpd {
        security: Security::Plaintext,
        files: vec![],
    })?;
    let calls = workloads.spawn(&Grpc::new(GrpcKind::Go, Security::Plaintext)?)?;
    // One message of a hundred bytes: `Unary` answers it with the same.
    let message = [&[0, 0, 0, 0, 100][..], &[b'm'; 100]].concat();
    let file = "tmp/bench-call";
    std::fs::write(workloads.root().join(file), message)?;
    let call = [
        format!("--data=/{file}"),
        "--header=content-type: application/grpc".to_owned(),
        "--header=te: trailers".to_owned(),
        format!("{}/bench.Echo/Unary-0-0-0", calls.url()),
    ];
    let servers = [
        (
            "fewer requests at saturation, HTTP/2",
            "the same by CPU a request, HTTP/2",
            "spans lost at saturation, HTTP/2",
            Server {
                running: &pages,
                load: Load::H2load(vec![pages.url()]),
                service: "nghttpd",
                rates: "nghttpd, small file, h2load with 100 streams on each of 4 connections",
                work: "CPU a request, µs, HTTP/2",
                spans: "spans of these runs, HTTP/2",
            },
        ),
        (
            "fewer calls at saturation, gRPC",
            "the same by CPU a call, gRPC",
            "spans lost at saturation, gRPC",
            Server {
                running: &calls,
                load: Load::H2load(call.to_vec()),
                service: "echo",
                rates: "grpc-go, unary calls, h2load with 100 streams on each of 4 connections",
                work: "CPU a call, µs, gRPC",
                spans: "spans of these runs, gRPC",
            },
        ),
    ];
    let mut cost = Table::new(
        "weft's own CPU, ms for 10 000 streams, both ends",
        &["", "ms"],
    );
    for (by_rate, by_cpu, lost, server) in servers {
        let turns = server.turns(lab, plan, &TURNS[..2], report)?;
        if let [without, all] = turns.as_slice() {
            report.aim(by_rate, "%", 30.0, all.fewer(without));
            report.aim(by_cpu, "%", 30.0, all.fewer_by_cpu(without));
            report.aim(lost, "%", 0.0, Some(all.lost()));
            cost.row(
                server.service,
                [Cell::from(all.weft_us.map(|us| us * 10.0))],
            );
        }
    }
    report.tables.push(cost);
    memory(lab, &workloads, &pages.url(), report)
}

/// Of connections that stay open.
fn memory(lab: &Lab, workloads: &Workloads, url: &str, report: &mut Report) -> Result<()> {
    let traced = lab.trace(Sampler::All, None)?;
    std::thread::sleep(Duration::from_secs(1));
    let sum = || anyhow::Ok(Memory::of(traced.pid(), None)?.sum());
    let before = sum()?;
    let mut load = h2load::hold(workloads, url, HELD)
        .stdout(Stdio::null())
        .spawn()?;
    std::thread::sleep(Duration::from_secs(5));
    let after = sum();
    load.kill()?;
    load.wait()?;
    let ends = f64::from(2 * HELD);
    let kb = after?.saturating_sub(before) as f64 / ends / 1e3;
    let mut table = Table::new(
        "memory of weft for an end of a connection, HTTP/2",
        &["", "kB"],
    );
    let name = format!("{HELD} connections, both ends, a request a second on each");
    table.row(name, [Cell::from(Samples::from_iter([kb]))]);
    report.tables.push(table);
    report.aim(
        "memory for an end of an HTTP/2 connection",
        "kB",
        16.0,
        Some(kb),
    );
    traced.stop().map(drop)
}
