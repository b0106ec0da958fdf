//! `weft run`: puts the parts together, and takes them apart in order.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
};

use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
    sync::Notify,
    time,
};
use weft_flow::{
    Flow,
    config::{Config as FlowConfig, Gaps, Limits, Links, SelfInstrumented},
    sample,
};

use weft_proto::propagation::Propagator;

use crate::{
    bpf::{self, Door, Probes, Way},
    config::{
        Config, DoorChoice, Inject, Instrumented, Kubernetes, SamplerName, Sampling, UprobeChoice,
    },
    discover::{self, OwnAddresses, Processes, Rules},
    export::{self, Exports},
    figures::Published,
    gate::Gate,
    kubernetes::{self, Cluster, SeenPods},
    peers,
    pipeline::Pipeline,
    policy::{Change, Judge, Looks, Policy, Selector},
    reload::Reload,
    telemetry::{self, Registry},
    tls::{Trials, Watch},
    why::AnswerServer,
};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Kernel(#[from] bpf::Error),
    #[error(transparent)]
    Export(#[from] export::Error),
    #[error(transparent)]
    Peers(#[from] peers::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("kubernetes: {0}")]
    Kubernetes(#[from] kubernetes::Error),
    #[error("the pipeline's thread panicked: please report this")]
    Panicked,
}

/// Traces until a signal, the configured duration, or the end of standard output's reader.
pub(crate) fn run(config: &Config, reload: Reload<'_>) -> Result<(), Error> {
    let registry = Registry::default();
    telemetry::watch_own_process(&registry);
    let mut probes = Probes::load(options(config))?;
    log::info!("socket calls are seen through {}", probes.door());
    for limit in probes.limits() {
        log::warn!("off: {limit}");
    }
    let mut policy = Policy::new(config.selection.clone(), std::process::id());
    if Kubernetes::is_in_pod() && !config.kubernetes.is_enabled() {
        log::warn!(
            "off: Kubernetes: this is a pod, and WEFT_NODE_NAME is not set; what it may see is traced, opted in or not"
        );
    }
    if config.kubernetes.is_enabled() {
        // Of nobody it is known yet that he has opted in.
        policy = policy.with_cluster(Arc::new(Cluster::new(config.kubernetes.clone())));
    }
    let selector = Selector::new(policy);
    let processes = Processes::new(Rules::of_this_host(config.resource.clone()), &registry);
    let mut flow = Flow::new(flow_config(config), rand::random());
    flow.unix_inodes_at_start(discover::unix_socket_inodes());

    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let over = Arc::new(Notify::new());
    let stdout_closed = Arc::clone(&over);
    let exports = Exports::start(config, &registry, move || stdout_closed.notify_one())?;
    let (_peers, exchange) = match config.peers.is_on() {
        true => {
            flow.host_addresses(OwnAddresses::read().iter());
            let (running, exchange) = peers::start(&config.peers, &registry)?;
            if let Some(address) = running.address {
                log::info!("agents of other nodes are awaited at {address}");
            }
            (Some(running), Some(exchange))
        }
        false => (None, None),
    };
    let published = Published::register(&registry);
    let stop = Arc::new(AtomicBool::new(false));
    let (ask, questions) = mpsc::channel();
    let (change, changes) = mpsc::channel();
    let trials = Trials::default();
    let pods_seen = SeenPods::default();
    let figures = match config.metrics.listen {
        Some(address) => {
            let server = telemetry::Server::start(address, registry.clone())?;
            log::info!("figures at http://{}/metrics", server.address());
            Some(server)
        }
        None => None,
    };
    let _answers = config.socket.as_deref().and_then(|path| {
        let started = AnswerServer::start(path, selector.clone(), ask, trials.clone());
        let told = |error: &io::Error| {
            log::warn!(
                "`weft why` cannot ask this agent: {}: {error}",
                path.display()
            );
        };
        started.inspect_err(told).ok()
    });

    if config.sampler.name == SamplerName::TraceIdRatio {
        probes.sample_early(config.sampler.ratio)?;
    }
    let mut judge = Judge::new(selector.clone(), &registry);
    judge.begin(&mut probes)?;
    inject(config, &mut probes);
    judge.watch(&mut probes)?;
    let (tls, detaching) = Watch::start(probes.take_user(), selector.clone(), &registry, trials)?;
    let pipeline = Pipeline {
        probes,
        flow,
        processes,
        judge,
        tls,
        gate: Gate::new(&registry),
        sink: exports.sink(),
        published,
        alive: figures.as_ref().map(telemetry::Server::health),
        questions,
        changes,
        peers: exchange,
        nearby: (config.propagation.inject == Inject::Auto).then(OwnAddresses::read),
        looks: Looks::default(),
        pods_seen: pods_seen.clone(),
        pods_seen_ns: 0,
        stop: Arc::clone(&stop),
    };
    let ended = Arc::clone(&over);
    let thread = thread::Builder::new()
        .name("weft-pipeline".to_owned())
        .spawn(move || {
            let result = pipeline.run();
            ended.notify_one();
            result
        })?;
    let health = figures.as_ref().map(telemetry::Server::health);
    let _watches = match config.kubernetes.is_enabled() {
        true => {
            let (change, health) = (change.clone(), health.clone());
            let seen = pods_seen.clone();
            Some(kubernetes::start(
                &config.kubernetes,
                &registry,
                seen,
                move |cluster| {
                    if let Some(health) = health.as_ref().filter(|_| cluster.is_listed()) {
                        health.set_ready();
                    }
                    let _ended = change.send(Change::Cluster(cluster));
                },
            )?)
        }
        false => {
            health.iter().for_each(telemetry::Health::set_ready);
            None
        }
    };
    eprintln!("weft: ready");

    let waited = runtime.block_on(async {
        tokio::select! {
            over = until_over(config, &over) => over,
            changes = reload.follow(&registry, |selection| {
                // The pipeline ends only with the agent.
                let _ended = change.send(Change::Selection(selection));
            }) => changes,
        }
    });
    stop.store(true, Ordering::Relaxed);
    let result = thread.join().map_err(|_| Error::Panicked)?;
    detaching.wait();
    exports.finish();
    waited?;
    Ok(result?)
}

async fn until_over(config: &Config, over: &Notify) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let duration = async {
        match config.duration {
            Some(duration) => time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = over.notified() => {}
        () = duration => {}
    }
    Ok(())
}

pub(crate) fn options(config: &Config) -> bpf::Options {
    let door = config.kernel.door.map(|door| match door {
        DoorChoice::Tracepoints => Door::Tracepoints,
        DoorChoice::Functions => Door::Functions,
    });
    bpf::Options {
        door,
        way: config.kernel.uprobes.map(|choice| match choice {
            UprobeChoice::Multi => Way::Multi,
            UprobeChoice::PerfEvents => Way::PerfEvents,
        }),
        ring_bytes: u32::try_from(config.kernel.ring_bytes.0).unwrap_or(1 << 30),
        writes: config.propagation.inject != Inject::Never,
    }
}

fn flow_config(config: &Config) -> FlowConfig {
    FlowConfig {
        headers: config.http.headers.clone().into(),
        propagators: config.propagation.propagators().collect(),
        inject: match config.propagation.inject {
            Inject::Never => weft_flow::config::Inject::Never,
            Inject::Auto => weft_flow::config::Inject::Away,
            Inject::Always => weft_flow::config::Inject::Always,
        },
        self_instrumented: match config.http.instrumented {
            Instrumented::Skip => SelfInstrumented::Skip,
            Instrumented::Keep => SelfInstrumented::Keep,
        },
        sampler: if config.sampler.name == SamplerName::TraceIdRatio {
            // The kernel programs have applied the ratio before a byte was copied.
            sample::Sampler::Always(sample::Root::On)
        } else {
            sampler(&config.sampler)
        },
        stream_sampler: sampler(&config.sampler),
        gaps: match config.sampler.name {
            SamplerName::TraceIdRatio => Gaps::Sampling,
            _ => Gaps::Loss,
        },
        limits: Limits {
            long_stream_ns: u64::try_from(config.http.long_stream.as_nanos()).unwrap_or(u64::MAX),
            peer_hold_ns: u64::try_from(config.peers.hold.as_nanos()).unwrap_or(u64::MAX),
            ..Limits::default()
        },
        links: Links {
            nodes: config.peers.is_on(),
            ..Links::default()
        },
        ..FlowConfig::default()
    }
}

/// Makes ready to write trace contexts, if that is wanted and can be done here.
fn inject(config: &Config, probes: &mut Probes) {
    if config.propagation.inject == Inject::Never {
        return;
    }
    let opened = if config.sampler.name == SamplerName::TraceIdRatio {
        Err(
            "traceidratio is decided for each hop by itself: use parentbased_traceidratio"
                .to_owned(),
        )
    } else {
        probes
            .open_injection()
            .and_then(|()| probes.inject(writing(config)))
    };
    if let Err(reason) = opened {
        log::warn!("off: writing traceparent: {reason}");
    }
}

fn writing(config: &Config) -> bpf::Writing {
    let sampler = sampler(&config.sampler);
    let (sample::Sampler::Always(root) | sample::Sampler::ParentBased(root)) = sampler;
    let first = config.propagation.propagators().next();
    bpf::Writing {
        keep_from: root.reject_below(),
        // Else another context of the same request may count.
        carry: first == Some(Propagator::TraceContext),
        parent_based: config.sampler.parent_based(),
    }
}

fn sampler(sampling: &Sampling) -> sample::Sampler {
    let root = match sampling.share() {
        share if share >= 1.0 => sample::Root::On,
        share => sample::Ratio::new(share).map_or(sample::Root::Off, sample::Root::Ratio),
    };
    if sampling.parent_based() {
        sample::Sampler::ParentBased(root)
    } else {
        sample::Sampler::Always(root)
    }
}
