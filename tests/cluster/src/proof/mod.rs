//! What is proved in the cluster, in order; each step is one line of the report.

mod agent;
mod chart;
mod life;
pub(crate) mod load;
pub(crate) mod manifests;
mod policy;
mod rights;
mod workload;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use weft_e2e::Sink;

use crate::image;
use crate::node::{ADDRESS, Node};

/// The cluster and what the steps share.
pub(crate) struct Proof<'a> {
    node: &'a mut Node,
    /// Where weft's spans arrive: on the node, as a collector of its own would be.
    sink: Sink,
    /// Of what the agent does by trace policies; there is none without their definition.
    has_policy: bool,
    extent: Extent,
}

/// How much is proved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Extent {
    /// What fits into CI.
    #[default]
    Short,
    /// With a thousand pods that come and go.
    Whole,
}

impl Extent {
    /// On a command line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Whole => "whole",
        }
    }
}

struct Step {
    name: &'static str,
    needs: Needs,
    run: fn(&mut Proof<'_>) -> Result<String>,
}

#[derive(PartialEq)]
enum Needs {
    Nothing,
    /// The agent's decisions by label, annotation and trace policy.
    Policy,
}

const STEPS: &[Step] = &[
    step("chart: helm lint", chart::lint),
    step("chart: templates for many values", chart::templates),
    step("chart: values that the schema refuses", chart::refusals),
    step("chart: plain manifests are current", manifests::are_current),
    step("chart: dry run on the API server", chart::dry_run),
    step("pods: nginx, Python, Go, Node.js", |proof| {
        workload::deploy(proof.node)?;
        Ok(String::new())
    }),
    step("agent: installed by the chart and ready", agent::install),
    step(
        "agent: nothing is switched off by its rights",
        agent::doctor,
    ),
    step("agent: helm test", chart::test),
    step("rights: the least verbs", rights::check),
    step("agent: memory within its limit", agent::memory),
    needs_policy("policy: nothing before the label", policy::nothing_before),
    needs_policy("policy: opt-in under load", policy::opt_in),
    needs_policy("metadata: names of what sent the spans", policy::metadata),
    needs_policy("agent: weft status and why", policy::status),
    needs_policy("policy: a pod's annotation wins", policy::annotation),
    needs_policy("policy: opt-out under load", policy::opt_out),
    needs_policy("policy: trace policies are validated", policy::validation),
    step("life: pods come and go", life::churn),
    step(
        "life: API server killed and started again",
        life::api_server,
    ),
    step("life: weft killed", life::killed),
    step("life: weft rolled", life::rolled),
    step("life: the node loses its power", life::power),
    step("agent: uninstalled without a trace", agent::uninstall),
];

const fn step(name: &'static str, run: fn(&mut Proof<'_>) -> Result<String>) -> Step {
    Step {
        name,
        needs: Needs::Nothing,
        run,
    }
}

const fn needs_policy(name: &'static str, run: fn(&mut Proof<'_>) -> Result<String>) -> Step {
    Step {
        name,
        needs: Needs::Policy,
        run,
    }
}

/// Gives whether all is as it should be.
pub(crate) fn run(node: &mut Node, extent: Extent, only: Option<&str>) -> Result<bool> {
    let address: SocketAddr = format!("{ADDRESS}:4317").parse()?;
    let mut proof = Proof {
        node,
        sink: Sink::start_on(address)?,
        has_policy: image::root().join(CRD).is_file(),
        extent,
    };
    let (mut passed, mut failed) = (0, 0);
    let wanted = |step: &&Step| {
        only.is_none_or(|texts| texts.split(',').any(|text| step.name.contains(text)))
    };
    for step in STEPS.iter().filter(wanted) {
        if step.needs == Needs::Policy && !proof.has_policy {
            println!("later   {:<46} there is no {CRD} yet", step.name);
            continue;
        }
        let begin = Instant::now();
        let outcome = (step.run)(&mut proof);
        let seconds = begin.elapsed().as_secs_f64();
        match outcome {
            Ok(figure) => {
                passed += 1;
                println!("ok      {:<46} {seconds:6.1} s  {figure}", step.name);
            }
            Err(error) => {
                failed += 1;
                println!("FAILED  {:<46} {seconds:6.1} s\n{error:#}", step.name);
            }
        }
    }
    println!("cluster: {passed} passed, {failed} failed");
    Ok(failed == 0)
}

/// The definition of TracePolicy, from the root of the work tree.
pub(crate) const CRD: &str = "deploy/crd/tracepolicies.yaml";

/// Asks until there is an answer.
fn eventually<T>(limit: Duration, mut ask: impl FnMut() -> Result<T>) -> Result<(T, Duration)> {
    let begin = Instant::now();
    loop {
        match ask() {
            Ok(answer) => return Ok((answer, begin.elapsed())),
            Err(error) if begin.elapsed() > limit => {
                return Err(error).with_context(|| format!("still after {limit:?}"));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn deploy_directory() -> std::path::PathBuf {
    image::root().join("deploy")
}

fn chart_directory() -> String {
    let chart: &Path = &deploy_directory().join("helm/weft");
    chart.display().to_string()
}
