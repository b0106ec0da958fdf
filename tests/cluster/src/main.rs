//! weft in a real Kubernetes cluster of one node: etcd, the control plane, kubelet, containerd and runc, from the distribution's
//! packages and from Go modules, below one directory and in name spaces of their own.
//!
//! ```text
//! weft-cluster ──▶ guard (own session, cleans up)
//!                    └─▶ inside (own network and mounts): etcd, API server, ..., kubelet, containerd ─▶ pods
//! ```
#![forbid(unsafe_code)]

mod cgroup;
mod command;
mod go;
mod guard;
mod image;
mod inside;
mod node;
mod proof;
mod tools;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::guard::Keep;
use crate::proof::Extent;

/// Hands `--steps` on to where they are run.
const STEPS: &str = "WEFT_CLUSTER_STEPS";

#[derive(Parser)]
#[command(name = "weft-cluster")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Request>,
    /// With a thousand pods that come and go.
    #[arg(long)]
    whole: bool,
    /// Only the steps whose names hold one of these, parted by commas; most need those before them.
    #[arg(long, env = STEPS)]
    steps: Option<String>,
    /// The self-contained program to test.
    #[arg(long, env = "WEFT_BIN", default_value = "target/release/weft")]
    weft: PathBuf,
}

#[derive(Clone, Subcommand)]
enum Request {
    /// Start a cluster and leave it running.
    Up,
    /// End the cluster that `up` has started, with all that is in it.
    Down,
    /// Run a command beside the running cluster: `exec kubectl get pods -A`.
    Exec {
        #[arg(trailing_var_arg = true, required = true)]
        words: Vec<String>,
    },
    /// Write the context of deploy/Dockerfile to target/image.
    Image,
    /// Write the plain manifests again, from the chart.
    Manifests,
    /// Only fetch and build what a cluster is made of.
    Setup,
    #[command(hide = true)]
    Guard { keep: Keep, extent: Extent },
    #[command(hide = true)]
    Inside { keep: Keep, extent: Extent },
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cluster: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.command {
        None => {
            node::ensure()?;
            image::ensure()?;
            let extent = match arguments.whole {
                true => Extent::Whole,
                false => Extent::Short,
            };
            guard::start(Keep::WhileAsked, extent, arguments)
        }
        Some(Request::Image) => {
            node::ensure_root()?;
            let context = image::root().join("target/image");
            image::make_context(&context, &arguments.weft, &node::parts().root)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Request::Manifests) => {
            tools::ensure(&node::cache())?;
            proof::manifests::write(&node::parts().bin.join("helm"))?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Request::Setup) => {
            image::ensure()?;
            node::ensure().map(|()| ExitCode::SUCCESS)
        }
        Some(Request::Up) => {
            node::ensure()?;
            image::ensure()?;
            guard::start(Keep::UntilDown, Extent::Short, arguments)
        }
        Some(Request::Down) => guard::down(),
        Some(Request::Exec { words }) => guard::exec(words),
        Some(Request::Guard { keep, extent }) => guard::run(*keep, *extent),
        Some(Request::Inside { keep, extent }) => {
            inside::run(*keep, *extent, arguments).map(|()| ExitCode::SUCCESS)
        }
    }
}
